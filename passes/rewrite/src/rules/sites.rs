//! Sites: rules that hold for every setting.
//!
//! A weight site may be any function of position and value, so that nothing moves into it. An
//! activation site is one non-decreasing function of every element that maps 0 to 0.

use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::op::{Binary, Pad, Unary};
use lutweave_ir::{Element, Op};

const SITE: &str = "activation_site";

const ONE_SITE: Guard = Guard {
    name: "all parts pass one site",
    holds: |egraph, found| {
        let parts = &found.terms[0].children;
        let passes = |part: Id, payload: u32| egraph.terms(part, SITE).any(|term| term.payload == payload);
        parts.first().is_some_and(|&first| {
            egraph.terms(first, SITE).any(|term| parts.iter().all(|&part| passes(part, term.payload)))
        })
    },
};

const PADDED_WITH_ZERO: Guard = Guard {
    name: "the padding is 0",
    holds: |egraph, found| {
        found.terms.iter().any(|term| matches!(egraph.op(term), Some(Op::Pad(Pad { value, .. })) if *value == 0.0))
    },
};

const KEEPS_ZERO: Guard = Guard {
    name: "the bounds are 0 or infinite",
    holds: |egraph, found| {
        let free = |bound: f32| bound == 0.0 || bound.is_infinite();
        found.terms.iter().any(|term| match egraph.op(term) {
            Some(Op::Unary(Unary::Relu)) => true,
            Some(Op::Unary(Unary::Clip { lo, hi })) => free(*lo) && free(*hi),
            _ => false,
        })
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "site-max-pool",
        class: RuleClass::Integer,
        lhs: "(activation_site (max_pool ?x))",
        rhs: "(max_pool (activation_site ?x))",
        why: "no setting decreases, so that the largest element stays the largest",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "max-pool-site",
        class: RuleClass::Integer,
        lhs: "(max_pool (activation_site ?x))",
        rhs: "(activation_site (max_pool ?x))",
        why: "no setting decreases, so that the largest element stays the largest",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "site-movement",
        class: RuleClass::Integer,
        lhs: "(activation_site (slice|resize|transpose|reshape ?x))",
        rhs: "(op (activation_site ?x))",
        why: "one function of every element does not see where an element goes",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "movement-site",
        class: RuleClass::Integer,
        lhs: "(slice|resize|transpose|reshape (activation_site ?x))",
        rhs: "(activation_site (op ?x))",
        why: "one function of every element does not see where an element goes",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "site-pad",
        class: RuleClass::Integer,
        lhs: "(activation_site (pad ?x))",
        rhs: "(pad (activation_site ?x))",
        guards: &[PADDED_WITH_ZERO],
        why: "every setting maps 0 to 0",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "pad-site",
        class: RuleClass::Integer,
        lhs: "(pad (activation_site ?x))",
        rhs: "(activation_site (pad ?x))",
        guards: &[PADDED_WITH_ZERO],
        why: "every setting maps 0 to 0",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "site-relu",
        class: RuleClass::Integer,
        lhs: "(activation_site (relu|clip ?x))",
        rhs: "(relu (activation_site ?x))",
        guards: &[KEEPS_ZERO],
        why: "no setting decreases, and every one maps 0 to 0",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "relu-site",
        class: RuleClass::Integer,
        lhs: "(relu|clip (activation_site ?x))",
        rhs: "(activation_site (relu ?x))",
        guards: &[KEEPS_ZERO],
        why: "no setting decreases, and every one maps 0 to 0",
        apply: swapped,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "site-concat",
        class: RuleClass::Integer,
        lhs: "(activation_site (concat ..))",
        rhs: "(concat (activation_site ..) ..)",
        why: "all parts of a join have the setting of the whole",
        apply: |egraph, found| {
            let (site, concat) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let mut parts = Vec::with_capacity(found.terms[1].children.len());
            for &part in &found.terms[1].children {
                parts.push(egraph.add_op(site.clone(), &[part])?);
            }
            egraph.add_op(concat, &parts)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "concat-site",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(activation_site (concat ..))",
        guards: &[ONE_SITE],
        why: "parts with one setting join before it is applied",
        apply: concat_site,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "site-scale-out",
        class: RuleClass::Real,
        lhs: "(conv|dense ?x (mul (weight_site ?w) !g) ?b)",
        rhs: "(cbias (cscale (conv ?x (weight_site ?w) 0) g) ?b)",
        why: "a scale of the results leaves the rounded weights and joins the requantization",
        apply: scale_out,
        ..RuleSpec::PLAIN
    },
];

/// `(f (g ?x))` as `(g (f ?x))`.
fn swapped(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let (outer, inner) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
    let [x] = found.vars();
    // Sites are for reals.
    if egraph.ty(x)?.element != Element::F32 {
        return None;
    }
    let y = egraph.add_op(outer, &[x])?;
    egraph.add_op(inner, &[y])
}

fn concat_site(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let concat = op(egraph, found, 0)?.clone();
    let parts = &found.terms[0].children;
    let candidates: Vec<u32> = egraph.terms(*parts.first()?, SITE).map(|term| term.payload).collect();
    // The site of most parts; a guard sees to it that it is the site of all.
    let passes = |part: Id, payload: u32| egraph.terms(part, SITE).find(|term| term.payload == payload);
    let count = |payload: u32| parts.iter().filter(|&&part| passes(part, payload).is_some()).count();
    let payload = candidates.into_iter().max_by_key(|&payload| (count(payload), std::cmp::Reverse(payload)))?;
    let site = egraph.op(passes(*parts.first()?, payload)?)?.clone();
    let source = |&part: &Id| passes(part, payload).or_else(|| egraph.terms(part, SITE).next()).map(|t| t.children[0]);
    let sources = parts.iter().map(source).collect::<Option<Vec<Id>>>()?;
    let joined = egraph.add_op(concat, &sources)?;
    egraph.add_op(site, &[joined])
}

fn scale_out(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, g, b] = found.vars();
    let (layer, site) = (op(egraph, found, 0)?.clone(), op(egraph, found, 2)?.clone());
    let outputs = *egraph.shape(w).first()?;
    let mut rows = vec![1; egraph.shape(w).len()];
    rows[0] = outputs;
    if egraph.shape(g) != rows || !matches!(op(egraph, found, 1)?, Op::Binary(Binary::Mul)) {
        return None;
    }
    let g = egraph.reshaped(g, &[outputs])?;
    let w = egraph.add_op(site, &[w])?;
    let zeros = egraph.add_floats(&[outputs], vec![0.0; outputs])?;
    let y = egraph.add_op(layer, &[x, w, zeros])?;
    let y = egraph.add_scale(y, g)?;
    egraph.is_constant(b).then_some(())?;
    egraph.add_bias(y, b)
}
