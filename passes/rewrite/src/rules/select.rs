//! Selections of channels: made of shuffles, composed, and taken in by layers.

use super::fold::geometry;
use super::layout::inverse;
use super::op;
use super::shuffle::Shuffle;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{Select, Slice};

/// The rules about layers.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "select-into-conv",
        class: RuleClass::Real,
        lhs: "(conv|dense (select ?x) ?w ?b)",
        rhs: "(conv (select[ascending] ?x) w[in that order] ?b)",
        guards: &[Guard {
            name: "the layer has no groups",
            holds: |egraph, found| geometry(egraph, found, 0).is_none_or(|geometry| geometry.groups == 1),
        }],
        why: "the weights of a layer follow the channels of its input; all of them in order need no selection",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let layer = op(egraph, found, 0)?.clone();
            let selected = channels(egraph, found, 1)?.to_vec();
            let mut order: Vec<usize> = (0..selected.len()).collect();
            order.sort_by_key(|&position| selected[position]);
            let ascending = order.iter().map(|&position| selected[position]).collect();
            let x = selection(egraph, x, ascending)?;
            let w = selection(egraph, w, order)?;
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "select-of-conv",
        class: RuleClass::Integer,
        lhs: "(select (conv|dense ?x ?w ?b))",
        rhs: "(conv ?x w[selected] b[selected])",
        guards: &[Guard {
            name: "the layer has no groups",
            holds: |egraph, found| geometry(egraph, found, 1).is_none_or(|geometry| geometry.groups == 1),
        }],
        why: "the channels of a layer's result follow the rows of its weights",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let layer = op(egraph, found, 1)?.clone();
            let selected = channels(egraph, found, 0)?.to_vec();
            let w = rows(egraph, w, &selected)?;
            let b = selection(egraph, b, selected)?;
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "select-depthwise",
        class: RuleClass::Integer,
        lhs: "(conv (select ?x) ?w ?b)",
        rhs: "(select (conv ?x w[put back] b[put back]))",
        guards: &[
            Guard {
                name: "every channel is a group with one filter",
                holds: |egraph, found| {
                    let outputs = egraph.shape(found.root).last().copied();
                    let inputs = channels(egraph, found, 1).map(<[usize]>::len);
                    geometry(egraph, found, 0).is_some_and(|own| Some(own.groups) == inputs) && outputs == inputs
                },
            },
            Guard {
                name: "every channel comes once",
                holds: |egraph, found| {
                    let all = egraph.shape(found.classes[0]).last().copied();
                    channels(egraph, found, 1).is_some_and(|own| distinct(own) && Some(own.len()) == all)
                },
            },
        ],
        why: "channels that do not meet may be selected afterwards, where a pointwise layer takes the order",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let layer = op(egraph, found, 0)?.clone();
            let selected = channels(egraph, found, 1)?.to_vec();
            let mut back = vec![0; selected.len()];
            for (position, &channel) in selected.iter().enumerate() {
                *back.get_mut(channel)? = position;
            }
            let w = rows(egraph, w, &back)?;
            let b = selection(egraph, b, back)?;
            let y = egraph.add_op(layer, &[x, w, b])?;
            selection(egraph, y, selected)
        },
        ..RuleSpec::PLAIN
    },
];

/// The rules that hold for any elements.
pub const MOVEMENT: &[RuleSpec] = &[
    RuleSpec {
        name: "shuffle-select",
        class: RuleClass::Integer,
        lhs: "(reshape (transpose (reshape ?x)))",
        rhs: "(select ?x)",
        why: "a shuffle that keeps to each pixel selects its channels; no image has to be stored",
        apply: |egraph, found| {
            let [x] = found.vars();
            let channels = Shuffle::new(egraph, found, 0, x)?.channels();
            selection(egraph, x, channels)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "select-select",
        class: RuleClass::Integer,
        lhs: "(select (select ?x))",
        rhs: "(select[composed] ?x)",
        why: "a selection of a selection is a selection",
        apply: |egraph, found| {
            let inner = channels(egraph, found, 1)?;
            let composed = channels(egraph, found, 0)?.iter().map(|&channel| inner[channel]).collect();
            let [x] = found.vars();
            selection(egraph, x, composed)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "slice-select",
        class: RuleClass::Integer,
        lhs: "(slice (select ?x))",
        rhs: "(select (slice ?x))",
        why: "a box takes some of the selected channels, and the same pixels",
        apply: |egraph, found| {
            let Op::Slice(Slice { mut starts, mut sizes, mut steps }) = op(egraph, found, 0)?.clone() else {
                return None;
            };
            let selected = channels(egraph, found, 1)?;
            let [x] = found.vars();
            let (start, size, step) = (starts.pop()?, sizes.pop()?, steps.pop()?);
            let kept: Vec<usize> = selected.iter().skip(start).step_by(step).take(size).copied().collect();
            starts.push(0);
            sizes.push(*egraph.shape(x).last()?);
            steps.push(1);
            let whole = sizes == egraph.shape(x);
            let pixels = if whole { x } else { egraph.add_op(Op::Slice(Slice { starts, sizes, steps }), &[x])? };
            selection(egraph, pixels, kept)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "select-run",
        class: RuleClass::Integer,
        lhs: "(select ?x)",
        rhs: "(slice ?x)",
        why: "a run of channels is a box; all of them are the tensor itself",
        apply: |egraph, found| {
            let selected = channels(egraph, found, 0)?;
            let (start, step) = (*selected.first()?, run(selected)?);
            let count = selected.len();
            let [x] = found.vars();
            let mut sizes = egraph.shape(x).to_vec();
            if *sizes.last()? == count && step == 1 {
                return Some(x);
            }
            let last = sizes.len() - 1;
            let (mut starts, mut steps) = (vec![0; sizes.len()], vec![1; sizes.len()]);
            (starts[last], sizes[last], steps[last]) = (start, count, step);
            egraph.add_op(Op::Slice(Slice { starts, sizes, steps }), &[x])
        },
        ..RuleSpec::PLAIN
    },
];

/// The channels of the selection at a position of the pattern.
fn channels<'a>(egraph: &'a EGraph, found: &Match, position: usize) -> Option<&'a [usize]> {
    match op(egraph, found, position)? {
        Op::Select(Select { channels }) => Some(channels),
        _ => None,
    }
}

fn distinct(channels: &[usize]) -> bool {
    let mut sorted = channels.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] < pair[1])
}

/// The distance of channels that ascend evenly, which is at least 1.
fn run(channels: &[usize]) -> Option<usize> {
    let [first, second, ..] = channels else { return Some(1) };
    let step = second.checked_sub(*first).filter(|&step| step > 0)?;
    channels.windows(2).all(|pair| pair[0] + step == pair[1]).then_some(step)
}

/// Channels of a class; itself for all in order. Not a selection of a selection: they would pile
/// up on large constants, which have no value until extraction.
fn selection(egraph: &mut EGraph, x: Id, channels: Vec<usize>) -> Option<Id> {
    let inner = egraph.terms(x, "select").find_map(|term| match egraph.op(term)? {
        Op::Select(Select { channels }) => Some((term.children[0], channels.clone())),
        _ => None,
    });
    let (x, channels) = match inner {
        Some((source, inner)) => (source, channels.iter().map(|&channel| inner[channel]).collect()),
        None => (x, channels),
    };
    let all = egraph.shape(x).last() == Some(&channels.len());
    if all && channels.iter().enumerate().all(|(index, &channel)| index == channel) {
        return Some(x);
    }
    egraph.add_op(Op::Select(Select { channels }), &[x])
}

/// Indices of the first axis of a class.
fn rows(egraph: &mut EGraph, w: Id, selected: &[usize]) -> Option<Id> {
    let rank = egraph.shape(w).len();
    let last: Vec<usize> = (1..rank).chain([0]).collect();
    let w = egraph.transposed(w, &last)?;
    let w = selection(egraph, w, selected.to_vec())?;
    egraph.transposed(w, &inverse(&last))
}
