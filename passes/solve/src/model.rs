//! A problem in the form the search reads: flat tables of the options worth considering.

use rayon::prelude::*;

use super::filter::undominated;
use super::problem::Problem;
use super::refutation::{Axis, Refutation};

/// Bits of the largest multiplier, and of the weighted limits.
const MULTIPLIER_BITS: i32 = 62;
const WEIGHTED_BITS: i32 = 110;

/// The options of a stage, fastest first, without those that exceed a limit alone or are dominated in cycles and uses.
#[derive(Clone)]
pub(super) struct ModelStage {
    /// Index of each option in the problem.
    pub original: Vec<u32>,
    /// Ascending.
    pub cycles: Vec<u64>,
    /// Uses of the active budgets, row after row.
    pub uses: Vec<u64>,
    /// `uses` over the limits.
    pub shares: Vec<f64>,
    /// Interface states.
    pub states: Vec<(u32, u32)>,
    /// Whether the input, and the output, meets an edge.
    pub joined: (bool, bool),
    /// The distinct `states`.
    pub interfaces: Vec<(u32, u32)>,
    /// Index into `interfaces` of each option.
    pub interface: Vec<u32>,
}

/// An edge with uses of the active budgets only.
#[derive(Clone)]
pub(super) struct ModelEdge {
    pub from: usize,
    pub to: usize,
    /// Distinct states that the writer's, and the reader's, options have; ascending.
    written: Vec<u32>,
    read: Vec<u32>,
    /// What a converter takes: by written, then read state, then active budget.
    converters: Vec<u64>,
    /// Whether there is such a converter.
    possible: Vec<bool>,
    free: Vec<u64>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Model {
    pub stages: Vec<ModelStage>,
    pub edges: Vec<ModelEdge>,
    /// Indices of the budgets that can bind: the largest usable options and converters together exceed the limit.
    pub active: Vec<usize>,
    /// Limits of the active budgets.
    pub limits: Vec<u64>,
    /// Number of all budgets.
    pub budgets: usize,
    /// Edges that touch a stage.
    pub touching: Vec<Vec<usize>>,
    /// The first edge into each stage; these edges form a forest.
    pub parent: Vec<Option<usize>>,
}

/// Remaining options of each stage, as ascending indices into the model's tables.
pub(super) type Sets = Vec<Vec<u32>>;

impl ModelStage {
    pub fn row(&self, option: u32, width: usize) -> &[u64] {
        &self.uses[option as usize * width..][..width]
    }

    pub fn share(&self, option: u32, width: usize) -> &[f64] {
        &self.shares[option as usize * width..][..width]
    }

    /// The state that tells options apart: only the sides that meet an edge count.
    pub fn state(&self, option: u32) -> (u32, u32) {
        let (input, output) = self.states[option as usize];
        (if self.joined.0 { input } else { 0 }, if self.joined.1 { output } else { 0 })
    }
}

impl Model {
    /// Tables of a valid problem. The budget `swept` counts as active even if it cannot bind now, for
    /// [`Model::tighten`].
    pub fn new(problem: &Problem, swept: Option<usize>) -> Self {
        let budgets = problem.budgets.len();
        let usable = |uses: &[u64]| uses.iter().zip(&problem.budgets).all(|(&amount, budget)| amount <= budget.limit);
        let active: Vec<usize> = (0..budgets)
            .filter(|&k| {
                if swept == Some(k) {
                    return true;
                }
                let stages = problem.stages.iter().map(|stage| {
                    stage.options.iter().filter(|o| usable(&o.uses)).map(|o| o.uses[k]).max().unwrap_or(0)
                });
                let edges = problem.edges.iter().map(|edge| {
                    edge.conversion.values().filter(|uses| usable(uses)).map(|uses| uses[k]).max().unwrap_or(0)
                });
                stages.chain(edges).map(u128::from).sum::<u128>() > u128::from(problem.budgets[k].limit)
            })
            .collect();
        let limits: Vec<u64> = active.iter().map(|&k| problem.budgets[k].limit).collect();
        let project = |uses: &[u64]| active.iter().map(|&k| uses[k]).collect::<Vec<u64>>();
        let stages: Vec<ModelStage> = (0..problem.stages.len())
            .into_par_iter()
            .map(|index| {
                let options = &problem.stages[index].options;
                let joined = (
                    problem.edges.iter().any(|edge| edge.to == index),
                    problem.edges.iter().any(|edge| edge.from == index),
                );
                let candidates: Vec<usize> = (0..options.len()).filter(|&o| usable(&options[o].uses)).collect();
                let width = active.len() + 1;
                let table: Vec<u64> = candidates
                    .iter()
                    .flat_map(|&o| std::iter::once(options[o].cycles).chain(project(&options[o].uses)))
                    .collect();
                let state = |i: usize| {
                    let option = &options[candidates[i]];
                    (if joined.0 { option.input } else { 0 }, if joined.1 { option.output } else { 0 })
                };
                let mut kept = undominated(candidates.len(), |i| &table[i * width..][..width], state);
                kept.sort_by_key(|&i| (table[i * width], i));
                let uses: Vec<u64> = kept.iter().flat_map(|&i| table[i * width + 1..][..width - 1].to_vec()).collect();
                let shares = uses.iter().enumerate().map(|(i, &u)| u as f64 / limits[i % limits.len()].max(1) as f64);
                let states: Vec<(u32, u32)> =
                    kept.iter().map(|&i| (options[candidates[i]].input, options[candidates[i]].output)).collect();
                let mut interfaces = states.clone();
                interfaces.sort_unstable();
                interfaces.dedup();
                let interface = states.iter().map(|s| interfaces.partition_point(|other| other < s) as u32).collect();
                ModelStage {
                    original: kept.iter().map(|&i| candidates[i] as u32).collect(),
                    cycles: kept.iter().map(|&i| table[i * width]).collect(),
                    shares: shares.collect(),
                    uses,
                    states,
                    joined,
                    interfaces,
                    interface,
                }
            })
            .collect();
        let edges: Vec<ModelEdge> = problem
            .edges
            .iter()
            .map(|edge| {
                let distinct = |mut states: Vec<u32>| {
                    states.sort_unstable();
                    states.dedup();
                    states
                };
                let written = distinct(stages[edge.from].interfaces.iter().map(|interface| interface.1).collect());
                let read = distinct(stages[edge.to].interfaces.iter().map(|interface| interface.0).collect());
                let pairs = written.iter().flat_map(|&w| read.iter().map(move |&r| (w, r)));
                let uses = |pair| match edge.conversion.get(&pair).filter(|uses| usable(uses)) {
                    Some(uses) => project(uses),
                    None => vec![0; active.len()],
                };
                let converters = pairs.flat_map(uses).collect();
                let present = |pair| edge.conversion.get(&pair).is_some_and(|uses| usable(uses));
                let possible = written.iter().flat_map(|&w| read.iter().map(move |&r| (w, r))).map(present).collect();
                ModelEdge {
                    from: edge.from,
                    to: edge.to,
                    written,
                    read,
                    converters,
                    possible,
                    free: vec![0; active.len()],
                }
            })
            .collect();
        let touching = (0..stages.len())
            .map(|stage| (0..edges.len()).filter(|&e| edges[e].from == stage || edges[e].to == stage).collect())
            .collect();
        let parent = (0..stages.len()).map(|stage| edges.iter().position(|edge| edge.to == stage)).collect();
        Self { stages, edges, active, limits, budgets, touching, parent }
    }

    /// Number of active budgets.
    pub fn width(&self) -> usize {
        self.active.len()
    }

    /// The options that need at most `cycles` and exceed no limit alone.
    pub fn within(&self, cycles: u64) -> Sets {
        let set = |stage: &ModelStage| {
            let count = stage.cycles.partition_point(|&c| c <= cycles) as u32;
            let alone = |&option: &u32| {
                let uses = stage.row(option, self.limits.len());
                uses.iter().zip(&self.limits).all(|(amount, limit)| amount <= limit)
            };
            (0..count).filter(alone).collect()
        };
        self.stages.iter().map(set).collect()
    }

    /// Option indices of the problem for a selection of table rows.
    pub fn original(&self, selection: &[u32]) -> Vec<usize> {
        self.stages.iter().zip(selection).map(|(stage, &option)| stage.original[option as usize] as usize).collect()
    }

    /// Cycles of the slowest stage of a selection of table rows.
    pub fn cycles(&self, selection: &[u32]) -> u64 {
        self.stages.iter().zip(selection).map(|(stage, &option)| stage.cycles[option as usize]).max().unwrap_or(0)
    }

    /// Uses of the active budgets, converters included; `None` if the states cannot be joined.
    pub fn usage(&self, selection: &[u32]) -> Option<Vec<u64>> {
        let mut total = vec![0; self.width()];
        let mut add = |uses: &[u64]| total.iter_mut().zip(uses).for_each(|(sum, &amount)| *sum += amount);
        for (stage, &option) in self.stages.iter().zip(selection) {
            add(stage.row(option, self.active.len()));
        }
        for edge in &self.edges {
            add(self.joined(edge, selection)?);
        }
        Some(total)
    }

    /// What joining two states takes; `None` if they cannot be joined, or only by a converter that exceeds a limit.
    pub fn join<'a>(&self, edge: &'a ModelEdge, written: u32, read: u32) -> Option<&'a [u64]> {
        if written == read {
            return Some(&edge.free);
        }
        let pair =
            edge.written.binary_search(&written).ok()? * edge.read.len() + edge.read.binary_search(&read).ok()?;
        if !edge.possible[pair] {
            return None;
        }
        let uses = &edge.converters[pair * self.limits.len()..][..self.limits.len()];
        uses.iter().zip(&self.limits).all(|(amount, limit)| amount <= limit).then_some(uses)
    }

    /// What an edge takes under a selection.
    pub fn joined<'a>(&'a self, edge: &'a ModelEdge, selection: &[u32]) -> Option<&'a [u64]> {
        let written = self.stages[edge.from].states[selection[edge.from] as usize].1;
        let read = self.stages[edge.to].states[selection[edge.to] as usize].0;
        self.join(edge, written, read)
    }

    /// Whether a selection joins and stays within every limit.
    pub fn fits(&self, selection: &[u32]) -> bool {
        self.usage(selection).is_some_and(|usage| usage.iter().zip(&self.limits).all(|(a, limit)| a <= limit))
    }

    /// Distinct states of the remaining options at the ends of an edge: (written, read).
    pub fn ends(&self, edge: &ModelEdge, sets: &Sets) -> (Vec<u32>, Vec<u32>) {
        let distinct = |mut states: Vec<u32>| {
            states.sort_unstable();
            states.dedup();
            states
        };
        let from = &self.stages[edge.from];
        let to = &self.stages[edge.to];
        (
            distinct(sets[edge.from].iter().map(|&o| from.states[o as usize].1).collect()),
            distinct(sets[edge.to].iter().map(|&o| to.states[o as usize].0).collect()),
        )
    }

    /// For each edge, what the possible converters between remaining states take.
    ///
    /// # Errors
    /// The index of an edge with no possible join.
    pub fn converters(&self, sets: &Sets) -> Result<Vec<Vec<&[u64]>>, usize> {
        let mut all = Vec::with_capacity(self.edges.len());
        for (index, edge) in self.edges.iter().enumerate() {
            let (written, read) = self.ends(edge, sets);
            if written.iter().any(|state| read.binary_search(state).is_ok()) {
                all.push(vec![edge.free.as_slice()]);
                continue;
            }
            let pairs = written.iter().flat_map(|&w| read.iter().map(move |&r| (w, r)));
            let joins: Vec<&[u64]> = pairs.filter_map(|(w, r)| self.join(edge, w, r)).collect();
            if joins.is_empty() {
                return Err(index);
            }
            all.push(joins);
        }
        Ok(all)
    }

    /// Integer multipliers of the active budgets in proportion to `prices` per unit share of a limit.
    pub fn multipliers(&self, prices: &[f64]) -> Vec<u64> {
        let rates: Vec<f64> = prices.iter().zip(&self.limits).map(|(&p, &l)| p.max(0.0) / l.max(1) as f64).collect();
        let largest = rates.iter().copied().fold(0.0, f64::max);
        if largest <= 0.0 || !largest.is_finite() {
            return vec![0; rates.len()];
        }
        let total: f64 = prices.iter().map(|&price| price.max(0.0)).sum();
        let scale = (f64::from(MULTIPLIER_BITS).exp2() / largest).min(f64::from(WEIGHTED_BITS).exp2() / total);
        rates.iter().map(|&rate| (rate * scale).floor() as u64).collect()
    }

    /// The multipliers with zeros for the budgets that cannot bind.
    pub fn all_multipliers(&self, multipliers: &[u64]) -> Vec<u64> {
        let mut all = vec![0; self.budgets];
        for (&k, &multiplier) in self.active.iter().zip(multipliers) {
            all[k] = multiplier;
        }
        all
    }

    /// The separate bound (see [`Refutation`]) of non-empty sets, and the least weighted use of each stage.
    pub fn separate(&self, multipliers: &[u64], sets: &Sets, converters: &[Vec<&[u64]>]) -> (u128, Vec<u128>) {
        let least: Vec<u128> = self
            .stages
            .iter()
            .zip(sets)
            .map(|(stage, set)| {
                set.iter().map(|&o| weigh(multipliers, stage.row(o, self.active.len()))).min().unwrap_or(0)
            })
            .collect();
        let joins = converters.iter().map(|joins| joins.iter().map(|uses| weigh(multipliers, uses)).min().unwrap_or(0));
        (least.iter().sum::<u128>() + joins.sum::<u128>(), least)
    }

    /// The weighted limits.
    pub fn weighted_limit(&self, multipliers: &[u64]) -> u128 {
        weigh(multipliers, &self.limits)
    }

    /// Sets the limit of an active budget; options above it stay in the tables.
    pub fn tighten(&mut self, position: usize, limit: u64) {
        self.limits[position] = limit;
        let width = self.width();
        for stage in &mut self.stages {
            for (share, &amount) in stage.shares.iter_mut().zip(&stage.uses).skip(position).step_by(width) {
                *share = amount as f64 / limit.max(1) as f64;
            }
        }
    }

    /// Drops dominated options.
    pub fn filter(&self, sets: &Sets) -> Sets {
        sets.par_iter()
            .enumerate()
            .map(|(index, set)| {
                let stage = &self.stages[index];
                let kept = undominated(set.len(), |i| stage.row(set[i], self.active.len()), |i| stage.state(set[i]));
                kept.into_iter().map(|i| set[i]).collect()
            })
            .collect()
    }

    /// A filter step of a proof.
    pub fn undominated_step(&self, sets: &Sets, rest: Refutation) -> Refutation {
        let original = |(stage, set): (&ModelStage, &Vec<u32>)| {
            let mut kept: Vec<u32> = set.iter().map(|&option| stage.original[option as usize]).collect();
            kept.sort_unstable();
            kept
        };
        Refutation::Undominated { kept: self.stages.iter().zip(sets).map(original).collect(), rest: Box::new(rest) }
    }

    /// The value of an option along an axis in terms of active budgets.
    pub fn along(&self, stage: usize, option: u32, axis: Axis) -> u64 {
        match axis {
            Axis::Use(k) => self.stages[stage].row(option, self.active.len())[k],
            Axis::Input => u64::from(self.stages[stage].states[option as usize].0),
            Axis::Output => u64::from(self.stages[stage].states[option as usize].1),
        }
    }
}

/// A weighted sum of uses.
pub(super) fn weigh(multipliers: &[u64], uses: &[u64]) -> u128 {
    multipliers.iter().zip(uses).map(|(&weight, &amount)| u128::from(weight) * u128::from(amount)).sum()
}
