//! Pruning to a share that the user names, and giving up channels.

use crate::failure::Failure;
use crate::metric::Metric;
use crate::model::Model;
use crate::options::{self, Options};
use crate::pipeline::{Cleaned, State};
use crate::task::Task;
use lutweave_codesign::prune::{Method, Target, prune};
use lutweave_codesign::sensitivity::Loss;
use lutweave_codesign::shrink::{Shrunk, Until, shrink};
use lutweave_quantize::{NormalizedLayer, normalized_network};

/// What the user wants to be left.
pub(crate) fn target(options: &Options) -> Option<Target> {
    match (options.sparsity, options.keep_macs) {
        (Some(sparsity), _) => Some(Target::Weights(1.0 - sparsity)),
        (_, Some(kept)) => Some(Target::Macs(kept)),
        (None, None) => None,
    }
}

/// Chooses the share of weights that each layer keeps.
///
/// # Errors
/// As [`prune`].
pub(crate) fn weights(state: &mut State) -> Result<(), Failure> {
    let method = match state.options.method.unwrap_or(options::Method::Rd) {
        options::Method::Rd => Method::Rd,
        options::Method::RdOnce => Method::RdOnce,
        options::Method::Uniform => Method::Uniform,
        options::Method::Magnitude => Method::Magnitude,
        options::Method::Lamp => Method::Lamp,
        options::Method::Erk => Method::Erk,
    };
    let Some(target) = target(state.options) else { return Ok(()) };
    let subject = normalized_network(state.cleaned.graph())?;
    let width = |layer: &NormalizedLayer| layer.info.default_bits(state.weight_bits);
    let work = state.context.work("prune", None);
    let totals = state.cleaned.totals;
    let pruned =
        prune(&subject, &state.calibration, loss(state.model), method, target, totals, &width, &|done, total| {
            work.of(done, total)
        })?;
    drop(work);
    state.settings = Some(pruned.settings.clone());
    state.pruned = Some(pruned);
    Ok(())
}

/// Gives up whole channels until the target is met.
///
/// # Errors
/// As [`shrink`].
pub(crate) fn channels_to_target(state: &mut State) -> Result<(), Failure> {
    if let Some(target) = target(state.options) {
        state.cleaned = channels(state, Until::Kept(target, state.cleaned.totals))?;
    }
    Ok(())
}

/// The network without the channels whose loss costs least.
///
/// # Errors
/// As [`shrink`].
pub(crate) fn channels(state: &State, until: Until) -> Result<Cleaned, Failure> {
    let work = state.context.work("channels", None);
    let network = normalized_network(state.cleaned.graph())?;
    let Shrunk { graph, steps } =
        shrink(&network, &state.calibration, loss(state.model), until, &|steps| work.at(steps))?;
    let mut cleaned = state.cleaned.clone();
    cleaned.given_up = steps;
    cleaned.set_graph(graph);
    Ok(cleaned)
}

/// The loss that stands for the model's metric.
pub(crate) fn loss(model: &Model) -> Loss {
    let classes = model.task.as_ref().and_then(Task::metric).is_some_and(Metric::decides_classes);
    if classes { Loss::Divergence } else { Loss::SquaredError }
}
