//! Slices, joins and pads.

use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec, Term};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{Concat, Pad, Slice};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "slice-slice",
        class: RuleClass::Integer,
        lhs: "(slice (slice ?x))",
        rhs: "(slice[composed] ?x)",
        why: "a box of a box is a box",
        apply: |egraph, found| {
            let Op::Slice(Slice { starts, sizes, steps }) = op(egraph, found, 0)? else { return None };
            let Op::Slice(Slice { starts: inner_starts, steps: inner_steps, .. }) = op(egraph, found, 1)? else {
                return None;
            };
            let composed = Op::Slice(Slice {
                starts: (0..starts.len()).map(|axis| inner_starts[axis] + starts[axis] * inner_steps[axis]).collect(),
                sizes: sizes.clone(),
                steps: steps.iter().zip(inner_steps).map(|(step, inner)| step * inner).collect(),
            });
            egraph.add_op(composed, &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "slice-all",
        class: RuleClass::Integer,
        lhs: "(slice ?x)",
        rhs: "?x",
        guards: &[Guard {
            name: "the box is the whole tensor",
            holds: |egraph, found| egraph.shape(found.root) == egraph.shape(found.classes[0]),
        }],
        why: "nothing is cut off",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "slice-concat",
        class: RuleClass::Integer,
        lhs: "(slice (concat ..))",
        rhs: "(slice part)",
        why: "a box inside one part does not need the others",
        apply: slice_concat,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "concat-slices",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(concat (slice ?x) ..)",
        why: "consecutive slices of one tensor, joined again, are one slice of it",
        apply: concat_slices,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "concat-concat",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(concat[flattened] ..)",
        why: "joins along one axis are associative",
        apply: flatten_concat,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "concat-one",
        class: RuleClass::Integer,
        lhs: "(concat ?x)",
        rhs: "?x",
        why: "a join of one part is that part",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "pad-pad",
        class: RuleClass::Integer,
        lhs: "(pad (pad ?x))",
        rhs: "(pad[summed] ?x)",
        guards: &[Guard {
            name: "both pad with the same value",
            holds: |egraph, found| match (op(egraph, found, 0), op(egraph, found, 1)) {
                (Some(Op::Pad(Pad { value: outer, .. })), Some(Op::Pad(Pad { value: inner, .. }))) => outer == inner,
                (_, _) => false,
            },
        }],
        why: "borders of one value add up",
        apply: |egraph, found| {
            let Op::Pad(Pad { before, after, value }) = op(egraph, found, 0)? else { return None };
            let Op::Pad(Pad { before: inner_before, after: inner_after, .. }) = op(egraph, found, 1)? else {
                return None;
            };
            let sum = |a: &[usize], b: &[usize]| a.iter().zip(b).map(|(a, b)| a + b).collect();
            let merged =
                Op::Pad(Pad { before: sum(before, inner_before), after: sum(after, inner_after), value: *value });
            egraph.add_op(merged, &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "pad-nothing",
        class: RuleClass::Integer,
        lhs: "(pad ?x)",
        rhs: "?x",
        guards: &[Guard {
            name: "nothing is added",
            holds: |egraph, found| egraph.shape(found.root) == egraph.shape(found.classes[0]),
        }],
        why: "an empty border",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "slice-pad",
        class: RuleClass::Integer,
        lhs: "(slice (pad ?x))",
        rhs: "(slice ?x)",
        guards: &[Guard {
            name: "the box lies inside the padding",
            holds: |egraph, found| match (op(egraph, found, 0), op(egraph, found, 1)) {
                (Some(Op::Slice(Slice { starts, sizes, steps })), Some(Op::Pad(Pad { before, .. }))) => {
                    let x = egraph.shape(found.classes[0]);
                    (0..x.len()).all(|axis| {
                        let last = starts[axis] + (sizes[axis] - 1) * steps[axis];
                        starts[axis] >= before[axis] && last < before[axis] + x[axis]
                    })
                }
                (_, _) => false,
            },
        }],
        why: "a border that is cut off again",
        apply: |egraph, found| {
            let Op::Slice(Slice { starts, sizes, steps }) = op(egraph, found, 0)? else { return None };
            let Op::Pad(Pad { before, .. }) = op(egraph, found, 1)? else { return None };
            let starts = starts.iter().zip(before).map(|(start, before)| start.saturating_sub(*before)).collect();
            let inside = Op::Slice(Slice { starts, sizes: sizes.clone(), steps: steps.clone() });
            egraph.add_op(inside, &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "resize-one",
        class: RuleClass::Integer,
        lhs: "(resize ?x)",
        rhs: "?x",
        guards: &[Guard {
            name: "the factors are 1, and there are no borders",
            holds: |egraph, found| matches!(op(egraph, found, 0), Some(Op::Resize(resize)) if resize.is_identity()),
        }],
        why: "nothing is repeated",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
];

fn slice_concat(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let Op::Slice(Slice { starts, sizes, steps }) = op(egraph, found, 0)? else { return None };
    let &Op::Concat(Concat { axis }) = op(egraph, found, 1)? else { return None };
    let last = starts[axis] + (sizes[axis] - 1) * steps[axis];
    let mut begin = 0;
    for &part in &found.terms[1].children {
        let end = begin + egraph.shape(part).get(axis)?;
        if begin <= starts[axis] && last < end {
            let mut starts = starts.clone();
            starts[axis] -= begin;
            let inside = Op::Slice(Slice { starts, sizes: sizes.clone(), steps: steps.clone() });
            return egraph.add_op(inside, &[part]);
        }
        begin = end;
    }
    None
}

/// A part of a join that is a box of another tensor, in consecutive elements along the joined axis.
#[derive(Clone)]
struct Run {
    source: Id,
    slice: Slice,
}

impl Run {
    /// The ways to see a part of a join as such.
    fn all(egraph: &EGraph, part: Id, axis: usize) -> Vec<Self> {
        let run = |term: &Term| {
            let Op::Slice(slice) = egraph.op(term)? else { return None };
            let mut slice = slice.clone();
            if slice.sizes[axis] == 1 {
                slice.steps[axis] = 1;
            }
            (slice.steps[axis] == 1).then(|| Self { source: egraph.find(term.children[0]), slice })
        };
        egraph.terms(part, "slice").filter_map(run).collect()
    }

    /// Both as one, if the other begins where this one ends.
    fn and(&self, other: &Self, axis: usize) -> Option<Self> {
        let mut joined = self.clone();
        joined.slice.sizes[axis] += other.slice.sizes[axis];
        let mut expected = other.slice.clone();
        expected.starts[axis] = self.slice.starts[axis];
        expected.sizes[axis] = joined.slice.sizes[axis];
        let follows = other.slice.starts[axis] == self.slice.starts[axis] + self.slice.sizes[axis];
        (self.source == other.source && follows && joined.slice == expected).then_some(joined)
    }
}

fn concat_slices(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::Concat(Concat { axis }) = op(egraph, found, 0)? else { return None };
    let parts = found.terms[0].children.clone();
    let mut joined = Vec::new();
    let mut rest = &parts[..];
    while let [part, others @ ..] = rest {
        let longest = |run: Run| {
            let mut taken = (0, run);
            for &other in others {
                let next = Run::all(egraph, other, axis).into_iter().find_map(|next| taken.1.and(&next, axis));
                let Some(next) = next else { break };
                taken = (taken.0 + 1, next);
            }
            taken
        };
        let runs = Run::all(egraph, *part, axis).into_iter().map(longest);
        match runs.max_by_key(|(more, _)| *more).filter(|(more, _)| *more > 0) {
            Some((more, run)) => {
                joined.push(egraph.add_op(Op::Slice(run.slice), &[run.source])?);
                rest = &others[more..];
            }
            None => {
                joined.push(*part);
                rest = others;
            }
        }
    }
    match joined[..] {
        _ if joined.len() == parts.len() => None,
        [whole] => Some(whole),
        _ => egraph.add_op(Op::Concat(Concat { axis }), &joined),
    }
}

fn flatten_concat(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::Concat(Concat { axis }) = op(egraph, found, 0)? else { return None };
    let mut flat = Vec::new();
    let mut nested = false;
    for &part in &found.terms[0].children {
        let inner = egraph.terms(part, "concat").find(|term| {
            let itself = term.children.iter().any(|&child| egraph.find(child) == egraph.find(part));
            !itself && matches!(egraph.op(term), Some(Op::Concat(Concat { axis: other })) if *other == axis)
        });
        match inner {
            Some(inner) => {
                flat.extend(inner.children.iter().copied());
                nested = true;
            }
            None => flat.push(part),
        }
    }
    if !nested {
        return None;
    }
    egraph.add_op(Op::Concat(Concat { axis }), &flat)
}
