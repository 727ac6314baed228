//! What the joint choice is compared with: settings first, folding after.

use super::choose::{Answer, allowed, fold, solve};
use super::judge::Measured;
use super::record::Round;
use super::session::Session;
use crate::failure::Failure;
use lutweave_codesign::Budgets;
use lutweave_codesign::sensitivity::DISTORTION_ONE;

/// Error budgets that are tried at most.
const ROUNDS: usize = 9;

/// Compresses as far as the drop allows, without a look at the circuit, and then folds what comes
/// out as well as the solver can.
pub fn compress_first(
    session: &Session,
    max_drop: f64,
    parts: &Budgets,
) -> Result<Option<(Answer, Measured)>, Failure> {
    let least = session.space.least_distortion();
    let most = session.space.most_distortion().max(least + 1);
    let ask = |limit: u64| lutweave_codesign::compress_first(&session.tables, &session.weights, limit);
    let (mut low, mut high) = (least, most);
    let mut limit = first_guess(least, most);
    let mut accepted = None;
    for _ in 0..ROUNDS {
        session.state.context.check()?;
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
pub fn at_least_as_good(
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
    first.problem.budgets[lutweave_codesign::DISTORTION].limit = parts.distortion;
    rounds.push(first.round(measured, true));
    Ok((first, measured))
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
