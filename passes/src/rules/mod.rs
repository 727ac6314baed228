//! The rewrite rules, one table per theme.

pub mod affine;
pub mod fold;
pub mod integer;
pub mod layout;
pub mod movement;
pub mod pointwise;
pub mod pool;
pub mod reshape;

use crate::egraph::{EGraph, Facts, Guard, Match, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use std::sync::LazyLock;

static TABLE: LazyLock<Vec<RuleSpec>> = LazyLock::new(|| {
    let float = [affine::RULES, fold::RULES, pointwise::RULES, pool::RULES];
    let both = [layout::RULES, reshape::RULES, movement::RULES];
    let integer = [integer::RULES];
    float.iter().chain(&both).chain(&integer).flat_map(|rules| rules.iter().copied()).collect()
});

/// All rules, grouped by theme.
pub fn rule_table() -> &'static [RuleSpec] {
    &TABLE
}

/// The rules for graphs before quantization.
pub fn float_rules() -> Vec<RuleSpec> {
    [affine::RULES, fold::RULES, pointwise::RULES, pool::RULES, layout::RULES, reshape::RULES, movement::RULES].concat()
}

/// The rules for integer graphs.
pub fn integer_rules() -> Vec<RuleSpec> {
    [layout::RULES, reshape::RULES, movement::RULES, integer::RULES].concat()
}

/// The operator of the matched term at a position of the pattern.
fn op<'a>(egraph: &'a EGraph, found: &Match, position: usize) -> Option<&'a Op> {
    egraph.op(found.terms.get(position)?)
}

/// The second variable of the pattern is constant.
const SECOND_IS_CONSTANT: Guard =
    Guard { name: "the second operand is constant", holds: |egraph, found| egraph.is_constant(found.classes[1]) };

/// The permutation of a transpose term.
fn permutation<'a>(egraph: &'a EGraph, term: &crate::egraph::Term) -> Option<&'a [usize]> {
    match egraph.op(term)? {
        Op::Transpose { permutation } => Some(permutation),
        _ => None,
    }
}

/// A constant as one value per index of the last axis of a shape, where it broadcasts so.
fn per_channel(egraph: &EGraph, constant: Id, shape: &[usize]) -> Option<Vec<f32>> {
    let channels = *shape.last()?;
    let own = egraph.shape(constant);
    if !egraph.is_constant(constant) || own.len() > shape.len() {
        return None;
    }
    let outer_is_one = own.iter().rev().skip(1).all(|&extent| extent == 1);
    let last = own.last().copied().unwrap_or(1);
    if !outer_is_one || !(last == 1 || last == channels) {
        return None;
    }
    let value = egraph.value(constant)?;
    let elements = value.f32s();
    Some((0..channels).map(|channel| elements[if last == 1 { 0 } else { channel }]).collect())
}
