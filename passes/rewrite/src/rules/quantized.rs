//! Quantization through maxima and movement.

use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::Dequantize;

const WIDENS: Guard = Guard {
    name: "the scale is the same and no integer is clamped",
    holds: |egraph, found| {
        let inner = egraph.ty(found.terms[0].children[0]).zip(egraph.ty(found.classes[0]));
        inner.is_some_and(|(wide, narrow)| match (wide.quantization, narrow.quantization) {
            (Some(to), Some(from)) => {
                let ranges = wide.element.range().zip(narrow.element.range());
                let shift = i64::from(to.zero_point) - i64::from(from.zero_point);
                to.scale == from.scale
                    && ranges.is_some_and(|(to, from)| from.0 + shift >= to.0 && from.1 + shift <= to.1)
            }
            (_, _) => false,
        })
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "quantize-max-pool",
        class: RuleClass::Integer,
        lhs: "(quantize (max_pool ?x))",
        rhs: "(max_pool (quantize ?x))",
        why: "a quantizer does not decrease, so that the largest element stays the largest",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "dequantize-max-pool",
        class: RuleClass::Integer,
        lhs: "(max_pool (dequantize ?q))",
        rhs: "(dequantize (max_pool ?q))",
        why: "scales are positive, so that the largest integer stands for the largest real",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "quantize-box",
        class: RuleClass::Integer,
        lhs: "(quantize (slice|resize ?x))",
        rhs: "(op (quantize ?x))",
        why: "a quantizer does not see where an element goes",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "dequantize-box",
        class: RuleClass::Integer,
        lhs: "(slice|resize (dequantize ?q))",
        rhs: "(dequantize (op ?q))",
        why: "an integer stands for the same real wherever it goes",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "quantize-concat",
        class: RuleClass::Integer,
        lhs: "(quantize (concat ..))",
        rhs: "(concat (quantize ..) ..)",
        why: "parts with one quantization join as integers",
        apply: |egraph, found| {
            let (quantize, concat) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let mut parts = Vec::with_capacity(found.terms[1].children.len());
            for &part in &found.terms[1].children {
                parts.push(egraph.add_op(quantize.clone(), &[part])?);
            }
            egraph.add_op(concat, &parts)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "dequantize-concat",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(dequantize (concat ..))",
        why: "parts with one quantization join as integers",
        apply: dequantize_concat,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "requantize-widened",
        class: RuleClass::Integer,
        lhs: "(dequantize (quantize (dequantize ?q)))",
        rhs: "(dequantize ?q)",
        guards: &[WIDENS],
        why: "rounding twice is rounding once only where the first rounding changes nothing",
        apply: |egraph, found| {
            // Wider integers lose bits as floats.
            let (lo, hi) = egraph.ty(found.classes[0])?.element.range()?;
            (lo >= -(1 << 16) && hi <= 1 << 16).then_some(())?;
            egraph.add_op(Op::Dequantize(Dequantize), &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
];

/// `(f (g ?x))` as `(g (f ?x))`.
fn swapped(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let (outer, inner) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
    let y = egraph.add_op(outer, &found.vars::<1>())?;
    egraph.add_op(inner, &[y])
}

fn dequantize_concat(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let concat = op(egraph, found, 0)?.clone();
    let integers = |part: Id| egraph.terms(part, "dequantize").map(|term| term.children[0]).collect::<Vec<Id>>();
    let parts = &found.terms[0].children;
    let kind = |id: Id| egraph.ty(id).map(|ty| (ty.element, ty.quantization));
    let first = integers(*parts.first()?);
    let sources = first.iter().find_map(|&model| {
        let same = |&part: &Id| integers(part).into_iter().find(|&other| kind(other) == kind(model));
        parts.iter().map(same).collect::<Option<Vec<Id>>>()
    })?;
    let joined = egraph.add_op(concat, &sources)?;
    egraph.add_op(Op::Dequantize(Dequantize), &[joined])
}
