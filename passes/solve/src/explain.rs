//! Why an option was not chosen.

use lutweave_ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

use super::minimise::{Limits, Outcome, minimise_cycles};
use super::problem::{Alternative, Problem};
use super::refutation::Refutation;

/// What happens if a stage must use one of some options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyNot {
    /// Index of the stage.
    pub stage: usize,
    /// Indices of the options in the problem.
    pub options: Vec<usize>,
    /// The answer to [`pinned`]'s problem, in which the stage has these options only, in this order.
    pub outcome: Outcome,
    /// The same in a sentence.
    pub reason: String,
}

/// The problem in which a stage has some of its options only. `None` if they do not exist.
pub fn pinned(problem: &Problem, stage: usize, options: &[usize]) -> Option<Problem> {
    let all = &problem.stages.get(stage)?.options;
    let kept: Vec<Alternative> = options.iter().map(|&option| all.get(option).cloned()).collect::<Option<_>>()?;
    let mut pinned = problem.clone();
    pinned.stages[stage].options = kept;
    Some(pinned).filter(|_| !options.is_empty())
}

/// Solves the problem again with only some `options` for `stage`, and says why none of them is in
/// a solution of so many cycles.
///
/// # Errors
/// An option that does not exist, none at all, or a malformed problem.
pub fn why_not(
    problem: &Problem,
    cycles: u64,
    stage: usize,
    options: &[usize],
    limits: &Limits,
) -> Result<WhyNot, Diagnostic> {
    let Some(pinned) = pinned(problem, stage, options) else {
        return Err(Diagnostic::error("no-such-option", format!("there is no option {options:?} of stage {stage}")));
    };
    let outcome = minimise_cycles(&pinned, &Limits { report: false, ..*limits })?;
    let reason = match &outcome {
        Outcome::Solved(other) if other.cycles == cycles => {
            format!("it does as well: {} cycles with it, too", other.cycles)
        }
        Outcome::Solved(other) if other.cycles < cycles => {
            format!("it does better: {} cycles with it; the search had not found that", other.cycles)
        }
        Outcome::Solved(other) if other.lower_bound > cycles => {
            let why = shortage(&pinned, &other.certificate, |cycles| cycles < other.lower_bound);
            let reached = other.cycles;
            format!(
                "it costs cycles: {reached} with it against {}; with fewer than {}, {why}",
                cycles, other.lower_bound
            )
        }
        Outcome::Solved(other) => {
            format!("the best found with it needs {} cycles against {}; not proven", other.cycles, cycles)
        }
        Outcome::Infeasible { certificate } => {
            format!("nothing fits with it: {}", shortage(&pinned, certificate, |_| true))
        }
        Outcome::Unknown { .. } => "nothing that fits with it was found; not proven".to_owned(),
    };
    Ok(WhyNot { stage, options: options.to_vec(), outcome, reason })
}

/// What is missing, in words, for options with admitted cycles.
fn shortage(problem: &Problem, certificate: &Refutation, admitted: impl Fn(u64) -> bool) -> String {
    let alone = |option: &&Alternative| option.uses.iter().zip(&problem.budgets).all(|(&u, budget)| u <= budget.limit);
    for stage in &problem.stages {
        let fast: Vec<&Alternative> = stage.options.iter().filter(|option| admitted(option.cycles)).collect();
        if fast.is_empty() {
            return format!("stage `{}` has no option that is fast enough", stage.name);
        }
        if !fast.iter().any(alone) {
            let over =
                problem.budgets.iter().enumerate().find(|(k, budget)| fast.iter().all(|o| o.uses[*k] > budget.limit));
            return match over {
                Some((_, budget)) => format!("stage `{}` alone takes more than all of {}", stage.name, budget.name),
                None => format!("every option of stage `{}` that is fast enough exceeds a budget alone", stage.name),
            };
        }
    }
    // Options as a proof sees them: fast enough, and within every limit alone.
    let remaining = |stage: &super::Stage| -> Vec<Vec<u64>> {
        stage.options.iter().filter(|option| admitted(option.cycles)).filter(alone).map(|o| o.uses.clone()).collect()
    };
    let rows: Vec<Vec<Vec<u64>>> = problem.stages.iter().map(remaining).collect();
    let least = |k: usize| -> u128 {
        rows.iter().map(|stage| stage.iter().map(|uses| u128::from(uses[k])).min().unwrap_or(0)).sum()
    };
    let short = |needed: f64, limit: f64| 100.0 * (needed / limit.max(1.0) - 1.0);
    for (k, budget) in problem.budgets.iter().enumerate() {
        if least(k) > u128::from(budget.limit) {
            let percent = short(least(k) as f64, budget.limit as f64);
            return format!("even ignoring everything else, {} is {percent:.1} % short", budget.name);
        }
    }
    match certificate {
        Refutation::Weighted { multipliers } => {
            let weigh = |uses: &[u64]| multipliers.iter().zip(uses).map(|(&m, &u)| m as f64 * u as f64).sum::<f64>();
            let limits: Vec<u64> = problem.budgets.iter().map(|budget| budget.limit).collect();
            let limit = weigh(&limits);
            let needed: f64 =
                rows.iter().map(|stage| stage.iter().map(|uses| weigh(uses)).fold(f64::INFINITY, f64::min)).sum();
            let mut parts: Vec<(f64, &str)> = problem
                .budgets
                .iter()
                .zip(multipliers)
                .map(|(budget, &m)| (m as f64 * budget.limit as f64 / limit.max(1.0), budget.name.as_str()))
                .filter(|part| part.0 >= 0.005)
                .collect();
            parts.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
            let names: Vec<String> =
                parts.iter().map(|(part, name)| format!("{name} ({:.0} %)", 100.0 * part)).collect();
            let percent = short(needed, limit);
            if percent < 0.05 {
                format!("{} together are short by a hair, or by the converters", names.join(", "))
            } else {
                format!("{} together are {percent:.1} % short, weighed as shown", names.join(", "))
            }
        }
        Refutation::Exhausted { .. }
        | Refutation::Unjoinable { .. }
        | Refutation::Reduce { .. }
        | Refutation::Undominated { .. }
        | Refutation::Split { .. } => {
            format!("no combination of the options fits (a proof of {} steps)", certificate.steps())
        }
    }
}
