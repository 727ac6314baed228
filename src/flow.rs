//! The flow from a float graph to a circuit: every pass in order.

use crate::cli::{Ranges, Source};
use crate::deform::Reshaping;
use crate::failure::Failure;
use crate::file;
use crate::model::Model;
use crate::progress;
use crate::prune;
use crate::task::{Section, nearest};
use lutweave_codesign::deform::{Request, is_deformable, reshape};
use lutweave_codesign::prune::Totals;
use lutweave_codesign::shrink::Step;
use lutweave_hw::device::{self, Device};
use lutweave_hw::fit::{Fitted, fit};
use lutweave_ir::split::{Split, split};
use lutweave_ir::validate::validate;
use lutweave_ir::{Diagnostic, Graph, Op, Tensor};
use lutweave_quantize::channels::{self, Removed, remove_dead};
use lutweave_quantize::compress::{Pattern, Setting};
use lutweave_quantize::head;
use lutweave_quantize::separate::separate;
use lutweave_quantize::{LayerReport, QuantizeOptions, RangeMethod, Stage, quantize, subject};
use lutweave_rewrite::cleanup::{RewriteReport, Simplified, simplify, simplify_integer, simplify_sites};
use lutweave_rewrite::fixed;
use lutweave_rewrite::sites::{self, Site};
use std::collections::BTreeMap;
use std::path::Path;

/// A float model after clean-up.
#[derive(Clone, Debug)]
pub struct Cleaned {
    /// The graph that is quantized.
    pub graph: Graph,
    /// What the rewrites did.
    pub rewrites: RewriteReport,
    /// Channels that were removed.
    pub removed: Option<Removed>,
    /// What was made of deformable layers, if there are any.
    pub reshaping: Option<Reshaping>,
    /// With deformable layers: the float graph before their offsets became whole pixels.
    pub unrounded: Option<Graph>,
    /// Where lossy choices are made.
    pub sites: Vec<Site>,
    /// Weights and multiply-accumulates before channels were removed.
    pub totals: Totals,
    /// Channels that were given up at a loss.
    pub given_up: Vec<Step>,
    /// The head of a detector that the chip is to have.
    pub head: Option<head::Request>,
}

impl Cleaned {
    /// Multiply-accumulates of the layers whose weights may be chosen.
    ///
    /// # Errors
    /// Everything in the graph that cannot be compiled.
    pub fn macs(&self) -> Result<u64, Failure> {
        Ok(Totals::of(&subject(&self.graph)?).macs)
    }
}

/// A model on its way to a circuit.
#[derive(Debug)]
pub struct Lowered {
    /// The integer graph with its host parts.
    pub integer: Graph,
    /// Its three parts.
    pub split: Split,
    /// What quantization did.
    pub layers: Vec<LayerReport>,
    /// What the rewrites of the integer graph did.
    pub rewrites: RewriteReport,
    /// Where the integers may not mean what the reals do.
    pub warnings: Vec<Diagnostic>,
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
        let text = file::read_text(path, file::SETTINGS, "read the device")?;
        return device::parse(&text).map_err(|error| Failure::file(path, "understand the device", error.trim()));
    }
    let devices = device::devices();
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    let near = nearest(name, &names).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    Err(Failure::Usage(
        Diagnostic::error("no-device", "there is no such device")
            .at(name)
            .help(format!("{near}known: {}; or give a .toml file", names.join(", "))),
    ))
}

/// Calibration inputs of a model: of a file, of its task, or none.
///
/// # Errors
/// If the data cannot be used.
pub fn calibration(model: &Model, source: &Source) -> Result<Vec<Vec<Tensor>>, Failure> {
    let limit = source.calibration_limit();
    if let Some(path) = &source.calibration {
        let mut samples = crate::inputs::read_inputs(path, &model.graph)?;
        samples.truncate(limit);
        return Ok(samples);
    }
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

/// Cleans a model: exact rewrites, deformable layers as requested, then channels that nobody needs.
///
/// # Errors
/// Everything in the model that cannot be compiled.
pub fn clean(
    model: &Model,
    calibration: &[Vec<Tensor>],
    source: &Source,
    request: &Request,
) -> Result<Cleaned, Failure> {
    progress::check_interrupt()?;
    let rewrite = if source.no_egraph { fixed::simplify } else { simplify };
    let Simplified { mut graph, report: mut rewrites } = rewrite(&model.graph)?;
    validate(&graph)?;
    progress::check_interrupt()?;
    let mut reshaping = None;
    let mut unrounded = None;
    if is_deformable(&graph) {
        let reshaped = reshape(&graph, calibration, prune::loss(model), request)?;
        let again = rewrite(&reshaped.graph)?;
        graph = again.graph;
        validate(&graph)?;
        rewrites.cost_after = again.report.cost_after;
        unrounded = Some(reshaped.unrounded);
        reshaping = Some(Reshaping { report: reshaped.report, tried: Vec::new() });
        progress::check_interrupt()?;
    }
    let totals = Totals::of(&subject(&graph)?);
    let given = gives_weights(&graph);
    let mut removed = None;
    if !source.keep_dead_channels && !given {
        let smaller = remove_dead(&graph, calibration, &channels::Options::default())?;
        let again = rewrite(&smaller.graph)?;
        graph = again.graph;
        rewrites.cost_after = again.report.cost_after;
        removed = Some(smaller);
    }
    let mut sites = Vec::new();
    if !source.no_egraph {
        let placed = sites::place(&graph)?;
        let moved = simplify_sites(&placed.graph)?;
        let resolved = sites::resolve(&moved.graph)?.graph;
        // A graph that is no cheaper would only lose the model's names.
        if fixed::cost(&resolved)? < fixed::cost(&graph)? {
            graph = resolved;
        }
        rewrites.fired.extend(moved.report.fired);
        rewrites.saturated &= moved.report.saturated;
        sites = placed.sites;
    }
    if !given {
        graph = separate(&graph, calibration)?.0;
    }
    validate(&graph)?;
    Ok(Cleaned { graph, rewrites, removed, reshaping, unrounded, sites, totals, given_up: Vec::new(), head: None })
}

/// True if a model brings integer weights.
pub fn gives_weights(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| matches!(node.op, Op::DequantizeWeights(_)))
}

/// Quantizes and splits a cleaned model. Layers without a setting have weights of `weight_bits`.
///
/// # Errors
/// Everything in the model that cannot be compiled.
pub fn lower(
    cleaned: &Cleaned,
    calibration: &[Vec<Tensor>],
    weight_bits: u8,
    settings: Option<&BTreeMap<String, Setting>>,
    source: &Source,
    quiet: bool,
) -> Result<Lowered, Failure> {
    progress::check_interrupt()?;
    let bar = progress::bar("quantize", 0, quiet);
    let show = |stage: Stage, done: usize, total: usize| {
        progress::exit_if_interrupted();
        bar.set_prefix(match stage {
            Stage::Calibrate => "calibrate",
            Stage::Lower => "quantize",
        });
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let pruned = settings.is_some_and(|settings| settings.values().any(|setting| setting.pattern != Pattern::Dense));
    let quantized = quantize(
        &cleaned.graph,
        calibration,
        &QuantizeOptions {
            weight_bits,
            settings,
            activation_range: match source.range_method() {
                Ranges::MinMax => RangeMethod::MinMax,
                Ranges::Percentile => RangeMethod::Percentile(0.999),
                Ranges::Mse => RangeMethod::Mse,
            },
            bias_correction: true,
            // What pruning loses in early layers is large enough for later ones to make up for it.
            asymmetric: pruned,
            samples: source.calibration_limit(),
            progress: Some(&show),
            ..QuantizeOptions::default()
        },
    );
    bar.finish_and_clear();
    let quantized = quantized?;
    let rewrite = if source.no_egraph { fixed::simplify_integer } else { simplify_integer };
    let Simplified { graph: mut integer, report: rewrites } = rewrite(&quantized.graph)?;
    if let Some(request) = &cleaned.head {
        integer = head::attach(&integer, request)?;
    }
    validate(&integer)?;
    let split = split(&integer)?;
    validate(&split.core)?;
    Ok(Lowered { integer, split, layers: quantized.layers, rewrites, warnings: quantized.warnings })
}

/// Folds the core for a device and elaborates it.
///
/// # Errors
/// If it has no hardware or does not fit.
pub fn build(core: &Graph, device: &Device, multipliers: Option<u32>) -> Result<Fitted, Failure> {
    progress::check_interrupt()?;
    Ok(fit(core, device, multipliers)?)
}
