//! Graphs for the rules about affine functions and layers.

use crate::Case;
use crate::random::Maker;
use lutweave_ir::op::{BatchNorm, Binary, Geometry, Pad, Unary};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case {
        name: "batch norm after a convolution",
        rules: &["batch-norm-affine", "conv-scale-out", "conv-bias-out"],
        build: batch_norm,
    },
    Case {
        name: "batch norm alone",
        rules: &["scale-depthwise", "bias-depthwise", "batch-norm-affine", "scale-bias"],
        build: batch_norm_alone,
    },
    Case { name: "batch norm with statistics from an input", rules: &["batch-norm-affine"], build: dynamic_statistics },
    Case {
        name: "arithmetic with constants",
        rules: &[
            "mul-constant",
            "div-constant",
            "div-to-mul",
            "add-constant",
            "sub-constant",
            "constant-sub",
            "neg-scale",
            "scale-scale",
            "bias-bias",
            "scale-bias",
        ],
        build: arithmetic,
    },
    Case { name: "arithmetic with neutral constants", rules: &["scale-one", "bias-zero"], build: neutral },
    Case {
        name: "arithmetic that widens",
        rules: &["mul-constant", "div-constant", "add-constant", "sub-constant", "constant-sub"],
        build: widening,
    },
    Case { name: "division by a tiny number", rules: &["div-constant", "div-to-mul"], build: tiny_divisor },
    Case {
        name: "arithmetic of two inputs",
        rules: &["mul-constant", "div-constant", "div-to-mul", "add-constant", "sub-constant", "constant-sub"],
        build: two_inputs,
    },
    Case { name: "affine before a layer", rules: &["conv-scale-in", "conv-bias-in"], build: affine_before },
    Case { name: "two pointwise convolutions", rules: &["merge-pointwise-convs"], build: pointwise_pair },
    Case { name: "two matrix products", rules: &["merge-dense"], build: dense_pair },
    Case { name: "scale after relu", rules: &["scale-through-relu"], build: scaled_relu },
    Case { name: "bias after a clamp", rules: &["bias-through-clip"], build: shifted_clip },
    Case { name: "padded convolution", rules: &["conv-pad"], build: padded },
];

fn shifted_clip(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let (lo, hi) = (m.random.real().min(0.5), m.random.pick(&[0.5, 1.0, f32::INFINITY]));
    let y = m.unary(Unary::Clip { lo, hi }, x);
    let channels = m.channels(x);
    let h = if m.random.flip() { m.scalar(0.75) } else { m.constant(&[channels]) };
    let y = m.binary(Binary::Add, y, h);
    m.finish(&[y])
}

fn normalized(m: &mut Maker, x: NodeId) -> NodeId {
    let c = m.channels(x);
    let (scale, bias, mean) = (m.constant(&[c]), m.constant(&[c]), m.constant(&[c]));
    let variance = (0..c).map(|_| m.random.real().abs() + 0.2).collect();
    let variance = m.floats(&[c], variance);
    m.add(Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &[x, scale, bias, mean, variance])
}

fn batch_norm(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let layer = if m.random.flip() { m.conv(x) } else { m.dense(x) };
    let y = normalized(&mut m, layer);
    m.finish(&[y])
}

fn batch_norm_alone(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let y = normalized(&mut m, x);
    let y = m.opaque(y);
    m.finish(&[y])
}

fn dynamic_statistics(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let c = m.channels(x);
    let scale = m.input(&[c]);
    let (bias, mean) = (m.constant(&[c]), m.constant(&[c]));
    let variance = m.floats(&[c], vec![1.0; c]);
    let y = m.add(Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &[x, scale, bias, mean, variance]);
    m.finish(&[y])
}

fn arithmetic(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let mut x = m.image();
    let c = m.channels(x);
    for _ in 0..3 {
        let shape = m.random.pick(&[&[][..], &[1], &[1, 1, 1, 1]]).to_vec();
        let k = if m.random.flip() { m.constant(&[c]) } else { m.constant(&shape) };
        let safe = m.scalar(m_divisor(seed));
        x = match m.random.from(0, 5) {
            0 => m.binary(Binary::Mul, x, k),
            1 => m.binary(Binary::Add, k, x),
            2 => m.binary(Binary::Sub, x, k),
            3 => m.binary(Binary::Sub, k, x),
            4 => m.binary(Binary::Div, x, safe),
            _ => m.unary(Unary::Neg, x),
        };
    }
    m.finish(&[x])
}

fn m_divisor(seed: u64) -> f32 {
    1.5 + (seed % 5) as f32
}

fn neutral(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let c = m.channels(x);
    let one = if m.random.flip() { 1.0 } else { 1.5 };
    let zero = if m.random.flip() { 0.0 } else { 0.5 };
    let (one, zero) = (m.floats(&[c], vec![one; c]), m.floats(&[c], vec![zero; c]));
    let y = m.binary(Binary::Mul, x, one);
    let y = m.binary(Binary::Add, y, zero);
    m.finish(&[y])
}

fn widening(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[3, 2]);
    let shape = m.random.pick(&[&[1, 1, 1][..], &[1, 1, 2], &[1, 3, 2]]).to_vec();
    let k = m.constant(&shape);
    let binary = m.random.pick(&[Binary::Mul, Binary::Add, Binary::Sub, Binary::Div]);
    let y = if binary != Binary::Div && m.random.flip() { m.binary(binary, k, x) } else { m.binary(binary, x, k) };
    m.finish(&[y])
}

fn tiny_divisor(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let c = m.channels(x);
    // Its reciprocal is not finite, quotients are.
    let tiny = m.floats(&[c], vec![2e-39; c]);
    let y = m.binary(Binary::Div, x, tiny);
    m.finish(&[y])
}

fn two_inputs(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 2, 3]);
    let y = m.input(&[3]);
    let binary = m.random.pick(&[Binary::Mul, Binary::Add, Binary::Sub, Binary::Div]);
    let z = if m.random.flip() { m.binary(binary, x, y) } else { m.binary(binary, y, x) };
    m.finish(&[z])
}

fn affine_before(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let c = m.channels(x);
    let k = m.constant(&[c]);
    let binary = m.random.pick(&[Binary::Mul, Binary::Add]);
    let y = m.binary(binary, x, k);
    let y = if m.random.from(0, 2) > 0 { m.conv(y) } else { m.dense(y) };
    m.finish(&[y])
}

pub fn plain(groups: usize) -> Geometry {
    Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups }
}

fn pointwise_pair(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 4, 2]);
    let mut inner = plain(m.random.pick(&[1, 1, 1, 2]));
    if m.random.from(0, 3) == 0 {
        inner.strides = [2, 1];
    }
    if m.random.from(0, 3) == 0 {
        inner.pads = [1, 0, 0, 1];
    }
    let hidden = m.random.pick(&[2, 6]);
    let y = m.conv_of(x, [1, 1], hidden, inner);
    let mut outer = plain(1);
    outer.strides = m.random.pick(&[[1, 1], [2, 2]]);
    if m.random.flip() {
        outer.pads = [1, 1, 0, 0];
    }
    let y = m.conv_of(y, [1, 1], 2, outer);
    m.finish(&[y])
}

fn dense_pair(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[2, 3]);
    let y = m.dense(x);
    let y = m.dense(y);
    m.finish(&[y])
}

fn scaled_relu(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let x = m.conv(x);
    let function = m.random.pick(&[Unary::Relu, Unary::LeakyRelu { alpha: 0.1 }]);
    let y = m.unary(function, x);
    let c = m.channels(y);
    let g = m.factors(c);
    let y = m.binary(Binary::Mul, y, g);
    m.finish(&[y])
}

fn padded(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let value = m.random.pick(&[0.0, 0.0, 1.0]);
    let before = vec![0, m.random.from(0, 2), m.random.from(0, 2), 0];
    let after = vec![0, m.random.from(0, 2), 1, 0];
    let y = m.add(Op::Pad(Pad { before, after, value }), &[x]);
    let y = m.conv(y);
    m.finish(&[y])
}
