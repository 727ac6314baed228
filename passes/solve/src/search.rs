//! Whether some selection of the remaining options fits: yes with a selection, no with a proof, or unknown.

use super::forest;
use super::model::{Model, Sets, weigh};
use super::refutation::{Axis, Refutation};
use super::relax::{Relaxed, relax};
use super::repair::{Aim, descend, excess, round};

/// Splits nest at most this deep.
const DEPTH: usize = 200;
/// Steps of the ascent that takes converters into account: from the relaxation's prices at the root, and from the
/// prices above below it.
const ROOT_STEPS: usize = 60;
const STEPS: usize = 5;

/// The answer at fixed cycles.
pub(super) enum Verdict {
    /// A selection of table rows that fits.
    Fits(Vec<u32>),
    /// A proof that none fits.
    Refuted(Refutation),
    /// The search gave up.
    Unknown,
}

/// Branch and bound over the linear relaxation. Every bound that prunes is recomputed in integers, so that the tree
/// of prunings is a proof.
pub(super) struct Search<'a> {
    model: &'a Model,
    /// Relaxations that may still be solved. With 1 there is no branching.
    nodes: usize,
    /// Prices of the first relaxation.
    pub prices: Vec<f64>,
}

impl<'a> Search<'a> {
    pub fn new(model: &'a Model, nodes: usize) -> Self {
        Self { model, nodes: nodes.max(1), prices: Vec::new() }
    }

    /// Relaxations not used.
    pub fn nodes_left(&self) -> usize {
        self.nodes
    }

    /// Decides the sets; `hint` is a selection to start from where its options remain.
    pub fn decide(&mut self, sets: Sets, hint: Option<&[u32]>) -> Verdict {
        self.node(sets, hint, None, 0)
    }

    fn node(&mut self, mut sets: Sets, hint: Option<&[u32]>, above: Option<&[f64]>, depth: usize) -> Verdict {
        let model = self.model;
        if let Some(stage) = sets.iter().position(Vec::is_empty) {
            return Verdict::Refuted(Refutation::Exhausted { stage });
        }
        let converters = match model.converters(&sets) {
            Ok(converters) => converters,
            Err(edge) => return Verdict::Refuted(Refutation::Unjoinable { edge }),
        };
        if self.nodes == 0 {
            return Verdict::Unknown;
        }
        self.nodes -= 1;
        let base = base(model, &converters);
        let start: Vec<u32> = (0..sets.len())
            .map(|stage| match hint.map(|hint| hint[stage]) {
                Some(option) if sets[stage].binary_search(&option).is_ok() => option,
                _ => leanest(model, stage, &sets[stage]),
            })
            .collect();
        let relaxed = relax(model, &sets, &base, &start);
        if depth == 0 {
            self.prices.clone_from(&relaxed.prices);
        }
        if let Some(proof) = refuted(model, &relaxed.prices, &sets, &converters) {
            return Verdict::Refuted(proof);
        }
        let multipliers = model.multipliers(&relaxed.prices);
        let (bound, least) = model.separate(&multipliers, &sets, &converters);
        let spare = model.weighted_limit(&multipliers).saturating_sub(bound);
        let mut dropped = false;
        for ((stage, set), &least) in model.stages.iter().zip(&mut sets).zip(&least) {
            let before = set.len();
            set.retain(|&o| weigh(&multipliers, stage.row(o, model.width())) - least <= spare);
            dropped |= set.len() < before;
        }
        match self.reduced(&sets, &relaxed, above, depth) {
            Verdict::Refuted(rest) if dropped => Verdict::Refuted(Refutation::Reduce {
                multipliers: model.all_multipliers(&multipliers),
                rest: Box::new(rest),
            }),
            other => other,
        }
    }

    /// Goes on with the options that the relaxation cannot exclude: selections, a bound with converters, a split.
    fn reduced(&mut self, sets: &Sets, relaxed: &Relaxed, above: Option<&[f64]>, depth: usize) -> Verdict {
        let model = self.model;
        let converters = match model.converters(sets) {
            Ok(converters) => converters,
            Err(edge) => return Verdict::Refuted(Refutation::Unjoinable { edge }),
        };
        let mut selection = round(model, &relaxed.mixture);
        descend(model, sets, &mut selection, Aim::Fit);
        if model.fits(&selection) {
            return Verdict::Fits(selection);
        }
        if sets.iter().all(|set| set.len() == 1) {
            return self.single(&sets.iter().map(|set| set[0]).collect::<Vec<u32>>());
        }
        let mut prices = None;
        if !model.edges.is_empty() {
            let (start, steps) = above.map_or((relaxed.prices.as_slice(), ROOT_STEPS), |above| (above, STEPS));
            let joined = forest::ascend(model, sets, &converters, start, steps);
            if let Some(proof) = refuted(model, &joined.prices, sets, &converters) {
                return Verdict::Refuted(proof);
            }
            prices = Some(joined.prices);
            if let Some(mut candidate) = joined.selection {
                descend(model, sets, &mut candidate, Aim::Fit);
                if model.fits(&candidate) {
                    return Verdict::Fits(candidate);
                }
                if excess(model, &candidate) < excess(model, &selection) {
                    selection = candidate;
                }
            }
        }
        if self.nodes == 0 || depth == DEPTH {
            return Verdict::Unknown;
        }
        if depth > 0 {
            return self.split(sets, relaxed, &selection, prices.as_deref(), depth);
        }
        let kept = model.filter(sets);
        match self.split(&kept, relaxed, &selection, prices.as_deref(), depth) {
            Verdict::Refuted(rest) => Verdict::Refuted(model.undominated_step(&kept, rest)),
            other => other,
        }
    }

    /// Refutes the only selection that is left, which does not fit.
    fn single(&self, selection: &[u32]) -> Verdict {
        let model = self.model;
        let Some(usage) = model.usage(selection) else {
            let unjoinable = model.edges.iter().position(|edge| model.joined(edge, selection).is_none());
            return unjoinable.map_or(Verdict::Unknown, |edge| Verdict::Refuted(Refutation::Unjoinable { edge }));
        };
        let over = usage.iter().zip(&model.limits).position(|(amount, limit)| amount > limit);
        let Some(position) = over else { return Verdict::Unknown };
        let mut multipliers = vec![0; model.width()];
        multipliers[position] = 1;
        Verdict::Refuted(Refutation::Weighted { multipliers: model.all_multipliers(&multipliers) })
    }

    fn split(
        &mut self,
        sets: &Sets,
        relaxed: &Relaxed,
        selection: &[u32],
        prices: Option<&[f64]>,
        depth: usize,
    ) -> Verdict {
        let model = self.model;
        let Some((stage, axis, threshold)) = mixed_cut(model, sets, relaxed)
            .or_else(|| state_cut(model, sets, selection))
            .or_else(|| any_cut(model, sets))
        else {
            // Options without a difference: nothing is left to branch on, so each stage has one option in effect.
            let singles: Sets = sets.iter().map(|set| vec![set[0]]).collect();
            let firsts: Vec<u32> = singles.iter().map(|set| set[0]).collect();
            return if model.fits(&firsts) { Verdict::Fits(firsts) } else { self.single(&firsts) };
        };
        let below = |&option: &u32| model.along(stage, option, axis) <= threshold;
        let weight: f64 = relaxed.mixture[stage].iter().filter(|part| below(&part.0)).map(|part| part.1).sum();
        let mut half = |low: bool| {
            let mut half = sets.clone();
            half[stage].retain(|option| below(option) == low);
            self.node(half, Some(selection), prices, depth + 1)
        };
        let low_first = weight >= 0.5;
        let first = match half(low_first) {
            Verdict::Refuted(proof) => proof,
            other => return other,
        };
        let second = match half(!low_first) {
            Verdict::Refuted(proof) => proof,
            other => return other,
        };
        let (low, high) = if low_first { (first, second) } else { (second, first) };
        let axis = match axis {
            Axis::Use(k) => Axis::Use(model.active[k]),
            Axis::Input | Axis::Output => axis,
        };
        Verdict::Refuted(Refutation::Split { stage, axis, threshold, low: Box::new(low), high: Box::new(high) })
    }
}

/// A proof from prices, if they give one.
fn refuted(model: &Model, prices: &[f64], sets: &Sets, converters: &[Vec<&[u64]>]) -> Option<Refutation> {
    let multipliers = model.multipliers(prices);
    let weigh = |uses: &[u64]| weigh(&multipliers, uses);
    let limit = model.weighted_limit(&multipliers);
    let exceeded = forest::least(model, sets, converters, weigh).is_none_or(|(bound, _)| bound > limit);
    exceeded.then(|| Refutation::Weighted { multipliers: model.all_multipliers(&multipliers) })
}

/// For each active budget, the share that converters take at the least.
fn base(model: &Model, converters: &[Vec<&[u64]>]) -> Vec<f64> {
    (0..model.width())
        .map(|k| {
            let least = converters.iter().map(|joins| joins.iter().map(|uses| uses[k]).min().unwrap_or(0)).sum::<u64>();
            least as f64 / model.limits[k].max(1) as f64
        })
        .collect()
}

/// The option with the least sum of shares.
fn leanest(model: &Model, stage: usize, set: &[u32]) -> u32 {
    let sum = |option: u32| model.stages[stage].share(option, model.width()).iter().sum::<f64>();
    let better = |best: (f64, u32), &option: &u32| if sum(option) < best.0 { (sum(option), option) } else { best };
    set.iter().fold((f64::INFINITY, set[0]), better).1
}

/// Cuts the most widely mixed stage between the options of its mixture.
fn mixed_cut(model: &Model, sets: &Sets, relaxed: &Relaxed) -> Option<(usize, Axis, u64)> {
    let width = model.width();
    let mut best = (0.0, None);
    for (stage, parts) in relaxed.mixture.iter().enumerate().filter(|(_, parts)| parts.len() > 1) {
        let total: f64 = parts.iter().map(|part| part.1).sum();
        for k in 0..width {
            let share = |option: u32| model.stages[stage].share(option, width)[k];
            let mean = parts.iter().map(|&(option, part)| part * share(option)).sum::<f64>() / total;
            let spread: f64 = parts.iter().map(|&(option, part)| part * (share(option) - mean).abs()).sum();
            let score = spread * (relaxed.prices[k] + 0.01);
            if score > best.0 {
                let threshold = (mean * model.limits[k] as f64) as u64;
                let low = parts.iter().filter(|part| model.along(stage, part.0, Axis::Use(k)) <= threshold).count();
                let remain = |option: &u32| sets[stage].binary_search(option).is_ok();
                if low > 0 && low < parts.len() && parts.iter().all(|part| remain(&part.0)) {
                    best = (score, Some((stage, Axis::Use(k), threshold)));
                }
            }
        }
    }
    best.1.or_else(|| {
        // The mixed options may have been dropped since: cut where the set still differs along that axis.
        let stage = (0..sets.len()).filter(|&s| relaxed.mixture[s].len() > 1).find(|&s| sets[s].len() > 1)?;
        axes(model, sets, stage).into_iter().next().map(|(axis, threshold)| (stage, axis, threshold))
    })
}

/// Cuts the states at an edge that needs a converter under the selection.
fn state_cut(model: &Model, sets: &Sets, selection: &[u32]) -> Option<(usize, Axis, u64)> {
    for edge in &model.edges {
        if model.joined(edge, selection).is_some_and(|uses| uses.iter().all(|&amount| amount == 0)) {
            continue;
        }
        let (written, read) = model.ends(edge, sets);
        let middle = |states: &[u32]| u64::from(states[states.len() / 2 - 1]);
        if written.len() > 1 && written.len() >= read.len() {
            return Some((edge.from, Axis::Output, middle(&written)));
        }
        if read.len() > 1 {
            return Some((edge.to, Axis::Input, middle(&read)));
        }
    }
    None
}

/// Cuts the largest set along whatever its options differ in.
fn any_cut(model: &Model, sets: &Sets) -> Option<(usize, Axis, u64)> {
    let mut order: Vec<usize> = (0..sets.len()).filter(|&stage| sets[stage].len() > 1).collect();
    order.sort_by_key(|&stage| (std::cmp::Reverse(sets[stage].len()), stage));
    order
        .into_iter()
        .find_map(|stage| axes(model, sets, stage).into_iter().next().map(|(axis, threshold)| (stage, axis, threshold)))
}

/// Axes along which a set's options differ, with a threshold that leaves both halves non-empty.
fn axes(model: &Model, sets: &Sets, stage: usize) -> Vec<(Axis, u64)> {
    let sides = model.stages[stage].joined;
    let states = [(sides.0, Axis::Input), (sides.1, Axis::Output)].into_iter().filter(|side| side.0).map(|side| side.1);
    let all = (0..model.width()).map(Axis::Use).chain(states);
    all.filter_map(|axis| {
        let mut values: Vec<u64> = sets[stage].iter().map(|&option| model.along(stage, option, axis)).collect();
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| (axis, values[values.len() / 2 - 1]))
    })
    .collect()
}
