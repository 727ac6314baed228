//! Rounds trained weights to few bits.

use super::compensate::{Gram, dot};
use super::linear::{GivenWeights, Weights};
use crate::compress::Patch;
use rayon::prelude::*;

/// How the scales of a layer's weights came about, in output channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScaleChoice {
    /// The model's own.
    pub given: usize,
    /// From the largest magnitude.
    pub abs_max: usize,
    /// From the least error of the weights, with the output error as judge.
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
}

/// What rounding needs to know about a layer's surroundings.
pub(super) struct Surroundings<'a> {
    /// The windows of the layer.
    pub patch: &'a Patch,
    /// Channel groups.
    pub groups: usize,
    /// The dequantized inputs, one image a sample.
    pub inputs: &'a [Vec<f32>],
    /// Mean of each tap over all windows of the inputs.
    pub mean: &'a [f64],
    /// The mean error of the output will be corrected by the bias.
    pub centred: bool,
    /// Weights of less than 8 bits make up for each other's errors.
    pub compensate: bool,
    /// Scale of the input.
    pub input_scale: f64,
    /// Scale of the output.
    pub output_scale: f64,
    /// Largest magnitude of the input, in steps.
    pub input_steps: f64,
}

/// Products spent on comparing one candidate scale of a whole layer.
const EFFORT: usize = 24_000_000;
/// A channel is inert if all its weights together move the output by less than this many steps.
const INERT_STEPS: f64 = 1.0 / 16.0;
/// Layers whose channels have more weights are rounded without compensation: its effort grows with
/// the cube.
const COMPENSATED_TAPS: usize = 1152;
/// Windows of which the mean products are taken.
const COMPENSATED_ROWS: usize = 2560;
/// Accumulators keep a bias within this many steps, so that 32 bits hold the sum.
const BIAS_STEPS: f64 = (1u32 << 29) as f64;

/// Rounds weights to the nearest integers of a width. For each output channel the scale is
/// either that of the largest magnitude or the one with the least error of the weights
/// (p = 2.4), refined by least squares, whichever gives the least output error on the inputs.
/// Weights of fewer than 8 bits are then rounded one after the other, each making up for the
/// errors before it, where that errs less.
pub(super) fn round(weights: &Weights, bits: u8, surroundings: &Surroundings) -> Rounded {
    let taps = weights.taps();
    let outputs = weights.outputs();
    let elements = surroundings.groups.saturating_mul(taps * taps);
    let compensate = surroundings.compensate && bits < 8 && taps > 1 && elements <= COMPENSATED_TAPS.pow(2);
    let rows = Rows::draw(weights, surroundings, compensate);
    let grams: Vec<Gram> =
        if compensate { rows.groups.iter().map(|rows| Gram::new(rows, taps)).collect() } else { Vec::new() };
    let channels: Vec<Channel> = (0..outputs)
        .into_par_iter()
        .map(|output| {
            let w = &weights.real[output * taps..(output + 1) * taps];
            let group = output / (outputs / surroundings.groups);
            let judge = match (grams.get(group), &rows.groups[group][..]) {
                (_, []) => Judge::Weights,
                (Some(gram), _) => Judge::Products(gram),
                (None, rows) => Judge::Rows(rows),
            };
            round_channel(w, bits, weights.bias[output].abs(), &judge, surroundings)
        })
        .collect();
    let largest = channels.iter().filter(|c| !c.inert).map(|c| c.scale).fold(0.0, f64::max);
    let common = if largest > 0.0 { largest } else { surroundings.output_scale / surroundings.input_scale / 256.0 };
    let mut rounded = Rounded { integers: Vec::new(), scales: Vec::new(), choice: ScaleChoice::default() };
    for (output, channel) in channels.into_iter().enumerate() {
        let least = weights.bias[output].abs() / (surroundings.input_scale * BIAS_STEPS);
        // Any scale serves a channel without weights: the layer's largest gives one shift for all.
        rounded.scales.push(if channel.inert { common.max(least) } else { channel.scale });
        rounded.integers.extend(channel.integers);
        match (channel.inert, channel.mse) {
            (true, _) => rounded.choice.inert += 1,
            (false, true) => rounded.choice.mse += 1,
            (false, false) => rounded.choice.abs_max += 1,
        }
    }
    rounded
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

struct Channel {
    integers: Vec<i32>,
    scale: f64,
    mse: bool,
    inert: bool,
}

fn round_channel(w: &[f32], bits: u8, bias: f64, judge: &Judge, surroundings: &Surroundings) -> Channel {
    let limit = f64::from((1i32 << (bits - 1)) - 1);
    let abs_max = w.iter().fold(0.0f64, |max, &w| max.max(f64::from(w).abs()));
    let reach: f64 =
        w.iter().map(|&w| f64::from(w).abs()).sum::<f64>() * surroundings.input_steps * surroundings.input_scale
            / surroundings.output_scale;
    let least = bias / (surroundings.input_scale * BIAS_STEPS);
    if reach < INERT_STEPS || abs_max <= f64::from(f32::MIN_POSITIVE) {
        return Channel { integers: vec![0; w.len()], scale: least, mse: false, inert: true };
    }
    let plain = (abs_max / limit).max(least);
    let by_weights = least_weight_error(w, plain, limit).max(least);
    let mut scales = vec![(plain, false), (by_weights, true)];
    if bits < 8 {
        // With few steps the scale matters most: more of them are judged by the output.
        scales.extend([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6].map(|share| ((plain * share).max(least), true)));
    }
    let target = judge.target(w);
    let mut best = Candidate { error: f64::INFINITY, integers: Vec::new(), scale: plain, mse: false };
    for (scale, mse) in scales {
        let refined = best.improve(judge, &target, quantize(w, scale, limit), scale, mse);
        if let Some(refined) = refined.filter(|refined| *refined >= least) {
            best.improve(judge, &target, quantize(w, refined, limit), refined, true);
        }
    }
    if let Judge::Products(gram) = judge {
        let lowest = lowest(limit);
        // Spread errors favour a coarser grid at times: two scales are tried.
        for scale in [best.scale, plain] {
            if let Some(integers) = gram.compensated(w, scale, lowest, limit) {
                let refined = best.improve(judge, &target, integers.clone(), scale, best.mse || scale != plain);
                if let Some(refined) = refined.filter(|refined| *refined >= least) {
                    best.improve(judge, &target, integers, refined, true);
                }
            }
        }
    }
    Channel { integers: best.integers, scale: best.scale, mse: best.mse, inert: false }
}

/// The best rounding of a channel so far.
struct Candidate {
    error: f64,
    integers: Vec<i32>,
    scale: f64,
    mse: bool,
}

impl Candidate {
    /// Takes integers and a scale if they err less; returns the scale that would suit the integers
    /// best.
    fn improve(&mut self, judge: &Judge, target: &Target, integers: Vec<i32>, scale: f64, mse: bool) -> Option<f64> {
        let (cross, square) = judge.products(target, &integers);
        let error = target.square - 2.0 * scale * cross + scale * scale * square;
        // Tiny differences are noise of single precision: the earlier candidate stays.
        if self.integers.is_empty() || error < self.error - target.square.abs() * 1e-7 {
            *self = Self { error, integers, scale, mse };
        }
        let refined = cross / square;
        (refined.is_finite() && refined > 0.0).then_some(refined)
    }
}

/// What tells how much an error of the weights changes the output.
enum Judge<'a> {
    /// Windows of inputs.
    Rows(&'a [f32]),
    /// Their mean products.
    Products(&'a Gram),
    /// Nothing: all weights count alike.
    Weights,
}

/// A channel's real weights as a judge sees them.
struct Target {
    /// The output of each row, the products times the weights, or the weights.
    image: Vec<f32>,
    /// The output's square.
    square: f64,
}

impl Judge<'_> {
    fn image(&self, w: &[f32]) -> Vec<f32> {
        match self {
            Self::Rows(rows) => rows.chunks_exact(w.len()).map(|row| dot(row, w)).collect(),
            Self::Products(gram) => gram.times(w),
            Self::Weights => w.to_vec(),
        }
    }

    fn target(&self, w: &[f32]) -> Target {
        let image = self.image(w);
        let square = match self {
            Self::Rows(_) => sum_of_products(&image, &image),
            Self::Products(_) | Self::Weights => sum_of_products(&image, w),
        };
        Target { image, square }
    }

    /// The product of the integers' output with the target's and with itself.
    fn products(&self, target: &Target, integers: &[i32]) -> (f64, f64) {
        let z: Vec<f32> = integers.iter().map(|&q| q as f32).collect();
        let image = self.image(&z);
        match self {
            Self::Rows(_) => (sum_of_products(&image, &target.image), sum_of_products(&image, &image)),
            Self::Products(_) | Self::Weights => (sum_of_products(&z, &target.image), sum_of_products(&z, &image)),
        }
    }
}

fn sum_of_products(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn lowest(limit: f64) -> f64 {
    if limit < 127.0 { -limit - 1.0 } else { -limit }
}

/// Nearest integers, clamped to the symmetric range; four bits use their lowest value too.
fn quantize(w: &[f32], scale: f64, limit: f64) -> Vec<i32> {
    let lowest = lowest(limit);
    let inverse = 1.0 / scale;
    w.iter().map(|&w| (f64::from(w) * inverse).round_ties_even().clamp(lowest, limit) as i32).collect()
}

/// The scale, at most the plain one, with the least sum of errors to the power of 2.4.
fn least_weight_error(w: &[f32], plain: f64, limit: f64) -> f64 {
    let lowest = lowest(limit);
    let mut best = (f64::INFINITY, plain);
    for step in 0..64 {
        let scale = plain * (1.0 - f64::from(step) / 80.0);
        let (inverse, mut error) = (1.0 / scale, 0.0f64);
        for &w in w {
            let w = f64::from(w);
            let difference = (w * inverse).round_ties_even().clamp(lowest, limit) * scale - w;
            error += difference.abs().powf(2.4);
        }
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// Windows drawn evenly from all inputs, per group; centred where the bias takes the mean.
struct Rows {
    groups: Vec<Vec<f32>>,
}

impl Rows {
    fn draw(weights: &Weights, surroundings: &Surroundings, compensate: bool) -> Self {
        let (patch, groups) = (surroundings.patch, surroundings.groups);
        let (taps, outputs) = (weights.taps(), weights.outputs());
        let per_group = weights.shape[3];
        let available = patch.positions() * surroundings.inputs.len();
        let rows = if compensate { COMPENSATED_ROWS } else { (EFFORT / (taps * outputs).max(1)).clamp(64, 1024) };
        let rows = rows.min(available);
        let mut drawn = vec![Vec::with_capacity(rows * taps); groups];
        let mut window = vec![0.0f32; patch.taps()];
        for row in 0..rows {
            // An odd stride through the positions so that rows do not all fall into one column.
            let at = (row as u128 * available as u128 / rows as u128) as usize;
            let (sample, position) = (at / patch.positions(), (at + row * 7) % patch.positions());
            patch.gather(&surroundings.inputs[sample], position, &mut window);
            if surroundings.centred {
                window.iter_mut().zip(surroundings.mean).for_each(|(value, mean)| *value -= *mean as f32);
            }
            for (group, target) in drawn.iter_mut().enumerate() {
                for tap in window.chunks_exact(per_group * groups) {
                    target.extend_from_slice(&tap[group * per_group..(group + 1) * per_group]);
                }
            }
        }
        Self { groups: drawn }
    }
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
