//! From a model to everything that is made of it.

use crate::artefact::{FORMAT, Files, Manifest, Port, StoredPlan};
use crate::backend::{BACKENDS, Circuit, SIMULATOR};
use crate::codesign::hint;
use crate::codesign::record::Record;
use crate::detect::head::Layout;
use crate::executor::{self, Answer, Drive, Executor, Kind, mismatches};
use crate::failure::Failure;
use crate::inputs::{self, single_input};
use crate::model::Model;
use crate::observer::{Context, Observer, Timing};
use crate::options::Options;
use crate::outside::{Outside, WEIGHTS};
use crate::pipeline::{self, Cleaned, Lowered, State, gives_weights};
use crate::summary::{self, Accuracy, Agreement, Summary};
use crate::task::Section;
use crate::{device, effect, eval, memory, plausible, report, verify};
use lutweave_codesign::prune::Pruned;
use lutweave_hw::device::Device;
use lutweave_hw::fit::Fitted;
use lutweave_hw::rtl::TopPort;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::split::host_ops;
use lutweave_ir::{Diagnostic, Graph, NodeId, Tensor, text};
use lutweave_quantize::head::RECORDS;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Samples on which the executors are compared.
const VERIFY_SAMPLES: usize = 4;

/// Samples that are simulated if the executors are not compared.
const SIMULATED_SAMPLES: usize = 2;

/// Frames of the shipped test bench.
const BENCH_FRAMES: usize = 2;

/// Evaluation samples for the accuracy that a compilation reports; `eval` judges all.
const ACCURACY_SAMPLES: usize = 500;

/// Evaluation samples whose elements are compared with the calibrated range.
const COMPARED_SAMPLES: usize = 64;

/// Compiles models as the options ask, one after another.
///
/// ```no_run
/// use lutweave::{Compiler, Model, Options};
/// let model = Model::load(Some("model.onnx"), None)?;
/// let compiled = Compiler::new(Options { device: "ultra96".into(), ..Options::default() }).compile(&model)?;
/// println!("{} cycles", compiled.summary.cycles_per_inference);
/// # Ok::<(), lutweave::Failure>(())
/// ```
pub struct Compiler<'a> {
    options: Options,
    context: Context<'a>,
}

impl Compiler<'static> {
    /// A compiler that nobody watches.
    pub fn new(options: Options) -> Self {
        Self { options, context: Context::new(&()) }
    }
}

impl<'a> Compiler<'a> {
    /// A compiler that an observer watches.
    pub fn watched(options: Options, observer: &'a dyn Observer) -> Self {
        Self { options, context: Context::new(observer) }
    }

    /// What was said so far.
    pub fn context(&self) -> &Context<'a> {
        &self.context
    }

    /// Compiles a model: runs the [`pipeline`](crate::pipeline::PIPELINE), emits all files, and (unless the
    /// options say otherwise) compares interpreter, CPU code and simulator and measures the accuracy.
    ///
    /// Executors that disagree are no failure here: see [`Compiled::agrees`].
    ///
    /// # Errors
    /// What the compiler refuses, options that mean nothing together, or [`Failure::Cancelled`].
    pub fn compile(&self, model: &Model) -> Result<Compiled, Failure> {
        let started = Instant::now();
        self.context.begin();
        let mut state = start(model, &self.options, &self.context, true)?;
        pipeline::run(&mut state, |_| true)?;
        finish(state, started)
    }

    /// Runs the passes up to one, and hands out what they left.
    ///
    /// # Errors
    /// As [`Compiler::compile`]; [`Failure::Usage`] if there is no such pass.
    pub fn stop_after<'s>(&'s self, model: &'s Model, pass: &str) -> Result<State<'s>, Failure> {
        pipeline::find(pass)?;
        self.context.begin();
        let mut select = pipeline::through(pass);
        let samples = pipeline::PIPELINE.iter().filter(|pass| select(pass)).any(|pass| pass.reads_samples);
        let mut state = start(model, &self.options, &self.context, samples)?;
        pipeline::run(&mut state, pipeline::through(pass))?;
        Ok(state)
    }
}

/// What the pipeline starts from: options that make sense, the device, and (if `samples`) calibration samples.
pub(crate) fn start<'a>(
    model: &'a Model,
    options: &'a Options,
    context: &'a Context<'a>,
    samples: bool,
) -> Result<State<'a>, Failure> {
    options.check()?;
    let device = device::find(&options.device)?;
    context.warn_all(&model.warnings);
    effect::warn(model, options, context);
    let calibration = if samples { inputs::calibration(model, options)? } else { Vec::new() };
    plausible::calibration(model, &calibration, context);
    State::new(model, options, context, device, calibration)
}

/// A compiled model: everything that was made, not yet written.
pub struct Compiled {
    /// All figures, as `compile --json` prints them.
    pub summary: Summary,
    /// How settings and foldings were chosen, with [`crate::options::Weights::Auto`].
    pub record: Option<Record>,
    /// The float model as it was quantized.
    pub cleaned: Cleaned,
    /// The integer graph and its parts.
    pub lowered: Lowered,
    /// The plan and the circuit.
    pub fitted: Fitted,
    /// The device.
    pub device: Arc<Device>,
    /// Time of each pass.
    pub timings: Vec<Timing>,
    files: Files,
}

impl Compiled {
    /// True if every executor that ran gave the same, element by element.
    pub fn agrees(&self) -> bool {
        self.summary.verify.as_ref().is_none_or(|agreement| agreement.agree)
    }

    /// The files, by their paths in the output directory; without the report.
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files.0
    }

    /// Writes the directory of the compiled model, which appears whole or not at all. The report tells the
    /// time of passes if `timings` is set; it is the only file that then differs from run to run.
    ///
    /// # Errors
    /// What the file system says, or that the directory holds something else.
    pub fn write(&self, directory: &Path, timings: bool, context: &Context) -> Result<(), Failure> {
        let mut files = self.files.clone();
        files.add("report.html", report::html(self, timings));
        files.write(directory, context)
    }

    /// An executor of the core. Verilog simulators run what lies on disk: see [`verify::executor`].
    ///
    /// # Errors
    /// If the executor cannot be had.
    pub fn executor<'a>(&'a self, kind: Kind, context: &'a Context<'a>) -> Result<Box<dyn Executor + 'a>, Failure> {
        let core = &self.lowered.split.core;
        match kind {
            Kind::Interpreter => Ok(executor::interpreter(core)),
            Kind::Cpu => executor::cpu(core),
            Kind::Wasm => executor::wasm(self.files.get(SIMULATOR).unwrap_or_default(), core, context),
            Kind::Verilator | Kind::Icarus => Err(Failure::Usage(
                Diagnostic::error("invalid-option", "a Verilog simulator runs the files of a written model")
                    .help("write the compiled model, and read it back with `Build::read`"),
            )),
        }
    }
}

/// Emits, compares and measures what the pipeline left.
fn finish(state: State, started: Instant) -> Result<Compiled, Failure> {
    let State { model, options, context, device, cleaned, pruned, record, lowered, fitted, .. } = state;
    let lowered = lowered.expect("invariant: the pipeline lowers");
    let fitted = fitted.expect("invariant: the pipeline folds");
    let core = &lowered.split.core;
    context.warn_all(lowered.warnings.iter().chain(&fitted.warnings));
    let made = Made { model, options, cleaned: &cleaned, lowered: &lowered, fitted: &fitted, device: &device };

    let samples = verification_samples(model, &lowered)?;
    let reference = executor::interpreter(core).run(&samples, Drive::default())?;
    let mut files = made.description(record.as_ref());
    files.0.extend(made.emitted(&samples, &reference)?);

    let simulated = if options.no_verify { SIMULATED_SAMPLES.min(samples.len()) } else { samples.len() };
    let module = files.get(SIMULATOR).unwrap_or_default();
    let circuit = executor::wasm(module, core, context)?.run(&samples[..simulated], Drive::default())?;
    let mut agreement = None;
    let mut accuracy = None;
    if !options.no_verify {
        let cpu = executor::cpu(core)?.run(&samples, Drive::default())?;
        let agree = mismatches(&reference, &circuit) == 0 && mismatches(&reference, &cpu) == 0;
        agreement = Some(Agreement { samples: samples.len(), agree });
        accuracy = measure(model, &lowered, context)?;
    }
    warn_of_idle_zeros(model, &fitted, pruned.is_some(), context);
    warn_of_stalls(model, &fitted, &circuit, context);
    if options.strict {
        context.refuse_warnings()?;
    }

    let mut summary = made.summary(&circuit, record.as_ref(), pruned)?;
    summary.verify = agreement;
    summary.accuracy = accuracy;
    if record.is_none() {
        let cycles = summary.cycles_per_inference;
        summary.faster = hint::faster(&cleaned, &lowered, cycles, &device, options.multipliers)?;
    }
    summary.warnings = context.warnings();
    summary.files = files.0.iter().map(|(path, _)| path.clone()).collect();
    summary.files.push("report.html".to_owned());
    summary.compile_seconds = started.elapsed().as_secs_f64();
    Ok(Compiled { summary, record, cleaned, lowered, fitted, device, timings: context.timings(), files })
}

/// Cycles by which a circuit may be slower than planned without a word, as a share.
const STALLED: f64 = 0.05;

/// Warns where the simulated circuit is slower than its slowest stage: a stage waits for another.
fn warn_of_stalls(model: &Model, fitted: &Fitted, circuit: &Answer, context: &Context) {
    let Some(cycles) = circuit.cycles_per_inference else { return };
    let planned = fitted.network.bottleneck();
    if cycles as f64 <= (1.0 + STALLED) * planned as f64 + 16.0 {
        return;
    }
    let message = format!(
        "the circuit takes {cycles} cycles per inference, and its slowest stage {planned}: stages wait for each other"
    );
    context.warn(
        Diagnostic::warning("stalls", message)
            .at(&model.name)
            .help("the figures are those of the simulated circuit; fewer --multipliers may be as fast"),
    );
}

/// Warns where weights that were made zero save nothing.
fn warn_of_idle_zeros(model: &Model, fitted: &Fitted, pruned: bool, context: &Context) {
    let skips = fitted.network.kernels.iter().any(|kernel| kernel.pattern().is_some());
    if !pruned || skips {
        return;
    }
    let message = "single weights that are zero save no cycles in hardware: no layer's zeros keep to an N:M pattern";
    context.warn(
        Diagnostic::warning("free-sparsity", message)
            .at(&model.name)
            .help("--weights auto chooses N:M patterns, which do; --pattern channels removes whole channels"),
    );
}

/// Core inputs on which executors are compared: evaluation samples of the task, or random ones.
fn verification_samples(model: &Model, lowered: &Lowered) -> Result<Vec<Vec<Tensor>>, Failure> {
    match &model.task {
        Some(task) => {
            let samples = task.samples(Section::Evaluation, single_input(&model.graph)?, VERIFY_SAMPLES)?;
            let inputs = eval::core_inputs(&lowered.split, &samples.inputs)?;
            // Cycles per inference are counted between frames: a short window is repeated.
            Ok(inputs.iter().cycle().take(VERIFY_SAMPLES).cloned().collect())
        }
        None => Ok(verify::random_samples(&lowered.split.core, VERIFY_SAMPLES)),
    }
}

fn measure(model: &Model, lowered: &Lowered, context: &Context) -> Result<Option<Accuracy>, Failure> {
    let Some(task) = &model.task else { return Ok(None) };
    let Some(metric) = task.metric() else { return Ok(None) };
    let samples = task.samples(Section::Evaluation, single_input(&model.graph)?, ACCURACY_SAMPLES)?;
    let names = &model.outputs;
    let float = eval::verdicts_in(&model.graph, names, task, &samples, context)?;
    let integer = eval::verdicts_on_cpu(&lowered.split, &lowered.integer, names, task, &samples, context)?;
    plausible::verdicts(model, task, &samples, &float, context);
    let first = samples.inputs.iter().take(COMPARED_SAMPLES).map(|input| vec![input.clone()]);
    plausible::saturation(&lowered.split, &first.collect::<Vec<_>>(), context)?;
    let (count, available) = (float.len(), samples.available);
    let [float, integer] = [float, integer].map(|verdicts| metric.value(&verdicts));
    Ok(Some(Accuracy { metric, float, integer, samples: count, available }))
}

/// Everything that the pipeline made.
struct Made<'a> {
    model: &'a Model,
    options: &'a Options,
    cleaned: &'a Cleaned,
    lowered: &'a Lowered,
    fitted: &'a Fitted,
    device: &'a Device,
}

impl Made<'_> {
    fn summary(&self, circuit: &Answer, record: Option<&Record>, pruned: Option<Pruned>) -> Result<Summary, Failure> {
        let missing = || Diagnostic::error("internal", "the simulation gave no cycle count");
        let Self { lowered, fitted, .. } = self;
        let core = &lowered.split.core;
        let cycles = circuit.cycles_per_inference.ok_or_else(missing)?;
        let latency = circuit.latency_cycles.ok_or_else(missing)?;
        let clock = self.options.clock.unwrap_or(self.device.clock_mhz);
        let network = &fitted.network;
        let products = network.products_per_cycle();
        let formed = summary::products(core, network);
        let (weight_bytes, sparsity) = summary::weights(core, network);
        Ok(Summary {
            model: self.model.name.clone(),
            device: self.device.name.clone(),
            weights: self.weights(record),
            cycles_per_inference: cycles,
            latency_cycles: latency,
            clock_mhz: clock,
            inferences_per_second: clock * 1e6 / cycles.max(1) as f64,
            multipliers: network.multipliers(),
            products_per_cycle: products,
            macs: network.macs(core),
            efficiency: formed as f64 / (cycles.max(1) * products.max(1)) as f64,
            resources: fitted.resources.shown(self.device),
            budgets: summary::budgets(fitted, self.device, self.options.multipliers),
            fits: fitted.resources.share(self.device) <= 1.0,
            warnings: Vec::new(),
            weight_bytes,
            sparsity,
            macs_kept: summary::macs_kept(core, network),
            model_macs: self.cleaned.totals.macs,
            codesign: record.map(summary::Choice::of),
            pruning: pruned,
            deform: self.cleaned.reshaping.clone(),
            channels: self.cleaned.given_up.clone(),
            host_ops: host_ops(&lowered.split),
            files: Vec::new(),
            verify: None,
            accuracy: None,
            faster: None,
            layers: summary::layers(core, fitted),
            memory: memory::layers(fitted, self.device),
            outside: Outside::of(core, fitted),
            modules: summary::modules(fitted, self.device),
            compile_seconds: 0.0,
        })
    }

    /// Names of the outputs that the host gives.
    fn model_outputs(&self) -> Vec<String> {
        let names = &self.model.outputs;
        let Some(request) = &self.cleaned.head else { return names.clone() };
        let kept = request.outputs(names.len()).into_iter();
        kept.map(|output| output.map_or_else(|| RECORDS.to_owned(), |at| names[at].clone())).collect()
    }

    /// `given` if the model brings its own weights, `auto` if they were chosen; otherwise their
    /// narrowest width.
    fn weights(&self, record: Option<&Record>) -> String {
        let given = gives_weights(self.cleaned.graph());
        let narrowest = self.lowered.layers.iter().filter_map(|layer| layer.weight_bits).min();
        match narrowest {
            _ if record.is_some_and(|record| !record.tables.is_empty()) => "auto".to_owned(),
            Some(bits) if !given => bits.to_string(),
            _ => "given".to_owned(),
        }
    }

    /// The files that say what was made, and from which the circuit can be built again.
    fn description(&self, record: Option<&Record>) -> Files {
        let Self { lowered, fitted, .. } = self;
        let core = &lowered.split.core;
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: self.model.name.clone(),
            device: self.options.device.clone(),
            multipliers: self.options.multipliers,
            weights: self.weights(record),
            inputs: ports(core, core.inputs(), &fitted.design.inputs),
            outputs: ports(core, core.outputs(), &fitted.design.outputs),
            model_outputs: self.model_outputs(),
            head: Layout::of(&lowered.integer),
            host_ops: host_ops(&lowered.split),
            memory: Outside::of(core, fitted),
        };
        let mut files = Files::default();
        files.add_json("manifest.json", &manifest);
        files.add("graph.txt", text::print(&lowered.integer));
        if let Some(supply) = fitted.design.supply.as_ref().filter(|supply| !supply.image.is_empty()) {
            files.add(WEIGHTS, supply.image.to_vec());
        }
        files.add_json("plan.json", &StoredPlan::of(core, fitted, self.device));
        if let Some(record) = record {
            files.add_json("codesign.json", record);
        }
        files
    }

    /// The files of all backends. `reference` is what the interpreter gives for the samples.
    fn emitted(&self, samples: &[Vec<Tensor>], reference: &Answer) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let frame = |tensors: &Vec<Tensor>| tensors.iter().map(|tensor| tensor.ints().to_vec()).collect();
        let frames = |tensors: &[Vec<Tensor>]| tensors.iter().take(BENCH_FRAMES).map(frame).collect();
        let circuit = Circuit {
            core: &self.lowered.split.core,
            design: &self.fitted.design,
            stimulus: &Stimulus { frames: frames(samples), ..Stimulus::default() },
            expected: &Trace { frames: frames(&reference.outputs), ..Trace::default() },
            memory: MemoryTiming::of(self.device),
        };
        let mut files = Vec::new();
        for backend in BACKENDS {
            files.extend(backend.emit(&circuit)?);
        }
        Ok(files)
    }
}

fn ports(core: &Graph, nodes: &[NodeId], ports: &[TopPort]) -> Vec<Port> {
    nodes
        .iter()
        .zip(ports)
        .map(|(&id, port)| {
            let node = core.node(id);
            Port {
                name: port.name.clone(),
                tensor: node.name.clone(),
                shape: node.ty.shape.clone(),
                element: node.ty.element.to_string(),
                lanes: port.ty.lanes,
                beats: port.beats,
                scale: node.ty.quantization.map(|quantization| quantization.scale),
                zero_point: node.ty.quantization.map(|quantization| quantization.zero_point),
            }
        })
        .collect()
}
