//! Batch normalization and arithmetic with constants, as a scale and a bias per channel.

use super::per_channel;
use crate::egraph::build::is_float;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::op::{BatchNorm, Binary, Conv, Geometry, Unary};
use lutweave_ir::{Op, Tensor, TensorType};

const RECIPROCALS_ARE_FINITE: Guard = Guard {
    name: "every reciprocal is finite",
    holds: |egraph, found| {
        egraph
            .value(found.classes[1])
            .is_some_and(|value| value.f32s().iter().all(|element| element.recip().is_finite()))
    },
};

const ALL_ONES: Guard =
    Guard { name: "all factors are 1", holds: |egraph, found| egraph.uniform(found.classes[1]) == Some(1.0) };

const ALL_ZEROS: Guard =
    Guard { name: "all terms are 0", holds: |egraph, found| egraph.uniform(found.classes[1]) == Some(0.0) };

const ONE_TERM: Guard = Guard {
    name: "all terms are one finite number",
    holds: |egraph, found| egraph.uniform(found.classes[1]).is_some_and(f32::is_finite),
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "batch-norm-affine",
        class: RuleClass::Real,
        lhs: "(batch_norm ?x !s !b !m !v)",
        rhs: "(cbias (cscale ?x s/sqrt(v+epsilon)) b-m*g)",
        why: "with fixed statistics, batch normalization is affine per channel",
        apply: batch_norm,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "mul-constant",
        class: RuleClass::Integer,
        lhs: "(mul ?x !k)",
        rhs: "(cscale ?x k)",
        why: "a factor that varies along the last axis only is a scale per channel",
        apply: |egraph, found| channel_class(egraph, found).and_then(|(x, k)| egraph.add_scale(x, k)),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "div-constant",
        class: RuleClass::Real,
        lhs: "(div ?x !k)",
        rhs: "(cscale ?x 1/k)",
        guards: &[RECIPROCALS_ARE_FINITE],
        why: "division by a constant is multiplication by its reciprocal",
        apply: |egraph, found| channel_constant(egraph, found, |k| 1.0 / k).and_then(|(x, k)| egraph.add_scale(x, k)),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "div-to-mul",
        class: RuleClass::Real,
        lhs: "(div ?x !k)",
        rhs: "(mul ?x 1/k)",
        guards: &[RECIPROCALS_ARE_FINITE],
        why: "division by a constant of any shape is multiplication by its reciprocal",
        apply: |egraph, found| {
            let [x, k] = found.vars();
            let reciprocal = egraph.add_op(Op::Unary(Unary::Reciprocal), &[k])?;
            egraph.add_op(Op::Binary(Binary::Mul), &[x, reciprocal])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "add-constant",
        class: RuleClass::Integer,
        lhs: "(add ?x !k)",
        rhs: "(cbias ?x k)",
        why: "a term that varies along the last axis only is a bias per channel",
        apply: |egraph, found| channel_class(egraph, found).and_then(|(x, k)| egraph.add_bias(x, k)),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "sub-constant",
        class: RuleClass::Integer,
        lhs: "(sub ?x !k)",
        rhs: "(cbias ?x -k)",
        why: "subtraction of a constant is addition of its negative",
        apply: |egraph, found| channel_constant(egraph, found, |k| -k).and_then(|(x, k)| egraph.add_bias(x, k)),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "constant-sub",
        class: RuleClass::Integer,
        lhs: "(sub !k ?x)",
        rhs: "(cbias (cscale ?x -1) k)",
        why: "k - x = -1 * x + k",
        apply: |egraph, found| {
            let [k, x] = found.vars();
            let shape = egraph.shape(x).to_vec();
            let k = per_channel(egraph, k, &shape)?;
            let channels = k.len();
            let k = egraph.add_floats(&[channels], k)?;
            let negated = negated(egraph, x)?;
            egraph.add_bias(negated, k)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "neg-scale",
        class: RuleClass::Integer,
        lhs: "(neg ?x)",
        rhs: "(cscale ?x -1)",
        why: "negation is a scale",
        apply: |egraph, found| negated(egraph, found.vars::<1>()[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "scale-scale",
        class: RuleClass::Real,
        lhs: "(cscale (cscale ?x ?g) ?h)",
        rhs: "(cscale ?x g*h)",
        why: "scales multiply",
        apply: |egraph, found| {
            let [x, g, h] = found.vars();
            let product = egraph.add_op(Op::Binary(Binary::Mul), &[g, h])?;
            egraph.add_scale(x, product)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "bias-bias",
        class: RuleClass::Real,
        lhs: "(cbias (cbias ?x ?g) ?h)",
        rhs: "(cbias ?x g+h)",
        why: "biases add",
        apply: |egraph, found| {
            let [x, g, h] = found.vars();
            let sum = egraph.add_op(Op::Binary(Binary::Add), &[g, h])?;
            egraph.add_bias(x, sum)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "scale-bias",
        class: RuleClass::Real,
        lhs: "(cscale (cbias ?x ?h) ?g)",
        rhs: "(cbias (cscale ?x ?g) h*g)",
        why: "distributivity; the scale moves towards the layer before",
        apply: |egraph, found| {
            let [x, h, g] = found.vars();
            let scaled = egraph.add_scale(x, g)?;
            let product = egraph.add_op(Op::Binary(Binary::Mul), &[h, g])?;
            egraph.add_bias(scaled, product)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "bias-through-clip",
        class: RuleClass::Real,
        lhs: "(cbias (clip ?x) ?h)",
        rhs: "(clip[lo+h, hi+h] (cbias ?x ?h))",
        guards: &[ONE_TERM],
        why: "a shift of a clamped value is a clamp of the shifted one; the bias moves towards the layer before",
        apply: |egraph, found| {
            let [x, h] = found.vars();
            let &Op::Unary(Unary::Clip { lo, hi }) = super::op(egraph, found, 1)? else { return None };
            let shift = *egraph.value(h)?.f32s().first()?;
            let shifted = egraph.add_bias(x, h)?;
            egraph.add_op(Op::Unary(Unary::Clip { lo: lo + shift, hi: hi + shift }), &[shifted])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "scale-one",
        class: RuleClass::Integer,
        lhs: "(cscale ?x ?g)",
        rhs: "?x",
        guards: &[ALL_ONES],
        why: "1 is neutral",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "bias-zero",
        class: RuleClass::Integer,
        lhs: "(cbias ?x ?h)",
        rhs: "?x",
        guards: &[ALL_ZEROS],
        why: "0 is neutral",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "scale-depthwise",
        class: RuleClass::Integer,
        lhs: "(cscale ?x ?g)",
        rhs: "(conv[1x1, groups=c] ?x g 0)",
        why: "a scale that no layer takes becomes a depthwise layer of its own",
        apply: |egraph, found| {
            let [x, g] = found.vars();
            let channels = *egraph.shape(g).first()?;
            let zeros = egraph.add_floats(&[channels], vec![0.0; channels])?;
            let weights = egraph.reshaped(g, &[channels, 1, 1, 1])?;
            depthwise(egraph, x, weights, zeros)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "bias-depthwise",
        class: RuleClass::Integer,
        lhs: "(cbias ?x ?h)",
        rhs: "(conv[1x1, groups=c] ?x 1 h)",
        why: "a bias that no layer takes becomes a depthwise layer of its own",
        apply: |egraph, found| {
            let [x, h] = found.vars();
            let channels = *egraph.shape(h).first()?;
            let ones = egraph.add_floats(&[channels, 1, 1, 1], vec![1.0; channels])?;
            depthwise(egraph, x, ones, h)
        },
        ..RuleSpec::PLAIN
    },
];

fn batch_norm(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::BatchNorm(BatchNorm { epsilon }) = super::op(egraph, found, 0)? else { return None };
    let [x, scale, bias, mean, variance] = found.vars();
    let epsilon = egraph.add_constant(Tensor::f32([1], vec![epsilon]), TensorType::f32([1]));
    let variance = egraph.add_op(Op::Binary(Binary::Add), &[variance, epsilon])?;
    let deviation = egraph.add_op(Op::Unary(Unary::Sqrt), &[variance])?;
    let g = egraph.add_op(Op::Binary(Binary::Div), &[scale, deviation])?;
    let shift = egraph.add_op(Op::Binary(Binary::Mul), &[mean, g])?;
    let h = egraph.add_op(Op::Binary(Binary::Sub), &[bias, shift])?;
    let scaled = egraph.add_scale(x, g)?;
    egraph.add_bias(scaled, h)
}

/// For a binary term `?x ?k`: `x`, and `k` as a constant `[c]`; the class of `k` itself where it
/// has that shape, so that the integers of quantized biases are not lost.
fn channel_class(egraph: &mut EGraph, found: &Match) -> Option<(Id, Id)> {
    let [x, k] = found.vars();
    let channels = *egraph.shape(x).last()?;
    if egraph.shape(k) == [channels] { Some((x, k)) } else { channel_constant(egraph, found, |k| k) }
}

/// For a binary term `?x ?k`: `x`, and `f(k)` as a constant `[c]`.
fn channel_constant(egraph: &mut EGraph, found: &Match, f: fn(f32) -> f32) -> Option<(Id, Id)> {
    let [x, k] = found.vars();
    let shape = egraph.shape(x).to_vec();
    let channels: Vec<f32> = per_channel(egraph, k, &shape)?.into_iter().map(f).collect();
    let k = egraph.add_floats(&[channels.len()], channels)?;
    Some((x, k))
}

fn negated(egraph: &mut EGraph, x: Id) -> Option<Id> {
    let channels = *egraph.shape(x).last()?;
    let minus_one = egraph.add_floats(&[channels], vec![-1.0; channels])?;
    egraph.add_scale(x, minus_one)
}

fn depthwise(egraph: &mut EGraph, x: Id, weights: Id, bias: Id) -> Option<Id> {
    let &[_, _, _, channels] = egraph.shape(x) else { return None };
    if !is_float(egraph, x) {
        return None;
    }
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: channels };
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, weights, bias])
}
