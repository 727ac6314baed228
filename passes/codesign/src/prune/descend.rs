//! Shares by measured rate-distortion curves.
//!
//! The first round measures every layer's curve with all other layers whole and solves the
//! knapsack. Its sum of distortions is a poor guess once much is pruned: later layers make up for,
//! or amplify, what earlier ones lost. So the network is pruned as chosen, layer after layer, each
//! compensated on the inputs it really gets; around that state the curves are measured again,
//! near each layer's share, and the knapsack is solved on those. A round counts if the measured
//! distortion of the whole network falls; otherwise the next looks at nearer shares.

use super::{Pruned, setting};
use crate::sensitivity::{Loss, Prepared, SensitivityEntry, SensitivityTable, Study, fixed_point, measure, real};
use lutweave_ir::{Diagnostic, Diagnostics, OnProgress, OnStep, Tensor};
use lutweave_quantize::compress::{LayerCompressor, Options, WeightConfig};
use lutweave_quantize::{NormalizedLayer, NormalizedNetwork};
use lutweave_solve::knapsack::{self, least_distortion};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Shares that layers are tried at, in parts of a thousand: each nine tenths of the one before.
const SHARES: [usize; 36] = [
    1000, 900, 810, 729, 656, 590, 531, 478, 430, 387, 349, 314, 282, 254, 229, 206, 185, 167, 150, 135, 122, 109, 98,
    89, 80, 72, 65, 58, 52, 47, 42, 38, 34, 31, 28, 25,
];
/// How many steps of [`SHARES`] a layer may move in a round, round after round that fails.
const REACHES: [usize; 3] = [3, 2, 1];
/// Parts that the budget is divided into.
const BUCKETS: usize = 10_000;
/// Rounds at most.
pub(super) const ROUNDS: usize = 6;

/// A state of the network: for each layer the index of its share.
type State = Vec<usize>;

struct Descent<'a> {
    original: Study,
    layers: &'a [&'a NormalizedLayer],
    cost: &'a dyn Fn(&NormalizedLayer) -> u64,
    bits: &'a (dyn Fn(&NormalizedLayer) -> u8 + Sync),
    budget: u64,
}

/// See the module. With no rounds, what the first curves say stays.
#[expect(clippy::too_many_arguments, reason = "each is one part of the question")]
pub(super) fn prune(
    subject: &NormalizedNetwork,
    layers: &[&NormalizedLayer],
    (samples, loss): (&[Vec<Tensor>], Loss),
    cost: &dyn Fn(&NormalizedLayer) -> u64,
    budget: u64,
    bits: &(dyn Fn(&NormalizedLayer) -> u8 + Sync),
    rounds_at_most: usize,
    progress: OnProgress,
) -> Result<Pruned, Diagnostics> {
    let descent = Descent { original: Study::new(&subject.graph, samples, loss)?, layers, cost, bits, budget };
    let whole: State = vec![0; layers.len()];
    if descent.fits(&whole) {
        let settings = layers.iter().map(|layer| (layer.info.name.clone(), descent.setting(layer, 0))).collect();
        return Ok(Pruned { settings, rounds: Vec::new(), predicted: None });
    }
    let steps = layers.len() * (1 + 2 * rounds_at_most);
    let all = |layer: &NormalizedLayer| (0..SHARES.len()).map(|share| descent.setting(layer, share)).collect();
    let first = measure(&descent.original, layers, &all, &|done| progress(done, steps))?;
    let everything: Vec<Vec<usize>> = layers.iter().map(|_| (0..SHARES.len()).collect()).collect();
    let mut state = descent.solve(&first, &everything)?.ok_or_else(|| too_little(subject))?;
    let predicted: u64 = first.iter().zip(&state).map(|(table, &share)| table.prices[share].distortion).sum();

    let mut rounds = Vec::new();
    let mut best = f64::INFINITY;
    let mut candidate = state.clone();
    let mut reach = 0;
    for round in 0..rounds_at_most {
        let done = |step: usize| progress(layers.len() * (1 + 2 * round) + step, steps);
        let cells: Vec<OnceLock<Prepared>> = layers.iter().map(|_| OnceLock::new()).collect();
        let (study, before, pruners) = descent.build(&candidate, &cells, &done)?;
        let measured = study.distortion(&BTreeMap::new())?;
        if measured < best {
            best = measured;
            rounds.push(measured);
            state.clone_from(&candidate);
            if round + 1 == rounds_at_most {
                break;
            }
            let near = descent.near(&state, REACHES[reach]);
            let done = |step: usize| done(layers.len() + step);
            let tables = descent.around((&study, &before), (&pruners, &cells), &state, &near, &done)?;
            candidate = descent.solve(&tables, &near)?.unwrap_or_else(|| state.clone());
        } else {
            // The step was too long: half of it, towards the state that stays.
            reach += 1;
            candidate = midway(&state, &candidate);
        }
        if candidate == state || reach >= REACHES.len() || !descent.fits(&candidate) {
            break;
        }
    }
    progress(steps, steps)?;
    let settings =
        layers.iter().zip(&state).map(|(layer, &share)| (layer.info.name.clone(), descent.setting(layer, share)));
    Ok(Pruned { settings: settings.collect(), rounds, predicted: Some(real(predicted)) })
}

fn too_little(subject: &NormalizedNetwork) -> Diagnostic {
    Diagnostic::error("too-sparse", "even the smallest share of every layer keeps more than that")
        .at(&subject.graph.name)
        .help("keep a larger share")
}

/// Halfway from one state to another.
fn midway(from: &State, to: &State) -> State {
    from.iter().zip(to).map(|(&a, &b)| (a + b + usize::from(b < a)) / 2).collect()
}

impl Descent<'_> {
    fn kept(&self, layer: &NormalizedLayer, share: usize) -> usize {
        let weights = layer.count();
        (weights * SHARES[share]).div_ceil(1000).clamp(1, weights)
    }

    fn setting(&self, layer: &NormalizedLayer, share: usize) -> WeightConfig {
        setting(layer, (self.bits)(layer), self.kept(layer, share))
    }

    fn fits(&self, state: &State) -> bool {
        let total: u64 = self
            .layers
            .iter()
            .zip(state)
            .map(|(layer, &share)| self.kept(layer, share) as u64 * (self.cost)(layer))
            .sum();
        total <= self.budget
    }

    /// The shares near a state's.
    fn near(&self, state: &State, reach: usize) -> Vec<Vec<usize>> {
        state
            .iter()
            .map(|&share| (share.saturating_sub(reach)..=(share + reach).min(SHARES.len() - 1)).collect())
            .collect()
    }

    /// The state of least distortion within the budget; the tables' prices are those of `shares`.
    fn solve(&self, tables: &[SensitivityTable], shares: &[Vec<usize>]) -> Result<Option<State>, Diagnostic> {
        let items: Vec<Vec<knapsack::Setting>> = self
            .layers
            .iter()
            .zip(tables)
            .zip(shares)
            .map(|((layer, table), shares)| {
                let mut table = table.clone();
                table.make_monotone();
                let item = |(price, &share): (&SensitivityEntry, &usize)| knapsack::Setting {
                    cost: self.kept(layer, share) as u64 * (self.cost)(layer),
                    distortion: price.distortion,
                };
                table.prices.iter().zip(shares).map(item).collect()
            })
            .collect();
        let chosen = least_distortion(&items, self.budget, BUCKETS)?;
        Ok(chosen.map(|chosen| chosen.iter().zip(shares).map(|(&index, shares)| shares[index]).collect()))
    }

    /// The network pruned to a state, layer after layer, each compensated on what it then reads; the
    /// network before each layer's turn; and the pruners of the layers.
    fn build<'s>(
        &'s self,
        state: &State,
        cells: &'s [OnceLock<Prepared>],
        done: OnStep,
    ) -> Result<(Study, Vec<Study>, Vec<LayerCompressor<'s>>), Diagnostic> {
        let mut study = self.original.clone();
        let mut before = Vec::new();
        let mut pruners = Vec::new();
        for (index, ((layer, &share), cell)) in self.layers.iter().zip(state).zip(cells).enumerate() {
            before.push(study.clone());
            let fresh = Prepared::new(&study, &self.original, layer)?;
            let prepared = cell.get_or_init(|| fresh);
            let pruner = prepared.pruner(layer);
            let compressed = pruner.compress(&self.setting(layer, share), &Options::default());
            study.apply(&prepared.change(layer, &compressed.real()))?;
            pruners.push(pruner);
            done(index)?;
        }
        Ok((study, before, pruners))
    }

    /// Prices of the shares near a state. What a layer loses, later layers make up for in part: they
    /// keep their masks and are fitted again.
    fn around(
        &self,
        (study, before): (&Study, &[Study]),
        (pruners, cells): (&[LayerCompressor], &[OnceLock<Prepared>]),
        state: &State,
        near: &[Vec<usize>],
        done: OnStep,
    ) -> Result<Vec<SensitivityTable>, Diagnostic> {
        let masks: Vec<Vec<bool>> = self
            .layers
            .iter()
            .zip(state)
            .zip(pruners)
            .map(|((layer, &share), pruner)| pruner.mask(&self.setting(layer, share).pattern, 1))
            .collect();
        let own = fixed_point(study.distortion(&BTreeMap::new())?);
        let mut tables = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let prepared = cells[index].get().expect("invariant: the state is built");
            let price = |&share: &usize| -> Result<SensitivityEntry, Diagnostic> {
                let setting = self.setting(layer, share);
                if share == state[index] {
                    return Ok(SensitivityEntry { setting, distortion: own });
                }
                let mut study = before[index].clone();
                let compressed = pruners[index].compress(&setting, &Options::default());
                study.apply(&prepared.change(layer, &compressed.real()))?;
                for (later, mask) in self.layers.iter().zip(&masks).skip(index + 1) {
                    let prepared = Prepared::new(&study, &self.original, later)?;
                    let real = prepared.pruner(later).refit(mask, 1);
                    study.apply(&prepared.change(later, &real))?;
                }
                Ok(SensitivityEntry { setting, distortion: fixed_point(study.distortion(&BTreeMap::new())?) })
            };
            let prices = near[index].iter().map(price).collect::<Result<_, Diagnostic>>()?;
            tables.push(SensitivityTable { layer: layer.info.name.clone(), prices });
            done(index)?;
        }
        Ok(tables)
    }
}
