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
        rhs: "?x",
        why: "consecutive slices of one tensor, joined again",
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

/// A part of a join as a slice of another tensor.
fn slices<'a>(egraph: &'a EGraph, part: Id) -> impl Iterator<Item = (Id, &'a [usize], &'a [usize])> + 'a {
    egraph.terms(part, "slice").filter_map(|term: &Term| match egraph.op(term)? {
        Op::Slice(Slice { starts, steps, .. }) => Some((egraph.find(term.children[0]), &starts[..], &steps[..])),
        _ => None,
    })
}

fn concat_slices(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::Concat(Concat { axis }) = op(egraph, found, 0)? else { return None };
    let parts = &found.terms[0].children;
    let shape = egraph.shape(found.root);
    let candidates: Vec<Id> = slices(egraph, *parts.first()?).map(|(source, _, _)| source).collect();
    candidates.into_iter().find(|&source| {
        let mut begin = 0;
        egraph.shape(source) == shape
            && parts.iter().all(|&part| {
                let extent = egraph.shape(part)[axis];
                let fits = slices(egraph, part).any(|(other, starts, steps)| {
                    let in_place =
                        starts.iter().enumerate().all(|(i, &start)| start == if i == axis { begin } else { 0 });
                    other == source && in_place && (steps[axis] == 1 || extent == 1)
                });
                begin += extent;
                fits
            })
    })
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
