//! Less work at a higher resolution: upsampling comes late, subsampling early.

use super::fold::geometry;
use super::op;
use super::pool::window;
use crate::egraph::term::name;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::op::{AveragePool, Concat, Conv, Geometry, Slice};
use lutweave_ir::{Op, TensorType};

const ONE_TAP: Guard = Guard {
    name: "the window has one tap",
    holds: |egraph, found| window(egraph, found, 0).is_some_and(|window| window.kernel == [1, 1]),
};

const SAME_FACTORS: Guard = Guard {
    name: "both are repeated equally often",
    holds: |egraph, found| op(egraph, found, 1) == op(egraph, found, 2),
};

const SAME_SHAPES: Guard = Guard {
    name: "the operands have one shape",
    holds: |egraph, found| egraph.shape(found.classes[0]) == egraph.shape(found.classes[1]),
};

const NO_STRIDE: Guard = Guard {
    name: "the convolution has no stride",
    holds: |egraph, found| {
        (0..found.terms.len()).find_map(|term| geometry(egraph, found, term)).is_some_and(|own| own.strides == [1, 1])
    },
};

const NO_PADDING: Guard = Guard {
    name: "the convolution has no padding",
    holds: |egraph, found| {
        (0..found.terms.len()).find_map(|term| geometry(egraph, found, term)).is_some_and(|own| own.pads == [0; 4])
    },
};

const STARTS_AT_ZERO: Guard = Guard {
    name: "the slice starts at the first position",
    holds: |egraph, found| matches!(op(egraph, found, 0), Some(Op::Slice(Slice { starts, .. })) if starts.iter().all(|&start| start == 0)),
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "resize-unary",
        class: RuleClass::Integer,
        lhs: "(@unary|quantize|dequantize|table (resize ?x))",
        rhs: "(resize (op ?x))",
        why: "a function of one element is computed before the element is repeated",
        apply: |egraph, found| {
            let function = op(egraph, found, 0)?.clone();
            let resize = op(egraph, found, 1)?.clone();
            let stated = egraph.ty(found.root)?.quantization;
            let y = egraph.add_quantized(function, &found.vars::<1>(), stated)?;
            egraph.add_op(resize, &[y])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "resize-affine",
        class: RuleClass::Integer,
        lhs: "(cscale|cbias (resize ?x) ?k)",
        rhs: "(resize (op ?x ?k))",
        why: "factors and terms of channels do not see height and width",
        apply: |egraph, found| {
            let [x, k] = found.vars();
            let resize = op(egraph, found, 1)?.clone();
            let scale = found.terms[0].name == name::CHANNEL_SCALE;
            let y = if scale { egraph.add_scale(x, k)? } else { egraph.add_bias(x, k)? };
            egraph.add_op(resize, &[y])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "resize-pointwise",
        class: RuleClass::Integer,
        lhs: "(conv (resize ?x) ?w ?b)",
        rhs: "(resize (conv ?x ?w ?b))",
        guards: &[NO_STRIDE, NO_PADDING],
        why: "a pointwise layer runs at the low resolution",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let (layer, resize) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let &[_, 1, 1, _] = egraph.shape(w) else { return None };
            let y = egraph.add_op(layer, &[x, w, b])?;
            egraph.add_op(resize, &[y])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "resize-binary",
        class: RuleClass::Integer,
        lhs: "(@binary (resize ?x) (resize ?y))",
        rhs: "(resize (op ?x ?y))",
        guards: &[SAME_FACTORS],
        why: "elements that are repeated alike meet before",
        apply: |egraph, found| {
            let (function, resize) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let y = egraph.add_op(function, &found.vars::<2>())?;
            egraph.add_op(resize, &[y])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "resize-concat",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(resize (concat ..))",
        why: "channels that are repeated alike join before",
        apply: resize_concat,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "resize-resize",
        class: RuleClass::Integer,
        lhs: "(resize (resize ?x))",
        rhs: "(resize[product] ?x)",
        why: "repetitions multiply",
        apply: |egraph, found| {
            let (Op::Resize(outer), Op::Resize(inner)) = (op(egraph, found, 0)?, op(egraph, found, 1)?) else {
                return None;
            };
            let composed = Op::Resize(inner.then(outer));
            // The product may be more than one operator repeats.
            composed.infer(&[egraph.ty(found.classes[0])?]).ok()?;
            egraph.add_op(composed, &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "pool-subsample",
        class: RuleClass::Integer,
        lhs: "(max_pool|average_pool ?x)",
        rhs: "(slice[step] ?x)",
        guards: &[ONE_TAP],
        why: "the mean or maximum of one element is that element",
        apply: |egraph, found| {
            let strides = window(egraph, found, 0)?.strides;
            subsampled(egraph, found.classes[0], strides)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "slice-conv",
        class: RuleClass::Integer,
        lhs: "(slice (conv ?x ?w ?b))",
        rhs: "(conv[strides multiplied] ?x ?w ?b)",
        guards: &[
            STARTS_AT_ZERO,
            Guard {
                name: "all channels are kept",
                holds: |egraph, found| {
                    egraph.shape(found.root).last() == egraph.shape(found.terms[0].children[0]).last()
                },
            },
        ],
        why: "positions that are dropped need not be computed",
        apply: slice_conv,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "slice-unary",
        class: RuleClass::Integer,
        lhs: "(slice (@unary|quantize|dequantize|table ?x))",
        rhs: "(op (slice ?x))",
        why: "elements that are dropped need no function",
        apply: |egraph, found| {
            let (slice, function) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let stated = egraph.ty(found.root)?.quantization;
            let y = egraph.add_op(slice, &found.vars::<1>())?;
            egraph.add_quantized(function, &[y], stated)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "slice-binary",
        class: RuleClass::Integer,
        lhs: "(slice (@binary ?x ?y))",
        rhs: "(op (slice ?x) (slice ?y))",
        guards: &[SAME_SHAPES],
        why: "elements that are dropped need not meet",
        apply: |egraph, found| {
            let [x, y] = found.vars();
            let (slice, function) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let x = egraph.add_op(slice.clone(), &[x])?;
            let y = egraph.add_op(slice, &[y])?;
            egraph.add_op(function, &[x, y])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "average-pool-pointwise",
        class: RuleClass::Real,
        lhs: "(average_pool (conv ?x ?w ?b))",
        rhs: "(conv (average_pool ?x) ?w ?b)",
        guards: &[
            NO_STRIDE,
            NO_PADDING,
            Guard {
                name: "padding does not count, or there is no bias",
                holds: |egraph, found| match op(egraph, found, 0) {
                    Some(Op::AveragePool(pool)) => {
                        pool.counted_pads.is_none_or(|pads| pads == [0; 4])
                            || egraph.uniform(found.classes[2]) == Some(0.0)
                    }
                    _ => false,
                },
            },
        ],
        why: "a mean of weighted sums is the weighted sum of means, of which there are fewer",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let (pool, layer) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let &[_, 1, 1, _] = egraph.shape(w) else { return None };
            let y = egraph.add_op(pool, &[x])?;
            egraph.add_op(layer, &[y, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "max-pool-monotone",
        class: RuleClass::Real,
        lhs: "(max_pool (sigmoid|tanh|softplus|exp|erf ?x))",
        rhs: "(op (max_pool ?x))",
        why: "the largest element stays the largest; fewer elements go through the function",
        apply: |egraph, found| {
            let (pool, function) = (op(egraph, found, 0)?.clone(), op(egraph, found, 1)?.clone());
            let y = egraph.add_op(pool, &found.vars::<1>())?;
            egraph.add_op(function, &[y])
        },
        ..RuleSpec::PLAIN
    },
];

/// Rules that add terms without an end in themselves.
pub const GENERATIVE: &[RuleSpec] = &[
    RuleSpec {
        name: "pointwise-subsample",
        class: RuleClass::Integer,
        lhs: "(conv ?x ?w ?b)",
        rhs: "(conv[no stride] (slice[step] ?x) ?w ?b)",
        guards: &[NO_PADDING],
        why: "a pointwise layer with a stride drops positions, which the layers before it need not compute",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let own = *geometry(egraph, found, 0)?;
            let &[_, 1, 1, _] = egraph.shape(w) else { return None };
            if own.strides == [1, 1] {
                return None;
            }
            let x = subsampled(egraph, x, own.strides)?;
            let geometry = Geometry { strides: [1, 1], ..own };
            egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])
        },
        generative: true,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "average-pool-depthwise",
        class: RuleClass::Real,
        lhs: "(average_pool ?x)",
        rhs: "(conv[groups=c] ?x 1/taps 0)",
        guards: &[Guard {
            name: "all padding counts",
            holds: |egraph, found| match op(egraph, found, 0) {
                Some(Op::AveragePool(pool)) => {
                    pool.window.pads == [0; 4] || pool.counted_pads == Some(pool.window.pads)
                }
                _ => false,
            },
        }],
        why: "a mean is a weighted sum with equal weights, which may merge with a layer beside it",
        apply: |egraph, found| {
            let &Op::AveragePool(AveragePool { window, .. }) = op(egraph, found, 0)? else { return None };
            let [x] = found.vars();
            let &[_, _, _, channels] = egraph.shape(x) else { return None };
            let taps = window.kernel[0] * window.kernel[1];
            let shape = [channels, window.kernel[0], window.kernel[1], 1];
            let w = egraph.add_floats(&shape, vec![1.0 / taps as f32; channels * taps])?;
            let b = egraph.add_floats(&[channels], vec![0.0; channels])?;
            let (strides, dilations, pads) = (window.strides, window.dilations, window.pads);
            let geometry = Geometry { strides, dilations, pads, groups: channels };
            egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])
        },
        generative: true,
        ..RuleSpec::PLAIN
    },
];

/// Every `steps`-th position of an image, from the first.
fn subsampled(egraph: &mut EGraph, x: Id, steps: [usize; 2]) -> Option<Id> {
    let &[batch, height, width, channels] = egraph.shape(x) else { return None };
    let sizes = vec![batch, height.div_ceil(steps[0]), width.div_ceil(steps[1]), channels];
    egraph.add_op(Op::Slice(Slice { starts: vec![0; 4], sizes, steps: vec![1, steps[0], steps[1], 1] }), &[x])
}

fn slice_conv(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b] = found.vars();
    let Op::Slice(Slice { steps, .. }) = op(egraph, found, 0)? else { return None };
    let own = *geometry(egraph, found, 1)?;
    let strides = [own.strides[0] * steps[1], own.strides[1] * steps[2]];
    let layer = Op::Conv(Conv { geometry: Geometry { strides, ..own } });
    let types: Option<Vec<&TensorType>> = [x, w, b].iter().map(|&operand| egraph.ty(operand)).collect();
    // A box that ends before the last position, or keeps a part of the batch, is no stride.
    let kept = layer.infer(&types?).ok()?;
    let channels = *kept.shape.last()?;
    let mut wanted = egraph.shape(found.root).to_vec();
    *wanted.last_mut()? = channels;
    if kept.shape != wanted {
        return None;
    }
    egraph.add_op(layer, &[x, w, b])
}

fn resize_concat(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::Concat(Concat { axis: 3 }) = op(egraph, found, 0)? else { return None };
    let parts = &found.terms[0].children;
    let first = egraph.terms(*parts.first()?, "resize").next()?.payload;
    let source = |&part: &Id| egraph.terms(part, "resize").find(|term| term.payload == first);
    let terms = parts.iter().map(source).collect::<Option<Vec<_>>>()?;
    let sources: Vec<Id> = terms.iter().map(|term| term.children[0]).collect();
    let resize = egraph.op(terms.first()?)?.clone();
    let joined = egraph.add_op(Op::Concat(Concat { axis: 3 }), &sources)?;
    egraph.add_op(resize, &[joined])
}
