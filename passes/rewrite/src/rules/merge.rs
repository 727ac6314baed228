//! Layers in sequence that become one.

use super::fold::{INNER_HAS_NO_PADDING, INNER_HAS_NO_STRIDE, NO_PADDING, geometry, response};
use super::op;
use crate::egraph::term::name;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::op::{Binary, Conv, Dense, Geometry};
use lutweave_ir::{Op, TensorType};

const NO_BIAS_UNDER_PADDING: Guard = Guard {
    name: "the outer convolution has no padding, or the inner one no bias",
    holds: |egraph, found| {
        geometry(egraph, found, 0).is_none_or(|outer| outer.pads == [0; 4])
            || egraph.uniform(found.classes[2]) == Some(0.0)
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "merge-conv-pointwise",
        class: RuleClass::Real,
        lhs: "(conv (conv ?x ?v ?a) ?w ?b)",
        rhs: "(conv ?x w*v b+w*a)",
        guards: &[NO_PADDING],
        why: "a pointwise layer combines the filters of the layer before it; done where it has fewer products",
        apply: merge_conv_pointwise,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "merge-pointwise-conv",
        class: RuleClass::Real,
        lhs: "(conv (conv ?x ?v ?a) ?w ?b)",
        rhs: "(conv ?x w*v b+w*a)",
        guards: &[INNER_HAS_NO_STRIDE, INNER_HAS_NO_PADDING, NO_BIAS_UNDER_PADDING],
        why: "a layer takes a pointwise layer before it into its filters; done where it has fewer products",
        apply: merge_pointwise_conv,
        ..RuleSpec::PLAIN
    },
];

/// Multiply-accumulates of an operator on operands of given classes; `None` if it does not fit.
fn macs(egraph: &EGraph, op: &Op, operands: &[Id]) -> Option<u64> {
    let types: Option<Vec<&TensorType>> = operands.iter().map(|&operand| egraph.ty(operand)).collect();
    let types = types?;
    op.infer(&types).ok().map(|ty| op.macs(&ty, &types))
}

/// Multiply-accumulates of the two layers of a match `(conv (conv ..) ..)`.
fn macs_of_both(egraph: &EGraph, found: &Match) -> Option<u64> {
    let of = |position: usize| macs(egraph, op(egraph, found, position)?, &found.terms[position].children);
    Some(of(0)? + of(1)?)
}

/// Multiply-accumulates of an ungrouped convolution by its kernel.
fn macs_of(egraph: &EGraph, x: Id, geometry: &Geometry, weights: [usize; 4]) -> Option<u64> {
    let (x, w) = (egraph.ty(x)?, TensorType::f32(weights));
    let op = Op::Conv(Conv { geometry: *geometry });
    op.infer(&[x, &w]).ok().map(|ty| op.macs(&ty, &[x, &w]))
}

/// Weights of a convolution without groups that does the same: zeros between the groups.
pub(super) fn ungrouped(egraph: &mut EGraph, w: Id, groups: usize) -> Option<Id> {
    let &[outputs, height, width, depth] = egraph.shape(w) else { return None };
    if groups == 1 {
        return Some(w);
    }
    let mut mask = vec![0.0; groups * groups];
    mask.iter_mut().step_by(groups + 1).for_each(|element| *element = 1.0);
    let mask = egraph.add_floats(&[groups, 1, 1, groups, 1], mask)?;
    let split = egraph.reshaped(w, &[groups, outputs / groups, height * width, 1, depth])?;
    let spread = egraph.add_op(Op::Binary(Binary::Mul), &[split, mask])?;
    egraph.reshaped(spread, &[outputs, height, width, groups * depth])
}

/// The product of matrices `[m,k]` and `[k,n]`.
fn product(egraph: &mut EGraph, a: Id, b: Id) -> Option<Id> {
    let &[_, columns] = egraph.shape(b) else { return None };
    let transposed = egraph.transposed(b, &[1, 0])?;
    let zeros = egraph.add_floats(&[columns], vec![0.0; columns])?;
    egraph.add_op(Op::Dense(Dense), &[a, transposed, zeros])
}

/// The inner convolution of a match is a scale or a bias per channel written as a layer, which
/// has rules of its own.
fn inner_is_affine(egraph: &EGraph, found: &Match) -> bool {
    let class = egraph.find(found.terms[0].children[0]);
    let affine = |name: &str| egraph.terms(class, name).next().is_some();
    let channels = egraph.shape(found.classes[0]).last().copied();
    geometry(egraph, found, 1).is_some_and(|inner| inner.groups > 1 && Some(inner.groups) == channels)
        && matches!(egraph.shape(found.classes[1]), [_, 1, 1, 1])
        && (affine(name::CHANNEL_SCALE) || affine(name::CHANNEL_BIAS))
}

fn merge_conv_pointwise(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, v, a, w, b] = found.vars();
    let (outer, inner) = (*geometry(egraph, found, 0)?, *geometry(egraph, found, 1)?);
    let &[outputs, 1, 1, hidden] = egraph.shape(w) else { return None };
    let &[filters, height, width, depth] = egraph.shape(v) else { return None };
    if filters != hidden || [height, width, inner.groups] == [1, 1, 1] && inner.strides == [1, 1] {
        return None;
    }
    if inner_is_affine(egraph, found) {
        return None;
    }
    let inputs = depth * inner.groups;
    let strides = [0, 1].map(|axis| inner.strides[axis] * outer.strides[axis]);
    let geometry = Geometry { strides, groups: 1, ..inner };
    if macs_of(egraph, x, &geometry, [outputs, height, width, inputs])? >= macs_of_both(egraph, found)? {
        return None;
    }
    let rows = egraph.reshaped(w, &[outputs, hidden])?;
    let v = ungrouped(egraph, v, inner.groups)?;
    let v = egraph.reshaped(v, &[hidden, height * width * inputs])?;
    let merged = product(egraph, rows, v)?;
    let merged = egraph.reshaped(merged, &[outputs, height, width, inputs])?;
    let bias = egraph.reshaped(a, &[1, hidden])?;
    let bias = egraph.add_op(Op::Dense(Dense), &[bias, rows, b])?;
    let bias = egraph.reshaped(bias, &[outputs])?;
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, merged, bias])
}

fn merge_pointwise_conv(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, v, a, w, b] = found.vars();
    let (outer, inner) = (*geometry(egraph, found, 0)?, *geometry(egraph, found, 1)?);
    let &[hidden, 1, 1, depth] = egraph.shape(v) else { return None };
    let &[outputs, height, width, _] = egraph.shape(w) else { return None };
    if [height, width] == [1, 1] || inner_is_affine(egraph, found) {
        return None;
    }
    let inputs = depth * inner.groups;
    let geometry = Geometry { groups: 1, ..outer };
    if macs_of(egraph, x, &geometry, [outputs, height, width, inputs])? >= macs_of_both(egraph, found)? {
        return None;
    }
    let layer = op(egraph, found, 0)?.clone();
    let bias = if egraph.uniform(a) == Some(0.0) { b } else { response(egraph, &layer, a, w, b)? };
    let v = ungrouped(egraph, v, inner.groups)?;
    let v = egraph.reshaped(v, &[hidden, inputs])?;
    let w = ungrouped(egraph, w, outer.groups)?;
    let rows = egraph.reshaped(w, &[outputs * height * width, hidden])?;
    let merged = product(egraph, rows, v)?;
    let merged = egraph.reshaped(merged, &[outputs, height, width, inputs])?;
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, merged, bias])
}
