//! Options that have no effect where they stand: refused where the command line alone shows it, said
//! where the model does.

use crate::cli::{Compile, Deform, Pattern, Source, Weights};
use crate::failure::Failure;
use crate::flow::gives_weights;
use crate::model::Model;
use lutweave_codesign::deform::is_deformable;
use lutweave_ir::{Diagnostic, Op};

/// Refuses options of `compile` that mean nothing together.
///
/// # Errors
/// The first of them.
pub fn check(arguments: &Compile) -> Result<(), Failure> {
    let refuse =
        |cause: &str, help: &str| Err(Failure::Usage(Diagnostic::error("invalid-option", cause.to_owned()).help(help)));
    let chooses = arguments.width() == Weights::Auto || arguments.source.deform == Some(Deform::Auto);
    if arguments.max_drop.is_some() && !chooses {
        return refuse(
            "--max-drop bounds a choice, and nothing is chosen",
            "add --weights auto (or --deform auto), or leave --max-drop out",
        );
    }
    if arguments.pattern == Some(Pattern::Channels) && arguments.method.is_some() {
        return refuse(
            "--method says how layers' shares of single weights are chosen, and whole channels are pruned",
            "leave --method out, or choose --pattern free",
        );
    }
    if arguments.no_verify && arguments.strict {
        return refuse("--strict refuses what the checks find, and --no-verify skips them", "leave one of them out");
    }
    Ok(())
}

/// Says which options of `compile` have no effect on a model.
pub fn warn(model: &Model, arguments: &Compile) {
    let source = &arguments.source;
    warn_source(model, source);
    let given = gives_weights(&model.graph);
    if given && matches!(arguments.weights, Some(Weights::Eight | Weights::Four)) {
        unused(model, "--weights", "the model brings its own integer weights, which stay as they are");
    }
    if source.deform == Some(Deform::Auto) && arguments.max_drop.is_some() && !is_deformable(&model.graph) {
        let chosen = arguments.width() == Weights::Auto;
        if !chosen {
            unused(model, "--max-drop", "the model has no deformable convolutions to choose for");
        }
    }
}

/// Says which options of a model and its preparation have no effect on it.
pub fn warn_source(model: &Model, source: &Source) {
    let given = gives_weights(&model.graph);
    let quantizes = |op: &Op| matches!(op, Op::Quantize { .. });
    let scales = given && model.graph.nodes().iter().any(|node| quantizes(&node.op));
    if source.ranges.is_some() && scales {
        unused(model, "--ranges", "the model brings its own scales; only values without one are calibrated");
    }
    if source.calibration_samples.is_some() && source.calibration.is_none() && model.task.is_none() {
        unused(model, "--calibration-samples", "there are no calibration samples: give --task or --calibration");
    }
    if source.keep_dead_channels && given {
        unused(model, "--keep-dead-channels", "channels are removed from float models only");
    }
    let reshapes = source.deform.is_some() || source.deform_reach.is_some() || source.deform_depthwise;
    if reshapes && !is_deformable(&model.graph) {
        unused(model, "--deform", "the model has no deformable convolutions");
    }
}

fn unused(model: &Model, option: &str, why: &str) {
    model.warnings.add(
        Diagnostic::warning("no-effect", format!("{option} has no effect: {why}")).at(&model.name).help("leave it out"),
    );
}
