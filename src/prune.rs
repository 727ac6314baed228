//! Pruning to a share that the user names, and giving up channels.

use crate::cli::{self, Compile};
use crate::failure::Failure;
use crate::flow::Cleaned;
use crate::metric::Metric;
use crate::model::Model;
use crate::progress;
use crate::task::Task;
use lutweave_codesign::prune::{Method, Pruned, Target, prune};
use lutweave_codesign::sensitivity::Loss;
use lutweave_codesign::shrink::{Shrunk, Until, shrink};
use lutweave_ir::Tensor;
use lutweave_quantize::{SubjectLayer, subject};

/// What the user wants to be left.
pub fn target(arguments: &Compile) -> Option<Target> {
    match (arguments.sparsity, arguments.keep_macs) {
        (Some(sparsity), _) => Some(Target::Weights(1.0 - sparsity)),
        (_, Some(kept)) => Some(Target::Macs(kept)),
        (None, None) => None,
    }
}

/// Chooses the share of weights that each layer keeps.
///
/// # Errors
/// As [`prune`].
pub fn weights(
    model: &Model,
    cleaned: &Cleaned,
    calibration: &[Vec<Tensor>],
    target: Target,
    bits: u8,
    arguments: &Compile,
) -> Result<Pruned, Failure> {
    let method = match arguments.method.unwrap_or(cli::Method::Rd) {
        cli::Method::Rd => Method::Rd,
        cli::Method::RdOnce => Method::RdOnce,
        cli::Method::Uniform => Method::Uniform,
        cli::Method::Magnitude => Method::Magnitude,
        cli::Method::Lamp => Method::Lamp,
        cli::Method::Erk => Method::Erk,
    };
    let subject = subject(&cleaned.graph)?;
    let width = |layer: &SubjectLayer| layer.info.default_bits(bits);
    let bar = progress::bar("prune", 0, arguments.format.json);
    let show = |done: usize, total: usize| {
        progress::exit_if_interrupted();
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let pruned = prune(&subject, calibration, loss(model), method, target, cleaned.totals, &width, &show);
    bar.finish_and_clear();
    Ok(pruned?)
}

/// The network without the channels whose loss costs least.
///
/// # Errors
/// As [`shrink`].
pub fn channels(
    model: &Model,
    cleaned: &Cleaned,
    calibration: &[Vec<Tensor>],
    until: Until,
    quiet: bool,
) -> Result<Cleaned, Failure> {
    let bar = progress::count("channels", quiet);
    let show = |steps: usize| {
        progress::exit_if_interrupted();
        bar.set_position(steps as u64);
    };
    let shrunk = shrink(&subject(&cleaned.graph)?, calibration, loss(model), until, &show);
    bar.finish_and_clear();
    let Shrunk { graph, steps } = shrunk?;
    Ok(Cleaned { graph, given_up: steps, ..cleaned.clone() })
}

/// The loss that stands for the model's metric.
pub fn loss(model: &Model) -> Loss {
    model.task.as_ref().and_then(Task::metric).map_or(Loss::SquaredError, Metric::loss)
}
