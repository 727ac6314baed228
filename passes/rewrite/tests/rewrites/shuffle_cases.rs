//! Graphs for the rules about channel shuffles.

use crate::Case;
use crate::affine_cases::plain;
use crate::random::Maker;
use lutweave_ir::op::{AveragePool, Binary, Geometry, MaxPool, Resize, Select, Slice, Window};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case { name: "shuffle before a layer", rules: &["shuffle-into-conv", "shuffle-depthwise"], build: before_layer },
    Case { name: "shuffle after a layer", rules: &["shuffle-of-conv"], build: after_layer },
    Case {
        name: "selection before a layer",
        rules: &["select-into-conv", "select-depthwise", "select-run"],
        build: selection_before_layer,
    },
    Case { name: "selection after a layer", rules: &["select-of-conv"], build: selection_after_layer },
    Case {
        name: "selections of shuffles",
        rules: &["shuffle-select", "select-select", "slice-select", "select-run"],
        build: selections,
    },
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
        2 => m.add(Op::MaxPool(MaxPool { window }), &[y]),
        3 => m.add(Op::AveragePool(AveragePool { window, counted_pads: None }), &[y]),
        _ => m.add(Op::Resize(Resize::by([1, 2])), &[y]),
    };
    m.finish(&[y])
}

/// Channels in another order, a run of them, or any choice.
fn select(m: &mut Maker, x: NodeId) -> NodeId {
    let c = m.channels(x);
    let channels: Vec<usize> = match m.random.from(0, 4) {
        0 => {
            let step = m.random.from(1, 2);
            let start = m.random.from(0, c - 1);
            (start..c).step_by(step).collect()
        }
        1 => (0..m.random.from(1, c + 1)).map(|_| m.random.from(0, c - 1)).collect(),
        2 => (0..m.random.from(1, c)).rev().collect(),
        3 => vec![m.random.from(0, c - 1); 2],
        _ => {
            let mut channels: Vec<usize> = (0..c).collect();
            (1..c).for_each(|last| channels.swap(last, m.random.from(0, last)));
            channels
        }
    };
    m.add(Op::Select(Select { channels }), &[x])
}

fn selection_before_layer(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 4]);
    let x = m.opaque(x);
    let y = select(&mut m, x);
    let c = m.channels(y);
    let halves = if c.is_multiple_of(2) { 2 } else { 1 };
    let groups = m.random.pick(&[1, 1, halves, c, c]);
    let geometry = Geometry { pads: [1, 0, 0, 1], ..plain(groups) };
    let y = if m.random.from(0, 4) == 0 {
        m.dense(y)
    } else {
        m.conv_of(y, [2, 1], 2 * c / (1 + seed as usize % 2), geometry)
    };
    m.finish(&[y])
}

fn selection_after_layer(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 4]);
    let groups = m.random.pick(&[1, 1, 2]);
    let y = if m.random.from(0, 4) == 0 { m.dense(x) } else { m.conv_of(x, [1, 2], 4, plain(groups)) };
    let y = select(&mut m, y);
    m.finish(&[y])
}

fn selections(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 4]);
    let x = m.opaque(x);
    let y = if m.random.flip() { shuffle(&mut m, x) } else { select(&mut m, x) };
    let y = match m.random.from(0, 2) {
        0 => select(&mut m, y),
        1 => {
            let c = m.channels(y);
            let start = m.random.from(0, c - 1);
            let sizes = vec![1, m.random.from(1, 3), 2, m.random.from(1, c - start)];
            m.add(Op::Slice(Slice { starts: vec![0, 0, 0, start], sizes, steps: vec![1; 4] }), &[y])
        }
        _ => y,
    };
    m.finish(&[y])
}
