//! Rounds trained weights to few bits.

use super::linear::{GivenWeights, Weights};
use crate::compress::{self, LayerWeights, Statistics, WeightConfig};

/// How the scales of a layer's weights came about, in output channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScaleChoice {
    /// The model's own.
    pub given: usize,
    /// From the largest magnitude.
    pub abs_max: usize,
    /// With the least output error.
    pub mse: usize,
    /// Channels whose weights cannot move the output: they became zero.
    pub inert: usize,
}

/// The integers of a layer's weights.
#[derive(Clone, Debug)]
pub(super) struct Rounded {
    /// In the order of the real weights.
    pub integers: Vec<i32>,
    /// One scale an output channel.
    pub scales: Vec<f64>,
    /// Where the scales come from.
    pub choice: ScaleChoice,
    /// The relative error of the layer's output that rounding alone makes, where it was rounded.
    pub distortion: Option<f64>,
}

/// What rounding needs to know about a layer's surroundings.
pub(super) struct Surroundings<'a> {
    /// Of the dequantized inputs.
    pub statistics: &'a Statistics,
    /// Channel groups.
    pub groups: usize,
    /// Scale of the input.
    pub input_scale: f64,
    /// Scale of the output.
    pub output_scale: f64,
    /// Largest magnitude of the input, in steps.
    pub input_steps: f64,
}

/// A channel is inert if all its weights together move the output by less than this many steps.
const INERT_STEPS: f64 = 1.0 / 16.0;
/// Accumulators keep a bias within this many steps, so that 32 bits hold the sum.
const BIAS_STEPS: f64 = (1u32 << 29) as f64;

/// Compresses a layer's weights, or those in place of which `target` is to be compressed.
/// Channels that cannot move the output become zero.
pub(super) fn round(
    weights: &Weights,
    target: &[f32],
    setting: &WeightConfig,
    options: &compress::Options,
    surroundings: &Surroundings,
) -> Rounded {
    let (taps, outputs) = (weights.taps(), weights.outputs());
    let reach = surroundings.input_steps * surroundings.input_scale / surroundings.output_scale;
    let live = |output: usize| {
        let magnitude: f64 = weights.real[output * taps..(output + 1) * taps].iter().map(|&w| f64::from(w).abs()).sum();
        magnitude * reach >= INERT_STEPS
    };
    let mut real = target.to_vec();
    let live: Vec<bool> = (0..outputs).map(live).collect();
    for (output, _) in live.iter().enumerate().filter(|(_, live)| !**live) {
        real[output * taps..(output + 1) * taps].fill(0.0);
    }
    let least: Vec<f64> =
        weights.bias.iter().map(|bias| bias.abs() / (surroundings.input_scale * BIAS_STEPS)).collect();
    let options = compress::Options { least_scales: Some(&least), ..*options };
    let layer = LayerWeights { shape: weights.shape, groups: surroundings.groups, real: &real };
    let mut result = compress::compress(layer, surroundings.statistics, setting, &options);
    let mut choice = ScaleChoice::default();
    for (&live, &abs_max) in live.iter().zip(&result.abs_max) {
        match (live, abs_max) {
            (false, _) => choice.inert += 1,
            (true, true) => choice.abs_max += 1,
            (true, false) => choice.mse += 1,
        }
    }
    // Nothing tells the scale of a layer without weights: one that any requantizer bridges.
    if result.integers.iter().all(|q| *q == 0) {
        let common = surroundings.output_scale / surroundings.input_scale / 256.0;
        result.scales.iter_mut().zip(&least).for_each(|(scale, least)| *scale = common.max(*least));
    }
    Rounded { integers: result.integers, scales: result.scales, choice, distortion: Some(result.relative_error) }
}

/// A channel of given weights is inert if they together move the output by less than this many
/// steps.
const GIVEN_INERT_STEPS: f64 = 1.0 / 64.0;

/// The model's own integers and scales. Channels that cannot move the output, which training
/// leaves behind in numbers, become zero and take the layer's largest scale, so that they do not
/// force shifts of their own on the layer. `reach` is the output's change, in steps, for a weight
/// of 1 and the largest input.
pub(super) fn given(weights: &Weights, given: &GivenWeights, reach: f64, input_scale: f64) -> Rounded {
    let taps = weights.taps();
    let mut rounded = Rounded {
        integers: given.integers.clone(),
        scales: given.scales.iter().map(|&scale| f64::from(scale)).collect(),
        choice: ScaleChoice::default(),
        distortion: None,
    };
    let moves = |output: usize| {
        let w = &given.integers[output * taps..(output + 1) * taps];
        let magnitude: f64 = w.iter().map(|&q| f64::from(q).abs()).sum();
        magnitude * f64::from(given.scales[output]) * reach >= GIVEN_INERT_STEPS
    };
    let live: Vec<bool> = (0..weights.outputs()).map(moves).collect();
    let scales = rounded.scales.iter().zip(&live);
    let largest = scales.filter(|(_, live)| **live).map(|(scale, _)| *scale).fold(0.0, f64::max);
    for (output, live) in live.into_iter().enumerate() {
        if live || largest == 0.0 {
            rounded.choice.given += 1;
            continue;
        }
        rounded.integers[output * taps..(output + 1) * taps].fill(0);
        rounded.scales[output] = largest.max(weights.bias[output].abs() / (input_scale * BIAS_STEPS));
        rounded.choice.inert += 1;
    }
    rounded
}

/// `w * mean` of every output channel: the mean output without the bias.
pub(super) fn mean_output(shape: [usize; 4], groups: usize, w: impl Fn(usize) -> f64, mean: &[f64]) -> Vec<f64> {
    let [outputs, kh, kw, per_group] = shape;
    let channels = per_group * groups;
    (0..outputs)
        .map(|output| {
            let group = output / (outputs / groups);
            let mut sum = 0.0;
            for tap in 0..kh * kw {
                for input in 0..per_group {
                    let weight = w((output * kh * kw + tap) * per_group + input);
                    sum += weight * mean[tap * channels + group * per_group + input];
                }
            }
            sum
        })
        .collect()
}
