//! Graphs for the rules about sites.

use crate::Case;
use crate::affine_cases::plain;
use crate::random::Maker;
use lutweave_ir::op::{
    Binary, Concat, Conv, Dense, Geometry, MaxPool, Pad, Resize, Site, SiteKind, Slice, Unary, Window,
};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case {
        name: "sites and movement",
        rules: &[
            "site-max-pool",
            "max-pool-site",
            "site-movement",
            "movement-site",
            "site-pad",
            "pad-site",
            "site-relu",
            "relu-site",
        ],
        build: moved,
    },
    Case { name: "sites of joined parts", rules: &["site-concat", "concat-site"], build: joined },
    Case { name: "scaled weights of a site", rules: &["site-scale-out"], build: scaled },
    Case { name: "shuffled weights of a site", rules: &["shuffle-into-conv", "shuffle-of-conv"], build: shuffled },
];

pub fn activation(m: &mut Maker, x: NodeId, number: u32) -> NodeId {
    m.add(Op::Site(Site { number, kind: SiteKind::Activation }), &[x])
}

pub fn weights(m: &mut Maker, w: NodeId, number: u32) -> NodeId {
    m.add(Op::Site(Site { number, kind: SiteKind::Weights }), &[w])
}

fn step(m: &mut Maker, x: NodeId) -> NodeId {
    let window = Window { kernel: [2, 2], strides: [1, 2], dilations: [1, 1], pads: [1, 0, 0, 1] };
    let shape = m.shape(x);
    match m.random.from(0, 9) {
        0 => m.add(Op::MaxPool(MaxPool { window }), &[x]),
        1 => m.add(Op::Resize(Resize::by([1, 2])), &[x]),
        2 => m.transpose(x, &[0, 2, 1, 3]),
        3 => m.reshape(x, &[1, shape[2], shape[1], shape[3]]),
        4 => {
            let value = m.random.pick(&[0.0, 0.8]);
            m.add(Op::Pad(Pad { before: vec![0, 1, 0, 0], after: vec![0; 4], value }), &[x])
        }
        5 => {
            let sizes = vec![1, shape[1].div_ceil(2), shape[2], shape[3]];
            m.add(Op::Slice(Slice { starts: vec![0; 4], sizes, steps: vec![1, 2, 1, 1] }), &[x])
        }
        6..=8 => {
            let hi = m.random.pick(&[f32::INFINITY, 1.3]);
            m.unary(Unary::Clip { lo: m_lo(hi), hi }, x)
        }
        _ => m.unary(Unary::Relu, x),
    }
}

fn m_lo(hi: f32) -> f32 {
    if hi.is_finite() { -0.7 } else { 0.0 }
}

fn moved(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 4, 2]);
    let first = m.random.flip();
    let y = if first { activation(&mut m, x, 0) } else { x };
    let y = step(&mut m, y);
    let y = if first && m.random.flip() { y } else { activation(&mut m, y, 1) };
    m.finish(&[y])
}

fn joined(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (x, y) = (m.input(&[1, 2, 3, 2]), m.input(&[1, 2, 3, 1]));
    let other = m.random.pick(&[0, 0, 1]);
    let parts = [activation(&mut m, x, 0), activation(&mut m, y, other), activation(&mut m, x, 0)];
    let z = m.add(Op::Concat(Concat { axis: 3 }), &parts);
    let bare = m.add(Op::Concat(Concat { axis: 3 }), &[y, x]);
    let whole = activation(&mut m, bare, 2);
    m.finish(&[z, whole])
}

fn scaled(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 4, 2]);
    let outputs = 3;
    let conv = m.random.flip();
    let shape: &[usize] = if conv { &[outputs, 2, 2, 2] } else { &[outputs, 2] };
    let w = m.constant(shape);
    let w = weights(&mut m, w, 0);
    let mut rows = vec![1; shape.len()];
    rows[0] = outputs;
    let g = m.constant(&rows);
    let w = m.binary(Binary::Mul, g, w);
    let b = m.constant(&[outputs]);
    let layer =
        if conv { Op::Conv(Conv { geometry: Geometry { pads: [1; 4], ..plain(1) } }) } else { Op::Dense(Dense) };
    let y = m.add(layer, &[x, w, b]);
    m.finish(&[y])
}

fn shuffled(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 2, 4]);
    let x = m.opaque(x);
    let shuffle = |m: &mut Maker, x: NodeId| {
        let y = m.reshape(x, &[1, 2, 2, 2, 2]);
        let y = m.transpose(y, &[0, 1, 2, 4, 3]);
        m.reshape(y, &[1, 2, 2, 4])
    };
    let x = if m.random.flip() { shuffle(&mut m, x) } else { x };
    let w = m.constant(&[4, 1, 1, 4]);
    let w = weights(&mut m, w, 0);
    let y = m.add(Op::Conv(Conv { geometry: plain(1) }), &[x, w]);
    let y = shuffle(&mut m, y);
    m.finish(&[y])
}
