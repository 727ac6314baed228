//! One problem at several limits of one budget.

use lutweave_ir::diagnostic::Diagnostic;

use super::minimise::{Limits, Outcome, solve};
use super::model::Model;
use super::problem::Problem;

/// Solves the problem once for each of `points`, the limit of the budget of index `budget`, and returns the problem of
/// each point (which its certificate is about) with its outcome, in the order of `points`. The tables are filtered
/// once, at the largest limit.
///
/// # Errors
/// A malformed problem at the largest limit (see [`Problem::validate`]), or a budget that does not exist.
pub fn front(
    problem: &Problem,
    budget: usize,
    points: &[u64],
    limits: &Limits,
) -> Result<Vec<(Problem, Outcome)>, Diagnostic> {
    if let Some(index) = [Some(budget), limits.secondary].into_iter().flatten().find(|&k| k >= problem.budgets.len()) {
        return Err(Diagnostic::error(
            "no-such-budget",
            format!("a budget of index {index} is asked for, and there are {}", problem.budgets.len()),
        ));
    }
    let Some(&largest) = points.iter().max() else { return Ok(Vec::new()) };
    let mut widest = problem.clone();
    widest.budgets[budget].limit = largest;
    widest.validate()?;
    let mut model = Model::new(&widest, Some(budget));
    let position = model.active.iter().position(|&k| k == budget).expect("invariant: a swept budget is active");
    let mut solved = Vec::with_capacity(points.len());
    for &limit in points {
        let mut point = problem.clone();
        point.budgets[budget].limit = limit;
        model.tighten(position, limit);
        let outcome = solve(&point, &model, limits);
        solved.push((point, outcome));
    }
    Ok(solved)
}
