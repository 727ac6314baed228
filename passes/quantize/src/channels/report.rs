//! What a removal did.

use super::lanes::Lanes;
use super::layer::MixingLayer;
use super::rebuild::kept;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Data, Diagnostics, Graph, NodeId, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// A smaller graph and how it came about.
#[derive(Clone, Debug)]
pub struct Removed {
    /// The graph. Inputs, outputs and names are those of the graph before.
    pub graph: Graph,
    /// The convolutions and matrix products with constant weights, in order.
    pub layers: Vec<LayerChannels>,
    /// Channels that were taken as constant because no calibration sample says otherwise.
    pub never_firing: usize,
    /// Multiply-accumulates before and after.
    pub macs: [u64; 2],
    /// For each output, how far it moved on the calibration samples; empty without samples.
    pub change: Vec<OutputChange>,
}

/// The channels of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerChannels {
    /// Name of the node.
    pub name: String,
    /// Output channels.
    pub outputs: Kept,
    /// Channels of the operand; a grouped convolution reads those of its group only.
    pub inputs: Kept,
    /// Weights that were not zero and were set to zero, removed ones included.
    pub weights_zeroed: usize,
    /// Multiply-accumulates before and after.
    pub macs: [u64; 2],
}

/// What is left of a number of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Channels before.
    pub before: usize,
    /// Positions, before, of the channels that are left; ascending.
    pub indices: Vec<usize>,
}

/// How far an output moved.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputChange {
    /// Name of the output.
    pub name: String,
    /// Largest difference of an element.
    pub largest: f64,
    /// Largest magnitude of an element before.
    pub magnitude: f64,
}

impl Removed {
    /// This removal and one more, of its result.
    pub(super) fn then(self, next: Self) -> Self {
        let compose = |first: Kept, second: &Kept| Kept {
            before: first.before,
            indices: second.indices.iter().map(|&index| first.indices[index]).collect(),
        };
        let layers =
            self.layers.into_iter().map(|layer| match next.layers.iter().find(|next| next.name == layer.name) {
                None => layer,
                Some(next) => LayerChannels {
                    outputs: compose(layer.outputs, &next.outputs),
                    inputs: compose(layer.inputs, &next.inputs),
                    weights_zeroed: layer.weights_zeroed + next.weights_zeroed,
                    macs: [layer.macs[0], next.macs[1]],
                    name: layer.name,
                },
            });
        Self {
            layers: layers.collect(),
            never_firing: self.never_firing + next.never_firing,
            macs: [self.macs[0], next.macs[1]],
            change: next.change,
            graph: next.graph,
        }
    }
}

pub(super) fn report(
    before: &Graph,
    after: Graph,
    lanes: &Lanes,
    layers: &BTreeMap<NodeId, MixingLayer>,
    needed: &[bool],
) -> Removed {
    let macs_after: BTreeMap<&str, u64> = after.ids().map(|id| (&after.node(id).name[..], after.macs(id))).collect();
    let kept = |id: NodeId| {
        let channels = lanes.of(id).expect("invariant: a layer and its operand have channels");
        Kept { before: channels.classes.len(), indices: kept(channels, needed) }
    };
    let reports = layers.iter().map(|(&id, layer)| LayerChannels {
        name: before.node(id).name.clone(),
        outputs: kept(id),
        inputs: kept(layer.operand),
        weights_zeroed: layer.zeroed,
        macs: [before.macs(id), macs_after.get(&before.node(id).name[..]).copied().unwrap_or(0)],
    });
    let layers = reports.collect();
    let macs = [total(before), total(&after)];
    Removed { layers, never_firing: 0, macs, change: Vec::new(), graph: after }
}

/// Multiply-accumulates of a graph.
fn total(graph: &Graph) -> u64 {
    graph.ids().map(|id| graph.macs(id)).sum()
}

/// Runs both graphs on all samples.
pub(super) fn change(before: &Graph, after: &Graph, samples: &[Vec<Tensor>]) -> Result<Vec<OutputChange>, Diagnostics> {
    if samples.is_empty() {
        return Ok(Vec::new());
    }
    let (old, new) = (Interpreter::new(before), Interpreter::new(after));
    let pairs: Result<Vec<Vec<[f64; 2]>>, lutweave_ir::Diagnostic> = samples
        .par_iter()
        .map(|sample| Ok(old.run(sample)?.iter().zip(&new.run(sample)?).map(|(a, b)| difference(a, b)).collect()))
        .collect();
    let pairs = pairs?;
    let outputs = before.outputs().iter().enumerate();
    Ok(outputs
        .map(|(position, &output)| {
            let worst = |side: usize| pairs.iter().map(|sample| sample[position][side]).fold(0.0, f64::max);
            OutputChange { name: before.node(output).name.clone(), largest: worst(0), magnitude: worst(1) }
        })
        .collect())
}

/// Largest difference, and largest magnitude of the first.
fn difference(a: &Tensor, b: &Tensor) -> [f64; 2] {
    let elements = |tensor: &Tensor| -> Vec<f64> {
        match &tensor.data {
            Data::F32(elements) => elements.iter().map(|&element| element.into()).collect(),
            Data::Int(elements) => elements.iter().map(|&element| element.into()).collect(),
        }
    };
    let (a, b) = (elements(a), elements(b));
    let distance = |(a, b): (&f64, &f64)| if a == b || a.is_nan() && b.is_nan() { 0.0 } else { (a - b).abs() };
    [a.iter().zip(&b).map(distance).fold(0.0, larger), a.iter().map(|a| a.abs()).fold(0.0, f64::max)]
}

/// The larger; a difference that is no number is beyond all.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}
