//! One problem at several limits of one budget.

use lutweave_ir::diagnostic::Diagnostic;

use super::minimise::{Limits, Outcome, solve};
use super::model::Model;
use super::problem::Problem;

/// A problem whose limit of one budget is still to be said. Its tables are filtered once, at the largest limit.
pub struct Sweep {
    /// At the largest limit.
    problem: Problem,
    budget: usize,
    limits: Limits,
    model: Model,
    /// Of the budget, among the model's active ones.
    position: usize,
}

impl Sweep {
    /// For limits up to `largest` of the budget of index `budget`.
    ///
    /// # Errors
    /// A malformed problem (see [`Problem::validate`]), or a budget that does not exist.
    pub fn new(problem: &Problem, budget: usize, largest: u64, limits: &Limits) -> Result<Self, Diagnostic> {
        let count = problem.budgets.len();
        if let Some(index) = [Some(budget), limits.secondary].into_iter().flatten().find(|&k| k >= count) {
            return Err(Diagnostic::error(
                "no-such-budget",
                format!("a budget of index {index} is asked for, and there are {count}"),
            ));
        }
        let mut problem = problem.clone();
        problem.budgets[budget].limit = largest;
        problem.validate()?;
        let model = Model::new(&problem, Some(budget));
        let position = model.active.iter().position(|&k| k == budget).expect("invariant: a swept budget is active");
        Ok(Self { problem, budget, limits: *limits, model, position })
    }

    /// The problem at a limit (which its certificate is about) and its outcome, which depends on nothing that was asked
    /// before. A limit above the largest counts as the largest.
    pub fn at(&mut self, limit: u64) -> (Problem, Outcome) {
        self.solve(limit, self.limits)
    }

    /// As [`Sweep::at`], without a report.
    pub fn probe(&mut self, limit: u64) -> (Problem, Outcome) {
        self.solve(limit, Limits { report: false, ..self.limits })
    }

    fn solve(&mut self, limit: u64, limits: Limits) -> (Problem, Outcome) {
        let mut point = self.problem.clone();
        let limit = limit.min(point.budgets[self.budget].limit);
        point.budgets[self.budget].limit = limit;
        self.model.tighten(self.position, limit);
        let outcome = solve(&point, &self.model, &limits);
        (point, outcome)
    }
}
