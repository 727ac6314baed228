//! The joint choice, and the same for a network that gave up channels.

use super::choose::{Chosen, choose};
use super::ladder::MAX_USEFUL_DISTORTION;
use super::session::Session;
use crate::failure::Failure;
use crate::pipeline::State;
use crate::prune;
use lutweave_codesign::sensitivity::real;
use lutweave_codesign::shrink::Until;
use lutweave_ir::Diagnostic;

/// Multiply-accumulates, as a share, that must go with channels for a second choice.
const MIN_WORK_REDUCTION: f64 = 0.9;

/// Chooses settings and foldings; then again for a network that gave up the channels whose loss
/// costs less than half of what the first choice does, if that saves work worth a second look. The
/// faster choice is taken.
///
/// # Errors
/// As [`choose`]; with a target for pruning, which the choice would not keep to.
pub(crate) fn choose_with_channels(state: &mut State) -> Result<(), Failure> {
    if !state.options.prunes_channels() && prune::target(state.options).is_some() {
        return Err(Failure::Usage(
            Diagnostic::error("invalid-option", "--weights auto chooses the sparsity of each layer itself")
                .help("leave --sparsity and --keep-macs out, or choose --weights 8 or 4"),
        ));
    }
    let ask = |state: &State| choose(&Session::new(state)?, state.options.allowed_drop());
    let mut chosen = ask(state)?;
    // Beyond what ruins most networks, fits on what is left of the signal mean nothing.
    let until = Until::Distortion((0.5 * chosen.record.predicted_distortion).min(real(MAX_USEFUL_DISTORTION)));
    let smaller = State { cleaned: prune::channels(state, until)?, ..state.clone() };
    let left = smaller.cleaned.given_up.last().map_or(state.cleaned.totals.macs, |step| step.macs);
    if left as f64 <= MIN_WORK_REDUCTION * state.cleaned.macs()? as f64 {
        match ask(&smaller) {
            Ok(other) if other.record.cycles < chosen.record.cycles => {
                state.cleaned = smaller.cleaned;
                chosen = other;
            }
            // What the smaller network costs may leave nothing to choose.
            Ok(_) | Err(Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    let Chosen { design, record } = chosen;
    state.settings = Some(design.settings);
    state.foldings = Some(design.choices);
    state.record = Some(record);
    Ok(())
}
