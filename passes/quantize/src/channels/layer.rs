//! Convolutions and matrix products with constant weights.

use super::lanes::Lanes;
use lutweave_ir::{Graph, NodeId, Op, Tensor};
use std::collections::BTreeMap;

/// A layer that reads channels by constant weights.
#[derive(Clone, Debug)]
pub(super) struct MixingLayer {
    /// What the layer reads.
    pub operand: NodeId,
    /// Channel groups.
    pub groups: usize,
    /// The window leaves the image, where it sees zeros.
    pub padded: bool,
    /// Number of outputs.
    pub outputs: usize,
    /// Inputs that an output reads.
    pub inputs: usize,
    /// Taps of the window.
    pub taps: usize,
    /// Weights, `[outputs][taps][inputs]`.
    pub weights: Vec<f32>,
    /// Weights that were set to zero.
    pub zeroed: usize,
    /// The weights or the bias are not those of the graph.
    pub changed: bool,
    /// The weights are a constant of the graph, not an expression over integers with scales.
    pub plain: bool,
    /// Bias, one value per output.
    pub bias: Vec<f32>,
    /// The bias may become any value: there is none, or it is a constant of the graph.
    pub free_bias: bool,
}

impl MixingLayer {
    /// Position of a weight. `input` counts within the group.
    pub fn weight(&self, output: usize, tap: usize, input: usize) -> usize {
        (output * self.taps + tap) * self.inputs + input
    }

    /// The channel of the operand that an output reads as its `input`.
    pub fn channel(&self, output: usize, input: usize) -> usize {
        output / (self.outputs / self.groups) * self.inputs + input
    }

    /// The output reads the input with a weight that is not zero.
    pub fn reads(&self, output: usize, input: usize) -> bool {
        (0..self.taps).any(|tap| self.weights[self.weight(output, tap, input)] != 0.0)
    }

    /// Sum of an output's weights over the window for one input.
    pub fn sum(&self, output: usize, input: usize) -> f64 {
        (0..self.taps).map(|tap| f64::from(self.weights[self.weight(output, tap, input)])).sum()
    }

    /// A constant input can move into the bias.
    pub fn absorbs(&self, constant: f32) -> bool {
        constant == 0.0 || constant.is_finite() && !self.padded && self.free_bias
    }
}

/// All layers whose channels can be told apart.
pub(super) fn layers(graph: &Graph, lanes: &Lanes) -> BTreeMap<NodeId, MixingLayer> {
    let mut layers = BTreeMap::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let (groups, padded) = match &node.op {
            Op::Conv(conv) => (conv.geometry.groups, conv.geometry.pads != [0; 4]),
            Op::Dense(_) => (1, false),
            _ => continue,
        };
        let axis = node.ty.shape.len() - 1;
        let reads_channels = lanes.of(node.operands[0]).is_some_and(|channels| channels.axis == axis);
        let constant = node.operands[1..].iter().all(|operand| lanes.frozen[operand.index()]);
        if lanes.frozen[id.index()] || !reads_channels || !constant {
            continue;
        }
        let weights = frozen_value(graph, node.operands[1]);
        let outputs = weights.shape[0];
        let inputs = weights.shape[weights.shape.len() - 1];
        let bias = node.operands.get(2);
        layers.insert(
            id,
            MixingLayer {
                operand: node.operands[0],
                groups,
                padded,
                outputs,
                inputs,
                taps: weights.count() / (outputs * inputs),
                weights: weights.f32s().to_vec(),
                zeroed: 0,
                changed: false,
                plain: graph.constant_of(node.operands[1]).is_some(),
                bias: bias.map_or_else(|| vec![0.0; outputs], |&bias| frozen_value(graph, bias).f32s().to_vec()),
                free_bias: bias.is_none_or(|&bias| graph.constant_of(bias).is_some()),
            },
        );
    }
    layers
}

/// The value of a node that depends on no input.
pub(super) fn frozen_value(graph: &Graph, id: NodeId) -> Tensor {
    let node = graph.node(id);
    if let Op::Constant(value) = &node.op {
        return value.clone();
    }
    let operands: Vec<Tensor> = node.operands.iter().map(|&operand| frozen_value(graph, operand)).collect();
    node.op.eval(&node.ty, &graph.types(&node.operands), &operands.iter().collect::<Vec<_>>())
}
