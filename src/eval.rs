//! A task's metric for a model or a compiled model.

use crate::artefact::Build;
use crate::executor::{Answer, Drive, Kind};
use crate::failure::Failure;
use crate::inputs::single_input;
use crate::metric::Verdict;
use crate::model::Model;
use crate::observer::{Context, Work};
use crate::plausible;
use crate::task::{Samples, Section, Task};
use crate::verify;
use lutweave_ir::interpret::{self, Interpreter};
use lutweave_ir::split::Split;
use lutweave_ir::{Diagnostic, Graph, Tensor};
use rayon::prelude::*;
use std::path::Path;

/// A judged model.
pub struct Judged {
    /// The model's name.
    pub name: String,
    /// The task by which it is judged.
    pub task: Task,
    /// What its outputs for each sample are worth.
    pub verdicts: Vec<Verdict>,
    /// The metric of the model as it came, where that can be had.
    pub float_value: Option<f64>,
    /// What ran: `float` for a model as it came.
    pub executor: &'static str,
}

/// Judges a compiled model, and beside it the model that it was made from. `task` is the path of a task
/// file; built-in models have their own.
///
/// # Errors
/// If the task or its data cannot be used, or the executor cannot run.
pub fn compiled(
    build: &Build,
    task: Option<&Path>,
    executor: Kind,
    limit: usize,
    context: &Context,
) -> Result<Judged, Failure> {
    let path = task;
    let task = task_of(build, path)?;
    let metric = task.required_metric()?;
    let samples = task.samples(Section::Evaluation, single_input(&build.graph)?, limit)?;
    let inputs: Vec<Vec<Tensor>> = samples.inputs.iter().map(|input| vec![input.clone()]).collect();
    plausible::saturation(&build.split, &inputs, context)?;
    let outputs = run(build, &inputs, executor, context)?;
    let verdicts = verdicts(&task, &samples, &build.manifest.model_outputs, &outputs)?;
    let mut float_value = None;
    if let Some(model) = float_model(build, path) {
        let task = task.reading(&model.graph);
        let samples = task.samples(Section::Evaluation, single_input(&model.graph)?, limit)?;
        let float = verdicts_in(&model.graph, &model.outputs, &task, &samples, context)?;
        float_value = Some(metric.value(&float));
        plausible::verdicts(&model, &task, &samples, &float, context);
        context.warn_all(&model.warnings);
    }
    let name = build.manifest.model.clone();
    Ok(Judged { name, task, verdicts, float_value, executor: crate::options::Choices::name(executor) })
}

/// Judges a model as it came, in the interpreter.
///
/// # Errors
/// Without a task, or if its data does not fit.
pub fn model_as_it_came(model: &Model, limit: usize, context: &Context) -> Result<Judged, Failure> {
    context.warn_all(&model.warnings);
    let Some(task) = model.task.clone() else { return Err(no_task()) };
    let metric = task.required_metric()?;
    let samples = task.samples(Section::Evaluation, single_input(&model.graph)?, limit)?;
    let verdicts = verdicts_in(&model.graph, &model.outputs, &task, &samples, context)?;
    plausible::verdicts(model, &task, &samples, &verdicts, context);
    let float_value = Some(metric.value(&verdicts));
    Ok(Judged { name: model.name.clone(), task, verdicts, float_value, executor: "float" })
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
pub fn task_of(build: &Build, task: Option<&Path>) -> Result<Task, Failure> {
    let task = match task {
        Some(path) => Task::read(path),
        None => match lutweave_models::find(&build.manifest.model) {
            Some(built_in) => Task::of_built_in(built_in),
            None => Err(no_task()),
        },
    }?;
    Ok(task.reading(&build.graph))
}

fn float_model(build: &Build, task: Option<&Path>) -> Option<Model> {
    let built_in = task.is_none().then_some(build.manifest.model.as_str());
    Model::load(built_in, task).ok()
}

/// What a graph's outputs for samples are worth, in the interpreter. `names` are the outputs'.
///
/// # Errors
/// If the data does not fit.
pub fn verdicts_in(
    graph: &Graph,
    names: &[String],
    task: &Task,
    samples: &Samples,
    context: &Context,
) -> Result<Vec<Verdict>, Failure> {
    let interpreter = Interpreter::new(graph);
    let work = context.work("evaluate", Some(samples.inputs.len()));
    let outputs = each(samples, &work, |input| interpreter.run(std::slice::from_ref(input)))?;
    verdicts(task, samples, names, &outputs)
}

/// What an integer graph's outputs for samples are worth, through the CPU code. `names` are the model's
/// outputs.
///
/// # Errors
/// If the data does not fit.
pub fn verdicts_on_cpu(
    split: &Split,
    integer: &Graph,
    names: &[String],
    task: &Task,
    samples: &Samples,
    context: &Context,
) -> Result<Vec<Verdict>, Failure> {
    let jit = lutweave_cpu::compile_jit(&split.core)?;
    let work = context.work("evaluate", Some(samples.inputs.len()));
    let outputs = each(samples, &work, |input| split.run(std::slice::from_ref(input), |core| jit.run(core)))?;
    verdicts(&task.reading(integer), samples, names, &outputs)
}

/// Runs every sample in parallel.
fn each<T: Send>(
    samples: &Samples,
    work: &Work,
    run: impl Fn(&Tensor) -> Result<T, Diagnostic> + Sync,
) -> Result<Vec<T>, Failure> {
    let results = samples.inputs.par_iter().map(|input| {
        let result = run(input)?;
        work.step()?;
        Ok(result)
    });
    Ok(results.collect::<Result<_, Diagnostic>>()?)
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
///
/// # Errors
/// If inputs do not fit, or the executor cannot run.
pub fn run(
    build: &Build,
    samples: &[Vec<Tensor>],
    executor: Kind,
    context: &Context,
) -> Result<Vec<Vec<Tensor>>, Failure> {
    through_host(&build.split, samples, |core| {
        verify::executor(build, executor, None, context)?.run(core, Drive::default())
    })
}

/// Prologue on the host, core by `run`, epilogue on the host.
///
/// # Errors
/// If inputs do not fit, or what `run` says.
pub fn through_host(
    split: &Split,
    inputs: &[Vec<Tensor>],
    run: impl FnOnce(&[Vec<Tensor>]) -> Result<Answer, Failure>,
) -> Result<Vec<Vec<Tensor>>, Failure> {
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
pub fn core_inputs(split: &Split, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, Failure> {
    inputs
        .iter()
        .map(|input| {
            let mut values = interpret::run(&split.prologue, std::slice::from_ref(input))?;
            values.truncate(split.core.inputs().len());
            Ok(values)
        })
        .collect()
}
