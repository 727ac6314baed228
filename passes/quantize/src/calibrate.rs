//! Runs the float graph on the calibration samples and keeps what quantization needs.

use super::normalise::Model;
use super::range::Observed;
use crate::compress::Windows;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, NodeId, OnStep, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Samples of which whole values are kept, to measure the error of the integer graph.
pub(super) const KEPT_SAMPLES: usize = 8;
/// Most elements kept for that.
const KEPT_ELEMENTS: usize = 1 << 25;

/// What the calibration samples showed.
#[derive(Debug, Default)]
pub(super) struct Observations {
    /// Of the values whose range was asked for.
    pub values: BTreeMap<NodeId, Observed>,
    /// The mean input of each tap of the layers.
    pub patches: BTreeMap<NodeId, Vec<f64>>,
    /// Values of the first samples, by node.
    pub kept: BTreeMap<NodeId, Vec<Tensor>>,
}

struct Sample {
    values: Vec<(NodeId, Observed)>,
    patches: Vec<(NodeId, Vec<f64>)>,
    kept: Vec<(NodeId, Tensor)>,
}

/// Observes values, the inputs of layers, and keeps the values of `measured` nodes for a few
/// samples. `done` is called with the number of samples observed so far.
///
/// # Errors
/// Samples that do not fit the graph's inputs; values that are never finite.
pub(super) fn observe(
    model: &Model,
    samples: &[Vec<Tensor>],
    ranges: &BTreeSet<NodeId>,
    layers: &BTreeSet<NodeId>,
    measured: &BTreeSet<NodeId>,
    done: OnStep,
) -> Result<Observations, Diagnostic> {
    let interpreter = Interpreter::new(&model.graph);
    let elements: usize = measured.iter().map(|id| model.graph.node(*id).ty.count()).sum();
    let kept_samples = KEPT_SAMPLES.min(KEPT_ELEMENTS / elements.max(1));
    let mut observations = Observations::default();
    // Blocks bound the memory, and merging in order makes the result independent of threads.
    const BLOCK: usize = 16;
    for (block, inputs) in samples.chunks(BLOCK).enumerate() {
        let observed: Vec<Sample> = inputs
            .par_iter()
            .enumerate()
            .map(|(index, inputs)| {
                let values = interpreter.run_all(inputs)?;
                let keep = block * BLOCK + index < kept_samples;
                Ok(observe_sample(model, &values, ranges, layers, measured, keep))
            })
            .collect::<Result<_, Diagnostic>>()?;
        for sample in observed {
            observations.merge(sample);
        }
        done((block * BLOCK + inputs.len()).min(samples.len()))?;
    }
    for patch in observations.patches.values_mut() {
        patch.iter_mut().for_each(|sum| *sum /= samples.len() as f64);
    }
    for (id, observed) in &observations.values {
        if observed.min > observed.max {
            let message = "no calibration sample gives a finite value here";
            let help = "check the model and the calibration data's scaling";
            return Err(Diagnostic::error("non-finite-value", message).at(&model.graph.node(*id).name).help(help));
        }
    }
    Ok(observations)
}

fn observe_sample(
    model: &Model,
    values: &[Tensor],
    ranges: &BTreeSet<NodeId>,
    layers: &BTreeSet<NodeId>,
    measured: &BTreeSet<NodeId>,
    keep: bool,
) -> Sample {
    let ranges = ranges.iter().map(|&id| (id, Observed::of(values[id.index()].f32s()))).collect();
    let patches = layers
        .iter()
        .map(|&id| {
            let operands = &model.graph.node(id).operands;
            let value = |position: usize| operands.get(position).map(|operand| values[operand.index()].f32s());
            let windows = Windows::of(&model.graph, id);
            let image = windows.image(Cow::Borrowed(value(0).unwrap_or_default()), value(3));
            (id, windows.patch().mean(&image))
        })
        .collect();
    let kept = if keep { measured.iter().map(|&id| (id, values[id.index()].clone())).collect() } else { Vec::new() };
    Sample { values: ranges, patches, kept }
}

impl Observations {
    fn merge(&mut self, sample: Sample) {
        for (id, observed) in sample.values {
            match self.values.entry(id) {
                Entry::Vacant(entry) => {
                    entry.insert(observed);
                }
                Entry::Occupied(mut entry) => entry.get_mut().merge(observed),
            }
        }
        for (id, patch) in sample.patches {
            let sums = self.patches.entry(id).or_insert_with(|| vec![0.0; patch.len()]);
            sums.iter_mut().zip(patch).for_each(|(sum, value)| *sum += value);
        }
        for (id, tensor) in sample.kept {
            self.kept.entry(id).or_default().push(tensor);
        }
    }
}
