//! Slices, pads and joins of reshaped values, in the shape before.

use super::op;
use super::reshape::groups;
use crate::egraph::{Build, EGraph, Facts, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{Concat, Pad, Slice};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "slice-reshape",
        class: RuleClass::Integer,
        lhs: "(slice (reshape ?x))",
        rhs: "(reshape (slice ?x))",
        why: "a box of a split axis is a strided slice of the whole axis; channel shuffles become such slices",
        apply: slice_reshape,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "pad-reshape",
        class: RuleClass::Integer,
        lhs: "(pad (reshape ?x))",
        rhs: "(reshape (pad ?x))",
        why: "axes of extent 1 that come and go do not matter to the other axes",
        apply: |egraph, found| {
            let Op::Pad(Pad { before, after, value }) = op(egraph, found, 0)?.clone() else { return None };
            let [x] = found.vars();
            let (own, reshaped) = (egraph.shape(x).to_vec(), egraph.shape(found.terms[0].children[0]).to_vec());
            let axes = same_axes(&own, &reshaped)?;
            let unmoved = |axis: &usize| !axes.iter().any(|(_, other)| other == axis);
            if (0..reshaped.len()).filter(unmoved).any(|axis| before[axis] + after[axis] > 0) {
                return None;
            }
            let (mut new_before, mut new_after) = (vec![0; own.len()], vec![0; own.len()]);
            for (axis, other) in axes {
                (new_before[axis], new_after[axis]) = (before[other], after[other]);
            }
            let shape = egraph.shape(found.root).to_vec();
            let y = egraph.add_op(Op::Pad(Pad { before: new_before, after: new_after, value }), &[x])?;
            egraph.reshaped(y, &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "concat-reshape",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(reshape (concat ..))",
        why: "parts that were images join as images",
        apply: concat_reshape,
        ..RuleSpec::PLAIN
    },
];

/// Pairs of axes with more than one element, if two shapes differ in axes of extent 1 only.
fn same_axes(a: &[usize], b: &[usize]) -> Option<Vec<(usize, usize)>> {
    let long = |shape: &[usize]| (0..shape.len()).filter(|&axis| shape[axis] > 1).collect::<Vec<_>>();
    let (of_a, of_b) = (long(a), long(b));
    let same = of_a.len() == of_b.len() && of_a.iter().zip(&of_b).all(|(&i, &j)| a[i] == b[j]);
    same.then(|| of_a.into_iter().zip(of_b).collect())
}

/// Start, size and step along one axis.
type Run = (usize, usize, usize);

fn slice_reshape(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let Op::Slice(Slice { starts, sizes, steps }) = op(egraph, found, 0)?.clone() else { return None };
    let [x] = found.vars();
    let own = egraph.shape(x).to_vec();
    let reshaped = egraph.shape(found.terms[0].children[0]).to_vec();
    let mut runs: Vec<Run> = own.iter().map(|&extent| (0, extent, 1)).collect();
    for (axes, results) in groups(&own, &reshaped)? {
        let whole = results.clone().all(|axis| sizes[axis] == reshaped[axis]);
        if whole {
            continue;
        }
        // One axis before; one or two with more than one element after.
        let mut long = axes.filter(|&axis| own[axis] > 1);
        let (Some(axis), None) = (long.next(), long.next()) else { return None };
        let parts: Vec<usize> = results.filter(|&axis| reshaped[axis] > 1).collect();
        let run = |axis: usize| (starts[axis], sizes[axis], steps[axis]);
        runs[axis] = match parts[..] {
            [only] => run(only),
            [outer, inner] => split_run(run(outer), run(inner), reshaped[inner])?,
            _ => return None,
        };
    }
    let shape = egraph.shape(found.root).to_vec();
    let inside = Op::Slice(Slice {
        starts: runs.iter().map(|run| run.0).collect(),
        sizes: runs.iter().map(|run| run.1).collect(),
        steps: runs.iter().map(|run| run.2).collect(),
    });
    let y = egraph.add_op(inside, &[x])?;
    egraph.reshaped(y, &shape)
}

/// A run of the whole axis for runs of its parts, where there is one.
fn split_run(outer: Run, inner: Run, extent: usize) -> Option<Run> {
    let start = outer.0 * extent + inner.0;
    match (outer, inner) {
        ((_, size, step), (_, 1, _)) => Some((start, size, step * extent)),
        ((_, 1, _), (_, size, step)) => Some((start, size, step)),
        ((_, size, 1), (_, whole, _)) if whole == extent => Some((start, size * extent, 1)),
        (_, _) => None,
    }
}

fn concat_reshape(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::Concat(Concat { axis }) = op(egraph, found, 0)? else { return None };
    let parts = found.terms[0].children.clone();
    let image = |egraph: &EGraph, part: Id| {
        let mut sources = egraph.terms(part, "reshape").map(|term| egraph.shape(term.children[0]).to_vec());
        sources.find(|source| {
            source.len() == 4
                && source[0] == 1
                && *source != egraph.shape(part)
                && same_axes(source, egraph.shape(part)).is_some()
        })
    };
    let target = parts.iter().find_map(|&part| Some((part, image(egraph, part)?)));
    let (model, target) = target?;
    let joined = same_axes(&target, egraph.shape(model))?.into_iter().find(|(_, other)| *other == axis)?.0;
    let shape = egraph.shape(found.root).to_vec();
    let mut operands = Vec::with_capacity(parts.len());
    for part in parts {
        let mut own = target.clone();
        own[joined] = egraph.shape(part)[axis];
        operands.push(egraph.reshaped(part, &own)?);
    }
    let y = egraph.add_op(Op::Concat(Concat { axis: joined }), &operands)?;
    egraph.reshaped(y, &shape)
}
