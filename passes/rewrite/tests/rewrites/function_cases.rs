//! Graphs for the rules about functions of one real and about pools.

use crate::Case;
use crate::random::Maker;
use lutweave_ir::op::{ArgMax, AveragePool, Binary, MaxPool, PRelu, Pad, ReduceMean, Softmax, Unary, Window};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case {
        name: "clips",
        rules: &["relu-clip", "clip-relu", "clip-clip", "clip-nothing", "max-constant", "min-constant"],
        build: clips,
    },
    Case { name: "class decision", rules: &["argmax-softmax"], build: decision },
    Case { name: "bounds that widen", rules: &["max-constant", "min-constant"], build: widening_bounds },
    Case { name: "slopes", rules: &["prelu-leaky-relu", "leaky-relu-zero"], build: slopes },
    Case { name: "products with gates", rules: &["silu", "mish", "hard-swish"], build: gates },
    Case {
        name: "hard sigmoid in parts",
        rules: &["hard-sigmoid-scaled", "hard-sigmoid-affine", "scale-into-product", "hard-swish"],
        build: hard_sigmoid,
    },
    Case { name: "sigmoid in parts", rules: &["sigmoid", "one-over"], build: sigmoid },
    Case { name: "gelu in parts", rules: &["gelu", "scale-out-of-product"], build: gelu },
    Case { name: "scaled products", rules: &["scale-into-product", "scale-out-of-product"], build: scaled_products },
    Case { name: "mean", rules: &["mean-average-pool"], build: mean },
    Case {
        name: "pools",
        rules: &["pool-nothing", "average-pool-uncounted", "average-pool-pad", "max-pool-pad"],
        build: pools,
    },
    Case { name: "function of a pool", rules: &["monotone-max-pool"], build: monotone },
];

fn clips(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let mut x = m.image();
    let infinity = f32::INFINITY;
    for _ in 0..2 {
        let bounds = [(0.0, infinity), (0.0, 1.5), (-infinity, infinity), (-0.5, 0.5), (0.5, -0.5), (-infinity, 1.0)];
        let (lo, hi) = m.random.pick(&bounds);
        let k = m.scalar(lo.max(-1.0));
        x = match m.random.from(0, 4) {
            0 => m.unary(Unary::Relu, x),
            1 => m.binary(Binary::Max, x, k),
            2 => m.binary(Binary::Min, k, x),
            _ => m.unary(Unary::Clip { lo, hi }, x),
        };
    }
    m.finish(&[x])
}

fn decision(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let [axis, reduced] = [0; 2].map(|_| m.random.from(1, 3));
    let probabilities = m.add(Op::Softmax(Softmax { axis }), &[x]);
    let argmax = ArgMax { axis: reduced, keep: m.random.flip(), last: false };
    let y = m.add(Op::ArgMax(argmax), &[probabilities]);
    m.finish(&[y])
}

fn widening_bounds(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[3]);
    let k = m.floats(&[2, 1], vec![0.25, 0.25]);
    let function = m.random.pick(&[Binary::Max, Binary::Min]);
    let y = m.binary(function, x, k);
    m.finish(&[y])
}

fn slopes(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let c = m.channels(x);
    let alpha = m.random.pick(&[0.0, 0.25]);
    let y = match m.random.from(0, 2) {
        0 => {
            let slope = m.constant(&[c]);
            m.add(Op::PRelu(PRelu), &[x, slope])
        }
        1 => {
            let slope = m.floats(&[1, 1, c], vec![alpha; c]);
            m.add(Op::PRelu(PRelu), &[x, slope])
        }
        _ => m.unary(Unary::LeakyRelu { alpha }, x),
    };
    m.finish(&[y])
}

fn gates(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let gate = match m.random.from(0, 3) {
        0 => m.unary(Unary::Sigmoid, x),
        1 => {
            let y = m.unary(Unary::Softplus, x);
            m.unary(Unary::Tanh, y)
        }
        2 => m.unary(Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x),
        _ => m.unary(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, x),
    };
    let y = if m.random.flip() { m.binary(Binary::Mul, gate, x) } else { m.binary(Binary::Mul, x, gate) };
    m.finish(&[y])
}

fn hard_sigmoid(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let three = m.scalar(3.0);
    let sixth = m.scalar(1.0 / 6.0);
    let half = m.scalar(0.5);
    if m.random.flip() {
        let slope = m.scalar(0.3);
        let y = m.binary(Binary::Mul, x, slope);
        let y = m.binary(Binary::Add, y, half);
        let (lo, hi) = m.random.pick(&[(0.0, 1.0), (-0.25, 0.75)]);
        let y = m.unary(Unary::Clip { lo, hi }, y);
        return m.finish(&[y]);
    }
    let six = m.scalar(6.0);
    let y = m.binary(Binary::Add, x, three);
    let (lo, hi) = m.random.pick(&[(0.0, 6.0), (0.0, 6.0), (0.0, 3.5), (1.0, 6.0)]);
    let y = m.unary(Unary::Clip { lo, hi }, y);
    let y = match m.random.from(0, 2) {
        0 => m.binary(Binary::Div, y, six),
        1 => m.binary(Binary::Mul, y, sixth),
        _ => {
            let y = m.binary(Binary::Mul, x, y);
            let y = m.binary(Binary::Div, y, six);
            return m.finish(&[y]);
        }
    };
    let y = if m.random.flip() { m.binary(Binary::Mul, x, y) } else { y };
    m.finish(&[y])
}

fn sigmoid(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let (slope, one) = (m.random.pick(&[-1.0, -1.0, -0.5]), m.random.pick(&[1.0, 1.0, 2.0]));
    let (slope, one) = (m.scalar(slope), m.scalar(one));
    let y = if m.random.flip() { m.unary(Unary::Neg, x) } else { m.binary(Binary::Mul, x, slope) };
    let y = m.unary(Unary::Exp, y);
    let y = m.binary(Binary::Add, y, one);
    let y = if m.random.flip() {
        m.unary(Unary::Reciprocal, y)
    } else {
        let c = m.channels(y);
        let wide = m.random.pick(&[1.0, 1.0, 2.0]);
        let numerator = match m.random.from(0, 2) {
            0 => m.scalar(wide),
            1 => m.floats(&[c], vec![wide; c]),
            // Wider than what it is divided by.
            _ => m.floats(&[2, 1, 1, 1], vec![wide; 2]),
        };
        m.binary(Binary::Div, numerator, y)
    };
    m.finish(&[y])
}

fn gelu(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let root = m.random.pick(&[std::f32::consts::SQRT_2, std::f32::consts::SQRT_2, 1.0]);
    let one = m.random.pick(&[1.0, 1.0, 1.25]);
    let half = m.random.pick(&[0.5, 0.5, 0.25]);
    let (root, one, half) = (m.scalar(root), m.scalar(one), m.scalar(half));
    let y = m.binary(Binary::Div, x, root);
    let y = m.unary(Unary::Erf, y);
    let y = m.binary(Binary::Add, y, one);
    let y = if m.random.flip() {
        let x = m.binary(Binary::Mul, x, half);
        m.binary(Binary::Mul, x, y)
    } else {
        let y = m.binary(Binary::Mul, x, y);
        m.binary(Binary::Mul, y, half)
    };
    m.finish(&[y])
}

fn scaled_products(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 2, 3]);
    let shape = m.random.pick(&[[1, 2, 2, 3], [1, 1, 1, 3], [1, 2, 2, 1]]);
    let y = m.input(&shape);
    let k = m.constant(&[3]);
    let last = m.channels(y);
    let own = m.constant(&[last]);
    let z = if m.random.flip() {
        let z = m.binary(Binary::Mul, x, y);
        m.binary(Binary::Mul, z, k)
    } else {
        let y = m.binary(Binary::Mul, y, own);
        m.binary(Binary::Mul, y, x)
    };
    m.finish(&[z])
}

fn mean(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let axes = m.random.pick(&[&[1, 2][..], &[1], &[2], &[3], &[2, 3]]).to_vec();
    let y = m.add(Op::ReduceMean(ReduceMean { axes, keep: m_flip(seed) }), &[x]);
    m.finish(&[y])
}

fn m_flip(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

fn pool(m: &mut Maker, x: NodeId, max: bool, window: Window) -> NodeId {
    if max {
        return m.add(Op::MaxPool(MaxPool { window }), &[x]);
    }
    let counted_pads = m.random.pick(&[None, Some(window.pads)]);
    m.add(Op::AveragePool(AveragePool { window, counted_pads }), &[x])
}

fn pools(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let max = m.random.flip();
    let function = m.random.pick(&[Unary::Relu, Unary::HardSigmoid { alpha: 0.2, beta: 0.1 }, Unary::Tanh]);
    let x = m.unary(function, x);
    let one = Window { kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0; 4] };
    let y = match m.random.from(0, 7) {
        0 => pool(&mut m, x, max, one),
        1 => pool(&mut m, x, max, Window { strides: [1, 2], ..one }),
        2 => pool(&mut m, x, max, Window { kernel: [2, 2], pads: [0, 1, 1, 0], ..one }),
        3 => pool(&mut m, x, max, Window { kernel: [2, 1], ..one }),
        _ => {
            let value = m.random.pick(&[0.0, 0.75]);
            let pads = m.random.pick(&[[1, 0], [1, 1], [0, 1]]);
            let op = Op::Pad(Pad { before: vec![0, pads[0], pads[1], 0], after: vec![0, pads[1], 0, 0], value });
            let y = m.add(op, &[x]);
            let pads = m.random.pick(&[[0; 4], [0, 1, 0, 0]]);
            pool(&mut m, y, max, Window { kernel: [3, 3], pads, ..one })
        }
    };
    m.finish(&[y])
}

fn monotone(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let pads = m.random.pick(&[[0; 4], [1, 0, 0, 1]]);
    let window = Window { kernel: [2, 2], strides: [1, 2], dilations: [1, 1], pads };
    let y = m.add(Op::MaxPool(MaxPool { window }), &[x]);
    let functions = [
        Unary::Relu,
        Unary::Clip { lo: -0.5, hi: 1.0 },
        Unary::LeakyRelu { alpha: 0.3 },
        Unary::LeakyRelu { alpha: -0.3 },
    ];
    let function = m.random.pick(&functions);
    let y = m.unary(function, y);
    m.finish(&[y])
}
