//! Range analysis: the values that integer nodes and their accumulators can take.

use crate::graph::{Graph, Node, NodeId};
use crate::op::{Op, QAdd, QAveragePool, QConv, QDeformConv, QMul};
use crate::tensor::Tensor;

/// Smallest and largest value that a node can take, over all inputs; `None` for float nodes.
///
/// Bounds of requantization, entries of tables and values of constants are taken into account.
pub fn value_range(graph: &Graph, id: NodeId) -> Option<(i64, i64)> {
    graph.node(id).ty.element.range()?;
    let mut seen = vec![false; id.index() + 1];
    let mut pending = vec![id];
    let mut union: Option<(i64, i64)> = None;
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let node = graph.node(id);
        let (lo, hi) = match &node.op {
            Op::MaxPool(_)
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Select { .. }
            | Op::Resize { .. }
            | Op::Transpose { .. }
            | Op::Reshape { .. } => {
                pending.extend(&node.operands);
                continue;
            }
            Op::Pad { value, .. } => {
                pending.extend(&node.operands);
                (*value as i64, *value as i64)
            }
            op => own_range(op, graph, node)?,
        };
        union = Some(union.map_or((lo, hi), |(least, most)| (least.min(lo), most.max(hi))));
    }
    union
}

/// The range that an operator's attributes and element type give, whatever its operands are.
fn own_range(op: &Op, graph: &Graph, node: &Node) -> Option<(i64, i64)> {
    match op {
        Op::Constant(tensor) => bounds(tensor.ints()),
        Op::QConv(conv) => Some((conv.requantize.lo.into(), conv.requantize.hi.into())),
        Op::QDeformConv(conv) => Some((conv.requantize.lo.into(), conv.requantize.hi.into())),
        Op::QAveragePool(pool) => Some((pool.requantize.lo.into(), pool.requantize.hi.into())),
        Op::QMul(mul) => Some((mul.requantize.lo.into(), mul.requantize.hi.into())),
        Op::QAdd(add) => Some((add.lo.into(), add.hi.into())),
        Op::Table(table) => bounds(&table.entries),
        Op::ArgMax { axis, .. } => Some((0, graph.node(node.operands[0]).ty.shape[*axis] as i64 - 1)),
        Op::Input
        | Op::Quantize { .. }
        | Op::Conv(_)
        | Op::DeformConv(_)
        | Op::Dense
        | Op::BatchNorm { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::PRelu
        | Op::Site(_)
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::ReduceMean { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Select { .. }
        | Op::Pad { .. }
        | Op::Resize { .. }
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Softmax { .. }
        | Op::Dequantize
        | Op::DequantizeWeights(_)
        | Op::TopPeaks(_) => node.ty.element.range(),
    }
}

fn bounds(values: &[i32]) -> Option<(i64, i64)> {
    Some((i64::from(*values.iter().min()?), i64::from(*values.iter().max()?)))
}

/// Smallest and largest accumulator of a `QConv`, `QDeformConv`, `QAveragePool`, `QAdd` or `QMul`: the union,
/// over output channels and inputs, of every sum of some of the terms, so that it holds for
/// partial sums in any order, with and without the bias. For a `QAdd` the rounding term counts
/// as a term. It saturates at the range of `i64`.
///
/// For other integer nodes it is [`value_range`], for float nodes `(0, 0)`.
pub fn accumulator_range(graph: &Graph, id: NodeId) -> (i64, i64) {
    let node = graph.node(id);
    let operand = |index: usize| value_range(graph, node.operands[index]).unwrap_or((0, 0));
    match &node.op {
        Op::QConv(QConv { pad_value, .. }) | Op::QDeformConv(QDeformConv { pad_value, .. }) => {
            let x = union(operand(0), i64::from(*pad_value));
            let [weights, bias] = [graph.constant_of(node.operands[1]), graph.constant_of(node.operands[2])];
            match (weights, bias) {
                (Some(weights), Some(bias)) => convolution_range(weights, bias, x),
                _ => {
                    let weights = &graph.node(node.operands[1]).ty;
                    let taps = weights.count() / weights.shape[0];
                    let mut sums = Sums::default();
                    sums.add_times(product(x, operand(1)), taps);
                    sums.add(operand(2));
                    sums.range()
                }
            }
        }
        Op::QAveragePool(pool) => pool_range(pool, operand(0)),
        Op::QAdd(add) => add_range(add, operand(0), operand(1)),
        Op::QMul(mul) => mul_range(mul, operand(0), operand(1)),
        Op::Input
        | Op::Constant(_)
        | Op::Conv(_)
        | Op::DeformConv(_)
        | Op::Dense
        | Op::BatchNorm { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::PRelu
        | Op::Site(_)
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::ReduceMean { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Select { .. }
        | Op::Pad { .. }
        | Op::Resize { .. }
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Softmax { .. }
        | Op::ArgMax { .. }
        | Op::Quantize { .. }
        | Op::Dequantize
        | Op::DequantizeWeights(_)
        | Op::Table(_)
        | Op::TopPeaks(_) => value_range(graph, id).unwrap_or((0, 0)),
    }
}

fn union((lo, hi): (i64, i64), value: i64) -> (i64, i64) {
    (lo.min(value), hi.max(value))
}

fn product(x: (i64, i64), y: (i64, i64)) -> (i64, i64) {
    let corners = [x.0 * y.0, x.0 * y.1, x.1 * y.0, x.1 * y.1];
    (corners.into_iter().min().unwrap_or(0), corners.into_iter().max().unwrap_or(0))
}

/// Bounds of all sums of some of a set of terms.
#[derive(Default)]
struct Sums {
    lo: i128,
    hi: i128,
}

impl Sums {
    fn add(&mut self, term: (i64, i64)) {
        self.add_times(term, 1);
    }

    fn add_times(&mut self, (lo, hi): (i64, i64), times: usize) {
        self.lo += i128::from(lo.min(0)) * times as i128;
        self.hi += i128::from(hi.max(0)) * times as i128;
    }

    fn range(&self) -> (i64, i64) {
        (self.lo.max(i64::MIN.into()) as i64, self.hi.min(i64::MAX.into()) as i64)
    }
}

fn convolution_range(weights: &Tensor, bias: &Tensor, x: (i64, i64)) -> (i64, i64) {
    let taps = weights.count() / weights.shape[0];
    let channels = weights.ints().chunks_exact(taps).zip(bias.ints());
    channels.fold((0, 0), |(lo, hi), (weights, &bias)| {
        // The sums of the positive and of the negative weights say all, the range of `x` being
        // the same for every tap.
        let (mut positive, mut negative) = (0i64, 0i64);
        for &w in weights {
            if w > 0 { positive += i64::from(w) } else { negative += i64::from(w) }
        }
        let times = |weight: i64, x: i64| i128::from(weight) * i128::from(x);
        let (least, most) = (x.0.min(0), x.1.max(0));
        let mut sums = Sums {
            lo: times(positive, least) + times(negative, most),
            hi: times(positive, most) + times(negative, least),
        };
        sums.add((bias.into(), bias.into()));
        let (least, most) = sums.range();
        (lo.min(least), hi.max(most))
    })
}

fn pool_range(pool: &QAveragePool, x: (i64, i64)) -> (i64, i64) {
    let mut sums = Sums::default();
    sums.add_times(union(x, pool.pad_value.into()), pool.window.kernel[0] * pool.window.kernel[1]);
    sums.add((pool.bias.into(), pool.bias.into()));
    sums.range()
}

fn add_range(add: &QAdd, x0: (i64, i64), x1: (i64, i64)) -> (i64, i64) {
    let [m0, m1] = add.multipliers.map(i64::from);
    let rounding = if add.shift == 0 { 0 } else { 1i64 << (add.shift - 1) };
    let mut sums = Sums::default();
    sums.add(product(x0, (m0, m0)));
    sums.add(product(x1, (m1, m1)));
    sums.add((add.offset.into(), add.offset.into()));
    sums.add((rounding, rounding));
    sums.range()
}

fn mul_range(mul: &QMul, x0: (i64, i64), x1: (i64, i64)) -> (i64, i64) {
    let [z0, z1] = mul.zero_points.map(i64::from);
    product((x0.0 - z0, x0.1 - z0), (x1.0 - z1, x1.1 - z1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Geometry;
    use crate::{Element, Requantize, TensorType};

    fn requantize() -> Requantize {
        Requantize { multipliers: vec![1], shifts: vec![0], zero_point: 0, lo: 0, hi: 100 }
    }

    #[test]
    fn convolution_covers_partial_sums_of_the_worst_channel() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::int([1, 2, 2, 2], Element::U8));
        let w = Tensor::int([2, 1, 1, 2], vec![3, -4, 1, 1]);
        let w = graph.constant("w", w, TensorType::int([2, 1, 1, 2], Element::I8));
        let b = graph.constant("b", Tensor::int([2], vec![-7, 5]), TensorType::int([2], Element::I32));
        let conv =
            |requantize| Op::QConv(QConv { geometry: Geometry::PLAIN, pad_value: 0, requantize, element: Element::U8 });
        let y = graph.add("y", conv(requantize()), &[x, w, b]).unwrap();
        assert_eq!(accumulator_range(&graph, y), (-4 * 255 - 7, 3 * 255));
        // The clamp to 100 bounds what the next one reads.
        let z = graph.add("z", conv(requantize()), &[y, w, b]).unwrap();
        assert_eq!(accumulator_range(&graph, z), (-407, 300));
        let r = graph.add("r", Op::Reshape { shape: vec![8] }, &[z]).unwrap();
        assert_eq!(value_range(&graph, r), Some((0, 100)));
    }

    #[test]
    fn add_counts_the_rounding_term() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::int([4], Element::I8));
        let add =
            QAdd { multipliers: [2, -3], offset: 10, shift: 4, zero_point: 0, lo: -128, hi: 127, element: Element::I8 };
        let y = graph.add("y", Op::QAdd(add), &[x, x]).unwrap();
        assert_eq!(accumulator_range(&graph, y), (-256 - 381, 254 + 384 + 10 + 8));
    }
}
