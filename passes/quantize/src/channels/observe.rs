//! What channels do on the calibration samples.

use super::lanes::Lanes;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::op::Unary;
use lutweave_ir::{Data, Diagnostics, Graph, NodeId, Tensor};
use rayon::prelude::*;

/// The values of one channel over all samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extremes {
    /// Smallest value.
    pub lowest: f32,
    /// Largest value.
    pub highest: f32,
    /// Standard deviation, over the samples, of a sample's smallest value; infinite if there are
    /// fewer than two samples.
    pub lowest_deviation: f64,
    /// Standard deviation, over the samples, of a sample's largest value.
    pub highest_deviation: f64,
}

impl Extremes {
    /// Largest magnitude.
    pub fn magnitude(&self) -> f32 {
        self.lowest.abs().max(self.highest.abs())
    }

    /// What was seen, and as far beyond it as `margin` standard deviations.
    pub fn widened(&self, margin: f64) -> [f64; 2] {
        let beyond = |deviation: f64| if deviation.is_finite() { margin * deviation } else { f64::INFINITY };
        [
            f64::from(self.lowest) - beyond(self.lowest_deviation),
            f64::from(self.highest) + beyond(self.highest_deviation),
        ]
    }

    /// The value that a function has on all that was seen, and as far beyond it as `margin`
    /// standard deviations, if it is one value there.
    pub fn saturates(&self, function: Unary, margin: f64) -> Option<f32> {
        let [lowest, highest] = self.widened(margin);
        let below = |bound: f64, value: f32| (highest <= bound).then_some(value);
        let above = |bound: f64, value: f32| (lowest >= bound).then_some(value);
        match function {
            Unary::Relu => below(0.0, 0.0),
            Unary::Clip { lo, hi } => below(lo.into(), lo).or(above(hi.into(), hi)).filter(|bound| bound.is_finite()),
            Unary::HardSigmoid { alpha, beta } if alpha > 0.0 => {
                let [zero, one] = [0.0, 1.0].map(|y| (y - f64::from(beta)) / f64::from(alpha));
                below(zero, 0.0).or(above(one, 1.0))
            }
            Unary::HardSwish => below(-3.0, 0.0),
            Unary::HardSigmoid { .. }
            | Unary::LeakyRelu { .. }
            | Unary::Elu { .. }
            | Unary::Sigmoid
            | Unary::Silu
            | Unary::Tanh
            | Unary::Mish
            | Unary::Softplus
            | Unary::Gelu
            | Unary::Erf
            | Unary::Exp
            | Unary::Log
            | Unary::Sqrt
            | Unary::Reciprocal
            | Unary::Abs
            | Unary::Neg
            | Unary::Round
            | Unary::Floor
            | Unary::Ceil => None,
        }
    }
}

/// Extremes of every channel of every float value; empty for others.
pub(super) struct Observed {
    values: Vec<Vec<Extremes>>,
}

impl Observed {
    /// Runs a graph on samples.
    ///
    /// # Errors
    /// If a sample does not fit the graph's inputs.
    pub fn new(graph: &Graph, lanes: &Lanes, samples: &[Vec<Tensor>]) -> Result<Self, Diagnostics> {
        let interpreter = Interpreter::new(graph);
        let ranges: Result<Vec<Vec<Vec<[f32; 2]>>>, _> = samples
            .par_iter()
            .map(|sample| {
                let values = interpreter.run_all(sample)?;
                Ok(values.iter().enumerate().map(|(index, value)| ranges(lanes, index, value)).collect())
            })
            .collect();
        let ranges = ranges.map_err(|fault: lutweave_ir::Diagnostic| Diagnostics::from(fault))?;
        let values = (0..graph.nodes().len()).map(|index| {
            let channels = ranges.first().map_or(0, |sample| sample[index].len());
            (0..channels).map(|channel| merge(ranges.iter().map(|sample| sample[index][channel]))).collect()
        });
        Ok(Self { values: values.collect() })
    }

    /// A channel of a value; `None` if there was no sample, or the value is not float.
    pub fn channel(&self, id: NodeId, channel: usize) -> Option<&Extremes> {
        self.values[id.index()].get(channel)
    }
}

/// Smallest and largest value of each channel. Anything but a number is unbounded.
fn ranges(lanes: &Lanes, index: usize, value: &Tensor) -> Vec<[f32; 2]> {
    let (Some(channels), Data::F32(elements)) = (&lanes.values[index], &value.data) else { return Vec::new() };
    let extent = channels.classes.len();
    let inner: usize = value.shape[channels.axis + 1..].iter().product();
    let mut ranges = vec![[f32::INFINITY, f32::NEG_INFINITY]; extent];
    for (run, elements) in elements.chunks_exact(inner).enumerate() {
        let [lowest, highest] = &mut ranges[run % extent];
        for &element in elements {
            *lowest = if element.is_nan() { f32::NEG_INFINITY } else { lowest.min(element) };
            *highest = if element.is_nan() { f32::INFINITY } else { highest.max(element) };
        }
    }
    ranges
}

fn merge(samples: impl Iterator<Item = [f32; 2]> + Clone) -> Extremes {
    let deviation = |side: usize| {
        let count = samples.clone().count() as f64;
        let mean = samples.clone().map(|range| f64::from(range[side])).sum::<f64>() / count;
        let squares: f64 = samples.clone().map(|range| (f64::from(range[side]) - mean).powi(2)).sum();
        if count < 2.0 || !squares.is_finite() { f64::INFINITY } else { (squares / (count - 1.0)).sqrt() }
    };
    Extremes {
        lowest: samples.clone().map(|range| range[0]).fold(f32::INFINITY, f32::min),
        highest: samples.clone().map(|range| range[1]).fold(f32::NEG_INFINITY, f32::max),
        lowest_deviation: deviation(0),
        highest_deviation: deviation(1),
    }
}
