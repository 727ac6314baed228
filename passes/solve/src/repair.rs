//! Selections from mixtures: rounding, and descent by changing one stage at a time.

use super::model::{Model, Sets};

/// How many ways of rounding a mixture are tried.
const ROUNDINGS: usize = 256;
/// Counts as this much of a limit: two states that cannot be joined.
const UNJOINABLE: f64 = 16.0;
/// Smallest improvement that counts.
const STEP: f64 = 1e-12;

/// What a descent lowers.
#[derive(Clone, Copy)]
pub(super) enum Aim {
    /// The sum of what exceeds the limits, in shares.
    Fit,
    /// The use of the active budget of this position, without leaving the limits.
    Lower(usize),
}

/// Shares of the limits that a selection uses, and how many edges cannot be joined.
struct Load {
    shares: Vec<f64>,
    unjoinable: usize,
}

impl Aim {
    fn score(self, shares: &[f64], unjoinable: usize) -> f64 {
        let over: f64 = shares.iter().map(|&share| (share - 1.0).max(0.0)).sum();
        let excess = over + UNJOINABLE * unjoinable as f64;
        match self {
            Self::Fit => excess,
            Self::Lower(position) if excess <= STEP => shares[position],
            Self::Lower(_) => f64::INFINITY,
        }
    }
}

fn load(model: &Model, selection: &[u32]) -> Load {
    let width = model.width();
    let mut load = Load { shares: vec![0.0; width], unjoinable: 0 };
    for (stage, &option) in model.stages.iter().zip(selection) {
        load.shares.iter_mut().zip(stage.share(option, width)).for_each(|(sum, &share)| *sum += share);
    }
    for edge in &model.edges {
        match model.joined(edge, selection) {
            Some(uses) => {
                for ((sum, &amount), &limit) in load.shares.iter_mut().zip(uses).zip(&model.limits) {
                    *sum += amount as f64 / limit.max(1) as f64;
                }
            }
            None => load.unjoinable += 1,
        }
    }
    load
}

/// The sum of what a selection exceeds the limits by, in shares.
pub(super) fn excess(model: &Model, selection: &[u32]) -> f64 {
    let load = load(model, selection);
    Aim::Fit.score(&load.shares, load.unjoinable)
}

/// The rounding of a mixture that exceeds the limits least.
pub(super) fn round(model: &Model, mixture: &[Vec<(u32, f64)>]) -> Vec<u32> {
    let first: Vec<u32> = mixture.iter().map(|parts| parts[0].0).collect();
    let mixed: Vec<usize> = (0..mixture.len()).filter(|&stage| mixture[stage].len() > 1).collect();
    let mut best = (f64::INFINITY, first.clone());
    let mut digits = vec![0usize; mixed.len()];
    for _ in 0..ROUNDINGS {
        let mut selection = first.clone();
        for (&stage, &digit) in mixed.iter().zip(&digits) {
            selection[stage] = mixture[stage][digit].0;
        }
        let load = load(model, &selection);
        let score = Aim::Fit.score(&load.shares, load.unjoinable);
        if score < best.0 - STEP {
            best = (score, selection);
        }
        let Some(position) = (0..mixed.len()).find(|&i| digits[i] + 1 < mixture[mixed[i]].len()) else { break };
        digits[position] += 1;
        digits[..position].fill(0);
    }
    best.1
}

/// Changes one stage at a time to the remaining option that lowers the aim most, until none does.
pub(super) fn descend(model: &Model, sets: &Sets, selection: &mut [u32], aim: Aim) {
    let width = model.width();
    let mut shares = vec![0.0; width];
    for _ in 0..8 * selection.len().max(1) {
        let current = load(model, selection);
        let score = aim.score(&current.shares, current.unjoinable);
        if matches!(aim, Aim::Fit) && score <= 0.0 {
            return;
        }
        let mut best = (score - STEP, None);
        for (index, set) in sets.iter().enumerate() {
            let stage = &model.stages[index];
            let kept = selection[index];
            // The load of everything but this stage, by the interface that the stage would have.
            let mut rests: Vec<Option<Load>> = stage.interfaces.iter().map(|_| None).collect();
            for &option in set {
                if option == kept {
                    continue;
                }
                let interface = stage.interface[option as usize] as usize;
                let rest = rests[interface].get_or_insert_with(|| rest(model, selection, index, &current, option));
                for (k, share) in shares.iter_mut().enumerate() {
                    *share = rest.shares[k] + stage.share(option, width)[k];
                }
                let score = aim.score(&shares, rest.unjoinable);
                if score < best.0 {
                    best = (score, Some((index, option)));
                }
            }
        }
        let Some((stage, option)) = best.1 else { return };
        selection[stage] = option;
    }
}

/// The load of a selection without the options of `stage`, but with the converters it would need with `option`.
fn rest(model: &Model, selection: &[u32], stage: usize, current: &Load, option: u32) -> Load {
    let width = model.width();
    let mut rest = Load { shares: current.shares.clone(), unjoinable: current.unjoinable };
    let old = model.stages[stage].share(selection[stage], width);
    rest.shares.iter_mut().zip(old).for_each(|(sum, &share)| *sum -= share);
    for &index in &model.touching[stage] {
        let edge = &model.edges[index];
        let state = |at: usize| {
            let chosen = if at == stage { option } else { selection[at] };
            model.stages[at].states[chosen as usize]
        };
        let mut count = |uses: Option<&[u64]>, sign: f64| match uses {
            Some(uses) => {
                for ((sum, &amount), &limit) in rest.shares.iter_mut().zip(uses).zip(&model.limits) {
                    *sum += sign * amount as f64 / limit.max(1) as f64;
                }
                0
            }
            None => 1,
        };
        let before = count(model.joined(edge, selection), -1.0);
        let after = count(model.join(edge, state(edge.from).1, state(edge.to).0), 1.0);
        rest.unjoinable = rest.unjoinable + after - before;
    }
    rest
}
