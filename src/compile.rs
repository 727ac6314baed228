//! `compile`: the whole flow, from a model file to a directory.

use crate::artefact::{self, FORMAT, Files, Manifest, Port, StoredPlan};
use crate::cli::{self, Compile, Weights};
use crate::codesign::record::Record;
use crate::codesign::{Chosen, RUINOUS, Session, choose, hint};
use crate::deform;
use crate::detect::head::Layout;
use crate::eval;
use crate::executor::{self, Answer, Drive, mismatches};
use crate::failure::Failure;
use crate::flow::{self, Cleaned, Lowered};
use crate::model::{self, Model};
use crate::options;
use crate::plausible;
use crate::prune;
use crate::report;
use crate::summary::{self, Accuracy, Agreement, Summary};
use crate::task::Section;
use crate::verify;
use lutweave_codesign::prune::Pruned;
use lutweave_codesign::sensitivity::real;
use lutweave_codesign::shrink::Until;
use lutweave_cpu::{ObjectOptions, compile_object};
use lutweave_hw::device::Device;
use lutweave_hw::fit::Fitted;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_ir::split::host_ops;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, Tensor, text};
use lutweave_quantize::head::{RECORDS, Request};
use std::time::Instant;

/// Samples on which the executors are compared.
const VERIFY_SAMPLES: usize = 4;

/// Samples that are simulated if the executors are not compared.
const SIMULATED_SAMPLES: usize = 2;

/// Frames of the shipped test bench.
const BENCH_FRAMES: usize = 2;

/// Evaluation samples for the accuracy that `compile` reports; `eval` judges all.
const ACCURACY_SAMPLES: usize = 500;

/// Multiply-accumulates, as a share, that must go with channels for a second choice.
const WORTH_A_LOOK: f64 = 0.9;

/// Runs the command.
///
/// # Errors
/// What the compiler refuses, or [`Failure::Disagreement`].
pub fn command(arguments: &Compile) -> Result<(), Failure> {
    let started = Instant::now();
    artefact::check_target(&arguments.output)?;
    options::check(arguments)?;
    let source = &arguments.source;
    let quiet = arguments.format.json;
    let device = flow::device(&source.device)?;
    let model = model::load(source.model.as_deref(), source.task.as_deref())?;
    options::warn(&model, arguments);
    let calibration = flow::calibration(&model, source)?;
    plausible::calibration(&model, &calibration);
    let mut cleaned = deform::clean(&model, &calibration, source, Some(arguments.allowed_drop()), quiet)?;
    if arguments.head {
        cleaned.head = Some(requested_head(&model)?);
    }
    let built = build(&model, &mut cleaned, &calibration, &device, arguments)?;
    let (lowered, fitted) = (&built.lowered, &built.fitted);
    let core = &lowered.split.core;
    check_design(fitted)?;
    for warning in lowered.warnings.iter().chain(&fitted.warnings) {
        model.warnings.add(warning.clone());
    }
    let product = Product { model: &model, cleaned: &cleaned, built: &built, device: &device, arguments };
    let wasm = lutweave_wasm::emit(&fitted.design);

    let samples = verification_samples(&model, lowered)?;
    let reference = executor::interpret(core, &samples)?;
    // Cycles between frames need two frames; the executors are compared on more.
    let simulated = if arguments.no_verify { SIMULATED_SAMPLES.min(samples.len()) } else { samples.len() };
    let circuit = executor::run_wasm(&wasm, core, &samples[..simulated], Drive::default())?;
    let mut agreement = None;
    let mut accuracy = None;
    if !arguments.no_verify {
        let cpu = executor::run_cpu(core, &samples)?;
        let agree = mismatches(&reference, &circuit) == 0 && mismatches(&reference, &cpu) == 0;
        agreement = Some(Agreement { samples: samples.len(), agree });
        accuracy = measure(&model, lowered, quiet)?;
    }
    warn_of_idle_zeros(&model, &built);
    model.warnings.check(arguments.strict)?;

    let mut summary = product.summary(&circuit)?;
    summary.verify = agreement;
    summary.accuracy = accuracy;
    if built.record.is_none() {
        let cycles = summary.cycles_per_inference;
        summary.faster = hint::faster(&cleaned, lowered, cycles, &device, source.multipliers)?;
    }
    summary.warnings = model.warnings.list();
    let mut files = Files::default();
    product.add_files(&mut files, wasm, &samples, &reference)?;
    summary.files = files.0.iter().map(|(path, _)| path.clone()).collect();
    summary.files.push("report.html".to_owned());
    summary.compile_seconds = started.elapsed().as_secs_f64();
    files.add("report.html", report::html(&summary, &cleaned, lowered, built.record.as_ref(), &device));
    files.write(&arguments.output)?;

    let agrees = summary.verify.as_ref().is_none_or(|agreement| agreement.agree);
    if arguments.format.json {
        outln!("{}", serde_json::to_string(&summary).expect("invariant: a summary is plain data"));
    } else {
        report::print(&summary, built.record.as_ref(), &device, &arguments.output);
    }
    if agrees { Ok(()) } else { Err(Failure::Disagreement) }
}

/// The head that the task asks for.
fn requested_head(model: &Model) -> Result<Request, Failure> {
    let Some(task) = &model.task else {
        return Err(Failure::Usage(
            Diagnostic::error("no-task", "what the head of a detector reads is said by a task")
                .help("give --task FILE.toml with a table [decode], or leave --head out"),
        ));
    };
    Ok(task.decode()?.head(&model.outputs)?)
}

/// A quantized model and its circuit.
struct Built {
    lowered: Lowered,
    fitted: Fitted,
    /// How settings and foldings were chosen, with `--weights auto`.
    record: Option<Record>,
    /// How layers' shares were chosen, if weights were pruned.
    pruned: Option<Pruned>,
}

/// Quantizes, prunes and folds as asked. Channels that are given up leave the cleaned graph.
fn build(
    model: &Model,
    cleaned: &mut Cleaned,
    calibration: &[Vec<Tensor>],
    device: &Device,
    arguments: &Compile,
) -> Result<Built, Failure> {
    let (source, quiet) = (&arguments.source, arguments.format.json);
    let target = prune::target(arguments);
    if let (Some(cli::Pattern::Channels), Some(target)) = (arguments.pattern, target) {
        *cleaned = prune::channels(model, cleaned, calibration, Until::Kept(target, cleaned.totals), quiet)?;
    }
    let target = target.filter(|_| arguments.pattern != Some(cli::Pattern::Channels));
    let bits = match (arguments.width(), target) {
        (Weights::Auto, Some(_)) => {
            return Err(Failure::Usage(
                Diagnostic::error("invalid-option", "--weights auto chooses the sparsity of each layer itself")
                    .help("leave --sparsity and --keep-macs out, or choose --weights 8 or 4"),
            ));
        }
        (Weights::Auto, None) => {
            let Chosen { lowered, fitted, record } =
                choose_with_channels(model, cleaned, calibration, device, arguments)?;
            return Ok(Built { lowered, fitted, record: Some(record), pruned: None });
        }
        (Weights::Eight, _) => 8,
        (Weights::Four, _) => 4,
    };
    let pruned =
        target.map(|target| prune::weights(model, cleaned, calibration, target, bits, arguments)).transpose()?;
    let settings = pruned.as_ref().map(|pruned| &pruned.settings);
    let lowered = flow::lower(cleaned, calibration, bits, settings, source, quiet)?;
    let fitted = flow::build(&lowered.split.core, device, source.multipliers)?;
    Ok(Built { lowered, fitted, record: None, pruned })
}

/// Chooses settings and foldings; then again for a network that gave up the channels whose loss
/// costs less than half of what the first choice does, if that saves work worth a second look. The
/// faster choice is taken.
fn choose_with_channels(
    model: &Model,
    cleaned: &mut Cleaned,
    calibration: &[Vec<Tensor>],
    device: &Device,
    arguments: &Compile,
) -> Result<Chosen, Failure> {
    let (source, quiet) = (&arguments.source, arguments.format.json);
    let ask = |cleaned: &Cleaned| {
        let session = Session::new(model, cleaned, calibration, device, source, quiet)?;
        choose(&session, arguments.allowed_drop())
    };
    let chosen = ask(cleaned)?;
    // Beyond what ruins most networks, fits on what is left of the signal mean nothing.
    let until = Until::Distortion((0.5 * chosen.record.predicted_distortion).min(real(RUINOUS)));
    let smaller = prune::channels(model, cleaned, calibration, until, quiet)?;
    let left = smaller.given_up.last().map_or(cleaned.totals.macs, |step| step.macs);
    if left as f64 > WORTH_A_LOOK * cleaned.macs()? as f64 {
        return Ok(chosen);
    }
    match ask(&smaller) {
        Ok(other) if other.record.cycles < chosen.record.cycles => {
            *cleaned = smaller;
            Ok(other)
        }
        // What the smaller network costs may leave nothing to choose.
        Ok(_) | Err(Failure::Refused(_)) => Ok(chosen),
        Err(failure) => Err(failure),
    }
}

/// Warns where weights that were made zero save nothing.
fn warn_of_idle_zeros(model: &Model, built: &Built) {
    let skips = built.fitted.plan.stages.iter().any(|stage| stage.folding.is_some_and(|fold| fold.pattern.is_some()));
    if built.pruned.is_none() || skips {
        return;
    }
    let message = "single weights that are zero save no cycles in hardware: no layer's zeros keep to an N:M pattern";
    model.warnings.add(
        Diagnostic::warning("free-sparsity", message)
            .at(&model.name)
            .help("--weights auto chooses N:M patterns, which do; --pattern channels removes whole channels"),
    );
}

/// An elaborated design that is not sound is a fault of the compiler, not of the model.
fn check_design(fitted: &Fitted) -> Result<(), Failure> {
    lutweave_hw::rtl::validate::validate(&fitted.design).map_err(|faults| {
        let faults = faults.into_iter().map(|fault| {
            Diagnostic::error("internal", fault)
                .help("this is a fault of the compiler: please report it with the model")
        });
        Failure::Refused(Diagnostics(faults.collect()))
    })
}

/// Core inputs on which executors are compared: evaluation samples of the task, or random ones.
fn verification_samples(model: &Model, lowered: &Lowered) -> Result<Vec<Vec<Tensor>>, Failure> {
    match &model.task {
        Some(task) => {
            let samples = task.samples(Section::Evaluation, flow::single_input(&model.graph)?, VERIFY_SAMPLES)?;
            let inputs = eval::core_inputs(&lowered.split, &samples.inputs)?;
            // Cycles per inference are counted between frames: a short window is repeated.
            Ok(inputs.iter().cycle().take(VERIFY_SAMPLES).cloned().collect())
        }
        None => Ok(verify::random_samples(&lowered.split.core, VERIFY_SAMPLES)),
    }
}

fn measure(model: &Model, lowered: &Lowered, quiet: bool) -> Result<Option<Accuracy>, Failure> {
    let Some(task) = &model.task else { return Ok(None) };
    let Some(metric) = task.metric() else { return Ok(None) };
    let section = Section::Evaluation;
    let names = &model.outputs;
    let float = eval::verdicts_in(&model.graph, names, task, section, ACCURACY_SAMPLES, quiet)?;
    let integer = eval::verdicts_on_cpu(&lowered.split, &lowered.integer, names, task, section, ACCURACY_SAMPLES)?;
    plausible::verdicts(model, task, &float)?;
    plausible::inputs(model, task, lowered)?;
    let samples = float.len();
    let available = task.samples(section, flow::single_input(&model.graph)?, 1)?.available;
    let [float, integer] = [float, integer].map(|verdicts| metric.value(&verdicts));
    Ok(Some(Accuracy { metric, float, integer, samples, available }))
}

/// Everything that a compilation made.
struct Product<'a> {
    model: &'a Model,
    cleaned: &'a Cleaned,
    built: &'a Built,
    device: &'a Device,
    arguments: &'a Compile,
}

impl Product<'_> {
    fn summary(&self, circuit: &Answer) -> Result<Summary, Failure> {
        let missing = || Diagnostic::error("internal", "the simulation gave no cycle count");
        let Built { lowered, fitted, record, pruned } = self.built;
        let core = &lowered.split.core;
        let cycles = circuit.cycles_per_inference.ok_or_else(missing)?;
        let latency = circuit.latency_cycles.ok_or_else(missing)?;
        let clock = self.arguments.clock.unwrap_or(self.device.clock_mhz);
        let products = fitted.plan.products_per_cycle();
        let formed = summary::products(&fitted.plan);
        let (weight_bytes, sparsity) = summary::weights(core, &fitted.plan);
        Ok(Summary {
            model: self.model.name.clone(),
            device: self.device.name.clone(),
            weights: self.weights(),
            cycles_per_inference: cycles,
            latency_cycles: latency,
            clock_mhz: clock,
            inferences_per_second: clock * 1e6 / cycles.max(1) as f64,
            multipliers: fitted.plan.multipliers(),
            products_per_cycle: products,
            macs: fitted.plan.macs(),
            efficiency: formed as f64 / (cycles.max(1) * products.max(1)) as f64,
            resources: fitted.resources.shown(self.device),
            budgets: summary::budgets(fitted, self.device, self.arguments.source.multipliers),
            fits: fitted.resources.share(self.device) <= 1.0,
            warnings: Vec::new(),
            weight_bytes,
            sparsity,
            macs_kept: summary::macs_kept(core, &fitted.plan),
            model_macs: self.cleaned.totals.macs,
            codesign: record.as_ref().map(summary::Choice::of),
            pruning: pruned.clone(),
            deform: self.cleaned.reshaping.clone(),
            channels: self.cleaned.given_up.clone(),
            host_ops: host_ops(&lowered.split),
            files: Vec::new(),
            verify: None,
            accuracy: None,
            faster: None,
            layers: summary::layers(core, fitted),
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
    fn weights(&self) -> String {
        let given = flow::gives_weights(&self.cleaned.graph);
        let narrowest = self.built.lowered.layers.iter().filter_map(|layer| layer.weight_bits).min();
        match narrowest {
            _ if self.built.record.as_ref().is_some_and(|record| !record.tables.is_empty()) => "auto".to_owned(),
            Some(bits) if !given => bits.to_string(),
            _ => "given".to_owned(),
        }
    }

    fn add_files(
        &self,
        files: &mut Files,
        wasm: Vec<u8>,
        samples: &[Vec<Tensor>],
        reference: &Answer,
    ) -> Result<(), Failure> {
        let Built { lowered, fitted, record, .. } = self.built;
        let core = &lowered.split.core;
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: self.model.name.clone(),
            device: self.arguments.source.device.clone(),
            multipliers: self.arguments.source.multipliers,
            weights: self.weights(),
            inputs: ports(core, core.inputs(), &fitted.design.inputs),
            outputs: ports(core, core.outputs(), &fitted.design.outputs),
            model_outputs: self.model_outputs(),
            head: Layout::of(&lowered.integer),
            host_ops: host_ops(&lowered.split),
        };
        files.add_json("manifest.json", &manifest);
        files.add("graph.txt", text::print(&lowered.integer));
        files.add_json("plan.json", &StoredPlan::of(core, fitted, self.device));
        if let Some(record) = record {
            files.add_json("codesign.json", record);
        }
        for (name, content) in lutweave_verilog::emit(&fitted.design).files {
            files.add(format!("rtl/{name}"), content);
        }
        let frame = |tensors: &Vec<Tensor>| tensors.iter().map(|tensor| tensor.ints().to_vec()).collect();
        let frames = |tensors: &[Vec<Tensor>]| tensors.iter().take(BENCH_FRAMES).map(frame).collect();
        let stimulus = Stimulus { frames: frames(samples), ..Stimulus::default() };
        let expected = Trace { frames: frames(&reference.outputs), ..Trace::default() };
        for (name, content) in lutweave_verilog::emit_testbench(&fitted.design, &stimulus, Some(&expected)) {
            files.add(format!("rtl/{name}"), content);
        }
        let object = compile_object(core, &ObjectOptions::default())?;
        files.add(format!("cpu/{}.o", object.name), object.object);
        files.add(format!("cpu/{}.h", object.name), object.header);
        files.add(format!("cpu/{}_example.c", object.name), object.example_c);
        files.add("sim/model.wasm", wasm);
        Ok(())
    }
}

fn ports(core: &Graph, nodes: &[lutweave_ir::NodeId], ports: &[lutweave_hw::rtl::TopPort]) -> Vec<Port> {
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
