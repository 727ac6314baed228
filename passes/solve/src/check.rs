//! An independent check of answers: it re-adds selections and re-reads proofs in exact integers, and shares no code
//! with the search.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::minimise::Solution;
use super::problem::Problem;
use super::refutation::{Axis, Refutation};

/// Proofs that nest deeper are refused.
const DEPTH: usize = 2000;

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The selection has another number of stages, or names an option that does not exist.
    NoSuchOption,
    /// An edge joins states for which there is no converter.
    CannotJoin {
        /// Index of the edge.
        edge: usize,
    },
    /// The selection exceeds a budget.
    OverBudget {
        /// Index of the budget.
        budget: usize,
    },
    /// A number in the solution is not what the selection gives.
    WrongValue {
        /// Which one.
        field: &'static str,
    },
    /// The proof does not show what it claims.
    NotProven {
        /// Why.
        reason: &'static str,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchOption => write!(f, "the selection does not name one existing option per stage"),
            Self::CannotJoin { edge } => write!(f, "edge {edge} joins states that have no converter"),
            Self::OverBudget { budget } => write!(f, "budget {budget} is exceeded"),
            Self::WrongValue { field } => write!(f, "`{field}` is not what the selection gives"),
            Self::NotProven { reason } => write!(f, "the bound is not proven: {reason}"),
        }
    }
}

impl std::error::Error for Violation {}

/// Checks that the selection fits and has the stated cycles, uses, slack, gap and optimality, and that the certificate
/// proves the lower bound. Expects a valid problem ([`Problem::validate`]).
///
/// # Errors
/// The first violation found.
pub fn check(problem: &Problem, solution: &Solution) -> Result<(), Violation> {
    let selection = &solution.selection;
    if selection.len() != problem.stages.len() {
        return Err(Violation::NoSuchOption);
    }
    let mut totals = vec![0u128; problem.budgets.len()];
    let mut slowest = 0;
    let mut chosen = Vec::new();
    for (stage, &option) in problem.stages.iter().zip(selection) {
        let alternative = stage.options.get(option).ok_or(Violation::NoSuchOption)?;
        slowest = slowest.max(alternative.cycles);
        for (k, total) in totals.iter_mut().enumerate() {
            *total += u128::from(alternative.uses[k]);
        }
        chosen.push(alternative);
    }
    for (index, edge) in problem.edges.iter().enumerate() {
        let pair = (chosen[edge.from].output, chosen[edge.to].input);
        if pair.0 != pair.1 {
            let uses = edge.conversion.get(&pair).ok_or(Violation::CannotJoin { edge: index })?;
            for (k, total) in totals.iter_mut().enumerate() {
                *total += u128::from(uses[k]);
            }
        }
    }
    for (k, budget) in problem.budgets.iter().enumerate() {
        if totals[k] > u128::from(budget.limit) {
            return Err(Violation::OverBudget { budget: k });
        }
    }
    let wrong = |field| Err(Violation::WrongValue { field });
    if solution.cycles != slowest {
        return wrong("cycles");
    }
    if solution.uses.iter().map(|&amount| u128::from(amount)).ne(totals) {
        return wrong("uses");
    }
    if solution.slack.iter().copied().ne(chosen.iter().map(|alternative| slowest - alternative.cycles)) {
        return wrong("slack");
    }
    if solution.lower_bound > slowest {
        return wrong("lower_bound");
    }
    if solution.optimal != (solution.lower_bound == slowest) {
        return wrong("optimal");
    }
    let ratio = slowest as f64 / solution.lower_bound.max(1) as f64;
    let gap = if slowest == 0 { 0.0 } else { ratio - 1.0 };
    if (solution.gap - gap).abs() > 1e-9 {
        return wrong("gap");
    }
    check_bound(problem, solution.lower_bound, &solution.certificate)
}

/// Checks that no selection within the budgets has fewer cycles than `lower_bound`. Expects a valid problem.
///
/// # Errors
/// The first flaw of the proof.
pub fn check_bound(problem: &Problem, lower_bound: u64, certificate: &Refutation) -> Result<(), Violation> {
    if lower_bound == 0 {
        return Ok(());
    }
    Reader::new(problem).refutes(certificate, &remaining(problem, |cycles| cycles < lower_bound), 0)
}

/// Checks that no selection is within the budgets. Expects a valid problem.
///
/// # Errors
/// The first flaw of the proof.
pub fn check_infeasible(problem: &Problem, certificate: &Refutation) -> Result<(), Violation> {
    Reader::new(problem).refutes(certificate, &remaining(problem, |_| true), 0)
}

/// Options that satisfy the predicate on cycles and exceed no limit alone.
fn remaining(problem: &Problem, admitted: impl Fn(u64) -> bool) -> Vec<Vec<u32>> {
    let alone = |uses: &[u64]| uses.iter().zip(&problem.budgets).all(|(&amount, budget)| amount <= budget.limit);
    let keep = |stage: &super::Stage| {
        let indices = 0..stage.options.len() as u32;
        let options = indices.filter(|&o| {
            let option = &stage.options[o as usize];
            admitted(option.cycles) && alone(&option.uses)
        });
        options.collect()
    };
    problem.stages.iter().map(keep).collect()
}

struct Reader<'a> {
    problem: &'a Problem,
    /// Budgets that some selection of options and converters, each within the limits alone, could exceed.
    binding: Vec<usize>,
    /// Whether a stage's input, and output, meets an edge.
    joined: Vec<(bool, bool)>,
}

fn add(a: u128, b: u128) -> Result<u128, Violation> {
    a.checked_add(b).ok_or(Violation::NotProven { reason: "its multipliers are too large" })
}

fn flaw<T>(reason: &'static str) -> Result<T, Violation> {
    Err(Violation::NotProven { reason })
}

impl<'a> Reader<'a> {
    fn new(problem: &'a Problem) -> Self {
        let alone = |uses: &[u64]| (0..uses.len()).all(|k| uses[k] <= problem.budgets[k].limit);
        let mut most = vec![0u128; problem.budgets.len()];
        for (k, most) in most.iter_mut().enumerate() {
            for stage in &problem.stages {
                let amounts = stage.options.iter().filter(|o| alone(&o.uses)).map(|o| u128::from(o.uses[k]));
                *most += amounts.max().unwrap_or(0);
            }
            for edge in &problem.edges {
                let amounts = edge.conversion.values().filter(|uses| alone(uses)).map(|uses| u128::from(uses[k]));
                *most += amounts.max().unwrap_or(0);
            }
        }
        let binding = (0..most.len()).filter(|&k| most[k] > u128::from(problem.budgets[k].limit)).collect();
        let mut joined = vec![(false, false); problem.stages.len()];
        for edge in &problem.edges {
            joined[edge.from].1 = true;
            joined[edge.to].0 = true;
        }
        Self { problem, binding, joined }
    }

    fn refutes(&self, proof: &Refutation, sets: &[Vec<u32>], depth: usize) -> Result<(), Violation> {
        if depth > DEPTH {
            return flaw("it nests too deep");
        }
        match proof {
            Refutation::Exhausted { stage } => match sets.get(*stage) {
                Some(set) if set.is_empty() => Ok(()),
                Some(_) => flaw("a stage said to have no option left has one"),
                None => flaw("it names a stage that does not exist"),
            },
            Refutation::Unjoinable { edge } => {
                if *edge >= self.problem.edges.len() {
                    return flaw("it names an edge that does not exist");
                }
                if self.joins(*edge, sets).is_empty() {
                    Ok(())
                } else {
                    flaw("an edge said to be unjoinable can be joined")
                }
            }
            Refutation::Weighted { multipliers } => {
                let limit = self.limit(multipliers)?;
                match self.forest(multipliers, sets)? {
                    Some(bound) if bound <= limit => flaw("a weighted bound does not exceed the limits"),
                    Some(_) | None => Ok(()),
                }
            }
            Refutation::Reduce { multipliers, rest } => {
                let limit = self.limit(multipliers)?;
                let (bound, least) = self.separate(multipliers, sets)?;
                let mut reduced = Vec::with_capacity(sets.len());
                for (stage, set) in sets.iter().enumerate() {
                    let mut kept = Vec::new();
                    for &option in set {
                        let with = bound - least[stage] + self.weigh(multipliers, self.uses(stage, option))?;
                        if with <= limit {
                            kept.push(option);
                        }
                    }
                    reduced.push(kept);
                }
                self.refutes(rest, &reduced, depth + 1)
            }
            Refutation::Undominated { kept, rest } => {
                self.dominated(kept, sets)?;
                self.refutes(rest, kept, depth + 1)
            }
            Refutation::Split { stage, axis, threshold, low, high } => {
                let Some(set) = sets.get(*stage) else { return flaw("it names a stage that does not exist") };
                let (mut below, mut above) = (Vec::new(), Vec::new());
                for &option in set {
                    let alternative = &self.problem.stages[*stage].options[option as usize];
                    let value = match axis {
                        Axis::Use(k) => match alternative.uses.get(*k) {
                            Some(&amount) => amount,
                            None => return flaw("it names a budget that does not exist"),
                        },
                        Axis::Input => u64::from(alternative.input),
                        Axis::Output => u64::from(alternative.output),
                    };
                    if value <= *threshold { below.push(option) } else { above.push(option) }
                }
                let mut half = sets.to_vec();
                half[*stage] = below;
                self.refutes(low, &half, depth + 1)?;
                half[*stage] = above;
                self.refutes(high, &half, depth + 1)
            }
        }
    }

    fn uses(&self, stage: usize, option: u32) -> &[u64] {
        &self.problem.stages[stage].options[option as usize].uses
    }

    fn weigh(&self, multipliers: &[u64], uses: &[u64]) -> Result<u128, Violation> {
        let mut sum = 0u128;
        for (&weight, &amount) in multipliers.iter().zip(uses) {
            let product = u128::from(weight) * u128::from(amount);
            sum = sum.checked_add(product).ok_or(Violation::NotProven { reason: "its multipliers are too large" })?;
        }
        Ok(sum)
    }

    /// The weighted limits.
    fn limit(&self, multipliers: &[u64]) -> Result<u128, Violation> {
        if multipliers.len() != self.problem.budgets.len() {
            return flaw("it has another number of multipliers than there are budgets");
        }
        let limits: Vec<u64> = self.problem.budgets.iter().map(|budget| budget.limit).collect();
        self.weigh(multipliers, &limits)
    }

    /// The forest bound; `None` if it is infinite.
    fn forest(&self, multipliers: &[u64], sets: &[Vec<u32>]) -> Result<Option<u128>, Violation> {
        let edges = &self.problem.edges;
        let kept: Vec<usize> =
            (0..edges.len()).filter(|&e| !edges[..e].iter().any(|other| other.to == edges[e].to)).collect();
        let mut total = 0u128;
        // For each stage already visited, and state at its input: the least of it and everything that hangs on it.
        let mut below: Vec<BTreeMap<u32, u128>> = vec![BTreeMap::new(); sets.len()];
        for stage in (0..sets.len()).rev() {
            let mut hanging: BTreeMap<u32, Option<u128>> = BTreeMap::new();
            for &option in &sets[stage] {
                let alternative = &self.problem.stages[stage].options[option as usize];
                if let Entry::Vacant(entry) = hanging.entry(alternative.output) {
                    let mut sum = Some(0u128);
                    for &edge in kept.iter().filter(|&&edge| edges[edge].from == stage) {
                        let mut least: Option<u128> = None;
                        for (&read, &value) in &below[edges[edge].to] {
                            if let Some(uses) = self.converter(edge, alternative.output, read) {
                                let joined = add(value, self.weigh(multipliers, uses)?)?;
                                least = Some(least.map_or(joined, |other| other.min(joined)));
                            }
                        }
                        sum = match (sum, least) {
                            (Some(sum), Some(least)) => Some(add(sum, least)?),
                            _ => None,
                        };
                    }
                    entry.insert(sum);
                }
                if let Some(rest) = hanging[&alternative.output] {
                    let value = add(self.weigh(multipliers, &alternative.uses)?, rest)?;
                    let least = below[stage].entry(alternative.input).or_insert(value);
                    *least = value.min(*least);
                }
            }
            if !kept.iter().any(|&edge| edges[edge].to == stage) {
                let Some(&least) = below[stage].values().min() else { return Ok(None) };
                total = add(total, least)?;
            }
        }
        for edge in (0..edges.len()).filter(|edge| !kept.contains(edge)) {
            match self.converters(edge, multipliers, sets)? {
                Some(least) => total = add(total, least)?,
                None => return Ok(None),
            }
        }
        Ok(Some(total))
    }

    /// The separate bound, and the least weighted use of each stage.
    fn separate(&self, multipliers: &[u64], sets: &[Vec<u32>]) -> Result<(u128, Vec<u128>), Violation> {
        let mut total = 0u128;
        let mut least = Vec::with_capacity(sets.len());
        for (stage, set) in sets.iter().enumerate() {
            let mut minimum = None;
            for &option in set {
                let weight = self.weigh(multipliers, self.uses(stage, option))?;
                minimum = Some(minimum.map_or(weight, |other: u128| other.min(weight)));
            }
            let Some(minimum) = minimum else { return flaw("a weighted bound is taken of a stage without options") };
            total = add(total, minimum)?;
            least.push(minimum);
        }
        for edge in 0..self.problem.edges.len() {
            match self.converters(edge, multipliers, sets)? {
                Some(minimum) => total = add(total, minimum)?,
                None => return flaw("a weighted bound is taken of an edge that cannot be joined"),
            }
        }
        Ok((total, least))
    }

    /// The least weighted use of a converter between remaining states; `None` if the edge cannot be joined.
    fn converters(&self, edge: usize, multipliers: &[u64], sets: &[Vec<u32>]) -> Result<Option<u128>, Violation> {
        let mut least: Option<u128> = None;
        for uses in self.joins(edge, sets) {
            let weight = self.weigh(multipliers, uses)?;
            least = Some(least.map_or(weight, |other| other.min(weight)));
        }
        Ok(least)
    }

    /// What joining two states takes (an empty slice for nothing); `None` if they cannot be joined within the limits.
    fn converter(&self, edge: usize, written: u32, read: u32) -> Option<&'a [u64]> {
        if written == read {
            return Some(&[]);
        }
        let uses = self.problem.edges[edge].conversion.get(&(written, read))?;
        (0..uses.len()).all(|k| uses[k] <= self.problem.budgets[k].limit).then_some(uses)
    }

    /// Ways to join the remaining states at an edge within the limits.
    fn joins(&self, edge: usize, sets: &[Vec<u32>]) -> Vec<&'a [u64]> {
        let ends = &self.problem.edges[edge];
        let option = |stage: usize, index: u32| &self.problem.stages[stage].options[index as usize];
        let written: BTreeSet<u32> = sets[ends.from].iter().map(|&o| option(ends.from, o).output).collect();
        let read: BTreeSet<u32> = sets[ends.to].iter().map(|&o| option(ends.to, o).input).collect();
        let pairs = written.iter().flat_map(|&w| read.iter().map(move |&r| (w, r)));
        pairs.filter_map(|(w, r)| self.converter(edge, w, r)).collect()
    }

    /// Checks that `kept` are remaining options which dominate all the others.
    fn dominated(&self, kept: &[Vec<u32>], sets: &[Vec<u32>]) -> Result<(), Violation> {
        if kept.len() != sets.len() {
            return flaw("a list of options has another number of stages");
        }
        for (stage, (kept, set)) in kept.iter().zip(sets).enumerate() {
            if !kept.is_sorted_by(|a, b| a < b) || kept.iter().any(|option| set.binary_search(option).is_err()) {
                return flaw("a list of options names one that is not left");
            }
            let options = &self.problem.stages[stage].options;
            let covers = |winner: u32, loser: u32| {
                let (winner, loser) = (&options[winner as usize], &options[loser as usize]);
                self.binding.iter().all(|&k| winner.uses[k] <= loser.uses[k])
                    && (!self.joined[stage].0 || winner.input == loser.input)
                    && (!self.joined[stage].1 || winner.output == loser.output)
            };
            for &loser in set {
                if kept.binary_search(&loser).is_err() && !kept.iter().any(|&winner| covers(winner, loser)) {
                    return flaw("an option that is left out is not dominated");
                }
            }
        }
        Ok(())
    }
}
