//! The forest bound: prices that take converters into account.

use std::ops::Add;

use super::model::{Model, Sets};
use super::repair::excess;

/// The least weighted use over the forest of first edges plus the least converter at each other edge, and a selection
/// that reaches it on the forest. `None` if the forest cannot be joined. Expects non-empty sets, and in `converters`
/// the possible converters of each edge.
///
/// Stages are visited from the last: the least of a stage and all that hangs on it is kept for each state at its input.
pub(super) fn least<N: Copy + PartialOrd + Add<Output = N> + Default>(
    model: &Model,
    sets: &Sets,
    converters: &[Vec<&[u64]>],
    weigh: impl Fn(&[u64]) -> N,
) -> Option<(N, Vec<u32>)> {
    let width = model.width();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); sets.len()];
    for &edge in model.parent.iter().flatten() {
        children[model.edges[edge].from].push(edge);
    }
    let mut total = N::default();
    // Per stage: (state at the input, least, option), ascending in the state.
    let mut below: Vec<Vec<(u32, N, u32)>> = vec![Vec::new(); sets.len()];
    // The best way to read `written` over an edge: position in `below` of the reader, and the value.
    let read = |below: &[Vec<(u32, N, u32)>], edge: usize, written: u32| -> Option<(usize, N)> {
        let edge = &model.edges[edge];
        let mut best: Option<(usize, N)> = None;
        for (position, &(state, value, _)) in below[edge.to].iter().enumerate() {
            if let Some(uses) = model.join(edge, written, state) {
                let value = value + weigh(uses);
                if best.is_none_or(|(_, other)| value < other) {
                    best = Some((position, value));
                }
            }
        }
        best
    };
    for stage in (0..sets.len()).rev() {
        let table = &model.stages[stage];
        let mut own: Vec<Option<(N, u32)>> = vec![None; table.interfaces.len()];
        for &option in &sets[stage] {
            let value = weigh(table.row(option, width));
            let best = &mut own[table.interface[option as usize] as usize];
            if best.is_none_or(|(other, _)| value < other) {
                *best = Some((value, option));
            }
        }
        // Interfaces ascend in the input, then the output.
        let mut hanging: Vec<(u32, Option<N>)> = Vec::new();
        for (&(input, output), best) in table.interfaces.iter().zip(own) {
            let Some((value, option)) = best else { continue };
            let rest = match hanging.iter().find(|known| known.0 == output) {
                Some(known) => known.1,
                None => {
                    let sum = children[stage]
                        .iter()
                        .try_fold(N::default(), |sum, &edge| read(&below, edge, output).map(|(_, value)| sum + value));
                    hanging.push((output, sum));
                    sum
                }
            };
            let Some(rest) = rest else { continue };
            let value = value + rest;
            match below[stage].last_mut() {
                Some(last) if last.0 == input => {
                    if value < last.1 {
                        *last = (input, value, option);
                    }
                }
                _ => below[stage].push((input, value, option)),
            }
        }
        if below[stage].is_empty() {
            return None;
        }
        if model.parent[stage].is_none() {
            total = total + best_of(&below[stage])?.1;
        }
    }
    for (edge, joins) in converters.iter().enumerate() {
        if model.parent[model.edges[edge].to] != Some(edge) {
            let mut weights = joins.iter().map(|uses| weigh(uses));
            let first = weights.next()?;
            total = total + weights.fold(first, |least, weight| if weight < least { weight } else { least });
        }
    }
    let mut selection = vec![0u32; sets.len()];
    for stage in 0..sets.len() {
        selection[stage] = match model.parent[stage] {
            None => best_of(&below[stage])?.2,
            Some(edge) => {
                let from = model.edges[edge].from;
                let written = model.stages[from].states[selection[from] as usize].1;
                below[stage][read(&below, edge, written)?.0].2
            }
        };
    }
    Some((total, selection))
}

fn best_of<N: Copy + PartialOrd>(rows: &[(u32, N, u32)]) -> Option<(u32, N, u32)> {
    rows.iter().copied().reduce(|best, row| if row.1 < best.1 { row } else { best })
}

/// Where an ascent ended.
pub(super) struct Ascent {
    /// Prices per unit share of a limit with the highest bound met.
    pub prices: Vec<f64>,
    /// The selection met that exceeds the limits least.
    pub selection: Option<Vec<u32>>,
}

/// Raises the forest bound from `prices` by multiplicative weights: budgets that the bound's own selection overfills
/// become dearer. Stops when the bound passes 1.
pub(super) fn ascend(model: &Model, sets: &Sets, converters: &[Vec<&[u64]>], prices: &[f64], steps: usize) -> Ascent {
    let width = model.width();
    let mut current: Vec<f64> = prices.iter().map(|&price| 0.98 * price + 0.02 / width as f64).collect();
    let mut ascent = Ascent { prices: prices.to_vec(), selection: None };
    let mut highest = f64::NEG_INFINITY;
    let mut fullest = f64::INFINITY;
    for step in 0..steps {
        let rates: Vec<f64> = current.iter().zip(&model.limits).map(|(&p, &l)| p / l.max(1) as f64).collect();
        let weigh = |uses: &[u64]| -> f64 { rates.iter().zip(uses).map(|(&rate, &amount)| rate * amount as f64).sum() };
        let Some((bound, selection)) = least(model, sets, converters, weigh) else {
            ascent.prices = current;
            return ascent;
        };
        if bound > highest {
            highest = bound;
            ascent.prices.clone_from(&current);
        }
        let over = excess(model, &selection);
        let usage = model.usage(&selection);
        if over < fullest {
            fullest = over;
            ascent.selection = Some(selection);
        }
        if bound > 1.0 + 1e-9 || over <= 0.0 {
            return ascent;
        }
        let Some(usage) = usage else { return ascent };
        let pace = 1.0 / (2.0 + step as f64 * 0.5);
        for ((price, &amount), &limit) in current.iter_mut().zip(&usage).zip(&model.limits) {
            *price *= (pace * (amount as f64 / limit.max(1) as f64 - 1.0)).clamp(-1.0, 1.0).exp();
        }
        let total: f64 = current.iter().sum();
        current.iter_mut().for_each(|price| *price /= total);
    }
    ascent
}
