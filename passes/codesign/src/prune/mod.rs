//! Layer-adaptive pruning: how many weights each layer keeps, so that the network keeps a given
//! share of its weights or of its multiply-accumulates.
//!
//! All methods prune and compensate a layer alike ([`lutweave_quantize::compress`]); they differ in the shares
//! alone. `Rd` chooses them by measured rate-distortion curves and dynamic programming
//! (Xu et al., "Efficient Joint Optimization of Layer-Adaptive Weight Pruning in Deep Neural
//! Networks", ICCV 2023), and measures the curves again on the network that it chose, until that
//! changes nothing for the better.

mod descend;

pub use lutweave_solve::allocate::Target;

use crate::sensitivity::Loss;
use lutweave_ir::{Diagnostic, Diagnostics, OnProgress, Tensor};
use lutweave_quantize::compress::{Pattern, WeightConfig, WeightConfigs};
use lutweave_quantize::{NormalizedLayer, NormalizedNetwork};
use lutweave_solve::allocate::{self, PrunableLayer};
use serde::{Deserialize, Serialize};

/// How layers' shares are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Measured rate-distortion curves, dynamic programming, iterated.
    #[default]
    Rd,
    /// The first round of `Rd` only: what iterating is worth.
    RdOnce,
    /// The same share everywhere.
    Uniform,
    /// One threshold on the weights' magnitudes for the whole network.
    Magnitude,
    /// One threshold on layer-adaptive magnitudes (Lee et al., "LAMP", 2021).
    Lamp,
    /// Shares by the layers' extents (Mocanu et al. 2018; Evci et al. 2020).
    Erk,
}

/// What a target's share is of: the totals of the network before anything was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Weights of the layers that may be pruned.
    pub weights: u64,
    /// Their multiply-accumulates.
    pub macs: u64,
}

impl Totals {
    /// Of a network.
    pub fn of(subject: &NormalizedNetwork) -> Self {
        let open = || subject.layers.iter().filter(|layer| layer.open());
        Self {
            weights: open().map(|layer| layer.count() as u64).sum(),
            macs: open().map(|layer| (layer.count() * layer.positions()) as u64).sum(),
        }
    }
}

/// Pruned shares and how they came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pruned {
    /// The setting of each layer that may be pruned.
    pub settings: WeightConfigs,
    /// Measured distortion of the whole network after each accepted round; of `Rd` only.
    pub rounds: Vec<f64>,
    /// The sum of the layers' own distortions that the first round predicted; of `Rd` only.
    pub predicted: Option<f64>,
}

/// Chooses how many weights each layer keeps. `bits` is the width of a layer's weights.
///
/// # Errors
/// A target outside 0 to 1; nothing that may be pruned; calibration samples that do not fit.
#[expect(clippy::too_many_arguments, reason = "each is one part of the question")]
pub fn prune(
    subject: &NormalizedNetwork,
    samples: &[Vec<Tensor>],
    loss: Loss,
    method: Method,
    target: Target,
    totals: Totals,
    bits: &(dyn Fn(&NormalizedLayer) -> u8 + Sync),
    progress: OnProgress,
) -> Result<Pruned, Diagnostics> {
    let share = match target {
        Target::Weights(share) | Target::Macs(share) => share,
    };
    if !(share.is_finite() && share > 0.0 && share <= 1.0) {
        return Err(Diagnostic::error("invalid-option", format!("{share} is not a share to keep"))
            .help("keep more than 0 and at most 1 (all)")
            .into());
    }
    let layers: Vec<&NormalizedLayer> = subject.layers.iter().filter(|layer| layer.open()).collect();
    if layers.is_empty() {
        return Err(Diagnostic::error("nothing-to-prune", "the model has no trained weights that may change")
            .at(&subject.graph.name)
            .help("prune the float model; a quantized model's weights are kept as they are")
            .into());
    }
    let cost = |layer: &NormalizedLayer| match target {
        Target::Weights(_) => 1,
        Target::Macs(_) => layer.positions() as u64,
    };
    let whole = match target {
        Target::Weights(_) => totals.weights,
        Target::Macs(_) => totals.macs,
    };
    let budget = (share * whole as f64).floor() as u64;
    let method = match method {
        Method::Rd => {
            return descend::prune(subject, &layers, (samples, loss), &cost, budget, bits, descend::ROUNDS, progress);
        }
        Method::RdOnce => return descend::prune(subject, &layers, (samples, loss), &cost, budget, bits, 0, progress),
        Method::Uniform => allocate::Method::Uniform,
        Method::Magnitude => allocate::Method::Magnitude,
        Method::Lamp => allocate::Method::Lamp,
        Method::Erk => allocate::Method::Erk,
    };
    let table: Vec<PrunableLayer> = layers
        .iter()
        .map(|layer| {
            let weights = subject.graph.constant_of(layer.weights).expect("invariant: weights are constant");
            PrunableLayer {
                weights: weights.f32s(),
                shape: layer.info.shape,
                macs_per_weight: layer.positions() as u64,
            }
        })
        .collect();
    // The share of what is left that meets the budget.
    let left: u64 = layers.iter().map(|layer| layer.count() as u64 * cost(layer)).sum();
    let share = (budget as f64 / left as f64).min(1.0);
    let target = match target {
        Target::Weights(_) => Target::Weights(share),
        Target::Macs(_) => Target::Macs(share),
    };
    let kept = allocate::allocate(method, &table, target)?;
    let settings =
        layers.iter().zip(kept).map(|(layer, kept)| (layer.info.name.clone(), setting(layer, bits(layer), kept)));
    Ok(Pruned { settings: settings.collect(), rounds: Vec::new(), predicted: None })
}

fn setting(layer: &NormalizedLayer, bits: u8, kept: usize) -> WeightConfig {
    let pattern = if kept >= layer.count() { Pattern::Dense } else { Pattern::Free { kept } };
    WeightConfig { bits, pattern }
}
