//! Lowering one budget's use once the cycles are settled.

use super::model::{Model, Sets};
use super::problem::{Budget, Problem, Stage};
use super::repair::{Aim, descend};
use super::search::{Search, Verdict};

/// Bisection steps on the budget.
const STEPS: usize = 12;

/// A selection of options with at most `cycles` that uses no more, and where it can less, of the budget than
/// `selection`, which fits. Heuristic: bisection on a lowered limit with relaxation and repair, then descent by single
/// changes.
pub(super) fn lower(problem: &Problem, cycles: u64, selection: Vec<usize>, budget: Option<usize>) -> Vec<usize> {
    let Some(budget) = budget else { return selection };
    let Some(used) = problem.usage(&selection).map(|usage| usage[budget]) else { return selection };
    // Cycles no longer count, and the limit is what is used, so that the budget binds if it can be lowered.
    let mut kept: Vec<Vec<usize>> = Vec::new();
    let mut restricted = Problem { stages: Vec::new(), edges: problem.edges.clone(), budgets: problem.budgets.clone() };
    restricted.budgets[budget] = Budget { name: problem.budgets[budget].name.clone(), limit: used };
    for stage in &problem.stages {
        let fast: Vec<usize> = (0..stage.options.len()).filter(|&o| stage.options[o].cycles <= cycles).collect();
        let options = fast.iter().map(|&o| super::Alternative { cycles: 0, ..stage.options[o].clone() }).collect();
        restricted.stages.push(Stage { name: stage.name.clone(), options });
        kept.push(fast);
    }
    let mut model = Model::new(&restricted, Some(budget));
    let Some(position) = model.active.iter().position(|&k| k == budget) else { return selection };
    let sets: Sets = model.within(0);
    let mut best: Option<(u64, Vec<u32>)> = None;
    let (mut low, mut high) = (0u64, used);
    for _ in 0..STEPS {
        if low >= high {
            break;
        }
        let limit = low + (high - low) / 2;
        model.tighten(position, limit);
        match Search::new(&model, 1).decide(sets.clone(), best.as_ref().map(|best| best.1.as_slice())) {
            Verdict::Fits(found) => {
                high = model.usage(&found).map_or(limit, |usage| usage[position]);
                best = Some((high, found));
            }
            Verdict::Refuted(_) | Verdict::Unknown => low = limit + 1,
        }
    }
    model.tighten(position, used);
    let start = match best {
        Some((_, found)) => Some(found),
        None => position_of(&model, &kept, &selection),
    };
    let Some(mut found) = start else { return selection };
    descend(&model, &sets, &mut found, Aim::Lower(position));
    let candidate: Vec<usize> = model.original(&found).iter().zip(&kept).map(|(&o, stage)| stage[o]).collect();
    let lowered = problem.usage(&candidate).is_some_and(|usage| usage[budget] <= used) && problem.fits(&candidate);
    if lowered { candidate } else { selection }
}

/// The table rows of a selection, if all of them are in the tables.
fn position_of(model: &Model, kept: &[Vec<usize>], selection: &[usize]) -> Option<Vec<u32>> {
    let row = |(stage, option): (usize, &usize)| {
        let wanted = kept[stage].binary_search(option).ok()?;
        model.stages[stage].original.iter().position(|&o| o as usize == wanted).map(|row| row as u32)
    };
    selection.iter().enumerate().map(row).collect()
}
