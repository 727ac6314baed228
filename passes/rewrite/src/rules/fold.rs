//! Scales, biases and padding into convolutions and matrix products.

use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{Binary, Conv, Dense, Geometry, Pad};

pub(super) const NO_PADDING: Guard = Guard {
    name: "the convolution has no padding",
    holds: |egraph, found| geometry(egraph, found, 0).is_none_or(|geometry| geometry.pads == [0; 4]),
};

const INNER_HAS_NO_GROUPS: Guard = Guard {
    name: "the inner convolution has no groups",
    holds: |egraph, found| geometry(egraph, found, 1).is_none_or(|inner| inner.groups == 1),
};

pub(super) const INNER_HAS_NO_STRIDE: Guard = Guard {
    name: "the inner convolution has no stride",
    holds: |egraph, found| geometry(egraph, found, 1).is_none_or(|inner| inner.strides == [1, 1]),
};

pub(super) const INNER_HAS_NO_PADDING: Guard = Guard {
    name: "the inner convolution has no padding",
    holds: |egraph, found| geometry(egraph, found, 1).is_none_or(|inner| inner.pads == [0; 4]),
};

pub(super) const PADDED_WITH_ZERO: Guard = Guard {
    name: "the padding is 0",
    holds: |egraph, found| matches!(op(egraph, found, 1), Some(Op::Pad(Pad { value: 0.0, .. }))),
};

const POSITIVE_SCALE: Guard = Guard {
    name: "all factors are positive",
    holds: |egraph, found| {
        egraph.value(found.classes[1]).is_some_and(|value| value.f32s().iter().all(|&factor| factor > 0.0))
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "conv-scale-out",
        class: RuleClass::Real,
        lhs: "(cscale (conv|dense ?x ?w ?b) ?g)",
        rhs: "(conv ?x w*g b*g)",
        why: "a linear layer takes the scale of its outputs into its weights",
        apply: |egraph, found| {
            let [x, w, b, g] = found.vars();
            let layer = op(egraph, found, 1)?.clone();
            let rank = egraph.shape(w).len();
            let outputs = *egraph.shape(g).first()?;
            let mut shape = vec![1; rank];
            shape[0] = outputs;
            let rows = egraph.reshaped(g, &shape)?;
            let w = egraph.add_op(Op::Binary(Binary::Mul), &[w, rows])?;
            let b = egraph.add_op(Op::Binary(Binary::Mul), &[b, g])?;
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "conv-bias-out",
        class: RuleClass::Real,
        lhs: "(cbias (conv|dense ?x ?w ?b) ?h)",
        rhs: "(conv ?x ?w b+h)",
        why: "a linear layer takes a bias of its outputs into its own",
        apply: |egraph, found| {
            let [x, w, b, h] = found.vars();
            let layer = op(egraph, found, 1)?.clone();
            // The class of `h` itself: the integers of a quantized bias are not lost.
            let none = egraph.uniform(b) == Some(0.0);
            let b = if none { h } else { egraph.add_op(Op::Binary(Binary::Add), &[b, h])? };
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "conv-scale-in",
        class: RuleClass::Real,
        lhs: "(conv|dense (cscale ?x ?g) ?w ?b)",
        rhs: "(conv ?x w*g ?b)",
        why: "a linear layer takes the scale of its inputs into its weights; padding stays 0",
        apply: |egraph, found| {
            let [x, g, w, b] = found.vars();
            let layer = op(egraph, found, 0)?.clone();
            let w = scale_inputs(egraph, &layer, w, g)?;
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "conv-bias-in",
        class: RuleClass::Real,
        lhs: "(conv|dense (cbias ?x ?h) ?w ?b)",
        rhs: "(conv ?x ?w b+w*h)",
        guards: &[NO_PADDING],
        why: "the response to a constant image is a bias, where no padding hides part of it",
        apply: |egraph, found| {
            let [x, h, w, b] = found.vars();
            let layer = op(egraph, found, 0)?.clone();
            let b = response(egraph, &layer, h, w, b)?;
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "merge-pointwise-convs",
        class: RuleClass::Real,
        lhs: "(conv (conv ?x ?v ?a) ?w ?b)",
        rhs: "(conv ?x w*v b+w*a)",
        guards: &[INNER_HAS_NO_GROUPS, INNER_HAS_NO_STRIDE, INNER_HAS_NO_PADDING, NO_PADDING],
        why: "a product of matrices is a matrix; worth it where it has fewer products",
        apply: merge_convs,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "merge-dense",
        class: RuleClass::Real,
        lhs: "(dense (dense ?x ?v ?a) ?w ?b)",
        rhs: "(dense ?x w*v b+w*a)",
        why: "a product of matrices is a matrix; worth it where it has fewer products",
        apply: |egraph, found| {
            let [x, v, a, w, b] = found.vars();
            let (w, b) = product(egraph, [v, a], [w, b])?;
            egraph.add_op(Op::Dense(Dense), &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "scale-through-relu",
        class: RuleClass::Real,
        lhs: "(cscale (relu|leaky_relu ?x) ?g)",
        rhs: "(relu (cscale ?x ?g))",
        guards: &[POSITIVE_SCALE],
        why: "positive scales commute with functions that are linear on either side of 0",
        apply: |egraph, found| {
            let [x, g] = found.vars();
            let relu = op(egraph, found, 1)?.clone();
            let scaled = egraph.add_scale(x, g)?;
            egraph.add_op(relu, &[scaled])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "conv-pad",
        class: RuleClass::Integer,
        lhs: "(conv (pad ?x) ?w ?b)",
        rhs: "(conv[pads added] ?x ?w ?b)",
        guards: &[PADDED_WITH_ZERO],
        why: "a convolution pads with 0 itself",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let pads = spatial_pads(op(egraph, found, 1)?)?;
            let mut geometry = *geometry(egraph, found, 0)?;
            add_pads(&mut geometry.pads, pads);
            egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
];

pub(super) fn geometry<'a>(egraph: &'a EGraph, found: &Match, position: usize) -> Option<&'a Geometry> {
    match op(egraph, found, position)? {
        Op::Conv(conv) => Some(&conv.geometry),
        _ => None,
    }
}

/// The padding (top, left, bottom, right) of a pad of height and width only.
pub(super) fn spatial_pads(pad: &Op) -> Option<[usize; 4]> {
    match pad {
        Op::Pad(Pad { before, after, .. }) => match (&before[..], &after[..]) {
            (&[0, top, left, 0], &[0, bottom, right, 0]) => Some([top, left, bottom, right]),
            (_, _) => None,
        },
        _ => None,
    }
}

pub(super) fn add_pads(pads: &mut [usize; 4], more: [usize; 4]) {
    pads.iter_mut().zip(more).for_each(|(pads, more)| *pads += more);
}

/// Weights times a factor per input channel.
pub(super) fn scale_inputs(egraph: &mut EGraph, layer: &Op, w: Id, g: Id) -> Option<Id> {
    let shape = egraph.shape(w).to_vec();
    match layer {
        Op::Conv(conv) if conv.geometry.groups > 1 => {
            let groups = conv.geometry.groups;
            let [outputs, height, width, inputs] = shape[..] else { return None };
            let grouped = egraph.reshaped(w, &[groups, outputs / groups, height, width, inputs])?;
            let factors = egraph.reshaped(g, &[groups, 1, 1, 1, inputs])?;
            let scaled = egraph.add_op(Op::Binary(Binary::Mul), &[grouped, factors])?;
            egraph.reshaped(scaled, &shape)
        }
        _ => egraph.add_op(Op::Binary(Binary::Mul), &[w, g]),
    }
}

/// The layer's output for the constant input `h` per channel, as a new bias `[o]`.
pub(super) fn response(egraph: &mut EGraph, layer: &Op, h: Id, w: Id, b: Id) -> Option<Id> {
    let weights = egraph.shape(w).to_vec();
    let outputs = *weights.first()?;
    let inputs = *egraph.shape(h).first()?;
    let answer = match layer {
        Op::Conv(conv) => {
            let &[_, height, width, _] = &weights[..] else { return None };
            let zeros = egraph.add_floats(&[1, height, width, 1], vec![0.0; height * width])?;
            let image = egraph.add_op(Op::Binary(Binary::Add), &[zeros, h])?;
            // On a constant image the distance of the taps does not matter.
            let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: conv.geometry.groups };
            egraph.add_op(Op::Conv(Conv { geometry }), &[image, w, b])?
        }
        _ => {
            let row = egraph.reshaped(h, &[1, inputs])?;
            egraph.add_op(Op::Dense(Dense), &[row, w, b])?
        }
    };
    egraph.reshaped(answer, &[outputs])
}

/// Matrix and bias of `w (v x + a) + b`, for matrices `[o,k]`.
fn product(egraph: &mut EGraph, [v, a]: [Id; 2], [w, b]: [Id; 2]) -> Option<(Id, Id)> {
    let (&[hidden, inputs], &[outputs, _]) = (egraph.shape(v), egraph.shape(w)) else { return None };
    if outputs * inputs > outputs * hidden + hidden * inputs {
        return None;
    }
    let zeros = egraph.add_floats(&[inputs], vec![0.0; inputs])?;
    let columns = egraph.transposed(v, &[1, 0])?;
    let matrix = egraph.add_op(Op::Dense(Dense), &[w, columns, zeros])?;
    let row = egraph.reshaped(a, &[1, hidden])?;
    let bias = egraph.add_op(Op::Dense(Dense), &[row, w, b])?;
    let bias = egraph.reshaped(bias, &[outputs])?;
    Some((matrix, bias))
}

fn merge_convs(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, v, a, w, b] = found.vars();
    let outer = *geometry(egraph, found, 0)?;
    let (&[hidden, 1, 1, inputs], &[outputs, 1, 1, channels]) = (egraph.shape(v), egraph.shape(w)) else { return None };
    if channels != hidden {
        return None;
    }
    let v = egraph.reshaped(v, &[hidden, inputs])?;
    let w = egraph.reshaped(w, &[outputs, hidden])?;
    let (matrix, bias) = product(egraph, [v, a], [w, b])?;
    let matrix = egraph.reshaped(matrix, &[outputs, 1, 1, inputs])?;
    egraph.add_op(Op::Conv(Conv { geometry: outer }), &[x, matrix, bias])
}
