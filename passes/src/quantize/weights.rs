//! Rounds trained weights to few bits.

use super::linear::Weights;
use super::patches::Patch;
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
/// Accumulators keep a bias within this many steps, so that 32 bits hold the sum.
const BIAS_STEPS: f64 = (1u32 << 29) as f64;

/// Rounds weights to the nearest integers of a width. For each output channel the scale is
/// either that of the largest magnitude or the one with the least error of the weights
/// (p = 2.4), refined by least squares, whichever gives the least output error on the inputs.
pub(super) fn round(weights: &Weights, bits: u8, surroundings: &Surroundings) -> Rounded {
    let taps = weights.taps();
    let outputs = weights.outputs();
    let rows = Rows::draw(weights, surroundings);
    let channels: Vec<Channel> = (0..outputs)
        .into_par_iter()
        .map(|output| {
            let w = &weights.real[output * taps..(output + 1) * taps];
            let group = output / (outputs / surroundings.groups);
            round_channel(w, bits, weights.bias[output].abs(), rows.of(group), surroundings)
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

struct Channel {
    integers: Vec<i32>,
    scale: f64,
    mse: bool,
    inert: bool,
}

fn round_channel(w: &[f32], bits: u8, bias: f64, rows: &[f32], surroundings: &Surroundings) -> Channel {
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
    let mut candidates = vec![(plain, false), (by_weights, true)];
    if bits < 8 {
        // With few steps the scale matters most: more of them are judged by the output.
        candidates.extend([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6].map(|share| ((plain * share).max(least), true)));
    }
    for (scale, _) in candidates.clone() {
        let integers = quantize(w, scale, limit);
        if let Some(refined) = least_squares(w, &integers, rows).filter(|refined| *refined >= least) {
            candidates.push((refined, true));
        }
    }
    let mut best: Option<(f64, Channel)> = None;
    for (scale, mse) in candidates {
        let integers = quantize(w, scale, limit);
        let error = output_error(w, &integers, scale, rows);
        if best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, Channel { integers, scale, mse, inert: false }));
        }
    }
    best.expect("invariant: there are candidates").1
}

/// Nearest integers, clamped to the symmetric range; four bits use their lowest value too.
fn quantize(w: &[f32], scale: f64, limit: f64) -> Vec<i32> {
    let lowest = if limit < 127.0 { -limit - 1.0 } else { -limit };
    let inverse = 1.0 / scale;
    w.iter().map(|&w| (f64::from(w) * inverse).round_ties_even().clamp(lowest, limit) as i32).collect()
}

/// The scale, at most the plain one, with the least sum of errors to the power of 2.4.
fn least_weight_error(w: &[f32], plain: f64, limit: f64) -> f64 {
    let lowest = if limit < 127.0 { -limit - 1.0 } else { -limit };
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

/// The scale that brings given integers nearest to the real output.
fn least_squares(w: &[f32], integers: &[i32], rows: &[f32]) -> Option<f64> {
    let z: Vec<f32> = integers.iter().map(|&q| q as f32).collect();
    let (mut cross, mut square) = (0.0f64, 0.0f64);
    for row in rows.chunks_exact(w.len()) {
        let (real, integer) = (f64::from(dot(row, w)), f64::from(dot(row, &z)));
        cross += real * integer;
        square += integer * integer;
    }
    let scale = cross / square;
    (scale.is_finite() && scale > 0.0).then_some(scale)
}

/// Sum of squared differences of the output.
fn output_error(w: &[f32], integers: &[i32], scale: f64, rows: &[f32]) -> f64 {
    let difference: Vec<f32> =
        w.iter().zip(integers).map(|(&w, &q)| (f64::from(w) - f64::from(q) * scale) as f32).collect();
    if rows.is_empty() {
        return difference.iter().map(|&d| f64::from(d) * f64::from(d)).sum();
    }
    rows.chunks_exact(w.len()).map(|row| f64::from(dot(row, &difference)).powi(2)).sum()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Windows drawn evenly from all inputs, per group; centred where the bias takes the mean.
struct Rows {
    groups: Vec<Vec<f32>>,
}

impl Rows {
    fn draw(weights: &Weights, surroundings: &Surroundings) -> Self {
        let (patch, groups) = (surroundings.patch, surroundings.groups);
        let (taps, outputs) = (weights.taps(), weights.outputs());
        let per_group = weights.shape[3];
        let available = patch.positions() * surroundings.inputs.len();
        let rows = (EFFORT / (taps * outputs).max(1)).clamp(64, 1024).min(available);
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

    fn of(&self, group: usize) -> &[f32] {
        &self.groups[group]
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
