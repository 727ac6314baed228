//! The rewrite rules, one table per theme.

pub mod affine;
pub mod boxes;
pub mod deform;
pub mod fold;
pub mod hoist;
pub mod integer;
pub mod join;
pub mod layout;
pub mod merge;
pub mod movement;
pub mod page;
pub mod pointwise;
pub mod pool;
pub mod quantized;
pub mod resample;
pub mod reshape;
pub mod select;
pub mod shuffle;
pub mod sites;
pub mod sum;
pub mod template;

use crate::egraph::{EGraph, Facts, Match, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::Transpose;
use std::sync::LazyLock;

const FLOAT: &[&[RuleSpec]] = &[
    affine::RULES,
    fold::RULES,
    merge::RULES,
    deform::RULES,
    template::RULES,
    sum::RULES,
    sum::GENERATIVE,
    join::RULES,
    join::GENERATIVE,
    pointwise::RULES,
    pool::RULES,
    shuffle::RULES,
    select::RULES,
    resample::GENERATIVE,
];
const MOVEMENT: &[&[RuleSpec]] = &[
    layout::RULES,
    hoist::RULES,
    reshape::RULES,
    boxes::RULES,
    movement::RULES,
    select::MOVEMENT,
    resample::RULES,
    quantized::RULES,
];

const SITES: &[&[RuleSpec]] = &[pool::RULES, shuffle::RULES, select::RULES, sites::RULES];

static TABLE: LazyLock<Vec<RuleSpec>> =
    LazyLock::new(|| [FLOAT, MOVEMENT, &[integer::RULES, sites::RULES]].concat().concat());

/// All rules, grouped by theme.
pub fn rule_table() -> &'static [RuleSpec] {
    &TABLE
}

/// The rules for graphs before quantization.
pub fn float_rules() -> Vec<RuleSpec> {
    [FLOAT, MOVEMENT].concat().concat()
}

/// The rules for integer graphs.
pub fn integer_rules() -> Vec<RuleSpec> {
    [MOVEMENT, &[integer::RULES]].concat().concat()
}

/// The rules for float graphs with sites: none of them combines the weights of two layers, which
/// would leave one layer with two settings.
pub fn site_rules() -> Vec<RuleSpec> {
    [MOVEMENT, SITES].concat().concat()
}

/// The operator of the matched term at a position of the pattern.
fn op<'a>(egraph: &'a EGraph, found: &Match, position: usize) -> Option<&'a Op> {
    egraph.op(found.terms.get(position)?)
}

/// The permutation of a transpose term.
fn permutation<'a>(egraph: &'a EGraph, term: &crate::egraph::Term) -> Option<&'a [usize]> {
    match egraph.op(term)? {
        Op::Transpose(Transpose { permutation }) => Some(permutation),
        _ => None,
    }
}

/// A constant as one value per index of the last axis of a shape, where it broadcasts so without
/// widening the shape.
fn per_channel(egraph: &EGraph, constant: Id, shape: &[usize]) -> Option<Vec<f32>> {
    let channels = *shape.last()?;
    let own = egraph.shape(constant);
    let fits = own.len() <= shape.len()
        && own.iter().rev().zip(shape.iter().rev()).all(|(&own, &extent)| own == 1 || own == extent);
    if !fits {
        return None;
    }
    if let Some(element) = egraph.uniform(constant) {
        return Some(vec![element; channels]);
    }
    let outer_is_one = own.iter().rev().skip(1).all(|&extent| extent == 1);
    let value = egraph.value(constant)?;
    (outer_is_one && own.last() == Some(&channels)).then(|| value.f32s().to_vec())
}
