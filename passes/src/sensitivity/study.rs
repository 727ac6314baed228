//! A float network under study: what a change of some layers' weights does to its outputs.
//!
//! Half of the samples shape the weights, the other half judges them: weights fit the samples that
//! they were compensated on better than any others, the more so the fewer of them are left.

use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Graph, NodeId, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Bytes that the values of all nodes for all samples may take.
const HELD_BYTES: usize = 1 << 30;

/// Fewest samples that are used, whatever the memory.
const FEWEST_SAMPLES: usize = 2;

/// A network with the values of all its nodes for some samples.
#[derive(Clone, Debug)]
pub struct Study {
    graph: Graph,
    /// For each sample the value of every node.
    values: Vec<Vec<Tensor>>,
    /// Where the judging samples come from.
    judging: Vec<usize>,
    /// For each judging sample the outputs of the network as it came, one after the other.
    reference: Vec<Vec<f32>>,
    /// Mean square of the reference outputs around their means over the samples.
    signal: f64,
}

/// Replaced constants of a network.
pub type Change = BTreeMap<NodeId, Tensor>;

impl Study {
    /// Runs a float graph on samples, evenly drawn if memory cannot hold all.
    ///
    /// # Errors
    /// If the samples do not fit the graph, or there are none.
    pub fn new(graph: &Graph, samples: &[Vec<Tensor>]) -> Result<Self, Diagnostic> {
        let elements: usize = graph.nodes().iter().map(|node| node.ty.count()).sum();
        let most = (HELD_BYTES / (4 * elements.max(1))).max(FEWEST_SAMPLES).min(samples.len());
        let interpreter = Interpreter::new(graph);
        let drawn: Vec<usize> = (0..most).map(|index| index * samples.len() / most).collect();
        let values = drawn
            .par_iter()
            .map(|&index| interpreter.run_all(&samples[index]))
            .collect::<Result<Vec<_>, Diagnostic>>()?;
        let reference: Vec<Vec<f32>> =
            judging(&values).map(|values| joined(graph.outputs().iter().map(|id| &values[id.index()]))).collect();
        let signal = signal(&reference);
        if reference.is_empty() || !signal.is_finite() {
            return Err(Diagnostic::error("no-calibration", "the outputs on the calibration samples tell nothing")
                .at(&graph.name)
                .help("give calibration samples on which the model's outputs are finite"));
        }
        let judging = judging(&drawn).copied().collect();
        Ok(Self { graph: graph.clone(), values, judging, reference, signal })
    }

    /// The network in its present state.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The value of a constant.
    ///
    /// # Errors
    /// An internal error if the node is none.
    pub fn constant(&self, id: NodeId) -> Result<&Tensor, Diagnostic> {
        let name = || self.graph.node(id).name.clone();
        let fault = || Diagnostic::error("internal-error", "a layer's weights are not constant").at(name());
        self.graph.constant_of(id).ok_or_else(fault)
    }

    /// The values of a node for the samples that shape weights.
    pub fn values(&self, id: NodeId) -> impl Iterator<Item = &Tensor> {
        self.values.iter().step_by(2).map(move |values| &values[id.index()])
    }

    /// Mean squared error of the outputs against those of the network as it came, as a share of
    /// their variance, if some constants were changed.
    ///
    /// # Errors
    /// If a change does not fit the graph.
    pub fn distortion(&self, change: &Change) -> Result<f64, Diagnostic> {
        let interpreter = Interpreter::new(&self.graph);
        let variant = interpreter.variant(change.clone())?;
        let pairs: Vec<_> = judging(&self.values).zip(&self.reference).collect();
        let errors: Vec<f64> = pairs
            .into_par_iter()
            .map(|(values, reference)| squared_error(&joined(variant.run(values).iter()), reference))
            .collect();
        Ok(errors.iter().sum::<f64>() / errors.len() as f64 / self.signal)
    }

    /// Changes constants for good.
    ///
    /// # Errors
    /// If a change does not fit the graph.
    pub fn apply(&mut self, change: &Change) -> Result<(), Diagnostic> {
        let interpreter = Interpreter::new(&self.graph);
        let variant = interpreter.variant(change.clone())?;
        self.values = self.values.par_iter().map(|values| variant.run_all(values)).collect();
        self.graph = self.graph.with_constants(change);
        Ok(())
    }

    /// Mean squared error of given outputs, one list a judging sample, as [`Study::distortion`]
    /// counts it.
    pub fn distortion_of(&self, outputs: &[Vec<f32>]) -> f64 {
        let errors = outputs.iter().zip(&self.reference).map(|(outputs, reference)| squared_error(outputs, reference));
        errors.sum::<f64>() / outputs.len().max(1) as f64 / self.signal
    }

    /// Positions, among the samples that the study was made from, of those that judge.
    pub fn judging(&self) -> &[usize] {
        &self.judging
    }
}

/// Every second one; a single one is used for both purposes.
fn judging<T>(samples: &[T]) -> impl Iterator<Item = &T> {
    samples.iter().skip(usize::from(samples.len() > 1)).step_by(2)
}

/// The elements of tensors, one tensor after the other.
fn joined<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Vec<f32> {
    tensors.flat_map(|tensor| tensor.f32s().iter().copied()).collect()
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    sum / a.len().max(1) as f64
}

/// Mean square of samples' elements around their means over the samples; of a single sample,
/// around 0.
fn signal(samples: &[Vec<f32>]) -> f64 {
    let Some(first) = samples.first() else { return f64::NAN };
    let count = samples.len() as f64;
    let mut total = 0.0;
    for element in 0..first.len() {
        let at = |sample: &Vec<f32>| f64::from(sample[element]);
        let mean = if samples.len() > 1 { samples.iter().map(at).sum::<f64>() / count } else { 0.0 };
        total += samples.iter().map(|sample| (at(sample) - mean).powi(2)).sum::<f64>() / count;
    }
    (total / first.len().max(1) as f64).max(f64::MIN_POSITIVE)
}
