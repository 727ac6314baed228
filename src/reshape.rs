//! `--deform`: how free the taps of deformable convolutions are left.

use crate::codesign::Judge;
use crate::failure::Failure;
use crate::options::{Deform, Options};
use crate::pipeline::{self, State};
use crate::task::Section;
use lutweave_codesign::deform::{Report, Request, Step, Variant};
use lutweave_ir::Diagnostic;
use serde::Serialize;

/// What was made of a model's deformable layers.
#[derive(Clone, Debug, Serialize)]
pub struct Reshaping {
    /// The layers, and what each step cost.
    #[serde(flatten)]
    pub report: Report,
    /// With `--deform auto`: the variants in the order in which they were tried.
    pub tried: Vec<Tried>,
}

/// A variant that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// The variant.
    pub variant: Variant,
    /// Points of the metric that the 8-bit network loses against the float model on the
    /// calibration data.
    pub drop: f64,
    /// Standard error of the drop.
    pub standard_error: f64,
    /// It is the choice.
    pub accepted: bool,
}

/// How the options ask deformable layers to be reshaped; with [`Deform::Auto`], as long as nothing is chosen.
pub(crate) fn request(options: &Options) -> Request {
    let variant = match options.deform.unwrap_or(Deform::Full) {
        Deform::Full | Deform::Auto => Variant::Full,
        Deform::Bounded => Variant::Bounded,
        Deform::Square => Variant::Square,
    };
    Request { variant, reach: options.deform_reach, depthwise: options.deform_depthwise }
}

/// Chooses the cheapest variant (a square needs one offset per pixel and the fewest rows, a bound fewer rows
/// than none) whose 8-bit network loses at most the allowed drop of the metric on the calibration data; if
/// all lose more, the one that leaves taps free.
///
/// # Errors
/// Everything in the model that cannot be compiled; without a task.
pub(crate) fn choose(state: &mut State) -> Result<(), Failure> {
    let (model, max_drop) = (state.model, state.options.allowed_drop());
    let Some(task) = &model.task else {
        return Err(Failure::Usage(
            Diagnostic::error("no-task", "--deform auto measures the metric's drop, which needs a task")
                .help("give --task FILE.toml, or choose --deform full, bounded or square"),
        ));
    };
    let judge = Judge::new(model, task, Section::Calibration, usize::MAX)?;
    for variant in [Variant::Square, Variant::Bounded, Variant::Full] {
        state.deform.variant = variant;
        let mut candidate = state.clone();
        pipeline::run_quietly(&mut candidate, pipeline::rest_of_stage("choose-deformable"))?;
        let (drop, standard_error) = judge.judge(&candidate.candidate(8, None)?)?.drop;
        let last = variant == Variant::Full;
        state.tried.push(Tried { variant, drop, standard_error, accepted: last || drop <= max_drop });
        if drop <= max_drop {
            break;
        }
        if last {
            let message = format!("even free taps cost {drop:.2} points at 8 bits; {max_drop} are allowed");
            state.context.warn(Diagnostic::warning("drop-too-large", message).at(&model.name));
        }
    }
    Ok(())
}

/// The name of a variant in figures.
pub fn variant_name(variant: Variant) -> &'static str {
    match variant {
        Variant::Full => "full",
        Variant::Bounded => "bounded",
        Variant::Square => "square",
    }
}

/// What a step does, in words.
pub fn step_name(step: Step) -> &'static str {
    match step {
        Step::Depthwise => "depthwise",
        Step::Bounded => "bounded",
        Step::Square => "one distance per pixel",
        Step::Whole => "whole pixels",
    }
}

/// The prices in one line: what the outputs have lost after each step.
pub fn prices(reshaping: &Reshaping) -> String {
    let price = |distortion: Option<f64>| distortion.map_or("not measured".to_owned(), |value| format!("{value:.5}"));
    let steps = reshaping.report.prices.iter();
    let steps: Vec<String> = steps.map(|step| format!("{} {}", step_name(step.step), price(step.distortion))).collect();
    if steps.is_empty() { "nothing changed".to_owned() } else { steps.join(", ") }
}
