//! The linear relaxation at fixed cycles: how far the fullest budget must fill if options may be mixed.

use super::model::{Model, Sets};

const TOLERANCE: f64 = 1e-9;

/// An optimal mixture and its prices.
pub(super) struct Relaxed {
    /// Price of each active budget per unit share of its limit; they add up to 1.
    pub prices: Vec<f64>,
    /// For each stage the options in the mixture, largest part first.
    pub mixture: Vec<Vec<(u32, f64)>>,
}

/// What a basic variable is.
#[derive(Clone, Copy, PartialEq)]
enum Variable {
    Option(usize, u32),
    Slack(usize),
    Filled,
}

/// Minimises the largest share over active budgets of `base` plus the mixture's use, one unit of options a stage.
///
/// Primal revised simplex with an explicit inverse: rows are the active budgets, then the stages. Pricing goes round
/// the stages, and each brings in its best option. `start` names one option of each set. Sets must not be empty.
/// A basic solution mixes at most as many stages as there are budgets (Sinha and Zoltners, 1979).
pub(super) fn relax(model: &Model, sets: &Sets, base: &[f64], start: &[u32]) -> Relaxed {
    let width = model.width();
    if width == 0 {
        let mixture = start.iter().map(|&option| vec![(option, 1.0)]).collect();
        return Relaxed { prices: Vec::new(), mixture };
    }
    let mut basis = Basis::new(model, base, start);
    let most_pivots = 40 * (width + sets.len());
    let mut pivots = 0;
    loop {
        let mut moved = false;
        for (stage, set) in sets.iter().enumerate() {
            let dual = basis.duals();
            let table = &model.stages[stage];
            let mut best = (f64::INFINITY, 0);
            for &option in set {
                let uses = table.share(option, width);
                let price: f64 = uses.iter().zip(dual).map(|(&share, &y)| -y * share).sum();
                if price < best.0 {
                    best = (price, option);
                }
            }
            if best.0 - dual[width + stage] < -TOLERANCE {
                moved |= basis.enter(model, Variable::Option(stage, best.1));
                pivots += 1;
            }
        }
        for k in 0..width {
            if -basis.duals()[k] < -TOLERANCE {
                moved |= basis.enter(model, Variable::Slack(k));
                pivots += 1;
            }
        }
        if !moved || pivots > most_pivots {
            break;
        }
    }
    basis.read(sets.len())
}

struct Basis {
    width: usize,
    size: usize,
    inverse: Vec<f64>,
    values: Vec<f64>,
    variables: Vec<Variable>,
    filled: usize,
    direction: Vec<f64>,
}

impl Basis {
    /// One option a stage, the slacks of all budgets but the fullest, and its share.
    fn new(model: &Model, base: &[f64], start: &[u32]) -> Self {
        let width = model.width();
        let size = width + start.len();
        let mut used = base.to_vec();
        for (stage, &option) in model.stages.iter().zip(start) {
            for (sum, &share) in used.iter_mut().zip(stage.share(option, width)) {
                *sum += share;
            }
        }
        let fullest = (0..width).fold(0, |best, k| if used[k] > used[best] { k } else { best });
        let mut inverse = vec![0.0; size * size];
        let mut values = vec![1.0; size];
        let mut variables = vec![Variable::Filled; size];
        for k in 0..width {
            let row = &mut inverse[k * size..][..size];
            // filled = used[fullest] - r[fullest]; slack k = r[k] - used[k] + filled.
            for (stage, &option) in start.iter().enumerate() {
                let shares = model.stages[stage].share(option, width);
                row[width + stage] = shares[fullest] - if k == fullest { 0.0 } else { shares[k] };
            }
            row[fullest] -= 1.0;
            if k != fullest {
                row[k] += 1.0;
                variables[k] = Variable::Slack(k);
            }
            values[k] = used[fullest] - if k == fullest { 0.0 } else { used[k] };
        }
        for (stage, &option) in start.iter().enumerate() {
            inverse[(width + stage) * size + width + stage] = 1.0;
            variables[width + stage] = Variable::Option(stage, option);
        }
        Self { width, size, inverse, values, variables, filled: fullest, direction: vec![0.0; size] }
    }

    /// Duals of the rows: budgets (non-positive at the optimum), then stages.
    fn duals(&self) -> &[f64] {
        &self.inverse[self.filled * self.size..][..self.size]
    }

    /// Brings a variable in; false if it cannot move anything.
    fn enter(&mut self, model: &Model, entering: Variable) -> bool {
        let size = self.size;
        for row in 0..size {
            let inverse = &self.inverse[row * size..][..size];
            self.direction[row] = match entering {
                Variable::Option(stage, option) => {
                    let shares = model.stages[stage].share(option, self.width);
                    inverse[self.width + stage] + inverse.iter().zip(shares).map(|(&b, &a)| b * a).sum::<f64>()
                }
                Variable::Slack(k) => inverse[k],
                Variable::Filled => 0.0,
            };
        }
        let mut leaving = None;
        let mut step = f64::INFINITY;
        for row in (0..size).filter(|&row| row != self.filled) {
            let pace = self.direction[row];
            if pace > TOLERANCE {
                let ratio = self.values[row].max(0.0) / pace;
                let better = match leaving {
                    None => true,
                    Some(other) => ratio < step - 1e-12 || (ratio < step + 1e-12 && pace > self.direction[other]),
                };
                if better {
                    step = step.min(ratio);
                    leaving = Some(row);
                }
            }
        }
        let Some(leaving) = leaving else { return false };
        let pivot = self.direction[leaving];
        let step = self.values[leaving].max(0.0) / pivot;
        let (before, rest) = self.inverse.split_at_mut(leaving * size);
        let (pivot_row, after) = rest.split_at_mut(size);
        pivot_row.iter_mut().for_each(|value| *value /= pivot);
        let rows = before.chunks_exact_mut(size).chain(after.chunks_exact_mut(size));
        let indices = (0..size).filter(|&row| row != leaving);
        for (row, target) in indices.zip(rows) {
            let pace = self.direction[row];
            if pace != 0.0 {
                target.iter_mut().zip(pivot_row.iter()).for_each(|(value, &p)| *value -= pace * p);
                self.values[row] -= pace * step;
            }
        }
        self.values[leaving] = step;
        self.variables[leaving] = entering;
        true
    }

    fn read(&self, stages: usize) -> Relaxed {
        let mut prices: Vec<f64> = self.duals()[..self.width].iter().map(|&y| (-y).max(0.0)).collect();
        let total: f64 = prices.iter().sum();
        if total > 0.0 {
            prices.iter_mut().for_each(|price| *price /= total);
        }
        let mut mixture: Vec<Vec<(u32, f64)>> = vec![Vec::new(); stages];
        for (variable, &value) in self.variables.iter().zip(&self.values) {
            if let Variable::Option(stage, option) = *variable {
                mixture[stage].push((option, value));
            }
        }
        for parts in &mut mixture {
            parts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let first = parts.first().copied();
            parts.retain(|part| part.1 > 1e-7);
            if parts.is_empty() {
                parts.extend(first);
            }
        }
        Relaxed { prices, mixture }
    }
}
