//! `run`: one executor on inputs from a file.

use super::arguments::Run;
use super::bars::Bars;
use super::render::Ending;
use lutweave::artefact::Build;
use lutweave::eval::{self, no_task, task_of};
use lutweave::executor::Kind;
use lutweave::failure::{Failure, object};
use lutweave::inputs::{read_inputs, single_input};
use lutweave::model::Model;
use lutweave::observer::Context;
use lutweave::options::Choices;
use lutweave::plausible;
use lutweave::run::{draw, write_outputs};
use lutweave::task::{Section, Task};
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Graph, Tensor};
use serde_json::json;
use std::path::Path;

/// Evaluation samples that are run by default.
const EVALUATION_SAMPLES: u32 = 8;

/// Least score of a detection that is drawn by default.
const MIN_SCORE: f64 = 0.3;

/// What can be run.
enum Subject {
    /// A compiled model.
    Compiled(Box<Build>),
    /// A model as it came.
    Model(Box<Model>),
}

impl Subject {
    fn load(arguments: &Run) -> Result<Self, Failure> {
        let path = Path::new(&arguments.model);
        // A directory is meant to be a compiled model, and is told what it lacks.
        if path.is_dir() {
            return Ok(Self::Compiled(Box::new(Build::read(path)?)));
        }
        match arguments.executor {
            None | Some(Kind::Interpreter) => {}
            Some(executor) => {
                let message = format!("a model runs as it came in the interpreter, not in {}", executor.name());
                return Err(Failure::Usage(
                    Diagnostic::error("invalid-option", message).help("compile it first, or leave --executor out"),
                ));
            }
        }
        Ok(Self::Model(Box::new(Model::load(Some(&arguments.model), None)?)))
    }

    /// The graph with the model's inputs.
    fn graph(&self) -> &Graph {
        match self {
            Self::Compiled(compiled) => &compiled.graph,
            Self::Model(model) => &model.graph,
        }
    }

    /// Names of the model's outputs.
    fn outputs(&self) -> &[String] {
        match self {
            Self::Compiled(compiled) => &compiled.manifest.model_outputs,
            Self::Model(model) => &model.outputs,
        }
    }

    /// The task that was given, or that of a built-in model.
    fn task(&self, path: Option<&Path>) -> Result<Task, Failure> {
        match (self, path) {
            (Self::Compiled(compiled), _) => task_of(compiled, path),
            (Self::Model(model), None) => model.task.clone().ok_or_else(no_task),
            (Self::Model(_), Some(path)) => Task::read(path),
        }
    }

    fn run(&self, executor: Kind, samples: &[Vec<Tensor>], context: &Context) -> Result<Vec<Vec<Tensor>>, Failure> {
        match self {
            Self::Compiled(build) => eval::run(build, samples, executor, context),
            Self::Model(model) => {
                let interpreter = Interpreter::new(&model.graph);
                Ok(samples.iter().map(|inputs| interpreter.run(inputs)).collect::<Result<_, _>>()?)
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the inputs do not fit the model, or something cannot run or be written.
pub fn command(arguments: &Run, bars: &Bars) -> Result<(), Ending> {
    let subject = Subject::load(arguments)?;
    let context = Context::new(bars);
    if let Subject::Model(model) = &subject {
        context.warn_all(&model.warnings);
    }
    let (executor, name) = match &subject {
        Subject::Compiled(_) => {
            let executor = arguments.executor.unwrap_or(Kind::Cpu);
            (executor, executor.name())
        }
        Subject::Model(_) => (Kind::Interpreter, "float"),
    };
    let task = match (&arguments.input, &arguments.draw) {
        (Some(_), None) => None,
        _ => Some(subject.task(arguments.task.as_deref())?),
    };
    let samples = match (&arguments.input, &task) {
        (Some(input), _) => read_inputs(input, subject.graph())?,
        (None, Some(task)) => {
            let ty = single_input(subject.graph())?;
            let count = arguments.samples.unwrap_or(EVALUATION_SAMPLES) as usize;
            let samples = task.samples(Section::Evaluation, ty, count)?;
            samples.inputs.into_iter().map(|input| vec![input]).collect()
        }
        (None, None) => return Err(no_task().into()),
    };
    if let Subject::Compiled(compiled) = &subject {
        plausible::saturation(&compiled.split, &samples, &context)?;
    }
    let outputs = subject.run(executor, &samples, &context)?;
    let mut report = json!({ "executor": name, "samples": samples.len() });
    if let Some(path) = &arguments.output {
        report["outputs"] = write_outputs(subject.outputs(), &outputs, path)?;
    }
    if let (Some(directory), Some(task)) = (&arguments.draw, &task) {
        let least = arguments.min_score.unwrap_or(MIN_SCORE);
        let found = draw(subject.outputs(), task, &samples, &outputs, least, directory, &context)?;
        report["detections"] = found.into();
    }
    report["warnings"] = context.warnings().iter().map(object).collect();
    if arguments.format.json {
        outln!("{report}");
    } else {
        let targets: Vec<_> =
            arguments.output.iter().chain(&arguments.draw).map(|path| path.display().to_string()).collect();
        outln!("{} samples through {name} -> {}", samples.len(), targets.join(", "));
    }
    Ok(())
}
