//! The front of cycles against distortion, solved only where it is asked.

use super::choose::Answer;
use lutweave_codesign::sensitivity::DISTORTION_ONE;
use lutweave_codesign::{Budgets, DISTORTION, SOLVER_LIMITS, Space, checked};
use lutweave_ir::Diagnostic;
use lutweave_solve::{Outcome, Sweep};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A sum of distortions that ruins most networks.
pub const MAX_USEFUL_DISTORTION: u64 = DISTORTION_ONE / 4;

/// The fastest choice for each of a ladder of error budgets. What a larger budget allows is at least as fast, so the
/// choices of one speed are neighbours: the first of them, of the least distortion, is found by bisection.
pub struct BudgetLadder {
    space: Arc<Space>,
    sweep: Sweep,
    /// Sums of distortions, ascending.
    steps: Vec<u64>,
    /// Cycles of the steps that were asked already; none where nothing fits.
    probed: BTreeMap<usize, Option<u64>>,
    /// Steps from here on were given, or are no faster than what was.
    end: usize,
}

impl BudgetLadder {
    /// Of so many steps: from the least distortion possible to what ruins most networks, or what the worst settings
    /// cost.
    ///
    /// # Errors
    /// An internal error if the problem is malformed.
    pub fn new(space: &Arc<Space>, budgets: &Budgets, points: usize) -> Result<Self, Diagnostic> {
        let most = space.most_distortion().clamp(1, MAX_USEFUL_DISTORTION);
        let least = space.least_distortion().clamp(1, most);
        let ratio = (most as f64 / least as f64).powf(1.0 / points.saturating_sub(1).max(1) as f64);
        let steps: Vec<u64> = (0..points).map(|step| (least as f64 * ratio.powi(step as i32)).ceil() as u64).collect();
        let largest = steps.last().copied().unwrap_or(most);
        let sweep = Sweep::new(&space.problem(budgets), DISTORTION, largest, &SOLVER_LIMITS)?;
        Ok(Self { space: Arc::clone(space), sweep, end: steps.len(), steps, probed: BTreeMap::new() })
    }

    /// The fastest answer that was not given yet, of least distortion: each is slower than the one before.
    ///
    /// # Errors
    /// An internal error if the checker refuses an answer.
    pub fn fastest(&mut self) -> Result<Option<Answer>, Diagnostic> {
        while self.end > 0 {
            if let Some(cycles) = self.cycles(self.end - 1)? {
                return self.within(cycles);
            }
            self.end -= 1;
        }
        Ok(None)
    }

    /// The answer of least distortion of those with at most so many cycles that were not given yet.
    ///
    /// # Errors
    /// As [`BudgetLadder::fastest`].
    pub fn within(&mut self, cycles: u64) -> Result<Option<Answer>, Diagnostic> {
        let (mut low, mut high) = (0, self.end);
        while low < high {
            // The last step first: if it is too slow, so are all.
            let middle = if high == self.end { high - 1 } else { low + (high - low) / 2 };
            if self.cycles(middle)?.is_some_and(|reached| reached <= cycles) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if low == self.end {
            return Ok(None);
        }
        self.end = low;
        let (problem, outcome) = self.sweep.at(self.steps[low]);
        checked(&problem, &outcome)?;
        let Outcome::Solved(solution) = outcome else { return Ok(None) };
        Ok(Some(Answer::new(&self.space, problem, *solution)))
    }

    /// Cycles of the answer of a step, if there is one.
    fn cycles(&mut self, step: usize) -> Result<Option<u64>, Diagnostic> {
        if let Some(&cycles) = self.probed.get(&step) {
            return Ok(cycles);
        }
        let (problem, outcome) = self.sweep.probe(self.steps[step]);
        checked(&problem, &outcome)?;
        let cycles = outcome.solution().map(|solution| solution.cycles);
        self.probed.insert(step, cycles);
        Ok(cycles)
    }
}
