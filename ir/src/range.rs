//! Range analysis: the values that integer nodes and their accumulators can take.

use crate::graph::{Graph, Node, NodeId};
use crate::op::operator::Values;
use crate::tensor::{Tensor, TensorType};

/// Smallest and largest value that a node can take, over all inputs; `None` for float nodes.
///
/// Bounds of requantization, entries of tables and values of constants are taken into account.
pub fn value_range(graph: &Graph, id: NodeId) -> Option<(i64, i64)> {
    graph.node(id).ty.element.range()?;
    let mut seen = vec![false; id.index() + 1];
    let mut pending = vec![id];
    let mut range: Option<(i64, i64)> = None;
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let node = graph.node(id);
        let own = match node.op.values(&Operands { graph, node }) {
            Values::OfType => Some(node.ty.element.range()?),
            Values::Between(lo, hi) => Some((lo, hi)),
            Values::OfOperands(more) => {
                pending.extend(&node.operands);
                more.map(|value| (value, value))
            }
        };
        range = match (range, own) {
            (Some(range), Some((lo, hi))) => Some(union(union(range, lo), hi)),
            (range, own) => range.or(own),
        };
    }
    range
}

/// Smallest and largest accumulator of an operator that sums or multiplies integers: the union,
/// over output channels and inputs, of every sum of some of the terms, so that it holds for
/// partial sums in any order, with and without the bias. For a [`QAdd`](crate::op::QAdd) the rounding
/// term counts as a term. It saturates at the range of `i64`.
///
/// For other integer nodes it is [`value_range`], for float nodes `(0, 0)`.
pub fn accumulator_range(graph: &Graph, id: NodeId) -> (i64, i64) {
    summed(graph, id).unwrap_or_else(|| value_range(graph, id).unwrap_or((0, 0)))
}

/// As [`accumulator_range`], for nodes that have an accumulator.
pub(crate) fn summed(graph: &Graph, id: NodeId) -> Option<(i64, i64)> {
    let node = graph.node(id);
    node.op.accumulator(&Operands { graph, node })
}

/// What a node reads.
pub(crate) struct Operands<'g> {
    graph: &'g Graph,
    node: &'g Node,
}

impl<'g> Operands<'g> {
    /// Type of an operand.
    pub fn ty(&self, index: usize) -> &'g TensorType {
        &self.graph.node(self.node.operands[index]).ty
    }

    /// Smallest and largest value of an operand; `(0, 0)` for reals.
    pub fn range(&self, index: usize) -> (i64, i64) {
        value_range(self.graph, self.node.operands[index]).unwrap_or((0, 0))
    }

    /// Value of an operand that is a constant.
    pub fn constant(&self, index: usize) -> Option<&'g Tensor> {
        self.graph.constant_of(self.node.operands[index])
    }
}

/// The range with one more value.
pub(crate) fn union((lo, hi): (i64, i64), value: i64) -> (i64, i64) {
    (lo.min(value), hi.max(value))
}

/// Smallest and largest product.
pub(crate) fn product(x: (i64, i64), y: (i64, i64)) -> (i64, i64) {
    let corners = [x.0 * y.0, x.0 * y.1, x.1 * y.0, x.1 * y.1];
    (corners.into_iter().min().unwrap_or(0), corners.into_iter().max().unwrap_or(0))
}

/// Bounds of all sums of some of a set of terms.
#[derive(Default)]
pub(crate) struct Sums {
    lo: i128,
    hi: i128,
}

impl Sums {
    /// With a term of this range.
    pub fn add(&mut self, term: (i64, i64)) {
        self.add_times(term, 1);
    }

    /// With so many terms of this range.
    pub fn add_times(&mut self, (lo, hi): (i64, i64), times: usize) {
        self.lo += i128::from(lo.min(0)) * times as i128;
        self.hi += i128::from(hi.max(0)) * times as i128;
    }

    /// Smallest and largest sum; it saturates at the range of `i64`.
    pub fn range(&self) -> (i64, i64) {
        (self.lo.max(i64::MIN.into()) as i64, self.hi.min(i64::MAX.into()) as i64)
    }
}

/// Accumulators of a convolution of operands `x`, `w` and `b`, where positions outside the image
/// read `pad_value`.
pub(crate) fn of_convolution(operands: &Operands, pad_value: i32) -> (i64, i64) {
    let x = union(operands.range(0), i64::from(pad_value));
    match (operands.constant(1), operands.constant(2)) {
        (Some(weights), Some(bias)) => convolution_range(weights, bias, x),
        (_, _) => {
            let weights = operands.ty(1);
            let mut sums = Sums::default();
            sums.add_times(product(x, operands.range(1)), weights.count() / weights.shape[0]);
            sums.add(operands.range(2));
            sums.range()
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Geometry, Op, QAdd, QConv, Reshape};
    use crate::{Element, Requantize};

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
        let r = graph.add("r", Op::Reshape(Reshape { shape: vec![8] }), &[z]).unwrap();
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
