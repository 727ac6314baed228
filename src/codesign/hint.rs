//! What `--weights auto` could gain, without measuring anything.

use crate::failure::Failure;
use crate::pipeline::{Cleaned, Lowered, gives_weights};
use lutweave_codesign::sensitivity::{SensitivityEntry, SensitivityTable, hardware_settings};
use lutweave_codesign::{Budgets, Space};
use lutweave_hw::device::Device;
use lutweave_quantize::normalized_network;
use lutweave_solve::Outcome;
use serde::Serialize;

/// Ratio of cycles from which a faster circuit is worth a note.
const WORTH: f64 = 1.1;

/// Most stages of a circuit that is solved for a note.
const MOST_STAGES: usize = 200;

/// Cycles that a joint choice may need, where they are worth a word.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Faster {
    /// Of the same weights, folded by the solver.
    pub same_weights: Option<u64>,
    /// Of the sparsest weights that the choice may take, whatever they cost.
    pub sparsest: Option<u64>,
}

impl Faster {
    /// In words.
    pub fn text(&self) -> String {
        let same = self.same_weights.map(|cycles| format!("{cycles} cycles with these weights"));
        let sparsest = self.sparsest.map(|cycles| format!("as few as {cycles} with sparser ones"));
        let ways: Vec<String> = same.into_iter().chain(sparsest).collect();
        format!("--weights auto may find {}", ways.join(", "))
    }
}

/// How much faster than `cycles` a joint choice on the same device could be; `None` if not by much.
///
/// # Errors
/// What the solver says of a malformed problem.
pub fn faster(
    cleaned: &Cleaned,
    lowered: &Lowered,
    cycles: u64,
    device: &Device,
    multipliers: Option<u32>,
) -> Result<Option<Faster>, Failure> {
    let core = &lowered.split.core;
    if core.nodes().len() > MOST_STAGES {
        return Ok(None);
    }
    let fewest = |tables: &[SensitivityTable]| -> Result<Option<u64>, Failure> {
        let space = Space::new(core, tables, device)?;
        let (_, outcome) = lutweave_codesign::solve(&space, &Budgets::of(device, 0, multipliers))?;
        Ok(match outcome {
            Outcome::Solved(solution) => Some(solution.cycles),
            _ => None,
        })
    };
    let same = fewest(&[])?;
    let free =
        |settings: Vec<_>| settings.into_iter().map(|setting| SensitivityEntry { setting, distortion: 0 }).collect();
    let best = if gives_weights(cleaned.graph()) {
        None
    } else {
        let layers = normalized_network(cleaned.graph())?.layers;
        let tables: Vec<SensitivityTable> = layers
            .iter()
            .map(|layer| SensitivityTable {
                layer: layer.info.name.clone(),
                prices: free(hardware_settings(layer.info.shape)),
            })
            .collect();
        fewest(&tables)?
    };
    let gains = |other: Option<u64>| other.filter(|&other| cycles as f64 > WORTH * other as f64);
    let faster = Faster { same_weights: gains(same), sparsest: gains(best) };
    Ok((faster.same_weights.is_some() || faster.sparsest.is_some()).then_some(faster))
}
