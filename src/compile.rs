//! `compile`: the whole flow, from a model file to a directory.

use crate::artefact::{self, FORMAT, Files, Manifest, Port};
use crate::cli::{Compile, Weights};
use crate::eval;
use crate::executor::{self, Answer, Drive, mismatches};
use crate::failure::{Failure, show};
use crate::flow::{self, Lowered};
use crate::model::{self, Model};
use crate::report;
use crate::run;
use crate::summary::{self, Accuracy, Agreement, Summary};
use crate::task::Section;
use crate::verify;
use lutweave_cpu::{ObjectOptions, compile_object};
use lutweave_hw::device::Device;
use lutweave_hw::fit::Fitted;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_ir::split::host_ops;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, Op, Tensor, text};
use std::time::Instant;

/// Samples on which the executors are compared.
const VERIFY_SAMPLES: usize = 4;

/// Evaluation samples for the accuracy that `compile` reports; `eval` judges all.
const ACCURACY_SAMPLES: usize = 500;

/// Runs the command.
///
/// # Errors
/// What the compiler refuses, or [`Failure::Disagreement`].
pub fn command(arguments: &Compile) -> Result<(), Failure> {
    let started = Instant::now();
    artefact::check_target(&arguments.output)?;
    let device = flow::device(&arguments.device)?;
    let model = model::load(arguments.model.as_deref(), arguments.task.as_deref())?;
    let calibration = match &arguments.calibration {
        Some(path) => run::read_inputs(path, &model.graph)?,
        None => flow::calibration(&model, arguments.calibration_samples as usize)?,
    };
    let lowered = choose_weights(&model, &calibration, arguments)?;
    let core = &lowered.split.core;
    let fitted = flow::build(core, &device, arguments.multipliers)?;
    check_design(&fitted)?;
    fitted.warnings.iter().for_each(show);
    let wasm = lutweave_wasm::emit(&fitted.design);

    let samples = verification_samples(&model, &lowered)?;
    let reference = executor::interpret(core, &samples)?;
    let circuit = executor::run_wasm(&wasm, core, &samples, Drive::default())?;
    let mut agreement = None;
    let mut accuracy = None;
    if !arguments.no_verify {
        let cpu = executor::run_cpu(core, &samples)?;
        let agree = mismatches(&reference, &circuit) == 0 && mismatches(&reference, &cpu) == 0;
        agreement = Some(Agreement { samples: samples.len(), agree });
        accuracy = measure(&model, &lowered, arguments.format.json)?;
    }

    let mut summary = summarise(&model, &device, &lowered, &fitted, &circuit, arguments)?;
    summary.verify = agreement;
    summary.accuracy = accuracy;
    let mut files = Files::default();
    add_files(&mut files, arguments, &model, &lowered, &fitted, wasm, &samples, &reference)?;
    summary.files = files.0.iter().map(|(path, _)| path.clone()).collect();
    summary.files.push("report.html".to_owned());
    summary.compile_seconds = started.elapsed().as_secs_f64();
    files.add("report.html", report::html(&summary, &lowered, &device));
    files.write(&arguments.output)?;

    let agrees = summary.verify.as_ref().is_none_or(|agreement| agreement.agree);
    if arguments.format.json {
        println!("{}", serde_json::to_string(&summary).expect("a summary is plain data"));
    } else {
        report::print(&summary, &device, &arguments.output);
    }
    if agrees { Ok(()) } else { Err(Failure::Disagreement) }
}

/// Lowers with the weights asked for; `auto` tries 4 bits and keeps them if the metric allows.
fn choose_weights(model: &Model, calibration: &[Vec<Tensor>], arguments: &Compile) -> Result<Lowered, Failure> {
    let bits = match arguments.weights {
        Weights::Eight => 8,
        Weights::Four => 4,
        Weights::Auto => {
            let Some(task) = &model.task else {
                return Err(Failure::Usage(
                    Diagnostic::error("no-task", "--weights auto measures the drop, which needs a task")
                        .help("give --task FILE.toml, or choose --weights 8 or 4"),
                ));
            };
            let four = flow::lower(model, calibration, 4, arguments)?;
            let limit = calibration.len();
            let measured = eval::metric_on_cpu(&four.split, &four.integer, task, Section::Calibration, limit)?.0;
            let float = eval::metric_in(&model.graph, task, Section::Calibration, limit, true)?.0;
            let drop = if task.metric().larger_is_better() {
                100.0 * (float - measured)
            } else {
                100.0 * (measured - float) / float.abs().max(f64::MIN_POSITIVE)
            };
            if drop <= arguments.max_drop {
                return Ok(four);
            }
            8
        }
    };
    flow::lower(model, calibration, bits, arguments)
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
    let (float, samples) = eval::metric_in(&model.graph, task, Section::Evaluation, ACCURACY_SAMPLES, quiet)?;
    let integer = eval::metric_on_cpu(&lowered.split, &lowered.integer, task, Section::Evaluation, ACCURACY_SAMPLES)?.0;
    Ok(Some(Accuracy { metric: task.metric().name(), float, integer, samples }))
}

fn summarise(
    model: &Model,
    device: &Device,
    lowered: &Lowered,
    fitted: &Fitted,
    circuit: &Answer,
    arguments: &Compile,
) -> Result<Summary, Failure> {
    let missing = || Diagnostic::error("internal", "the simulation gave no cycle count");
    let cycles = circuit.cycles_per_inference.ok_or_else(missing)?;
    let latency = circuit.latency_cycles.ok_or_else(missing)?;
    let clock = arguments.clock.unwrap_or(device.clock_mhz);
    let multipliers = fitted.plan.multipliers();
    let products = fitted.plan.products_per_cycle();
    let macs = fitted.plan.macs();
    let (weight_bytes, sparsity) = summary::weights(&lowered.split.core);
    Ok(Summary {
        model: model.name.clone(),
        device: device.name.clone(),
        weights: weights_name(lowered),
        cycles_per_inference: cycles,
        latency_cycles: latency,
        clock_mhz: clock,
        inferences_per_second: clock * 1e6 / cycles.max(1) as f64,
        multipliers,
        products_per_cycle: products,
        macs,
        efficiency: macs as f64 / (cycles.max(1) * products.max(1)) as f64,
        resources: fitted.resources,
        weight_bytes,
        sparsity,
        host_ops: host_ops(&lowered.split),
        files: Vec::new(),
        verify: None,
        accuracy: None,
        layers: summary::layers(&lowered.split.core, fitted),
        compile_seconds: 0.0,
    })
}

/// `given` if the model brings its own weights; otherwise their narrowest width.
fn weights_name(lowered: &Lowered) -> String {
    let given = lowered.float.nodes().iter().any(|node| matches!(node.op, Op::DequantizeWeights(_)));
    let narrowest = lowered.layers.iter().filter_map(|layer| layer.weight_bits).min();
    match narrowest {
        Some(bits) if !given => bits.to_string(),
        _ => "given".to_owned(),
    }
}

#[expect(clippy::too_many_arguments, reason = "each is one product of the flow")]
fn add_files(
    files: &mut Files,
    arguments: &Compile,
    model: &Model,
    lowered: &Lowered,
    fitted: &Fitted,
    wasm: Vec<u8>,
    samples: &[Vec<Tensor>],
    reference: &Answer,
) -> Result<(), Failure> {
    let core = &lowered.split.core;
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: model.name.clone(),
        device: arguments.device.clone(),
        multipliers: arguments.multipliers,
        weights: weights_name(lowered),
        inputs: ports(core, core.inputs(), &fitted.design.inputs),
        outputs: ports(core, core.outputs(), &fitted.design.outputs),
        model_outputs: model.graph.outputs().iter().map(|&id| model.graph.node(id).name.clone()).collect(),
        host_ops: host_ops(&lowered.split),
    };
    let json = |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("plain data") + "\n";
    files.add("manifest.json", json(&serde_json::to_value(&manifest).expect("a manifest is plain data")));
    files.add("graph.txt", text::print(&lowered.integer));
    let plan = serde_json::json!({
        "bottleneck_cycles": fitted.plan.bottleneck(),
        "multipliers": fitted.plan.multipliers(),
        "resources": fitted.resources,
        "layers": summary::layers(core, fitted),
    });
    files.add("plan.json", json(&plan));
    for (name, content) in lutweave_verilog::emit(&fitted.design).files {
        files.add(format!("rtl/{name}"), content);
    }
    let frames = samples.iter().take(2);
    let stimulus = Stimulus {
        frames: frames.map(|inputs| inputs.iter().map(|tensor| tensor.ints().to_vec()).collect()).collect(),
        ..Stimulus::default()
    };
    let expected = Trace {
        frames: reference
            .outputs
            .iter()
            .take(2)
            .map(|outputs| outputs.iter().map(|tensor| tensor.ints().to_vec()).collect())
            .collect(),
        ..Trace::default()
    };
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
