//! The flow from a float graph to a circuit: every pass in order.

use crate::cli::{Compile, Ranges};
use crate::failure::Failure;
use crate::model::Model;
use crate::progress;
use crate::task::Section;
use lutweave_hw::device::{self, Device};
use lutweave_hw::fit::{Fitted, fit};
use lutweave_ir::split::{Split, split};
use lutweave_ir::validate::validate;
use lutweave_ir::{Diagnostic, Graph, Tensor};
use lutweave_passes::cleanup::{RewriteReport, simplify, simplify_integer};
use lutweave_passes::quantize::{LayerReport, QuantizeOptions, RangeMethod, Stage, quantize};
use std::path::Path;

/// A model on its way to a circuit.
#[derive(Debug)]
pub struct Lowered {
    /// The float graph after clean-up.
    pub float: Graph,
    /// The integer graph with its host parts.
    pub integer: Graph,
    /// Its three parts.
    pub split: Split,
    /// What quantization did.
    pub layers: Vec<LayerReport>,
    /// What the e-graphs did, before and after quantization.
    pub rewrites: [RewriteReport; 2],
}

/// The device of a name or file.
///
/// # Errors
/// If there is none of that name.
pub fn device(name: &str) -> Result<Device, Failure> {
    if let Some(device) = device::find(name) {
        return Ok(device);
    }
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, "read the device", error))?;
        return device::parse(&text).map_err(|error| Failure::file(path, "understand the device", error.trim()));
    }
    let names: Vec<String> = device::devices().into_iter().map(|device| device.name).collect();
    Err(Failure::Usage(
        Diagnostic::error("no-device", "there is no such device")
            .at(name)
            .help(format!("known: {}; or give a .toml file", names.join(", "))),
    ))
}

/// Calibration inputs of a model: of its task, or none.
///
/// # Errors
/// If the task's data cannot be used.
pub fn calibration(model: &Model, limit: usize) -> Result<Vec<Vec<Tensor>>, Failure> {
    let Some(task) = &model.task else { return Ok(Vec::new()) };
    let ty = single_input(&model.graph)?;
    let samples = task.samples(Section::Calibration, ty, limit)?;
    Ok(samples.inputs.into_iter().map(|input| vec![input]).collect())
}

/// The type of the only input: tasks feed one.
///
/// # Errors
/// If there are several.
pub fn single_input(graph: &Graph) -> Result<&lutweave_ir::TensorType, Failure> {
    match graph.inputs() {
        [input] => Ok(&graph.node(*input).ty),
        inputs => Err(Diagnostic::error("bad-task", format!("a task feeds one input, the model has {}", inputs.len()))
            .at(&graph.name)
            .into()),
    }
}

/// Cleans, quantizes and splits a model.
///
/// # Errors
/// Everything in the model that cannot be compiled.
pub fn lower(
    model: &Model,
    calibration: &[Vec<Tensor>],
    weight_bits: u8,
    options: &Compile,
) -> Result<Lowered, Failure> {
    progress::check_interrupt()?;
    let cleaned = simplify(&model.graph)?;
    validate(&cleaned.graph)?;
    progress::check_interrupt()?;
    let bar = progress::bar("quantize", 1, options.format.json);
    let show = |stage: Stage, done: usize, total: usize| {
        progress::exit_if_interrupted();
        bar.set_prefix(match stage {
            Stage::Calibrate => "calibrate",
            Stage::Lower => "quantize",
        });
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let quantized = quantize(
        &cleaned.graph,
        calibration,
        &QuantizeOptions {
            weight_bits,
            activation_range: match options.ranges {
                Ranges::MinMax => RangeMethod::MinMax,
                Ranges::Percentile => RangeMethod::Percentile(0.999),
                Ranges::Mse => RangeMethod::Mse,
            },
            bias_correction: true,
            samples: options.calibration_samples as usize,
            progress: Some(&show),
            ..QuantizeOptions::default()
        },
    );
    bar.finish_and_clear();
    let quantized = quantized?;
    let integer = simplify_integer(&quantized.graph)?;
    validate(&integer.graph)?;
    let split = split(&integer.graph)?;
    validate(&split.core)?;
    Ok(Lowered {
        float: cleaned.graph,
        integer: integer.graph,
        split,
        layers: quantized.layers,
        rewrites: [cleaned.report, integer.report],
    })
}

/// Folds the core for a device and elaborates it.
///
/// # Errors
/// If it has no hardware or does not fit.
pub fn build(core: &Graph, device: &Device, multipliers: Option<u32>) -> Result<Fitted, Failure> {
    progress::check_interrupt()?;
    Ok(fit(core, device, multipliers)?)
}
