//! Random graphs of many operators: rules meet each other, and forks meet rules.

use crate::random::Maker;
use crate::soundness::{Tolerance, check};
use crate::{same_function, same_interface};
use lutweave_ir::op::{AveragePool, Binary, Concat, MaxPool, Pad, ReduceMean, Slice, Softmax, Unary, Window};
use lutweave_ir::{Graph, NodeId, Op};
use lutweave_rewrite::cleanup::{Rewrites, simplify};
use lutweave_rewrite::egraph::{RuleClass, RuleSpec};
use lutweave_rewrite::rules::float_rules;

/// Number of graphs; `LUTWEAVE_GRAPHS` asks for more.
fn seeds() -> std::ops::Range<u64> {
    let wanted = std::env::var("LUTWEAVE_GRAPHS").ok().and_then(|count| count.parse().ok());
    0..wanted.unwrap_or(300)
}

/// No value of a graph has more elements.
const MAX_ELEMENTS: usize = 2000;

fn reshape(m: &mut Maker, x: NodeId) -> NodeId {
    let mut shape = m.shape(x);
    match m.random.from(0, 3) {
        0 => shape = vec![1, shape.iter().product()],
        1 if shape.len() > 1 => {
            let axis = m.random.from(0, shape.len() - 2);
            let merged = shape.remove(axis) * shape[axis];
            shape[axis] = merged;
        }
        2 => {
            let axis = m.random.from(0, shape.len() - 1);
            let divisors: Vec<usize> =
                (1..=shape[axis]).filter(|divisor| shape[axis].is_multiple_of(*divisor)).collect();
            let divisor = m.random.pick(&divisors);
            shape[axis] /= divisor;
            shape.insert(axis + m.random.from(0, 1), divisor);
        }
        _ => {
            let axis = m.random.from(0, shape.len());
            shape.insert(axis, 1);
        }
    }
    if shape.len() > 5 {
        shape = vec![1, shape.iter().product()];
    }
    m.reshape(x, &shape)
}

fn slice(m: &mut Maker, x: NodeId) -> NodeId {
    let shape = m.shape(x);
    let axis = m.random.from(0, shape.len() - 1);
    let (mut starts, mut sizes, mut steps) = (vec![0; shape.len()], shape.clone(), vec![1; shape.len()]);
    starts[axis] = m.random.from(0, shape[axis] / 2);
    starts[axis] = starts[axis].min(shape[axis] - 1);
    steps[axis] = m.random.from(1, 2);
    sizes[axis] = (shape[axis] - starts[axis]).div_ceil(steps[axis]);
    m.add(Op::Slice(Slice { starts, sizes, steps }), &[x])
}

fn arithmetic(m: &mut Maker, x: NodeId) -> NodeId {
    let shape = m.shape(x);
    let channels = m.channels(x);
    let mut own = shape.clone();
    let k = match m.random.from(0, 3) {
        0 => m.scalar(0.75),
        1 => m.constant(&[channels]),
        2 => {
            let kept = m.random.from(0, own.len() - 1);
            own.iter_mut().enumerate().filter(|(axis, _)| *axis != kept).for_each(|(_, extent)| *extent = 1);
            m.constant(&own)
        }
        _ => m.constant(&shape),
    };
    let binary = m.random.pick(&[Binary::Mul, Binary::Add, Binary::Sub, Binary::Max]);
    if m.random.flip() { m.binary(binary, x, k) } else { m.binary(binary, k, x) }
}

fn pool(m: &mut Maker, x: NodeId) -> NodeId {
    let shape = m.shape(x);
    let kernel = [shape[1].min(2), shape[2].min(2)];
    let pads = if m.random.flip() { [0; 4] } else { [kernel[0] / 2, 0, 0, kernel[1] / 2] };
    let window = Window { kernel, strides: [1, m.random.from(1, 2)], dilations: [1, 1], pads };
    if m.random.flip() {
        return m.add(Op::MaxPool(MaxPool { window }), &[x]);
    }
    let counted_pads = m.random.pick(&[None, Some(pads)]);
    m.add(Op::AveragePool(AveragePool { window, counted_pads }), &[x])
}

fn step(m: &mut Maker, values: &[NodeId]) -> NodeId {
    // Recent values are likelier, so that graphs get deep.
    let x = values[values.len() - 1 - m.random.from(0, values.len() - 1).min(m.random.from(0, values.len() - 1))];
    let shape = m.shape(x);
    let image = shape.len() == 4 && shape[0] == 1;
    let functions = [
        Unary::Relu,
        Unary::Relu,
        Unary::Clip { lo: 0.0, hi: 6.0 },
        Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        Unary::Sigmoid,
        Unary::LeakyRelu { alpha: 0.1 },
    ];
    match m.random.from(0, 15) {
        0 | 1 if image && shape[1] > 2 && shape[2] > 2 => m.conv(x),
        0..=2 => {
            let function = m.random.pick(&functions);
            m.unary(function, x)
        }
        3 | 4 => m.shuffled(x).0,
        5 | 6 => reshape(m, x),
        7 => slice(m, x),
        8 => {
            let rank = shape.len();
            let axis = m.random.from(0, rank - 1);
            let (mut before, after) = (vec![0; rank], vec![0; rank]);
            before[axis] = 1;
            m.add(Op::Pad(Pad { before, after, value: 0.0 }), &[x])
        }
        9 | 10 => arithmetic(m, x),
        11 => {
            let axis = m.random.from(0, shape.len() - 1);
            let same: Vec<NodeId> = values.iter().copied().filter(|&other| m.shape(other) == shape).collect();
            let other = m.random.pick(&same);
            m.add(Op::Concat(Concat { axis }), &[x, other])
        }
        12 => {
            let same: Vec<NodeId> = values.iter().copied().filter(|&other| m.shape(other) == shape).collect();
            let other = m.random.pick(&same);
            let binary = m.random.pick(&[Binary::Add, Binary::Mul]);
            m.binary(binary, x, other)
        }
        13 if image && shape[1] > 1 && shape[2] > 1 => pool(m, x),
        13 => {
            let axes = vec![m.random.from(0, shape.len() - 1)];
            m.add(Op::ReduceMean(ReduceMean { axes, keep: true }), &[x])
        }
        14 if shape.len() > 1 => m.dense(x),
        _ => {
            let axis = m.random.from(0, shape.len() - 1);
            m.add(Op::Softmax(Softmax { axis }), &[x])
        }
    }
}

/// A random graph of many operators.
pub fn graph(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let mut values = vec![m.image()];
    for _ in 0..m.random.from(4, 14) {
        let next = step(&mut m, &values);
        if m.graph.node(next).ty.count() <= MAX_ELEMENTS {
            values.push(next);
        }
    }
    let last = values[values.len() - 1];
    let other = m.random.pick(&values);
    m.finish(&[last, other])
}

#[test]
fn rules_agree_on_composed_graphs() {
    let all = float_rules();
    let exact: Vec<RuleSpec> = all.iter().copied().filter(|rule| rule.class == RuleClass::Integer).collect();
    for (rules, tolerance) in [(all, Tolerance::Rounding), (exact, Tolerance::Exact)] {
        let rewrites = Rewrites::new(&rules);
        for seed in seeds() {
            if let Err(message) = check(&graph(seed), &rewrites, tolerance, seed) {
                panic!("graph {seed}: {message}");
            }
        }
    }
}

#[test]
fn composed_graphs_keep_their_function() {
    for seed in seeds() {
        let graph = graph(seed);
        let name = format!("graph {seed}");
        let simplified = simplify(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(simplified.report.cost_after <= simplified.report.cost_before, "{name} costs more");
        same_interface(&graph, &simplified.graph, &name);
        same_function(&graph, &simplified.graph, Tolerance::Rounding, seed, &name);
        let again = simplify(&graph).unwrap_or_else(|error| panic!("{name} again: {error}"));
        assert_eq!((again.graph, again.report), (simplified.graph, simplified.report), "{name}: not deterministic");
    }
}
