//! What the e-graph is worth: clean-up by equality saturation against the same rules in a fixed
//! order, on all models of the shared data.
//!
//! usage: ablation [--multipliers N] [--samples N] [--no-cycles] [MODEL.onnx..]
//!
//! Cycles are those of the slowest stage of a circuit with N multipliers (default 64; more where
//! the model needs more), after quantization of either result. Calibration data are the task's where
//! the model has a task, else random. The fixed order keeps its graph in an e-graph that it encodes
//! anew each round, so that its seconds say nothing about how fast it could be. Exits with 1 if the e-graph is worse anywhere: costlier,
//! more multiply-accumulates, or more cycles, or a model that fails with it only.

use lutweave_experiments::{Fallible, Task, files, shared_data};
use lutweave_hw::device::{self, Device};
use lutweave_hw::plan::{fewest_multipliers, plan};
use lutweave_ir::split::split;
use lutweave_ir::{Diagnostics, Element, Graph, Op, Tensor, TensorType};
use lutweave_onnx::{ImportOptions, import};
use lutweave_quantize::compress::Rounding;
use lutweave_quantize::{QuantizeOptions, quantize};
use lutweave_rewrite::cleanup::{self, Simplified};
use lutweave_rewrite::fixed;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The device whose multipliers and memories the circuits are planned for.
const DEVICE: &str = "ulx3s-85f";

struct Arguments {
    multipliers: u32,
    samples: usize,
    cycles: bool,
    models: Vec<PathBuf>,
}

/// A way to clean float and integer graphs.
struct Cleaner {
    float: fn(&Graph) -> Result<Simplified, Diagnostics>,
    integer: fn(&Graph) -> Result<Simplified, Diagnostics>,
}

const FIXED: Cleaner = Cleaner { float: fixed::simplify, integer: fixed::simplify_integer };
const SEARCHED: Cleaner = Cleaner { float: cleanup::simplify, integer: cleanup::simplify_integer };

/// What became of a model.
struct Outcome {
    nodes: usize,
    macs: u64,
    cost: u64,
    seconds: f64,
    /// The integer core, or why there is none.
    core: Result<Graph, String>,
    /// Cycles of the slowest stage, or why there is no circuit.
    cycles: Result<u64, String>,
}

fn main() -> Fallible<ExitCode> {
    let arguments = arguments()?;
    let device = device::find(DEVICE).ok_or("the device is not built in")?;
    if arguments.models.is_empty() {
        println!("skipped: there are no models in {}", shared_data().join("models").display());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:34} {:>13} {:>21} {:>21} {:>13} {:>19}", "model", "nodes", "MACs", "cost", "seconds", "cycles");
    println!("{:34} fixed, e-graph in each column", "");
    let (mut same, mut better, mut worse, mut refused) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for path in &arguments.models {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let options = ImportOptions { name: name.clone(), ..ImportOptions::default() };
        let graph = match import(std::fs::read(path)?, &options) {
            Ok(imported) => imported.graph,
            Err(faults) => {
                refused += 1;
                println!("{name:34} refused: {}", first_line(&faults));
                continue;
            }
        };
        let samples = calibration(path, &graph, arguments.samples)?;
        let [fixed, searched] = [&FIXED, &SEARCHED].map(|cleaner| outcome(cleaner, &graph, &samples, &arguments));
        let (mut fixed, mut searched) = match (fixed, searched) {
            (Ok(fixed), Ok(searched)) => (fixed, searched),
            (fixed, searched) => {
                let message = |outcome: Result<Outcome, Diagnostics>| match outcome {
                    Ok(_) => "is fine".to_owned(),
                    Err(faults) => format!("fails: {}", first_line(&faults)),
                };
                worse.extend(searched.is_err().then(|| name.clone()));
                println!("{name:34} fixed order {}; e-graph {}", message(fixed), message(searched));
                continue;
            }
        };
        plan_both([&mut fixed, &mut searched], arguments.multipliers, &device);
        print(&name, &fixed, &searched);
        if arguments.cycles {
            print_missing(&fixed, &searched);
        }
        match compare(&fixed, &searched) {
            Verdict::Same => same.push(name),
            Verdict::Better => better.push(name),
            Verdict::Worse => worse.push(name),
        }
    }
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    println!();
    println!(
        "Of {} models that import ({refused} refused), the e-graph changes nothing on {}: {}; it wins on {}: {}; \
         it is worse on {}: {}.",
        same.len() + better.len() + worse.len(),
        same.len(),
        list(&same),
        better.len(),
        list(&better),
        worse.len(),
        list(&worse)
    );
    Ok(if worse.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn arguments() -> Fallible<Arguments> {
    let mut result = Arguments { multipliers: 64, samples: 4, cycles: true, models: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match &argument[..] {
            "--multipliers" => result.multipliers = value()?.parse()?,
            "--samples" => result.samples = value()?.parse()?,
            "--no-cycles" => result.cycles = false,
            path => result.models.push(path.into()),
        }
    }
    if result.models.is_empty() {
        collect(&shared_data().join("models"), &mut result.models);
        result.models.sort();
    }
    Ok(result)
}

fn collect(folder: &Path, models: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, models);
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            models.push(path);
        }
    }
}

/// The task's calibration samples, or random ones from -1 to 1.
fn calibration(model: &Path, graph: &Graph, count: usize) -> Fallible<Vec<Vec<Tensor>>> {
    let model = model.canonicalize()?;
    for path in files() {
        let named = lutweave::task::Task::read(&path)?.model_path();
        if named.is_some_and(|path| path.canonicalize().is_ok_and(|path| path == model)) {
            let mut samples = Task::load(&path)?.calibration;
            samples.truncate(count);
            return Ok(samples);
        }
    }
    let types = graph.types(graph.inputs());
    Ok((0..count).map(|sample| types.iter().map(|ty| wave(ty, sample)).collect()).collect())
}

/// Values all over the range, none of which repeats soon.
fn wave(ty: &TensorType, sample: usize) -> Tensor {
    let value = |index: usize| ((index * 7 + sample * 131 + 1) as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0;
    match ty.element {
        Element::F32 => Tensor::f32(ty.shape.clone(), (0..ty.count()).map(|i| value(i) as f32).collect::<Vec<_>>()),
        Element::Int { .. } => {
            let (lo, hi) = ty.element.range().unwrap_or((0, 0));
            let scaled = |i| ((value(i) + 1.0) / 2.0 * (hi - lo) as f64 + lo as f64).round() as i32;
            Tensor::int(ty.shape.clone(), (0..ty.count()).map(scaled).collect::<Vec<_>>())
        }
    }
}

fn outcome(
    cleaner: &Cleaner,
    graph: &Graph,
    samples: &[Vec<Tensor>],
    arguments: &Arguments,
) -> Result<Outcome, Diagnostics> {
    let start = Instant::now();
    let cleaned = (cleaner.float)(graph)?.graph;
    let seconds = start.elapsed().as_secs_f64();
    let core = if arguments.cycles {
        core(cleaner, &cleaned, samples).map_err(|faults| first_line(&faults))
    } else {
        Err("not asked for".to_owned())
    };
    Ok(Outcome {
        nodes: cleaned.nodes().iter().filter(|node| !matches!(node.op, Op::Constant(_))).count(),
        macs: cleaned.ids().map(|id| cleaned.macs(id)).sum(),
        cost: fixed::cost(&cleaned)?,
        seconds,
        cycles: Err(String::new()),
        core,
    })
}

fn core(cleaner: &Cleaner, cleaned: &Graph, samples: &[Vec<Tensor>]) -> Result<Graph, Diagnostics> {
    // Rounding errors are not the subject: nothing that costs time and moves no node.
    let options = QuantizeOptions { bias_correction: false, rounding: Rounding::Nearest, ..QuantizeOptions::default() };
    let quantized = quantize(cleaned, samples, &options)?;
    Ok(split(&(cleaner.integer)(&quantized.graph)?.graph)?.core)
}

/// Plans both circuits with as many multipliers.
fn plan_both(outcomes: [&mut Outcome; 2], multipliers: u32, device: &Device) {
    let fewest = |outcome: &Outcome| outcome.core.as_ref().map_or(0, fewest_multipliers);
    let multipliers = outcomes.iter().map(|outcome| fewest(outcome)).fold(multipliers, u32::max);
    for outcome in outcomes {
        outcome.cycles = match &outcome.core {
            Err(reason) => Err(reason.clone()),
            Ok(core) => {
                plan(core, multipliers, device).map(|plan| plan.bottleneck()).map_err(|faults| first_line(&faults))
            }
        };
    }
}

fn first_line(faults: &Diagnostics) -> String {
    let more = faults.0.len().saturating_sub(1);
    let first = faults.0.first().map(ToString::to_string).unwrap_or_default();
    if more == 0 { first } else { format!("{first} (and {more} more)") }
}

fn print(name: &str, fixed: &Outcome, searched: &Outcome) {
    let cycles = |outcome: &Outcome| outcome.cycles.as_ref().map_or("-".to_owned(), u64::to_string);
    println!(
        "{name:34} {:>6} {:>6} {:>10} {:>10} {:>10} {:>10} {:>6.2} {:>6.2} {:>9} {:>9}",
        fixed.nodes,
        searched.nodes,
        fixed.macs,
        searched.macs,
        fixed.cost,
        searched.cost,
        fixed.seconds,
        searched.seconds,
        cycles(fixed),
        cycles(searched),
    );
}

/// Why there is no circuit.
fn print_missing(fixed: &Outcome, searched: &Outcome) {
    match (&fixed.cycles, &searched.cycles) {
        (Err(a), Err(b)) if a == b => println!("{:34} no circuit: {a}", ""),
        (Err(a), Err(b)) => println!("{:34} no circuit: {a}; with the e-graph: {b}", ""),
        (Err(a), Ok(_)) => println!("{:34} no circuit in fixed order: {a}", ""),
        (Ok(_), Err(b)) => println!("{:34} no circuit with the e-graph: {b}", ""),
        (Ok(_), Ok(_)) => {}
    }
}

enum Verdict {
    Same,
    Better,
    Worse,
}

/// Worse in anything is worse.
fn compare(fixed: &Outcome, searched: &Outcome) -> Verdict {
    let cycles = |outcome: &Outcome| outcome.cycles.as_ref().copied().unwrap_or(u64::MAX);
    let key = |outcome: &Outcome| [outcome.cost, outcome.macs, cycles(outcome)];
    let pairs: Vec<(u64, u64)> = key(fixed).into_iter().zip(key(searched)).collect();
    if pairs.iter().any(|(fixed, searched)| searched > fixed) {
        Verdict::Worse
    } else if pairs.iter().any(|(fixed, searched)| searched < fixed) || searched.nodes < fixed.nodes {
        Verdict::Better
    } else {
        Verdict::Same
    }
}
