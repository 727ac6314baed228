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

/// How far outputs are from those of the network as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Mean squared error as a share of the outputs' variance over the samples.
    SquaredError,
    /// The outputs are logits of classes: Kullback-Leibler divergence of the class probabilities
    /// (their softmax) in nats. Unlike the squared error it does not count what moves no verdict.
    Divergence,
}

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
    loss: Loss,
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
    pub fn new(graph: &Graph, samples: &[Vec<Tensor>], loss: Loss) -> Result<Self, Diagnostic> {
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
        Ok(Self { graph: graph.clone(), values, judging, reference, loss, signal })
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

    /// The values of a node for all samples.
    pub fn all_values(&self, id: NodeId) -> impl Iterator<Item = &Tensor> {
        self.values.iter().map(move |values| &values[id.index()])
    }

    /// Mean loss of the outputs against those of the network as it came, if some constants were
    /// changed.
    ///
    /// # Errors
    /// If a change does not fit the graph.
    pub fn distortion(&self, change: &Change) -> Result<f64, Diagnostic> {
        let interpreter = Interpreter::new(&self.graph);
        let variant = interpreter.variant(change.clone())?;
        let pairs: Vec<_> = judging(&self.values).zip(&self.reference).collect();
        let errors: Vec<f64> = pairs
            .into_par_iter()
            .map(|(values, reference)| self.error(&joined(variant.run(values).iter()), reference))
            .collect();
        Ok(errors.iter().sum::<f64>() / errors.len() as f64)
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

    /// Mean loss of given outputs, one list a judging sample, as [`Study::distortion`] counts it.
    pub fn distortion_of(&self, outputs: &[Vec<f32>]) -> f64 {
        let errors = outputs.iter().zip(&self.reference).map(|(outputs, reference)| self.error(outputs, reference));
        errors.sum::<f64>() / outputs.len().max(1) as f64
    }

    fn error(&self, outputs: &[f32], reference: &[f32]) -> f64 {
        match self.loss {
            Loss::SquaredError => squared_error(outputs, reference) / self.signal,
            Loss::Divergence => divergence(outputs, reference),
        }
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
    tensors.flat_map(|tensor| tensor.reals().into_iter().map(|value| value as f32)).collect()
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    sum / a.len().max(1) as f64
}

/// `sum p ln (p / q)` of the probabilities `q` of some logits and `p` of their reference.
fn divergence(logits: &[f32], reference: &[f32]) -> f64 {
    let (q, p) = (log_probabilities(logits), log_probabilities(reference));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>().max(0.0)
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &logit| largest.max(f64::from(logit)));
    let total: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - largest - total.ln()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::TensorType;
    use lutweave_ir::op::{Conv, Geometry, Op};

    /// One pointwise layer of two inputs and two outputs.
    fn layer(weights: [f32; 4]) -> (Graph, NodeId) {
        let mut graph = Graph::new("study");
        let x = graph.input("x", TensorType::f32([1, 1, 1, 2]));
        let w = graph.constant("w", Tensor::f32([2, 1, 1, 2], weights.to_vec()), TensorType::f32([2, 1, 1, 2]));
        let y = graph.add("y", Op::Conv(Conv { geometry: Geometry::PLAIN }), &[x, w]).unwrap();
        graph.set_outputs(vec![y]);
        (graph, w)
    }

    fn samples(count: usize) -> Vec<Vec<Tensor>> {
        let value = |i: usize| ((i * 37) % 11) as f32 * 0.3 - 1.5;
        (0..count).map(|i| vec![Tensor::f32([1, 1, 1, 2], vec![value(i), value(i + 5)])]).collect()
    }

    #[test]
    fn every_second_sample_judges_and_the_others_shape() {
        let (graph, _) = layer([1.0, 0.0, 0.0, 1.0]);
        let study = Study::new(&graph, &samples(6), Loss::SquaredError).unwrap();
        assert_eq!(study.judging(), [1, 3, 5]);
        assert_eq!(study.values(graph.outputs()[0]).count(), 3);
        assert_eq!(Study::new(&graph, &samples(1), Loss::SquaredError).unwrap().judging(), [0]);
        assert!(Study::new(&graph, &[], Loss::SquaredError).is_err());
    }

    #[test]
    fn a_change_costs_its_error_and_stays_once_applied() {
        let (graph, w) = layer([1.0, 0.0, 0.0, 1.0]);
        let change: Change = [(w, Tensor::f32([2, 1, 1, 2], vec![1.0, 0.0, 0.0, 0.0]))].into();
        for loss in [Loss::SquaredError, Loss::Divergence] {
            let mut study = Study::new(&graph, &samples(8), loss).unwrap();
            assert_eq!(study.distortion(&Change::new()).unwrap(), 0.0);
            let cost = study.distortion(&change).unwrap();
            assert!(cost > 0.01, "{loss:?} {cost}");
            study.apply(&change).unwrap();
            assert_eq!(study.distortion(&Change::new()).unwrap(), cost);
        }
    }

    #[test]
    fn a_common_shift_of_logits_moves_no_probability() {
        assert!(divergence(&[1.0, 2.0, 4.0], &[0.0, 1.0, 3.0]) < 1e-9);
        let expected = 0.5 * (0.5f64 / 0.25).ln() + 0.5 * (0.5f64 / 0.75).ln();
        assert!((divergence(&[0.0, 3f32.ln()], &[0.0, 0.0]) - expected).abs() < 1e-6);
        assert!(divergence(&[1e30, 0.0], &[0.0, 1e30]).is_finite());
    }
}
