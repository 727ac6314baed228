//! What a solution says beside its selection: prices of budgets and the next best options.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::minimise::Bisection;
use super::model::Model;
use super::problem::Problem;
use super::search::Search;

/// Increases of a budget, in percent, at which its worth is measured.
const INCREASES: [u64; 3] = [2, 5, 10];
/// A budget with a smaller part of the price does not bind.
const BINDING: f64 = 1e-6;

/// What a budget is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Index of the budget.
    pub budget: usize,
    /// Its part of the dual price at the tightest cycle count; the parts of all budgets add up to 1, or are all 0 if
    /// none binds. Relaxing the budget by 1 % makes room for `share` % more of everything that binds.
    pub share: f64,
    /// Cycles saved per percent of increase, over the largest increase measured.
    pub per_percent: f64,
    /// Cycles reached with the budget larger by so many percent; empty if it does not bind. A selection reaches them,
    /// but not necessarily the best.
    pub measured: Vec<(u64, u64)>,
}

/// The next best option of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerUp {
    /// Index of the option.
    pub option: usize,
    /// Cycles of the slowest stage with it.
    pub cycles: u64,
    /// The budget that it would exceed furthest in proportion, and by how much; `None` if it fits.
    pub breaks: Option<(usize, u64)>,
}

/// Prices of all budgets at a solution.
pub(super) fn prices(problem: &Problem, model: &Model, counts: &[u64], cycles: u64, selection: &[u32]) -> Vec<Price> {
    let position = counts.partition_point(|&count| count < cycles);
    // Just below the solution, unless that leaves a stage without options.
    let tight = counts[position.saturating_sub(1)];
    let mut search = Search::new(model, 1);
    search.decide(model.within(tight), Some(selection));
    let mut prices: Vec<Price> = (0..problem.budgets.len())
        .map(|budget| Price { budget, share: 0.0, per_percent: 0.0, measured: Vec::new() })
        .collect();
    for (&budget, &share) in model.active.iter().zip(&search.prices) {
        prices[budget].share = share;
    }
    let asked: Vec<(usize, usize, u64)> = (model.active.iter().enumerate())
        .filter(|&(_, &budget)| prices[budget].share > BINDING)
        .flat_map(|(at, &budget)| INCREASES.map(|percent| (at, budget, percent)))
        .collect();
    let reached: Vec<u64> = asked
        .par_iter()
        .map(|&(at, budget, percent)| {
            let limit = u128::from(problem.budgets[budget].limit) * u128::from(100 + percent) / 100;
            let mut larger = model.clone();
            larger.tighten(at, u64::try_from(limit).unwrap_or(u64::MAX));
            let mut bisection = Bisection::new(&larger);
            bisection.best = Some((position, selection.to_vec()));
            bisection.narrow(1, &mut 0);
            bisection.best.map_or(cycles, |best| larger.cycles(&best.1).min(cycles))
        })
        .collect();
    for (&(_, budget, percent), &now) in asked.iter().zip(&reached) {
        let price = &mut prices[budget];
        // A larger increase can do what a smaller one does.
        let now = price.measured.last().map_or(now, |&(_, before)| now.min(before));
        price.measured.push((percent, now));
        price.per_percent = (cycles - now) as f64 / percent as f64;
    }
    prices
}

/// The next best option of every stage: one that fits and keeps the cycles lowest if there is one, otherwise the one
/// that exceeds the limits least; then the one that is cheapest at the dual prices.
pub(super) fn runners_up(problem: &Problem, selection: &[usize], prices: &[Price]) -> Vec<Option<RunnerUp>> {
    let share = |amount: u64, k: usize| amount as f64 / problem.budgets[k].limit.max(1) as f64;
    let cycles: Vec<u64> = problem.stages.iter().zip(selection).map(|(stage, &o)| stage.options[o].cycles).collect();
    (0..selection.len())
        .into_par_iter()
        .map(|index| {
            let others = (0..cycles.len()).filter(|&i| i != index).map(|i| cycles[i]).max().unwrap_or(0);
            let mut swapped = selection.to_vec();
            let mut best: Option<((bool, f64, u64, f64), RunnerUp)> = None;
            for (option, alternative) in problem.stages[index].options.iter().enumerate() {
                if option == selection[index] {
                    continue;
                }
                swapped[index] = option;
                let Some(usage) = problem.usage(&swapped) else { continue };
                let over = |k: usize| usage[k].saturating_sub(problem.budgets[k].limit);
                let furthest =
                    (0..usage.len()).filter(|&k| over(k) > 0).fold(None, |best: Option<usize>, k| match best {
                        Some(other) if share(over(other), other) >= share(over(k), k) => best,
                        _ => Some(k),
                    });
                let excess = furthest.map_or(0.0, |k| share(over(k), k));
                let price = (0..usage.len()).map(|k| prices[k].share * share(alternative.uses[k], k)).sum();
                let reached = others.max(alternative.cycles);
                let key = (furthest.is_some(), excess, reached, price);
                if best.as_ref().is_none_or(|(other, _)| key < *other) {
                    let breaks = furthest.map(|k| (k, over(k)));
                    best = Some((key, RunnerUp { option, cycles: reached, breaks }));
                }
            }
            best.map(|best| best.1)
        })
        .collect()
}
