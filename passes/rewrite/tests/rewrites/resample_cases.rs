//! Graphs for the rules about resolution.

use crate::Case;
use crate::affine_cases::plain;
use crate::random::Maker;
use lutweave_ir::op::{AveragePool, Binary, Borders, Concat, Geometry, MaxPool, Resize, Slice, Unary, Window};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case {
        name: "functions after a resize",
        rules: &["resize-unary", "resize-affine", "resize-pointwise", "resize-resize"],
        build: after_resize,
    },
    Case { name: "two resized operands", rules: &["resize-binary", "resize-concat"], build: resized_operands },
    Case { name: "pools of one tap", rules: &["pool-subsample"], build: one_tap },
    Case { name: "slices of functions", rules: &["slice-conv", "slice-unary", "slice-binary"], build: sliced },
    Case { name: "pointwise layer that strides", rules: &["pointwise-subsample", "slice-conv"], build: strided },
    Case {
        name: "mean of a pointwise layer",
        rules: &["average-pool-pointwise", "average-pool-depthwise"],
        build: pooled_pointwise,
    },
    Case { name: "maximum of a rising function", rules: &["max-pool-monotone"], build: pooled_function },
];

fn resize(m: &mut Maker, x: NodeId, factors: [usize; 2]) -> NodeId {
    m.add(Op::Resize(Resize::by(factors)), &[x])
}

fn small(m: &mut Maker) -> NodeId {
    let shape = [1, m.random.from(1, 3), m.random.from(1, 3), m.random.from(1, 3)];
    m.input(&shape)
}

fn after_resize(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = small(&mut m);
    let y = resize(&mut m, x, [2, 2]);
    let c = m.channels(y);
    let k = m.constant(&[c]);
    let y = match m.random.from(0, 6) {
        0 => m.unary(Unary::Tanh, y),
        1 => m.binary(Binary::Mul, y, k),
        2 => m.binary(Binary::Add, y, k),
        3 => {
            let borders = Borders(m.random.pick(&[[0; 4], [1, 0, 2, 1]]));
            m.add(Op::Resize(Resize { factors: [1, 3], borders }), &[y])
        }
        4 => m.conv_of(y, [1, 1], 2, Geometry { strides: [1, 2], ..plain(1) }),
        5 => m.conv_of(y, [1, 1], 2, Geometry { pads: [1, 0, 1, 0], ..plain(1) }),
        _ => m.conv_of(y, [1, 1], 2, plain(1)),
    };
    m.finish(&[y])
}

fn resized_operands(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let factors = m.random.pick(&[[2, 2], [1, 2]]);
    let (x, y) = (m.input(&[1, 2, 3, 2]), m.input(&[1, 2, 3, 2]));
    let x = resize(&mut m, x, factors);
    let other = match m.random.from(0, 3) {
        // Other factors that lead to the same extents.
        0 => {
            let z = m.input(&[1, 2 * factors[0], 3, 2]);
            resize(&mut m, z, [1, 2])
        }
        1 if factors[0] == 1 => {
            let row = m.input(&[1, 1, 3, 2]);
            resize(&mut m, row, factors)
        }
        _ => resize(&mut m, y, factors),
    };
    let binary = m.random.pick(&[Binary::Add, Binary::Mul, Binary::Max]);
    let met = m.binary(binary, x, other);
    if m.shape(x) != m.shape(other) {
        return m.finish(&[met]);
    }
    let joined = m.add(Op::Concat(Concat { axis: 3 }), &[x, other]);
    let tall = m.add(Op::Concat(Concat { axis: 1 }), &[x, other]);
    m.finish(&[met, joined, tall])
}

fn one_tap(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let kernel = m.random.pick(&[[1, 1], [1, 1], [2, 1]]);
    let strides = [m.random.from(1, 2), m.random.from(1, 3)];
    let window = Window { kernel, strides, dilations: [1, 1], pads: [0; 4] };
    let pool = AveragePool { window, counted_pads: None };
    let y =
        if m.random.flip() { m.add(Op::MaxPool(MaxPool { window }), &[x]) } else { m.add(Op::AveragePool(pool), &[x]) };
    m.finish(&[y])
}

fn every(m: &mut Maker, x: NodeId, starts: [usize; 3], steps: [usize; 3]) -> NodeId {
    let shape = m.shape(x);
    let starts = [0, starts[0], starts[1], starts[2]];
    let sizes: Vec<usize> = (0..4)
        .map(|axis| {
            let step = if axis == 0 { 1 } else { steps[axis - 1] };
            (shape[axis] - starts[axis]).div_ceil(step)
        })
        .collect();
    m.add(Op::Slice(Slice { starts: starts.to_vec(), sizes, steps: vec![1, steps[0], steps[1], steps[2]] }), &[x])
}

fn sliced(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 5, 6, 2]);
    let y = match m.random.from(0, 4) {
        0 => m.unary(Unary::Tanh, x),
        1 => {
            let k = m.random.pick(&[&[1, 5, 6, 2][..], &[1, 1, 6, 2], &[2]]).to_vec();
            let k = m.input(&k);
            m.binary(Binary::Mul, k, x)
        }
        _ => {
            let geometry = Geometry { strides: [1, m.random.from(1, 2)], pads: [1, 0, 1, 1], ..plain(1) };
            m.conv_of(x, [2, 2], 2, geometry)
        }
    };
    let starts = if m.random.flip() { [0; 3] } else { [m.random.from(0, 1), m.random.from(0, 1), 0] };
    let channels = m.random.pick(&[1, 1, 2]);
    let steps = [m.random.from(1, 2), m.random.from(1, 2), channels];
    let y = every(&mut m, y, starts, steps);
    m.finish(&[y])
}

fn strided(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 5, 6, 2]);
    let y = m.conv_of(x, [3, 3], 2, Geometry { pads: [1; 4], ..plain(1) });
    let y = m.unary(Unary::Relu, y);
    let pads = if m.random.from(0, 3) == 0 { [1, 0, 0, 0] } else { [0; 4] };
    let geometry = Geometry { strides: [2, m.random.from(1, 2)], pads, ..plain(m.random.pick(&[1, 2])) };
    let y = m.conv_of(y, [1, 1], 2, geometry);
    m.finish(&[y])
}

fn pooled_pointwise(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 4, 6, 2]);
    let mut layer = plain(m.random.pick(&[1, 2]));
    match m.random.from(0, 5) {
        0 => layer.strides = [1, 2],
        1 => layer.pads = [1, 1, 0, 0],
        _ => {}
    }
    let y = m.conv_of(x, [1, 1], 4, layer);
    let pads = if m.random.flip() { [0; 4] } else { [1, 0, 1, 1] };
    let counted_pads = m.random.pick(&[None, Some(pads), Some([0; 4])]);
    let window = Window { kernel: [2, 2], strides: [m.random.from(1, 2), 1], dilations: [1, 1], pads };
    let y = m.add(Op::AveragePool(AveragePool { window, counted_pads }), &[y]);
    m.finish(&[y])
}

fn pooled_function(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let function = m.random.pick(&[Unary::Sigmoid, Unary::Tanh, Unary::Softplus, Unary::Exp, Unary::Erf, Unary::Abs]);
    let y = m.unary(function, x);
    let window = Window { kernel: [2, 2], strides: [1, 2], dilations: [1, 1], pads: [1, 0, 0, 1] };
    let y = m.add(Op::MaxPool(MaxPool { window }), &[y]);
    m.finish(&[y])
}
