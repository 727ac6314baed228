//! The fewest cycles whose measured drop is allowed.

use super::judge::Measured;
use super::record::{Record, Round, budgets, decisions};
use super::session::Session;
use crate::failure::{Failure, show};
use crate::flow::Lowered;
use crate::progress;
use lutweave_hw::cost::Resources;
use lutweave_hw::fit::Fitted;
use lutweave_ir::Diagnostic;
use lutweave_passes::codesign::{self, Budgets, Design, EFFORT, Space};
use lutweave_passes::compress::Setting;
use lutweave_passes::sensitivity::{DISTORTION_ONE, real};
use lutweave_passes::solve::{self, Outcome, Problem, Solution};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Error budgets that the solver is asked about.
const LADDER: usize = 20;

/// Error budgets that "compress first" tries at most.
const ROUNDS: usize = 9;

/// Times that the budgets of parts are lowered to what the whole circuit takes.
const FITS: usize = 4;

/// A chosen and built network.
pub struct Chosen {
    /// The integer graph.
    pub lowered: Lowered,
    /// The circuit.
    pub fitted: Fitted,
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
    fn new(space: &Arc<Space>, problem: Problem, solution: Solution) -> Self {
        let design = space.design(&solution.selection);
        Self { space: Arc::clone(space), problem, solution, design }
    }

    /// The sum of distortions that was allowed.
    pub fn allowed(&self) -> u64 {
        self.problem.budgets[codesign::DISTORTION].limit
    }

    fn round(&self, measured: Measured, accepted: bool) -> Round {
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
/// is accepted if its drop is allowed with half its standard error on top, so that unseen samples
/// are likely to agree.
///
/// # Errors
/// If nothing fits the device, or not even the most faithful choice keeps the drop.
pub fn choose(session: &Session, max_drop: f64) -> Result<Chosen, Failure> {
    let multipliers = session.multipliers();
    let mut parts = session.budgets(session.space.least_distortion());
    let mut candidates = front(session, &parts, LADDER)?;
    if candidates.is_empty() && multipliers.is_some() {
        show(&does_not_fit(session).help("the parts of the device are left out of account"));
        parts = parts.without_parts();
        candidates = front(session, &parts, LADDER)?;
    }
    if candidates.is_empty() {
        return Err(does_not_fit(session).into());
    }
    let mut rounds: Vec<Round> = Vec::new();
    let mut found = None;
    while let Some(answer) = candidates.pop() {
        progress::check_interrupt()?;
        let measured = session.measure(&answer.design.settings)?;
        let accepted = allowed(&measured, max_drop);
        rounds.push(answer.round(measured, accepted));
        if accepted {
            found = Some((answer, measured));
            break;
        }
    }
    let found = match found {
        Some(found) => found,
        None => most_faithful(session, &mut parts, max_drop, &mut rounds)?,
    };
    let first = compress_first(session, max_drop, &parts)?;
    let compress_first_cycles = first.as_ref().map(|(answer, _)| answer.solution.cycles);
    let found = match first {
        Some(first) if compress_first_cycles < Some(found.0.solution.cycles) => {
            at_least_as_good(session, first, &mut parts, max_drop, &mut rounds)?
        }
        Some(_) | None => found,
    };
    let (answer, measured, lowered, fitted) = build(session, found, &mut parts, max_drop)?;
    let record = Record {
        max_drop,
        multipliers,
        cycles: answer.solution.cycles,
        lower_bound: answer.solution.lower_bound,
        gap: answer.solution.gap,
        optimal: answer.solution.optimal,
        predicted_distortion: real(answer.design.distortion),
        measured,
        rounds,
        compress_first_cycles,
        budgets: budgets(&answer.problem, &answer.solution),
        decisions: decisions(&answer.space, &answer.problem, &answer.solution),
        tables: session.tables.clone(),
    };
    Ok(Chosen { lowered, fitted, record })
}

/// About what 4 bits cost, if that is between the extremes.
fn first_guess(least: u64, most: u64) -> u64 {
    (DISTORTION_ONE / 50).clamp(least.saturating_mul(2).min(most), most)
}

/// Limits so near each other that no round between them is worth its time.
fn close(low: u64, high: u64) -> bool {
    high <= low.saturating_add(low / 6)
}

/// The geometric mean; of 0 and something, a hundredth of that.
fn middle(low: u64, high: u64) -> u64 {
    let low_or = if low == 0 { high as f64 / 1e4 } else { low as f64 };
    ((low_or * high as f64).sqrt() as u64).clamp(low, high)
}

/// The fastest choice for each of a ladder of error budgets, slowest first, each faster than the one
/// before: a larger budget that buys no cycles is the same choice, or a worse one.
///
/// # Errors
/// An internal error if the problem is malformed.
pub fn front(session: &Session, budgets: &Budgets, points: usize) -> Result<Vec<Answer>, Failure> {
    let limits = session.ladder(points);
    let problem = session.space.problem(budgets);
    let mut answers: Vec<Answer> = Vec::new();
    for (problem, outcome) in solve::front(&problem, codesign::DISTORTION, &limits, &EFFORT)? {
        codesign::checked(&problem, &outcome)?;
        let Outcome::Solved(solution) = outcome else { continue };
        if answers.last().is_none_or(|last| solution.cycles < last.solution.cycles) {
            answers.push(Answer::new(&session.space, problem, *solution));
        }
    }
    Ok(answers)
}

/// The fewest cycles within budgets, if a choice was found.
fn solve(session: &Session, budgets: &Budgets) -> Result<Option<Answer>, Failure> {
    progress::check_interrupt()?;
    solve_in(&session.space, budgets)
}

fn solve_in(space: &Arc<Space>, budgets: &Budgets) -> Result<Option<Answer>, Failure> {
    let (problem, outcome) = codesign::solve(space, budgets)?;
    let Outcome::Solved(solution) = outcome else { return Ok(None) };
    Ok(Some(Answer::new(space, problem, *solution)))
}

/// Folds given settings as well as the solver can, if that fits.
///
/// # Errors
/// An internal error if the problem is malformed.
pub fn fold(
    session: &Session,
    settings: &BTreeMap<String, Setting>,
    budgets: &Budgets,
) -> Result<Option<Answer>, Failure> {
    solve_in(&Arc::new(session.space.with_settings(settings)), budgets)
}

/// Builds an answer and holds the whole circuit to the limits of parts: what the stages' prices
/// leave out (queues between stages, counters at the ports) is taken off the budgets, and the
/// question is asked again.
fn build(
    session: &Session,
    (mut answer, mut measured): (Answer, Measured),
    budgets: &mut Budgets,
    max_drop: f64,
) -> Result<(Answer, Measured, Lowered, Fitted), Failure> {
    let limit = budgets.parts;
    for _ in 0..FITS {
        let lowered = session.lower(&answer.design.settings)?;
        let fitted = session.realize(&answer.design, &lowered)?;
        let excess = beyond(&fitted.resources, &limit);
        if excess == Resources::default() || !budgets.limits_parts() {
            return Ok((answer, measured, lowered, fitted));
        }
        budgets.parts.lut = budgets.parts.lut.saturating_sub(excess.lut);
        budgets.parts.ff = budgets.parts.ff.saturating_sub(excess.ff);
        budgets.parts.dsp = budgets.parts.dsp.saturating_sub(excess.dsp);
        budgets.parts.bram = budgets.parts.bram.saturating_sub(excess.bram);
        budgets.distortion = answer.allowed();
        let least = session.space.least_distortion();
        loop {
            let Some(next) = solve(session, budgets)? else { return Err(does_not_fit(session).into()) };
            measured = session.measure(&next.design.settings)?;
            answer = next;
            if allowed(&measured, max_drop) || budgets.distortion <= least {
                break;
            }
            budgets.distortion = middle(least, budgets.distortion);
        }
    }
    Err(does_not_fit(session).into())
}

/// A drop counts as allowed if half its standard error is allowed on top of it.
fn allowed(measured: &Measured, max_drop: f64) -> bool {
    measured.drop + 0.5 * measured.standard_error <= max_drop
}

/// What a circuit takes beyond limits.
fn beyond(used: &Resources, limit: &Resources) -> Resources {
    Resources {
        lut: used.lut.saturating_sub(limit.lut),
        ff: used.ff.saturating_sub(limit.ff),
        dsp: used.dsp.saturating_sub(limit.dsp),
        bram: used.bram.saturating_sub(limit.bram),
    }
}

/// The choice of least distortion that fits: accepted if its drop alone is allowed.
fn most_faithful(
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
    show(&Diagnostic::warning("no-compression", message).help("all weights stay, at 8 bits"));
    Ok((answer, measured))
}

/// Nothing stays within the budgets.
pub fn does_not_fit(session: &Session) -> Diagnostic {
    Diagnostic::error("does-not-fit", "no choice of settings and foldings stays within the device and the multipliers")
        .at(&session.device.name)
        .help("choose a larger device, or allow more multipliers")
}

/// Compresses as far as the drop allows, without a look at the circuit, and then folds what comes
/// out as well as the solver can.
fn compress_first(session: &Session, max_drop: f64, parts: &Budgets) -> Result<Option<(Answer, Measured)>, Failure> {
    let least = session.space.least_distortion();
    let most = session.space.most_distortion().max(least + 1);
    let ask = |limit: u64| codesign::compress_first(&session.tables, &session.weights, limit);
    let (mut low, mut high) = (least, most);
    let mut limit = first_guess(least, most);
    let mut accepted = None;
    for _ in 0..ROUNDS {
        progress::check_interrupt()?;
        let Some(settings) = ask(limit)? else { break };
        let measured = session.measure(&settings)?;
        if allowed(&measured, max_drop) {
            (low, accepted) = (limit, Some((settings, measured)));
        } else {
            high = limit;
        }
        if close(low, high) {
            break;
        }
        limit = middle(low, high);
    }
    let Some((settings, measured)) = accepted else { return Ok(None) };
    let answer = fold(session, &settings, &Budgets { distortion: most, ..parts.clone() })?;
    Ok(answer.map(|answer| (answer, measured)))
}

/// What to take if "compress first" found something faster whose drop is allowed: measured drops
/// are no monotone function of distortion, so the front can miss it. The joint choice within the
/// same distortion is at least as fast; if its own drop is not allowed, the faster one is taken as
/// it is, with the bound that is proven for its distortion.
fn at_least_as_good(
    session: &Session,
    (mut first, measured): (Answer, Measured),
    parts: &mut Budgets,
    max_drop: f64,
    rounds: &mut Vec<Round>,
) -> Result<(Answer, Measured), Failure> {
    parts.distortion = first.design.distortion;
    let Some(joint) = solve(session, parts)? else { return Ok((first, measured)) };
    let drop = session.measure(&joint.design.settings)?;
    let accepted = allowed(&drop, max_drop);
    rounds.push(joint.round(drop, accepted));
    if accepted {
        return Ok((joint, drop));
    }
    first.solution.lower_bound = joint.solution.lower_bound;
    first.solution.optimal = first.solution.cycles == first.solution.lower_bound;
    first.solution.gap = first.solution.cycles as f64 / first.solution.lower_bound.max(1) as f64 - 1.0;
    first.problem.budgets[codesign::DISTORTION].limit = parts.distortion;
    rounds.push(first.round(measured, true));
    Ok((first, measured))
}
