//! `--deform`: how free the taps of deformable convolutions are left.

use crate::cli::{Deform, Source};
use crate::codesign::Judge;
use crate::failure::Failure;
use crate::flow::{self, Cleaned};
use crate::model::Model;
use crate::task::Section;
use lutweave_codesign::deform::{Report, Request, Step, Variant, is_deformable};
use lutweave_ir::{Diagnostic, Tensor};
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

/// What the command line asks for; `None` leaves the variant to [`clean`].
fn request(source: &Source) -> Option<Request> {
    let variant = match source.deform.unwrap_or(Deform::Full) {
        Deform::Full => Variant::Full,
        Deform::Bounded => Variant::Bounded,
        Deform::Square => Variant::Square,
        Deform::Auto => return None,
    };
    Some(Request { variant, reach: source.deform_reach, depthwise: source.deform_depthwise })
}

/// Cleans a model and reshapes its deformable layers. With `--deform auto` the cheapest variant is
/// taken (a square needs one offset a pixel and the fewest rows, a bound fewer rows than none) whose
/// 8-bit network loses at most `max_drop` points of the metric on the calibration data;
/// if all lose more, the one that leaves taps free.
///
/// # Errors
/// Everything in the model that cannot be compiled; `--deform auto` without a task, or for a
/// command that bounds no drop.
pub fn clean(
    model: &Model,
    calibration: &[Vec<Tensor>],
    source: &Source,
    max_drop: Option<f64>,
    quiet: bool,
) -> Result<Cleaned, Failure> {
    if let Some(request) = request(source) {
        return flow::clean(model, calibration, source, &request);
    }
    let all = |variant| Request { variant, reach: source.deform_reach, depthwise: source.deform_depthwise };
    if !is_deformable(&model.graph) {
        return flow::clean(model, calibration, source, &all(Variant::Full));
    }
    let usage = |code, message: &str, help: &str| Failure::Usage(Diagnostic::error(code, message).help(help));
    let Some(max_drop) = max_drop else {
        return Err(usage(
            "invalid-option",
            "--deform auto chooses by the drop that `compile` allows",
            "choose --deform full, bounded or square here",
        ));
    };
    let Some(task) = &model.task else {
        return Err(usage(
            "no-task",
            "--deform auto measures the metric's drop, which needs a task",
            "give --task FILE.toml, or choose --deform full, bounded or square",
        ));
    };
    let judge = Judge::new(model, task, Section::Calibration, usize::MAX)?;
    let mut tried = Vec::new();
    for variant in [Variant::Square, Variant::Bounded, Variant::Full] {
        let mut cleaned = flow::clean(model, calibration, source, &all(variant))?;
        let lowered = flow::lower(&cleaned, calibration, 8, None, source, quiet)?;
        let (drop, standard_error) = judge.judge(&lowered)?.drop;
        let last = variant == Variant::Full;
        tried.push(Tried { variant, drop, standard_error, accepted: last || drop <= max_drop });
        if drop > max_drop && !last {
            continue;
        }
        if drop > max_drop {
            let message = format!("even free taps cost {drop:.2} points at 8 bits; {max_drop} are allowed");
            model.warnings.add(Diagnostic::warning("drop-too-large", message).at(&model.name));
        }
        if let Some(reshaping) = &mut cleaned.reshaping {
            reshaping.tried = tried;
        }
        return Ok(cleaned);
    }
    unreachable!("invariant: the last variant is always taken")
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
        Step::Square => "one distance a pixel",
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
