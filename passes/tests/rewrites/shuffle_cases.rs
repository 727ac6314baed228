//! Graphs for the rules about channel shuffles.

use crate::Case;
use crate::affine_cases::plain;
use crate::random::Maker;
use lutweave_ir::op::{AveragePool, Binary, Geometry, Window};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case { name: "shuffle before a layer", rules: &["shuffle-into-conv", "shuffle-depthwise"], build: before_layer },
    Case { name: "shuffle after a layer", rules: &["shuffle-of-conv"], build: after_layer },
    Case {
        name: "shuffle and functions of channels",
        rules: &["shuffle-affine", "shuffle-window"],
        build: before_function,
    },
];

/// A shuffle of the channels, or something like it.
fn shuffle(m: &mut Maker, x: NodeId) -> NodeId {
    let shape = m.shape(x);
    let (rank, c) = (shape.len(), shape[shape.len() - 1]);
    let mut split = shape[..rank - 1].to_vec();
    let parts = m.random.pick(&[[2, c / 2], [c / 2, 2]]);
    split.extend(parts);
    let mut order: Vec<usize> = (0..rank - 1).collect();
    match m.random.from(0, 4) {
        // Rows move too: no shuffle of channels.
        0 => order.extend([rank, rank - 1]),
        1 => {
            split = vec![shape[..rank - 1].iter().product(), parts[0], parts[1]];
            order = vec![0, 2, 1];
        }
        _ => order.extend([rank, rank - 1]),
    }
    if m.random.from(0, 5) == 0 {
        order.swap(1, 2);
    }
    let y = m.reshape(x, &split);
    let y = m.transpose(y, &order);
    m.reshape(y, &shape)
}

fn before_layer(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 6]);
    let x = m.opaque(x);
    let y = shuffle(&mut m, x);
    let groups = m.random.pick(&[1, 1, 2, 6, 6]);
    let outputs = m.random.pick(&[6, 12]);
    let geometry = Geometry { pads: [1, 0, 0, 1], ..plain(groups) };
    let y = if m.random.from(0, 4) == 0 { m.dense(y) } else { m.conv_of(y, [2, 1], outputs, geometry) };
    m.finish(&[y])
}

fn after_layer(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 4]);
    let groups = m.random.pick(&[1, 1, 2]);
    let y = m.conv_of(x, [1, 2], 4, plain(groups));
    let y = shuffle(&mut m, y);
    m.finish(&[y])
}

fn before_function(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 4]);
    let x = m.opaque(x);
    let y = shuffle(&mut m, x);
    let k = m.constant(&[4]);
    let window = Window { kernel: [2, 2], strides: [1, 1], dilations: [1, 1], pads: [1, 0, 0, 0] };
    let y = match m.random.from(0, 4) {
        0 => m.binary(Binary::Mul, y, k),
        1 => m.binary(Binary::Add, y, k),
        2 => m.add(Op::MaxPool(window), &[y]),
        3 => m.add(Op::AveragePool(AveragePool { window, counted_pads: None }), &[y]),
        _ => m.add(Op::Resize { factors: [1, 2] }, &[y]),
    };
    m.finish(&[y])
}
