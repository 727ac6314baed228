//! Which channels have one value for every input, and which value.

use super::lanes::{Lanes, ties};
use super::layer::{MixingLayer, frozen_value};
use super::observe::Observed;
use lutweave_ir::op::{AveragePool, BatchNorm, Binary, Concat, Pad, Reshape, Select, Slice};
use lutweave_ir::{Element, Graph, NodeId, Op, Tensor};
use std::collections::BTreeMap;

/// The value of every channel of every node that is constant; integers as floats.
pub(super) struct Constancy {
    values: Vec<Vec<Option<f32>>>,
    /// Channels that are taken as constant since no sample says otherwise.
    pub observed: usize,
}

impl Constancy {
    /// Propagates constants from the weights on. With `observed`, a function that is saturated
    /// on all samples and the margin (in standard deviations) beyond them counts as constant.
    pub fn new(
        graph: &Graph,
        lanes: &Lanes,
        layers: &BTreeMap<NodeId, MixingLayer>,
        observed: Option<(&Observed, f64)>,
    ) -> Self {
        let mut found = Self { values: Vec::with_capacity(graph.nodes().len()), observed: 0 };
        for id in graph.ids() {
            let count = lanes.of(id).map_or(0, |channels| channels.classes.len());
            let mut own = found.node(graph, lanes, layers, id).unwrap_or_default();
            own.resize(count, None);
            if let Some((observed, margin)) = observed {
                found.saturate(graph, id, &mut own, observed, margin);
            }
            found.values.push(own);
        }
        found
    }

    /// Adds channels that have one value on all samples and the margin beyond them.
    fn saturate(&mut self, graph: &Graph, id: NodeId, own: &mut [Option<f32>], observed: &Observed, margin: f64) {
        let Some(&operand) = graph.node(id).operands.first() else { return };
        for (channel, value) in own.iter_mut().enumerate().filter(|(_, value)| value.is_none()) {
            let Some(seen) = observed.channel(operand, channel) else { return };
            *value = match &graph.node(id).op {
                Op::Unary(function) => seen.saturates(*function, margin),
                Op::Quantize(_) => {
                    let [lowest, highest] = seen.widened(margin).map(|bound| rescaled(graph, id, bound as f32));
                    (lowest == highest).then_some(lowest)
                }
                _ => return,
            };
            self.observed += usize::from(value.is_some());
        }
    }

    /// The constant that a channel of a value is.
    pub fn channel(&self, id: NodeId, channel: usize) -> Option<f32> {
        self.values[id.index()].get(channel).copied().flatten()
    }

    /// Constants of a node's channels, or nothing where none is known.
    fn node(
        &self,
        graph: &Graph,
        lanes: &Lanes,
        layers: &BTreeMap<NodeId, MixingLayer>,
        id: NodeId,
    ) -> Option<Vec<Option<f32>>> {
        let node = graph.node(id);
        let own = lanes.of(id)?;
        if let Some(layer) = layers.get(&id) {
            return Some((0..layer.outputs).map(|output| self.output(layer, output)).collect());
        }
        let first = *node.operands.first()?;
        let operand = &self.values[first.index()];
        // Channels are handed on one to one.
        let same = lanes.of(first).is_some_and(|channels| channels.classes == own.classes);
        let map = |f: &dyn Fn(usize, f32) -> f32| -> Option<Vec<Option<f32>>> {
            let mapped = operand.iter().enumerate().map(|(channel, value)| value.map(|value| f(channel, value)));
            same.then(|| mapped.collect())
        };
        match &node.op {
            Op::Unary(function) => map(&|_, value| function.apply(value)),
            Op::BatchNorm(BatchNorm { epsilon }) => {
                let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|index| frozen_value(graph, node.operands[index]));
                map(&|c, value| {
                    let factor = scale.f32s()[c] / (variance.f32s()[c] + epsilon).sqrt();
                    (value - mean.f32s()[c]) * factor + bias.f32s()[c]
                })
            }
            Op::PRelu(_) => {
                let slopes = self.aligned(graph, lanes, id, 1)?;
                let slope = |(value, slope): (&Option<f32>, &Option<f32>)| match (value, slope) {
                    (Some(value), _) if *value >= 0.0 => Some(*value),
                    (Some(value), Some(slope)) => Some(value * slope),
                    (_, _) => None,
                };
                same.then(|| operand.iter().zip(&slopes).map(slope).collect())
            }
            Op::Binary(function) => {
                let [x, y] = [self.aligned(graph, lanes, id, 0)?, self.aligned(graph, lanes, id, 1)?];
                Some(x.iter().zip(&y).map(|(&x, &y)| binary(*function, x, y)).collect())
            }
            Op::MaxPool(_) | Op::Resize(_) | Op::Transpose(_) | Op::ReduceMean(_) => map(&|_, value| value),
            Op::AveragePool(AveragePool { counted_pads, .. }) => {
                let counts = counted_pads.is_some_and(|pads| pads != [0; 4]);
                let kept = operand.iter().map(|value| value.filter(|&value| value == 0.0 || !counts));
                same.then(|| kept.collect())
            }
            Op::Quantize(_) | Op::Dequantize(_) => {
                let mapped = operand.iter().map(|value| value.map(|value| rescaled(graph, id, value)));
                same.then(|| mapped.collect())
            }
            Op::Slice(Slice { starts, steps, .. }) => {
                let axis = own.axis;
                let chosen = operand.iter().copied().skip(starts[axis]).step_by(steps[axis]);
                Some(chosen.take(own.classes.len()).collect())
            }
            Op::Select(Select { channels }) if own.axis + 1 == node.ty.shape.len() => {
                Some(channels.iter().map(|&channel| operand.get(channel).copied().flatten()).collect())
            }
            Op::Select(_) => map(&|_, value| value),
            Op::Pad(Pad { before, after, value }) => {
                let axis = own.axis;
                let elsewhere = (0..before.len()).any(|other| other != axis && before[other] + after[other] > 0);
                let kept = operand.iter().map(|known| known.filter(|known| known == value || !elsewhere));
                let border = |count| std::iter::repeat_n(Some(*value), count);
                Some(border(before[axis]).chain(kept).chain(border(after[axis])).collect())
            }
            Op::Concat(Concat { axis }) => {
                let mut joined: Vec<Option<f32>> = Vec::new();
                for (position, &operand) in node.operands.iter().enumerate() {
                    let part = match lanes.constants.get(&(id, position)) {
                        Some(channels) => {
                            uniform(&frozen_value(graph, operand), Some(channels.axis), own.classes.len())
                        }
                        None => self.values[operand.index()].clone(),
                    };
                    if *axis == own.axis || position == 0 {
                        joined.extend(part);
                    } else {
                        joined.iter_mut().zip(part).for_each(|(a, b)| *a = a.filter(|a| b == Some(*a)));
                    }
                }
                (joined.len() == own.classes.len()).then_some(joined)
            }
            Op::Reshape(Reshape { shape }) => {
                let source = lanes.of(first)?;
                let old = &graph.node(first).ty.shape;
                let inner = |shape: &[usize], axis: usize| (shape[axis], shape[axis + 1..].iter().product());
                let ties = ties(old.iter().product(), inner(old, source.axis), inner(shape, own.axis));
                let tied = ties.iter().map(|tied| {
                    let value = operand[tied[0]]?;
                    tied.iter().all(|&index| operand[index] == Some(value)).then_some(value)
                });
                Some(tied.collect())
            }
            _ => None,
        }
    }

    /// An output is constant if all that it reads is; at a padded border, 0 only.
    fn output(&self, layer: &MixingLayer, output: usize) -> Option<f32> {
        let mut sum = f64::from(layer.bias[output]);
        for input in (0..layer.inputs).filter(|&input| layer.reads(output, input)) {
            let value = self.channel(layer.operand, layer.channel(output, input))?;
            if !value.is_finite() || layer.padded && value != 0.0 {
                return None;
            }
            sum += f64::from(value) * layer.sum(output, input);
        }
        Some(sum as f32)
    }

    /// Constants of an operand by the channels of the result it is broadcast to.
    fn aligned(&self, graph: &Graph, lanes: &Lanes, id: NodeId, position: usize) -> Option<Vec<Option<f32>>> {
        let node = graph.node(id);
        let own = lanes.of(id)?;
        let (operand, count) = (node.operands[position], own.classes.len());
        let shape = &graph.node(operand).ty.shape;
        let axis = (own.axis + shape.len()).checked_sub(node.ty.shape.len());
        if lanes.frozen[operand.index()] {
            return Some(uniform(&frozen_value(graph, operand), axis, count));
        }
        let channels = lanes.of(operand)?;
        let values = &self.values[operand.index()];
        if axis == Some(channels.axis) {
            return Some((0..count).map(|channel| values[if values.len() == 1 { 0 } else { channel }]).collect());
        }
        let first = values.first().copied().flatten().filter(|&first| values.iter().all(|value| *value == Some(first)));
        Some(vec![first; count])
    }
}

fn binary(function: Binary, x: Option<f32>, y: Option<f32>) -> Option<f32> {
    match (function, x, y) {
        (_, Some(x), Some(y)) => Some(function.apply(x, y)),
        (Binary::Mul, Some(0.0), None) | (Binary::Mul, None, Some(0.0)) => Some(0.0),
        (_, _, _) => None,
    }
}

/// Per index of an axis, the value that all its elements share; the same for all of `count`
/// indices where the tensor is broadcast along the axis.
fn uniform(tensor: &Tensor, axis: Option<usize>, count: usize) -> Vec<Option<f32>> {
    let elements: Vec<f32> = match &tensor.data {
        lutweave_ir::Data::F32(elements) => elements.to_vec(),
        lutweave_ir::Data::Int(elements) => elements.iter().map(|&element| element as f32).collect(),
    };
    let (extent, inner) =
        axis.map_or((1, elements.len()), |axis| (tensor.shape[axis], tensor.shape[axis + 1..].iter().product()));
    let mut found: Vec<Option<Option<f32>>> = vec![None; extent];
    for (position, &element) in elements.iter().enumerate() {
        let own = &mut found[position / inner % extent];
        *own = match *own {
            None => Some(Some(element)),
            Some(value) => Some(value.filter(|value| *value == element)),
        };
    }
    let found: Vec<Option<f32>> = found.into_iter().map(Option::flatten).collect();
    if extent == 1 { vec![found[0]; count] } else { found }
}

/// The value of a `Quantize` or `Dequantize` node for one element.
fn rescaled(graph: &Graph, id: NodeId, value: f32) -> f32 {
    let node = graph.node(id);
    let mut from = graph.node(node.operands[0]).ty.clone();
    let mut to = node.ty.clone();
    (from.shape, to.shape) = (vec![1], vec![1]);
    let operand = match from.element {
        Element::F32 => Tensor::f32([1], vec![value]),
        Element::Int { .. } => Tensor::int([1], vec![value as i32]),
    };
    match node.op.eval(&to, &[&from], &[&operand]).data {
        lutweave_ir::Data::F32(elements) => elements[0],
        lutweave_ir::Data::Int(elements) => elements[0] as f32,
    }
}
