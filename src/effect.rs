//! Options that have no effect on the model at hand.

use crate::model::Model;
use crate::observer::Context;
use crate::options::{Deform, Options, Weights};
use crate::pipeline::gives_weights;
use lutweave_codesign::deform::is_deformable;
use lutweave_ir::{Diagnostic, Op};

/// Says which options have no effect on a model.
pub fn warn(model: &Model, options: &Options, context: &Context) {
    let unused = |option: &str, why: &str| {
        let message = format!("{option} has no effect: {why}");
        context.warn(Diagnostic::warning("no-effect", message).at(&model.name).help("leave it out"));
    };
    let given = gives_weights(&model.graph);
    let quantizes = |op: &Op| matches!(op, Op::Quantize(_));
    let scales = given && model.graph.nodes().iter().any(|node| quantizes(&node.op));
    if options.ranges.is_some() && scales {
        unused("--ranges", "the model brings its own scales; only values without one are calibrated");
    }
    if options.calibration_samples.is_some() && options.calibration.is_none() && model.task.is_none() {
        unused("--calibration-samples", "there are no calibration samples: give --task or --calibration");
    }
    if options.keep_dead_channels && given {
        unused("--keep-dead-channels", "channels are removed from float models only");
    }
    let reshapes = options.deform.is_some() || options.deform_reach.is_some() || options.deform_depthwise;
    if reshapes && !is_deformable(&model.graph) {
        unused("--deform", "the model has no deformable convolutions");
    }
    if given && matches!(options.weights, Some(Weights::Eight | Weights::Four)) {
        unused("--weights", "the model brings its own integer weights, which stay as they are");
    }
    if options.deform == Some(Deform::Auto) && options.max_drop.is_some() && !is_deformable(&model.graph) {
        let chosen = options.width() == Weights::Auto;
        if !chosen {
            unused("--max-drop", "the model has no deformable convolutions to choose for");
        }
    }
}
