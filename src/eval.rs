//! `eval`: a task's metric for a model or a compiled model.

use crate::artefact::Compiled;
use crate::cli::Eval;
use crate::executor::{Answer, Drive, Executor};
use crate::failure::{Failure, Warnings, object};
use crate::metric::Verdict;
use crate::model::{self, Model};
use crate::plausible;
use crate::progress;
use crate::task::{Samples, Section, Task};
use crate::verify;
use indicatif::ProgressBar;
use lutweave_ir::interpret::{self, Interpreter};
use lutweave_ir::{Diagnostic, Graph, Tensor};
use rayon::prelude::*;
use serde_json::json;
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// If the model, the task or its data cannot be used.
pub fn command(arguments: &Eval) -> Result<(), Failure> {
    let limit = arguments.samples.map_or(usize::MAX, |samples| samples as usize);
    let compiled = arguments.model.as_deref().map(Path::new).filter(|path| Compiled::is_at(path));
    let quiet = arguments.format.json;
    let Judged { name, task, verdicts, float_value, executor, warnings } = match compiled {
        Some(directory) => compiled_model(directory, arguments, limit)?,
        None => model_as_it_came(arguments, limit)?,
    };
    let metric = task.required_metric()?;
    let count = verdicts.len();
    let value = metric.value(&verdicts);
    let classes = metric.by_class(&verdicts).into_iter().map(|(class, value)| (task.class_name(class), value));
    if quiet {
        let mut report = json!({
            "model": name, "executor": executor, "metric": metric.name(), "value": value, "samples": count,
            "float_value": float_value, "warnings": warnings.iter().map(object).collect::<Vec<_>>(),
        });
        if metric.rules().is_some() {
            report["classes"] = classes.map(|(class, value)| json!({ "name": class, "value": value })).collect();
        }
        outln!("{report}");
    } else {
        let float = match float_value {
            Some(float) if executor != "float" => format!("; the model as it came: {}", metric.show(float)),
            _ => String::new(),
        };
        outln!("{name}: {} {} on {count} samples ({executor}{float})", metric.name(), metric.show(value));
        for (class, value) in classes {
            outln!("  {class}: {}", metric.show(value));
        }
    }
    Ok(())
}

/// What was judged, and how.
struct Judged {
    name: String,
    task: Task,
    verdicts: Vec<Verdict>,
    /// The metric of the model as it came, where that can be had.
    float_value: Option<f64>,
    executor: &'static str,
    warnings: Vec<Diagnostic>,
}

/// Judges a compiled model, and beside it the model that it was made from.
fn compiled_model(directory: &Path, arguments: &Eval, limit: usize) -> Result<Judged, Failure> {
    let quiet = arguments.format.json;
    let compiled = Compiled::read(directory)?;
    let executor = arguments.executor.unwrap_or(Executor::Cpu);
    let task = task_of(&compiled, arguments.task.as_deref())?;
    let metric = task.required_metric()?;
    let samples = task.samples(Section::Evaluation, input_type(&compiled.graph)?, limit)?;
    let warnings = Warnings::default();
    let inputs: Vec<Vec<Tensor>> = samples.inputs.iter().map(|input| vec![input.clone()]).collect();
    plausible::saturation(&compiled.split, &inputs, &warnings)?;
    let outputs = run_compiled(&compiled, &samples, executor, quiet)?;
    let verdicts = verdicts(&task, &samples, &compiled.manifest.model_outputs, &outputs)?;
    let mut warnings = warnings.list();
    let mut float_value = None;
    if let Some(model) = float_model(&compiled, arguments.task.as_deref()) {
        let float =
            verdicts_in(&model.graph, &model.outputs, &task.reading(&model.graph), Section::Evaluation, limit, quiet)?;
        float_value = Some(metric.value(&float));
        plausible::verdicts(&model, &task, &float)?;
        warnings.extend(model.warnings.list());
    }
    let name = compiled.manifest.model;
    Ok(Judged { name, task, verdicts, float_value, executor: executor.name(), warnings })
}

/// Judges a model as it came, in the interpreter.
fn model_as_it_came(arguments: &Eval, limit: usize) -> Result<Judged, Failure> {
    if let Some(executor) = arguments.executor.filter(|executor| *executor != Executor::Interpreter) {
        let message = format!("a model is judged as it came in the interpreter, not in {}", executor.name());
        return Err(Failure::Usage(
            Diagnostic::error("invalid-option", message).help("compile it first, or leave --executor out"),
        ));
    }
    let model = model::load(arguments.model.as_deref(), arguments.task.as_deref())?;
    let Some(task) = model.task.clone() else { return Err(no_task()) };
    let metric = task.required_metric()?;
    let quiet = arguments.format.json;
    let verdicts = verdicts_in(&model.graph, &model.outputs, &task, Section::Evaluation, limit, quiet)?;
    plausible::verdicts(&model, &task, &verdicts)?;
    let (float_value, warnings) = (Some(metric.value(&verdicts)), model.warnings.list());
    Ok(Judged { name: model.name, task, verdicts, float_value, executor: "float", warnings })
}

/// A command that needs a task has none.
pub fn no_task() -> Failure {
    Failure::Usage(
        Diagnostic::error("no-task", "a metric needs a task")
            .help("give --task FILE.toml; built-in models have their own task"),
    )
}

/// The task that was given, or that of the built-in model it was compiled from.
///
/// # Errors
/// If there is neither.
pub fn task_of(compiled: &Compiled, task: Option<&Path>) -> Result<Task, Failure> {
    let task = match task {
        Some(path) => Task::read(path),
        None => match lutweave_models::find(&compiled.manifest.model) {
            Some(built_in) => Task::of_built_in(built_in),
            None => Err(no_task()),
        },
    }?;
    Ok(task.reading(&compiled.graph))
}

fn float_model(compiled: &Compiled, task: Option<&Path>) -> Option<Model> {
    let built_in = task.is_none().then_some(compiled.manifest.model.as_str());
    model::load(built_in, task).ok()
}

fn input_type(graph: &Graph) -> Result<&lutweave_ir::TensorType, Failure> {
    crate::flow::single_input(graph)
}

/// What a graph's outputs for a task's samples are worth, in the interpreter. `names` are the
/// outputs'.
///
/// # Errors
/// If the data does not fit.
pub fn verdicts_in(
    graph: &Graph,
    names: &[String],
    task: &Task,
    section: Section,
    limit: usize,
    quiet: bool,
) -> Result<Vec<Verdict>, Failure> {
    let samples = task.samples(section, input_type(graph)?, limit)?;
    let interpreter = Interpreter::new(graph);
    let bar = progress::bar("evaluate", samples.inputs.len(), quiet);
    let outputs = each(&samples, &bar, |input| Ok(interpreter.run(std::slice::from_ref(input))?))?;
    verdicts(task, &samples, names, &outputs)
}

/// Runs every sample in parallel.
fn each<T: Send>(
    samples: &Samples,
    bar: &ProgressBar,
    run: impl Fn(&Tensor) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let results = samples
        .inputs
        .par_iter()
        .map(|input| {
            progress::check_interrupt()?;
            let result = run(input);
            bar.inc(1);
            result
        })
        .collect();
    bar.finish_and_clear();
    results
}

/// What each sample's outputs are worth. `names` are the model's outputs.
///
/// # Errors
/// If the outputs are not what the task says.
pub fn verdicts(
    task: &Task,
    samples: &Samples,
    names: &[String],
    outputs: &[Vec<Tensor>],
) -> Result<Vec<Verdict>, Failure> {
    outputs.iter().enumerate().map(|(index, outputs)| task.judge(samples, index, names, outputs)).collect()
}

/// Outputs of a compiled model for samples, host parts included.
fn run_compiled(
    compiled: &Compiled,
    samples: &Samples,
    executor: Executor,
    quiet: bool,
) -> Result<Vec<Vec<Tensor>>, Failure> {
    let inputs: Vec<Vec<Tensor>> = samples.inputs.iter().map(|input| vec![input.clone()]).collect();
    let bar = progress::bar("evaluate", inputs.len(), quiet);
    let result = through_host(compiled, &inputs, |core| verify::execute(compiled, executor, core, Drive::default()));
    bar.finish_and_clear();
    result
}

/// Prologue on the host, core by `run`, epilogue on the host.
///
/// # Errors
/// If inputs do not fit, or what `run` says.
pub fn through_host(
    compiled: &Compiled,
    inputs: &[Vec<Tensor>],
    run: impl FnOnce(&[Vec<Tensor>]) -> Result<Answer, Failure>,
) -> Result<Vec<Vec<Tensor>>, Failure> {
    let split = &compiled.split;
    let width = split.core.inputs().len();
    let mut bypassed = Vec::with_capacity(inputs.len());
    let mut core = Vec::with_capacity(inputs.len());
    for sample in inputs {
        let mut values = interpret::run(&split.prologue, sample)?;
        bypassed.push(values.split_off(width));
        core.push(values);
    }
    let answer = run(&core)?;
    let results = answer.outputs.into_iter().zip(bypassed).map(|(mut outputs, bypassed)| {
        outputs.extend(bypassed);
        Ok(interpret::run(&split.epilogue, &outputs)?)
    });
    results.collect()
}

/// Core inputs of samples: the prologue's results.
///
/// # Errors
/// If inputs do not fit.
pub fn core_inputs(split: &lutweave_ir::split::Split, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, Failure> {
    inputs
        .iter()
        .map(|input| {
            let mut values = interpret::run(&split.prologue, std::slice::from_ref(input))?;
            values.truncate(split.core.inputs().len());
            Ok(values)
        })
        .collect()
}

/// What an integer graph's outputs are worth, through the CPU code. `names` are the model's
/// outputs.
///
/// # Errors
/// If the data does not fit.
pub fn verdicts_on_cpu(
    split: &lutweave_ir::split::Split,
    integer: &Graph,
    names: &[String],
    task: &Task,
    section: Section,
    limit: usize,
) -> Result<Vec<Verdict>, Failure> {
    let samples = task.samples(section, input_type(integer)?, limit)?;
    let jit = lutweave_cpu::compile_jit(&split.core)?;
    let bar = progress::bar("evaluate", samples.inputs.len(), true);
    let outputs = each(&samples, &bar, |input| Ok(split.run(std::slice::from_ref(input), |core| jit.run(core))?))?;
    verdicts(&task.reading(integer), &samples, names, &outputs)
}
