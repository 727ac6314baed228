//! The fewest cycles whose measured drop is allowed.

use super::compress_first::{at_least_as_good, compress_first};
use super::judge::Measured;
use super::ladder::BudgetLadder;
use super::record::{self, Record, Round, decisions};
use super::session::Session;
use crate::failure::Failure;
use lutweave_codesign::sensitivity::real;
use lutweave_codesign::{Budgets, Design, Space};
use lutweave_hw::cost::Resources;
use lutweave_ir::{Diagnostic, Severity};
use lutweave_quantize::compress::WeightConfigs;
use lutweave_solve::{Outcome, Problem, Solution};
use std::sync::Arc;

/// Error budgets that the solver is asked about.
const BUDGET_STEPS: usize = 40;

/// Candidates are measured again whose drop is within this factor of the limit.
const REMEASURE_FACTOR: f64 = 2.0;

/// Most times that the resource budgets are tightened.
const MAX_REFITS: usize = 4;

/// A choice whose circuit fits.
pub struct Chosen {
    /// Settings and foldings.
    pub design: Design,
    /// How it was chosen.
    pub record: Record,
}

/// One answer of the solver, built.
pub struct Answer {
    /// What could be chosen.
    pub space: Arc<Space>,
    /// The question.
    pub problem: Problem,
    /// The answer.
    pub solution: Solution,
    /// What it means.
    pub design: Design,
}

impl Answer {
    pub(super) fn new(space: &Arc<Space>, problem: Problem, solution: Solution) -> Self {
        let design = space.design(&solution.selection);
        Self { space: Arc::clone(space), problem, solution, design }
    }

    /// The sum of distortions that was allowed.
    pub fn allowed(&self) -> u64 {
        self.problem.budgets[lutweave_codesign::DISTORTION].limit
    }

    pub(super) fn round(&self, measured: Measured, accepted: bool) -> Round {
        Round {
            allowed: real(self.allowed()),
            predicted: real(self.design.distortion),
            cycles: self.solution.cycles,
            measured,
            accepted,
        }
    }
}

/// Finds the fastest circuit whose drop on the calibration data is at most `max_drop` points.
///
/// Distortion stands for the drop: the solver gives the front of cycles against the sum of
/// distortions, and its circuits are measured from the fastest on until one is allowed. A choice
/// is accepted if its drop is allowed, and likely to be on unseen samples.
///
/// # Errors
/// If nothing fits the device, or not even the most faithful choice keeps the drop.
pub fn choose(session: &Session, max_drop: f64) -> Result<Chosen, Failure> {
    let mut budgets = session.budgets(session.space.least_distortion());
    for _ in 0..MAX_REFITS {
        let limit = budgets.parts;
        let Picked { answer, measured, rounds, compress_first_cycles } = pick(session, &mut budgets, max_drop)?;
        let lowered = session.lower(&answer.design.settings)?;
        let fitted = session.realize(&answer.design, &lowered)?;
        let excess = overuse(&fitted.resources, &session.budgets(0).parts);
        if excess != Resources::default() && budgets.limits_parts() {
            // Queues between stages and counters at the ports, which the stages' prices leave out.
            budgets.parts = overuse(&limit, &excess);
            continue;
        }
        let record = Record {
            max_drop,
            multipliers: session.multipliers(),
            cycles: answer.solution.cycles,
            lower_bound: answer.solution.lower_bound,
            gap: answer.solution.gap,
            optimal: answer.solution.optimal,
            predicted_distortion: real(answer.design.distortion),
            measured,
            rounds,
            compress_first_cycles,
            budgets: record::budgets(&answer.problem, &answer.solution),
            decisions: decisions(&answer.space, &answer.problem, &answer.solution),
            tables: session.tables.clone(),
        };
        return Ok(Chosen { design: answer.design, record });
    }
    Err(does_not_fit(session).into())
}

/// A choice by the prices of stages, and what led to it.
struct Picked {
    answer: Answer,
    measured: Measured,
    rounds: Vec<Round>,
    compress_first_cycles: Option<u64>,
}

/// The fastest choice within budgets whose measured drop is allowed. The limits on parts are
/// dropped if a number of multipliers was asked for that the device has no room for.
fn pick(session: &Session, budgets: &mut Budgets, max_drop: f64) -> Result<Picked, Failure> {
    let mut ladder = BudgetLadder::new(&session.space, budgets, BUDGET_STEPS)?;
    let mut candidate = ladder.fastest()?;
    if candidate.is_none() {
        // What fits may cost more than what ruins most networks.
        candidate = solve(session, &Budgets { distortion: session.space.most_distortion(), ..budgets.clone() })?;
    }
    if candidate.is_none() && session.multipliers().is_some() {
        let ignored = does_not_fit(session).help("the device's resource limits are ignored");
        session.state.context.warn(Diagnostic { severity: Severity::Warning, ..ignored });
        *budgets = budgets.clone().without_parts();
        ladder = BudgetLadder::new(&session.space, budgets, BUDGET_STEPS)?;
        candidate = ladder.fastest()?;
    }
    if candidate.is_none() {
        return Err(does_not_fit(session).into());
    }
    let mut rounds: Vec<Round> = Vec::new();
    let mut found = None;
    while let Some(answer) = candidate {
        session.state.context.check()?;
        let measured = session.measure(&answer.design.settings)?;
        let accepted = allowed(&measured, max_drop);
        rounds.push(answer.round(measured, accepted));
        found = if accepted {
            Some((answer, measured))
        } else if worst(&measured) <= REMEASURE_FACTOR * max_drop {
            remeasured(session, &answer, budgets, max_drop, &mut rounds)?
        } else {
            None
        };
        if found.is_some() {
            break;
        }
        candidate = ladder.fastest()?;
    }
    let found = match found {
        Some(found) => found,
        None => lowest_distortion(session, budgets, max_drop, &mut rounds)?,
    };
    let first = compress_first(session, max_drop, budgets)?;
    let compress_first_cycles = first.as_ref().map(|(answer, _)| answer.solution.cycles);
    let (answer, measured) = match first {
        Some(first) if compress_first_cycles < Some(found.0.solution.cycles) => {
            at_least_as_good(session, first, budgets, max_drop, &mut rounds)?
        }
        Some(_) | None => found,
    };
    Ok(Picked { answer, measured, rounds, compress_first_cycles })
}

/// Another choice, as fast, whose drop is allowed: prices are measured again around one whose drop is
/// not, where they add up better, and the choice of least distortion by them is tried.
fn remeasured(
    session: &Session,
    answer: &Answer,
    budgets: &Budgets,
    max_drop: f64,
    rounds: &mut Vec<Round>,
) -> Result<Option<(Answer, Measured)>, Failure> {
    let mut tried = vec![answer.design.settings.clone()];
    for space in session.around(&answer.design.settings)? {
        session.state.context.check()?;
        let mut ladder = BudgetLadder::new(&space, budgets, BUDGET_STEPS)?;
        let Some(other) = ladder.within(answer.solution.cycles)? else { continue };
        if tried.contains(&other.design.settings) {
            continue;
        }
        tried.push(other.design.settings.clone());
        let measured = session.measure(&other.design.settings)?;
        let accepted = allowed(&measured, max_drop);
        rounds.push(other.round(measured, accepted));
        if accepted {
            return Ok(Some((other, measured)));
        }
    }
    Ok(None)
}

/// The fewest cycles within budgets, if a choice was found.
pub(super) fn solve(session: &Session, budgets: &Budgets) -> Result<Option<Answer>, Failure> {
    session.state.context.check()?;
    solve_in(&session.space, budgets)
}

fn solve_in(space: &Arc<Space>, budgets: &Budgets) -> Result<Option<Answer>, Failure> {
    let (problem, outcome) = lutweave_codesign::solve(space, budgets)?;
    let Outcome::Solved(solution) = outcome else { return Ok(None) };
    Ok(Some(Answer::new(space, problem, *solution)))
}

/// Folds given settings as well as the solver can, if that fits.
///
/// # Errors
/// An internal error if the problem is malformed.
pub fn fold(session: &Session, settings: &WeightConfigs, budgets: &Budgets) -> Result<Option<Answer>, Failure> {
    solve_in(&Arc::new(session.space.with_settings(settings)), budgets)
}

/// A drop counts as allowed if it is, and if unseen samples are likely to agree: see [`worst`].
pub(super) fn allowed(measured: &Measured, max_drop: f64) -> bool {
    worst(measured) <= max_drop
}

/// The larger of the drop and what is expected of unseen samples with half its standard error on top.
fn worst(measured: &Measured) -> f64 {
    let (expected, standard_error) = measured.expected.unwrap_or((measured.drop, measured.standard_error));
    measured.drop.max(expected + 0.5 * standard_error)
}

/// What is left of parts when others are taken off.
fn overuse(used: &Resources, limit: &Resources) -> Resources {
    Resources::of_each(|part| used[part].saturating_sub(limit[part]))
}

/// The choice of least distortion that fits: accepted if its drop alone is allowed.
fn lowest_distortion(
    session: &Session,
    parts: &mut Budgets,
    max_drop: f64,
    rounds: &mut Vec<Round>,
) -> Result<(Answer, Measured), Failure> {
    let least = session.space.least_distortion();
    parts.distortion = least;
    let Some(answer) = solve(session, parts)? else { return Err(does_not_fit(session).into()) };
    let measured = session.measure(&answer.design.settings)?;
    let accepted = measured.drop <= max_drop;
    rounds.push(answer.round(measured, accepted));
    if !accepted {
        let message = format!(
            "8 bits and all weights already cost {:.2} points (standard error {:.2}) on {} calibration samples; {max_drop} are allowed",
            measured.drop, measured.standard_error, measured.samples
        );
        return Err(Diagnostic::error("drop-too-large", message)
            .help("allow a larger --max-drop, or give more calibration samples")
            .into());
    }
    let message =
        format!("no compression keeps the drop within {max_drop} points on the calibration data with certainty");
    session.state.context.warn(Diagnostic::warning("no-compression", message).help("all weights stay, at 8 bits"));
    Ok((answer, measured))
}

/// Nothing stays within the budgets.
pub fn does_not_fit(session: &Session) -> Diagnostic {
    let message = "no choice of settings and foldings stays within the device and the multipliers";
    let budgets = session.budgets(session.space.most_distortion());
    let over: Vec<String> = session
        .space
        .least_uses()
        .into_iter()
        .zip(session.space.problem(&budgets).budgets)
        .filter(|(least, budget)| *least > budget.limit)
        .map(|(least, budget)| format!("{}: at least {least} of {}", budget.name, budget.limit))
        .collect();
    let message = if over.is_empty() { message.to_owned() } else { format!("{message} ({})", over.join(", ")) };
    Diagnostic::error("does-not-fit", message)
        .at(&session.state.device.name)
        .help("choose a larger device, or allow more multipliers")
}
