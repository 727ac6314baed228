//! `run`: one executor on inputs from a file.

use crate::artefact::{Compiled, DETECTIONS, Files, write_file};
use crate::cli::Run;
use crate::detect::{Bounds, Detection};
use crate::eval::{no_task, task_of, through_host};
use crate::executor::{Drive, Executor};
use crate::failure::{Failure, Warnings, object};
use crate::flow::single_input;
use crate::inputs::read_inputs;
use crate::model::{self, Model};
use crate::plausible;
use crate::samples::write;
use crate::task::{Section, Task};
use crate::verify::execute;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Data, Diagnostic, Graph, Tensor};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Evaluation samples that are run by default.
const EVALUATION_SAMPLES: u32 = 8;

/// Least score of a detection that is drawn by default.
const MIN_SCORE: f64 = 0.3;

/// What can be run.
enum Subject {
    /// A compiled model.
    Compiled(Box<Compiled>),
    /// A model as it came.
    Model(Box<Model>),
}

impl Subject {
    fn load(arguments: &Run) -> Result<Self, Failure> {
        let path = Path::new(&arguments.model);
        // A directory is meant to be a compiled model, and is told what it lacks.
        if path.is_dir() {
            return Ok(Self::Compiled(Box::new(Compiled::read(path)?)));
        }
        match arguments.executor {
            None | Some(Executor::Interpreter) => {}
            Some(executor) => {
                let message = format!("a model runs as it came in the interpreter, not in {}", executor.name());
                return Err(Failure::Usage(
                    Diagnostic::error("invalid-option", message).help("compile it first, or leave --executor out"),
                ));
            }
        }
        Ok(Self::Model(Box::new(model::load(Some(&arguments.model), None)?)))
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

    fn run(&self, executor: Executor, samples: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Failure> {
        match self {
            Self::Compiled(compiled) => {
                through_host(compiled, samples, |core| execute(compiled, executor, core, Drive::default()))
            }
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
pub fn command(arguments: &Run) -> Result<(), Failure> {
    let subject = Subject::load(arguments)?;
    let warnings = Warnings::default();
    let (executor, name) = match &subject {
        Subject::Compiled(_) => {
            let executor = arguments.executor.unwrap_or(Executor::Cpu);
            (executor, executor.name())
        }
        Subject::Model(_) => (Executor::Interpreter, "float"),
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
        (None, None) => return Err(no_task()),
    };
    if let Subject::Compiled(compiled) = &subject {
        plausible::saturation(&compiled.split, &samples, &warnings)?;
    }
    let outputs = subject.run(executor, &samples)?;
    let mut report = json!({ "executor": name, "samples": samples.len() });
    if let Some(path) = &arguments.output {
        report["outputs"] = write_outputs(subject.outputs(), &outputs, path)?;
    }
    if let (Some(directory), Some(task)) = (&arguments.draw, &task) {
        let least = arguments.min_score.unwrap_or(MIN_SCORE);
        let found = draw(subject.outputs(), task, &samples, &outputs, least, directory)?;
        report["detections"] = found.into();
    }
    report["warnings"] = warnings.list().iter().map(object).collect();
    if arguments.format.json {
        outln!("{report}");
    } else {
        let targets: Vec<_> =
            arguments.output.iter().chain(&arguments.draw).map(|path| path.display().to_string()).collect();
        outln!("{} samples through {name} -> {}", samples.len(), targets.join(", "));
    }
    Ok(())
}

/// Writes all outputs as an `.npz` file; their shapes.
fn write_outputs(names: &[String], outputs: &[Vec<Tensor>], path: &Path) -> Result<Value, Failure> {
    let named: Vec<(String, Tensor)> = names
        .iter()
        .enumerate()
        .map(|(position, name)| {
            let parts: Vec<&Tensor> = outputs.iter().filter_map(|outputs| outputs.get(position)).collect();
            (name.clone(), stack(&parts))
        })
        .collect();
    let mut bytes = Vec::new();
    write(&mut bytes, &named).map_err(|error| Failure::file(path, "make the outputs", error))?;
    write_file(path, &bytes)?;
    Ok(named.iter().map(|(name, tensor)| (name.clone(), json!(tensor.shape))).collect::<Map<_, _>>().into())
}

/// Writes each sample's image with the detections of at least a score, and a list of these; their
/// number.
fn draw(
    names: &[String],
    task: &Task,
    samples: &[Vec<Tensor>],
    outputs: &[Vec<Tensor>],
    min_score: f64,
    directory: &Path,
) -> Result<usize, Failure> {
    let mut files = Files::default();
    let mut list = Vec::new();
    let mut total = 0;
    for (index, (inputs, values)) in samples.iter().zip(outputs).enumerate() {
        let mut found = task.detections(names, values)?;
        found.retain(|detection| detection.score >= min_score);
        total += found.len();
        let name = format!("{index:04}.png");
        let picture = task.picture(&inputs[0])?.with_detections(&found);
        files.add(&name, picture.png().map_err(|error| Failure::file(directory, "draw", error))?);
        let found: Vec<Value> = found.iter().map(|detection| described(task, detection)).collect();
        list.push(json!({ "image": name, "detections": found }));
    }
    files.add_json(DETECTIONS, &list);
    files.write_detections(directory)?;
    Ok(total)
}

fn described(task: &Task, detection: &Detection) -> Value {
    let Bounds { x1, y1, x2, y2 } = detection.bounds;
    json!({ "class": task.class_name(detection.class), "score": detection.score, "box": [x1, y1, x2, y2] })
}

/// Samples of batch 1 joined along the first axis.
fn stack(parts: &[&Tensor]) -> Tensor {
    let first = parts[0];
    let mut shape = first.shape.clone();
    match shape.first_mut() {
        Some(batch) if *batch == 1 => *batch = parts.len(),
        _ => shape.insert(0, parts.len()),
    }
    match &first.data {
        Data::F32(_) => {
            Tensor::f32(shape, parts.iter().flat_map(|part| part.f32s().iter().copied()).collect::<Vec<_>>())
        }
        Data::Int(_) => {
            Tensor::int(shape, parts.iter().flat_map(|part| part.ints().iter().copied()).collect::<Vec<_>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_join_along_the_batch() {
        let a = Tensor::int([1, 2], [1, 2]);
        let b = Tensor::int([1, 2], [3, 4]);
        assert_eq!(stack(&[&a, &b]), Tensor::int([2, 2], [1, 2, 3, 4]));
    }
}
