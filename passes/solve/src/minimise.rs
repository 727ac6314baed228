//! Fewest cycles: binary search on the bottleneck, with a proof from below.

use lutweave_ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

use super::model::Model;
use super::problem::Problem;
use super::refutation::Refutation;
use super::report::{self, Price, RunnerUp};
use super::search::{Search, Verdict};
use super::secondary;

/// How hard to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear relaxations for one cycle count.
    pub nodes: usize,
    /// Linear relaxations in branching overall.
    pub total_nodes: usize,
    /// Index of the budget whose use is lowered once the cycles are settled.
    pub secondary: Option<usize>,
    /// Whether to say what each budget is worth and which options come next.
    pub report: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 500, total_nodes: 1500, secondary: None, report: true }
    }
}

/// A selection, and how far it can be from the best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solution {
    /// An option index a stage.
    pub selection: Vec<usize>,
    /// Cycles of its slowest stage.
    pub cycles: u64,
    /// What it uses of each budget, converters included.
    pub uses: Vec<u64>,
    /// No selection within the budgets needs fewer cycles than this.
    pub lower_bound: u64,
    /// `cycles / lower_bound - 1`.
    pub gap: f64,
    /// Whether the bound is reached.
    pub optimal: bool,
    /// Refutes that a selection of options with fewer cycles than `lower_bound` fits.
    pub certificate: Refutation,
    /// What each budget is worth; empty without [`Limits::report`].
    pub prices: Vec<Price>,
    /// The next best option of each stage while the others stay; none for a stage without another option. Empty
    /// without [`Limits::report`].
    pub runner_up: Vec<Option<RunnerUp>>,
    /// Cycles by which each stage is faster than the slowest.
    pub slack: Vec<u64>,
}

/// The answer to a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// A selection that fits.
    Solved(Box<Solution>),
    /// No selection fits, at any number of cycles.
    Infeasible {
        /// Refutes that a selection of any options fits.
        certificate: Refutation,
    },
    /// No selection was found, and none was excluded.
    Unknown {
        /// No selection within the budgets needs fewer cycles than this.
        lower_bound: u64,
        /// As in [`Solution::certificate`].
        certificate: Refutation,
    },
}

impl Outcome {
    /// The selection, if one was found.
    pub fn solution(&self) -> Option<&Solution> {
        match self {
            Self::Solved(solution) => Some(solution),
            Self::Infeasible { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// Chooses an option a stage so that the slowest stage needs the fewest cycles within all budgets.
///
/// For a fixed number of cycles what remains is whether a multiple-choice, multi-dimensional knapsack can be filled;
/// that is monotone in the cycles, so they are searched by bisection over the cycle counts that occur. Each question is
/// decided by the linear relaxation, rounding and repair, and where these leave it open by branch and bound. The
/// result is deterministic. It is optimal if [`Solution::optimal`]; otherwise [`Solution::gap`] bounds the distance.
///
/// # Errors
/// A malformed problem: see [`Problem::validate`].
pub fn minimise_cycles(problem: &Problem, limits: &Limits) -> Result<Outcome, Diagnostic> {
    problem.validate()?;
    if let Some(index) = limits.secondary.filter(|&index| index >= problem.budgets.len()) {
        return Err(Diagnostic::error(
            "no-such-budget",
            format!("the secondary budget has index {index}, and there are {}", problem.budgets.len()),
        ));
    }
    let model = Model::new(problem, None);
    Ok(solve(problem, &model, limits))
}

/// The search with prepared tables of the same problem.
pub(super) fn solve(problem: &Problem, model: &Model, limits: &Limits) -> Outcome {
    if let Some(stage) = model.stages.iter().position(|stage| stage.cycles.is_empty()) {
        return Outcome::Infeasible { certificate: Refutation::Exhausted { stage } };
    }
    let mut bisection = Bisection::new(model);
    bisection.run(limits);
    let Bisection { counts, proven, proof, best, .. } = bisection;
    let Some((_, selection)) = best else {
        return match counts.get(proven) {
            Some(&lower_bound) => Outcome::Unknown { lower_bound, certificate: proof },
            None => Outcome::Infeasible { certificate: proof },
        };
    };
    let cycles = model.cycles(&selection);
    let chosen = secondary::lower(problem, cycles, model.original(&selection), limits.secondary);
    // Lowering a budget may happen upon fewer cycles, too.
    let cycles = problem.cycles(&chosen).unwrap_or(cycles);
    let lower_bound = counts.get(proven).copied().unwrap_or(cycles).min(cycles);
    let (mut prices, mut runner_up) = (Vec::new(), Vec::new());
    if limits.report {
        prices = report::prices(problem, model, &counts, cycles, &selection);
        runner_up = report::runners_up(problem, &chosen, &prices);
    }
    Outcome::Solved(Box::new(Solution {
        cycles,
        uses: problem.usage(&chosen).unwrap_or_default(),
        lower_bound,
        gap: cycles as f64 / lower_bound.max(1) as f64 - if cycles == 0 { 0.0 } else { 1.0 },
        optimal: lower_bound == cycles,
        certificate: proof,
        runner_up,
        slack: problem.stages.iter().zip(&chosen).map(|(stage, &o)| cycles - stage.options[o].cycles).collect(),
        prices,
        selection: chosen,
    }))
}

/// Positions in the ascending list of distinct cycle counts: below `proven` nothing fits, at `best` something does.
pub(super) struct Bisection<'a> {
    model: &'a Model,
    pub counts: Vec<u64>,
    /// Nothing fits with fewer cycles than `counts[proven]`; the number of counts if nothing fits at all.
    pub proven: usize,
    pub proof: Refutation,
    pub best: Option<(usize, Vec<u32>)>,
    /// Node allowance with which a position stayed unknown.
    unknown: Vec<usize>,
}

impl<'a> Bisection<'a> {
    /// Expects an option for every stage.
    pub fn new(model: &'a Model) -> Self {
        let mut counts: Vec<u64> = model.stages.iter().flat_map(|stage| stage.cycles.iter().copied()).collect();
        counts.sort_unstable();
        counts.dedup();
        let fastest = model.stages.iter().enumerate().map(|(index, stage)| (stage.cycles[0], index));
        let (slowest, stage) =
            fastest.max_by_key(|&(cycles, index)| (cycles, std::cmp::Reverse(index))).unwrap_or((0, 0));
        counts.retain(|&count| count >= slowest);
        if counts.is_empty() {
            counts.push(0);
        }
        let unknown = vec![0; counts.len()];
        Self { model, counts, proven: 0, proof: Refutation::Exhausted { stage }, best: None, unknown }
    }

    fn run(&mut self, limits: &Limits) {
        let mut left = limits.total_nodes;
        for nodes in [1, limits.nodes.max(1)] {
            if self.best.is_none() && self.proven < self.counts.len() {
                let last = self.counts.len() - 1;
                self.probe(last, nodes, &mut left);
            }
            self.narrow(nodes, &mut left);
        }
    }

    /// Two bisections: open questions count as unfit in the first, which lowers `best`, and as fit in the second,
    /// which raises `proven`.
    pub fn narrow(&mut self, nodes: usize, left: &mut usize) {
        let end = |this: &Self| this.best.as_ref().map_or(this.counts.len(), |best| best.0);
        if self.best.is_some() {
            let mut open = self.proven;
            while open < end(self) {
                let middle = open + (end(self) - open) / 2;
                if !matches!(self.probe(middle, nodes, left), Some(true)) {
                    open = middle + 1;
                }
            }
        }
        let mut high = end(self);
        while self.proven < high {
            let middle = self.proven + (high - self.proven) / 2;
            if !matches!(self.probe(middle, nodes, left), Some(false)) {
                high = middle;
            }
        }
    }

    /// Decides one position and records the answer: whether something fits, if known.
    fn probe(&mut self, position: usize, nodes: usize, left: &mut usize) -> Option<bool> {
        let allowance = if nodes == 1 { 1 } else { nodes.min(*left) };
        if self.unknown[position] >= allowance {
            return None;
        }
        let mut search = Search::new(self.model, allowance);
        let hint = self.best.as_ref().map(|best| best.1.as_slice());
        let verdict = search.decide(self.model.within(self.counts[position]), hint);
        if nodes > 1 {
            *left = left.saturating_sub(allowance - search.nodes_left());
        }
        match verdict {
            Verdict::Fits(selection) => {
                let cycles = self.model.cycles(&selection);
                let position = self.counts.partition_point(|&count| count < cycles);
                self.best = Some((position, selection));
                Some(true)
            }
            Verdict::Refuted(proof) => {
                self.proven = position + 1;
                self.proof = proof;
                Some(false)
            }
            Verdict::Unknown => {
                self.unknown[position] = allowance;
                None
            }
        }
    }
}
