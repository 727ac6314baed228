//! What goes through the pipeline.

use crate::codesign::record::Record;
use crate::failure::Failure;
use crate::model::Model;
use crate::observer::Context;
use crate::options::{Options, Weights};
use crate::pipeline::{self, Stage};
use crate::reshape::{Reshaping, Tried};
use lutweave_codesign::deform::Request;
use lutweave_codesign::prune::{Pruned, Totals};
use lutweave_codesign::shrink::Step;
use lutweave_hw::dataflow;
use lutweave_hw::device::Device;
use lutweave_hw::fit::Fitted;
use lutweave_hw::plan::Choice;
use lutweave_ir::split::Split;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, Op, Tensor, text};
use lutweave_quantize::channels::Removed;
use lutweave_quantize::compress::WeightConfigs;
use lutweave_quantize::{Calibrated, LayerReport, head, normalized_network};
use lutweave_rewrite::cleanup::RewriteReport;
use lutweave_rewrite::sites::Site;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A quantized graph, and what was asked for.
struct Candidate {
    weight_bits: u8,
    settings: Option<WeightConfigs>,
    quantized: lutweave_quantize::Quantized,
}

/// A float model on its way to what is quantized.
#[derive(Clone)]
pub struct Cleaned {
    graph: Graph,
    /// What the calibration samples show of the graph; shared by all candidates that are made of it.
    calibrated: Arc<OnceLock<Arc<Calibrated>>>,
    /// The candidate that was quantized last: what is chosen was measured just before.
    latest: Arc<Mutex<Option<Candidate>>>,
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
    pub head: Option<head::HeadSpec>,
}

impl Cleaned {
    /// A model as it came.
    pub(crate) fn of(graph: Graph) -> Self {
        Self {
            graph,
            calibrated: Arc::default(),
            latest: Arc::default(),
            rewrites: RewriteReport::default(),
            removed: None,
            reshaping: None,
            unrounded: None,
            sites: Vec::new(),
            totals: Totals::default(),
            given_up: Vec::new(),
            head: None,
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Another graph; what was observed of the one before is forgotten.
    pub(crate) fn set_graph(&mut self, graph: Graph) {
        self.graph = graph;
        self.calibrated = Arc::default();
        self.latest = Arc::default();
    }

    /// What calibration samples show of the graph: asked for once, by `calibrate`.
    pub(crate) fn calibrated(
        &self,
        calibrate: impl FnOnce(&Graph) -> Result<Calibrated, Diagnostics>,
    ) -> Result<Arc<Calibrated>, Diagnostics> {
        if let Some(calibrated) = self.calibrated.get() {
            return Ok(Arc::clone(calibrated));
        }
        let calibrated = Arc::new(calibrate(&self.graph)?);
        // Whoever was faster found the same.
        let _ = self.calibrated.set(Arc::clone(&calibrated));
        Ok(calibrated)
    }

    /// The graph with weights of so many bits, and with settings: asked for anew unless that was the last question.
    pub(crate) fn quantized(
        &self,
        weight_bits: u8,
        settings: Option<&WeightConfigs>,
        quantize: impl FnOnce() -> Result<lutweave_quantize::Quantized, Diagnostics>,
    ) -> Result<lutweave_quantize::Quantized, Diagnostics> {
        let latest = || self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = |latest: &&Candidate| latest.weight_bits == weight_bits && latest.settings.as_ref() == settings;
        if let Some(latest) = latest().as_ref().filter(asked) {
            return Ok(latest.quantized.clone());
        }
        let quantized = quantize()?;
        *latest() = Some(Candidate { weight_bits, settings: settings.cloned(), quantized: quantized.clone() });
        Ok(quantized)
    }

    /// Multiply-accumulates of the layers whose weights may be chosen.
    ///
    /// # Errors
    /// Everything in the graph that cannot be compiled.
    pub fn macs(&self) -> Result<u64, Failure> {
        Ok(Totals::of(&normalized_network(&self.graph)?).macs)
    }
}

/// An integer graph that is not cut yet.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The integer graph with its host parts.
    pub graph: Graph,
    /// What quantization did.
    pub layers: Vec<LayerReport>,
    /// What the rewrites of the integer graph did.
    pub rewrites: RewriteReport,
    /// Where the integers may not mean what the reals do.
    pub warnings: Vec<Diagnostic>,
}

/// A model as integers.
#[derive(Clone, Debug)]
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

/// Everything that passes read and write. Cloning shares the weights.
#[derive(Clone)]
pub struct State<'a> {
    /// The model as it was imported.
    pub model: &'a Model,
    /// What is asked.
    pub options: &'a Options,
    /// Who watches.
    pub context: &'a Context<'a>,
    /// The device.
    pub device: Arc<Device>,
    /// Calibration samples: a list of inputs each.
    pub calibration: Arc<[Vec<Tensor>]>,
    /// The float model so far.
    pub cleaned: Cleaned,
    /// How deformable layers are reshaped.
    pub deform: Request,
    /// The variants of deformable layers that were tried, where one was chosen.
    pub tried: Vec<Tried>,
    /// Width of the weights of layers without a setting.
    pub weight_bits: u8,
    /// Settings of layers, where these were chosen or pruned.
    pub settings: Option<WeightConfigs>,
    /// Foldings of stages by the names of their nodes, where these were chosen.
    pub foldings: Option<BTreeMap<String, Choice>>,
    /// How weights were pruned.
    pub pruned: Option<Pruned>,
    /// How settings and foldings were chosen.
    pub record: Option<Record>,
    /// The integer graph, from `quantize` on.
    pub quantized: Option<Quantized>,
    /// The integer graph in parts, from `partition` on.
    pub lowered: Option<Lowered>,
    /// The circuit, from `fold` on.
    pub fitted: Option<Fitted>,
}

impl<'a> State<'a> {
    /// The start: a model, calibration samples and a device.
    ///
    /// # Errors
    /// If the options ask for the head of a detector and the task does not say how to read it.
    pub fn new(
        model: &'a Model,
        options: &'a Options,
        context: &'a Context<'a>,
        device: Device,
        calibration: Vec<Vec<Tensor>>,
    ) -> Result<Self, Failure> {
        let mut cleaned = Cleaned::of(model.graph.clone());
        if options.head {
            cleaned.head = Some(requested_head(model)?);
        }
        let weight_bits = match options.width() {
            Weights::Eight | Weights::Auto => 8,
            Weights::Four => 4,
        };
        Ok(Self {
            model,
            options,
            context,
            device: Arc::new(device),
            calibration: calibration.into(),
            cleaned,
            deform: crate::reshape::request(options),
            tried: Vec::new(),
            weight_bits,
            settings: None,
            foldings: None,
            pruned: None,
            record: None,
            quantized: None,
            lowered: None,
            fitted: None,
        })
    }

    /// The float graph, cleaned, as integers with settings: a candidate, of which nobody is told.
    ///
    /// # Errors
    /// Everything in the model that cannot be compiled, or [`Failure::Cancelled`].
    pub fn candidate(&self, weight_bits: u8, settings: Option<&WeightConfigs>) -> Result<Lowered, Failure> {
        let mut candidate = Self { weight_bits, settings: settings.cloned(), ..self.clone() };
        pipeline::run_quietly(&mut candidate, |pass| pass.stage == Stage::Lower)?;
        Ok(candidate.lowered.expect("invariant: the passes of that stage lower"))
    }

    /// What the last pass left, as text: the graph with hashes for its large constants, after folding the
    /// dataflow network of its core.
    pub fn text(&self) -> String {
        self.network().unwrap_or_else(|| text::print_summary(self.graph()))
    }

    /// The dataflow network of the core as text, once that is folded.
    pub fn network(&self) -> Option<String> {
        let core = &self.lowered.as_ref()?.split.core;
        Some(dataflow::print(core, &self.fitted.as_ref()?.network))
    }

    /// The graph that the last pass worked on.
    pub fn graph(&self) -> &Graph {
        match (&self.lowered, &self.quantized) {
            (Some(lowered), _) => &lowered.integer,
            (None, Some(quantized)) => &quantized.graph,
            (None, None) => self.cleaned.graph(),
        }
    }
}

/// The head that the task asks for.
fn requested_head(model: &Model) -> Result<head::HeadSpec, Failure> {
    let Some(task) = &model.task else {
        return Err(Failure::Usage(
            Diagnostic::error("no-task", "what the head of a detector reads is said by a task")
                .help("give --task FILE.toml with a table [decode], or leave --head out"),
        ));
    };
    Ok(task.decode()?.head(&model.outputs)?)
}

/// True if a model brings integer weights.
pub fn gives_weights(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| matches!(node.op, Op::DequantizeWeights(_)))
}
