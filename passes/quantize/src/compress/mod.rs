//! Compression of one layer: which weights stay, and which small integers stand for them, so that
//! the layer's output changes least.
//!
//! Everything minimises `(w - q) H (w - q)'` for each output channel, where `H` holds the mean
//! products of the layer's inputs ([`Statistics`]). A [`LayerCompressor`] chooses masks and refits what they
//! leave; [`compress`] rounds that to integers with one scale an output channel.
//!
//! Sources: ExactOBS and OBQ are Frantar and Alistarh, "Optimal Brain Compression" (2022); the
//! sweep is Frantar et al., "GPTQ" (2023); masks for wide layers are Frantar and Alistarh,
//! "SparseGPT" (2023).

mod cholesky;
mod dot;
mod eliminate;
mod mask;
mod patch;
mod refit;
mod round;
mod row;
mod scale;
mod statistics;
mod windows;

#[cfg(test)]
mod tests;

pub use mask::LayerCompressor;
pub use patch::Patch;
pub use statistics::{Moments, Reference, Statistics};
pub use windows::Windows;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which weights of a layer stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pattern {
    /// All.
    Dense,
    /// Exactly so many of the layer, anywhere; all of them if the layer has no more.
    Free {
        /// Weights that stay.
        kept: usize,
    },
    /// At most `kept` of every `of` consecutive input channels of a tap and an output channel. The
    /// last group of a tap may have fewer channels.
    NofM {
        /// Weights that stay in a group.
        kept: u8,
        /// Input channels of a group.
        of: u8,
    },
}

/// How layers are compressed, by name. A name is unique in its graph and kept by every pass: it identifies a layer from
/// the model to the circuit.
pub type WeightConfigs = BTreeMap<String, WeightConfig>;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WeightConfig {
    /// Width of the weights in bits: 2 to 8.
    pub bits: u8,
    /// Which weights stay.
    pub pattern: Pattern,
}

impl WeightConfig {
    /// All weights at a width.
    pub fn dense(bits: u8) -> Self {
        Self { bits, pattern: Pattern::Dense }
    }

    /// Neighbouring output channels that share one mask: 2 for patterns of weights of at most 4
    /// bits, because one multiplier forms the products of two channels with one input; otherwise
    /// 1. An odd number of output channels in a convolution group leaves no pairs.
    pub fn mask_rows(&self, outputs_per_group: usize) -> usize {
        match self.pattern {
            Pattern::NofM { .. } if self.bits <= 4 && outputs_per_group.is_multiple_of(2) => 2,
            Pattern::NofM { .. } | Pattern::Dense | Pattern::Free { .. } => 1,
        }
    }
}

/// How weights become integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Each to the nearest.
    Nearest,
    /// One after the other, later ones making up for the error of earlier ones.
    #[default]
    Gptq,
    /// As `Gptq`, but always the weight whose rounding costs least next. The effort grows with the
    /// cube of the weights of a channel; wide layers are rounded by `Gptq`.
    Obq,
}

/// How the scale of an output channel's weights is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleMethod {
    /// The largest weight is the largest integer.
    AbsMax,
    /// The least error of the weights to the power of 2.4.
    WeightError,
    /// The least error of the output, refined by least squares.
    #[default]
    OutputError,
}

/// How [`compress`] works.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// How weights of less than 8 bits become integers; wider ones are rounded to the nearest.
    pub rounding: Rounding,
    /// How scales are chosen.
    pub scale: ScaleMethod,
    /// After `Gptq` and `Obq`, changes single integers as long as that lowers the output error.
    pub descent: bool,
    /// The least scale of each output channel.
    pub least_scales: Option<&'a [f64]>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { rounding: Rounding::default(), scale: ScaleMethod::default(), descent: true, least_scales: None }
    }
}

/// The weights of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights<'a> {
    /// `[o,kh,kw,i/groups]`.
    pub shape: [usize; 4],
    /// Channel groups; they divide `o`.
    pub groups: usize,
    /// The weights, finite, in the order of `shape`.
    pub real: &'a [f32],
}

impl LayerWeights<'_> {
    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.shape[0]
    }

    /// Weights of an output channel.
    pub fn taps(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Output channels of a group.
    pub fn outputs_per_group(&self) -> usize {
        self.shape[0] / self.groups.max(1)
    }

    /// The group of an output channel.
    fn group(&self, output: usize) -> usize {
        output / self.outputs_per_group().max(1)
    }

    /// An output channel's weights.
    fn row(&self, output: usize) -> Vec<f64> {
        let taps = self.taps();
        self.real[output * taps..(output + 1) * taps].iter().map(|&w| f64::from(w)).collect()
    }
}

/// A compressed layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Compressed {
    /// The integers, in the order of the weights.
    pub integers: Vec<i32>,
    /// One scale an output channel, positive.
    pub scales: Vec<f64>,
    /// Where each scale comes from: true if it is that of the largest weight.
    pub abs_max: Vec<bool>,
    /// True for weights that may be other than 0.
    pub mask: Vec<bool>,
    /// The mean square error of the outputs that the statistics predict, summed over the output
    /// channels, after the bias took the mean if the statistics are centred.
    pub error: f64,
    /// `error` over the outputs' own mean square.
    pub relative_error: f64,
}

impl Compressed {
    /// The weights that the integers stand for.
    pub fn real(&self) -> Vec<f32> {
        let taps = self.integers.len() / self.scales.len().max(1);
        self.integers
            .iter()
            .enumerate()
            .map(|(index, &q)| (f64::from(q) * self.scales[index / taps.max(1)]) as f32)
            .collect()
    }
}

/// Compresses a layer. Several settings of one layer share their work through
/// [`LayerCompressor::compress`].
pub fn compress(
    weights: LayerWeights,
    statistics: &Statistics,
    setting: &WeightConfig,
    options: &Options,
) -> Compressed {
    LayerCompressor::new(weights, statistics).compress(setting, options)
}
