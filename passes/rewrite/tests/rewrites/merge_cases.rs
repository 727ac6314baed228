//! Graphs for the rules about layers that become one.

use crate::Case;
use crate::affine_cases::plain;
use crate::random::Maker;
use lutweave_ir::op::{Binary, Concat, Geometry, Unary};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case { name: "pointwise after a convolution", rules: &["merge-conv-pointwise"], build: conv_pointwise },
    Case { name: "convolution after a pointwise one", rules: &["merge-pointwise-conv"], build: pointwise_conv },
    Case { name: "sum of branches", rules: &["sum-of-convs", "sum-of-convs-nested"], build: branches },
    Case {
        name: "sum of branches of other strides or extents",
        rules: &["sum-of-convs", "sum-of-convs-nested", "sum-of-convs-two-inputs"],
        build: uneven_branches,
    },
    Case { name: "sum of layers of two inputs", rules: &["sum-of-convs-two-inputs"], build: two_inputs },
    Case {
        name: "joined layers of one input",
        rules: &["concat-convs", "concat-unary", "convs-of-one-input"],
        build: joined_layers,
    },
];

/// Random pads, small enough for a kernel.
fn pads(m: &mut Maker, kernel: [usize; 2]) -> [usize; 4] {
    if m.random.flip() {
        return [0; 4];
    }
    [0, 1, 2, 3].map(|side| m.random.from(0, kernel[side % 2] / 2))
}

fn kernel(m: &mut Maker) -> [usize; 2] {
    m.random.pick(&[[1, 1], [3, 3], [2, 1], [1, 3], [2, 2]])
}

fn conv_pointwise(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let inputs = m.random.from(1, 3);
    let x = m.input(&[1, 5, 6, inputs]);
    let groups = if m.random.flip() { 1 } else { inputs };
    let hidden = groups * m.random.from(2, 5);
    let kernel = kernel(&mut m);
    let pads = pads(&mut m, kernel);
    let strides = m.random.pick(&[[1, 1], [2, 1], [2, 2]]);
    let y = m.conv_of(x, kernel, hidden, Geometry { strides, dilations: [1, 1], pads, groups });
    let mut outer = plain(if m.random.from(0, 3) == 0 { hidden } else { 1 });
    outer.strides = m.random.pick(&[[1, 1], [2, 2]]);
    if m.random.from(0, 2) == 0 {
        outer.pads = [1, 0, 1, 1];
    }
    let outputs = if outer.groups == 1 { 1 } else { hidden };
    let y = m.conv_of(y, [1, 1], outputs, outer);
    m.finish(&[y])
}

fn pointwise_conv(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let inputs = m.random.from(1, 2);
    let x = m.input(&[1, 5, 6, inputs]);
    let mut inner = plain(1);
    match m.random.from(0, 5) {
        0 => inner.strides = [2, 1],
        1 => inner.pads = [1, 0, 0, 1],
        _ => {}
    }
    let hidden = inputs * m.random.from(2, 4);
    let y = m.conv_of(x, [1, 1], hidden, inner);
    let kernel = m.random.pick(&[[3, 3], [2, 1], [1, 3]]);
    let pads = pads(&mut m, kernel);
    let groups = m.random.pick(&[1, hidden]);
    let strides = m.random.pick(&[[1, 1], [2, 2]]);
    let geometry = Geometry { strides, dilations: [1, m.random.from(1, 2)], pads, groups };
    let y = m.conv_of(y, kernel, hidden, geometry);
    m.finish(&[y])
}

/// A branch of a block that keeps its extents, or the block's input.
fn branch(m: &mut Maker, x: NodeId) -> NodeId {
    let c = m.channels(x);
    let groups = m.random.pick(&[1, 1, c]);
    let (kernel, pads, dilation) =
        m.random.pick(&[([1, 1], [0; 4], 1), ([3, 3], [1; 4], 1), ([1, 3], [0, 1, 0, 1], 1), ([3, 3], [2; 4], 2)]);
    let geometry = Geometry { strides: [1, 1], dilations: [dilation; 2], pads, groups };
    if m.random.from(0, 3) == 0 { x } else { m.conv_of(x, kernel, c, geometry) }
}

fn branches(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let c = m.random.from(1, 3);
    let x = m.input(&[1, 5, 4, c]);
    let mut sum = if m.random.flip() { branch(&mut m, x) } else { m.input(&[1, 5, 4, c]) };
    for _ in 0..2 {
        let next = branch(&mut m, x);
        sum = m.binary(Binary::Add, next, sum);
    }
    let y = m.unary(Unary::Relu, sum);
    m.finish(&[y])
}

fn uneven_branches(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 3, 2]);
    let z = if m.random.flip() { x } else { m.input(&[1, 3, 3, 2]) };
    let [one, two] = if m.random.flip() {
        // One part is a single pixel, which the sum repeats.
        [Geometry { pads: [0, 0, 2, 2], ..plain(1) }, plain(1)]
    } else {
        // Padding makes up for a stride.
        [Geometry { strides: [2, 2], pads: [2; 4], ..plain(1) }, Geometry { pads: [2, 2, 0, 0], ..plain(1) }]
    };
    let (one, two) = (m.conv_of(x, [3, 3], 4, one), m.conv_of(z, [3, 3], 4, two));
    let other = m.input(&[1, 3, 3, 4]);
    let nested = m.binary(Binary::Add, other, one);
    let first = if m.random.flip() { one } else { nested };
    let y = m.binary(Binary::Add, first, two);
    m.finish(&[y])
}

fn two_inputs(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (a, b) = (m.random.from(1, 2), m.random.from(1, 2));
    let x = m.input(&[1, 4, 5, a]);
    let y = m.input(&[1, 4, 5, b]);
    let strides = m.random.pick(&[[1, 1], [2, 1]]);
    let geometry = Geometry { strides, ..plain(1) };
    let padded = Geometry { pads: [1; 4], ..geometry };
    let v = if m.random.flip() { m.conv_of(x, [1, 1], 4, geometry) } else { m.conv_of(x, [3, 3], 4, padded) };
    let w = if m.random.flip() { m.conv_of(y, [1, 1], 4, geometry) } else { m.conv_of(y, [3, 3], 4, padded) };
    let z = m.binary(Binary::Add, v, w);
    m.finish(&[z])
}

fn joined_layers(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 4, 5, 2]);
    let geometry = Geometry { pads: [1; 4], ..plain(1) };
    let activated = m.random.flip();
    let part = |m: &mut Maker| {
        let outputs = m.random.from(1, 3);
        let y = match m.random.from(0, 4) {
            0 => m.conv_of(x, [1, 1], outputs, plain(1)),
            1 => m.conv_of(x, [3, 3], 2, Geometry { groups: 2, ..geometry }),
            _ => m.conv_of(x, [3, 3], outputs, geometry),
        };
        if activated { m.unary(Unary::Relu, y) } else { y }
    };
    let parts: Vec<NodeId> = (0..3).map(|_| part(&mut m)).collect();
    let y = m.add(Op::Concat(Concat { axis: 3 }), &parts);
    let again = m.opaque(parts[0]);
    m.finish(&[y, again])
}
