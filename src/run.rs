//! `run`: one executor on inputs from a file.

use crate::artefact::{Compiled, DETECTIONS, Files, write_file};
use crate::cli::Run;
use crate::detect::{Bounds, Detection};
use crate::eval::{no_task, task_of, through_host};
use crate::executor::{Drive, Executor};
use crate::failure::{Failure, Warnings, object};
use crate::flow::single_input;
use crate::model::{self, Model};
use crate::plausible;
use crate::samples::{Archive, write};
use crate::task::{Section, Task};
use crate::verify::execute;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Data, Diagnostic, Graph, Tensor, TensorType};
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

/// Model inputs from an `.npz` file with one array per input (by name, or the only array) as the
/// model is fed: one list of inputs a sample.
///
/// # Errors
/// If the file does not fit the model in names, shapes and types.
pub fn read_inputs(path: &Path, graph: &Graph) -> Result<Vec<Vec<Tensor>>, Failure> {
    let mut archive = Archive::open_file(path)?;
    let names = archive.names();
    let mut inputs: Vec<Vec<Tensor>> = Vec::new();
    for &input in graph.inputs() {
        let node = graph.node(input);
        let name = match names.iter().find(|name| **name == node.name) {
            Some(name) => name.clone(),
            None if names.len() == 1 && graph.inputs().len() == 1 => names[0].clone(),
            None => {
                let wanted = graph.inputs().iter().map(|&input| {
                    let node = graph.node(input);
                    format!("`{}` {}", node.name, node.ty)
                });
                let message = format!("there is no array `{}`; there are: {}", node.name, archive.listing());
                return Err(Diagnostic::error("bad-data", message)
                    .at(path.display().to_string())
                    .help(format!("the model's inputs are: {}", wanted.collect::<Vec<_>>().join(", ")))
                    .into());
            }
        };
        inputs.push(read_input(&mut archive, &node.ty, &name)?);
    }
    let count = inputs.first().map_or(0, Vec::len);
    if let Some(samples) = inputs.iter().find(|samples| samples.len() != count) {
        let message = format!("the inputs have different numbers of samples: {count} and {}", samples.len());
        return Err(Diagnostic::error("bad-data", message).at(path.display().to_string()).into());
    }
    Ok((0..count).map(|index| inputs.iter().map(|samples| samples[index].clone()).collect()).collect())
}

/// How the samples of an array lie in it, if it can be those of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Samples {
    /// The array is one sample.
    One,
    /// So many along the first axis.
    Stacked(usize),
}

impl Samples {
    fn of(shape: &[usize], ty: &TensorType) -> Option<Self> {
        let wanted = &ty.shape[..];
        let (first, rest) = shape.split_first().unwrap_or((&1, &[]));
        // A batch of 1 may be left out, or be the axis of samples.
        let unbatched = wanted.strip_prefix(&[1]);
        if Some(rest) == unbatched && !wanted.is_empty() || rest == wanted && !shape.is_empty() {
            return Some(Self::Stacked(*first));
        }
        (shape == wanted || Some(shape) == unbatched).then_some(Self::One)
    }
}

/// The samples of an array for an input of a type.
fn read_input(archive: &mut Archive, ty: &TensorType, name: &str) -> Result<Vec<Tensor>, Failure> {
    let fault =
        |message: String, help: &str| -> Failure { Diagnostic::error("bad-data", message).at(name).help(help).into() };
    let header = archive.header(name)?;
    let lie = Samples::of(&header.shape, ty).filter(|_| !header.shape.contains(&0)).ok_or_else(|| {
        fault(
            format!("its shape {:?} is not samples of {ty}", header.shape),
            "stack samples along a first axis, in the layout that the model wants",
        )
    })?;
    if ty.element.range().is_none() && header.element.is_integer() {
        return Err(fault(
            format!("its elements are {}, and the model is fed {}", header.element.name(), ty.element),
            "give what the model is fed, as float32: normalize pixels first, or let a --task do it",
        ));
    }
    let mut samples = Vec::new();
    let mut convert = |values: &[f64]| {
        samples.push(tensor(values, ty, name)?);
        Ok(())
    };
    match lie {
        Samples::One => convert(&archive.array(name)?.values)?,
        Samples::Stacked(count) => archive.rows(name, &(0..count).collect::<Vec<_>>(), convert)?,
    }
    Ok(samples)
}

/// Elements as a tensor of a type.
fn tensor(values: &[f64], ty: &TensorType, name: &str) -> Result<Tensor, Failure> {
    let fault = |message: String| Failure::from(Diagnostic::error("bad-data", message).at(name));
    match ty.element.range() {
        None => match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(fault(format!("an element is {value}"))),
            None => {
                let values = values.iter().map(|&value| value as f32).collect::<Vec<_>>();
                Ok(Tensor::f32(ty.shape.clone(), values))
            }
        },
        Some((lo, hi)) => {
            let whole = |value: f64| {
                let inside = value.fract() == 0.0 && value >= lo as f64 && value <= hi as f64;
                inside.then_some(value as i32).ok_or_else(|| fault(format!("{value} is not an {}", ty.element)))
            };
            let values = values.iter().map(|&value| whole(value)).collect::<Result<Vec<_>, _>>()?;
            Ok(Tensor::int(ty.shape.clone(), values))
        }
    }
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
    use lutweave_ir::Element;

    #[test]
    fn samples_join_along_the_batch() {
        let a = Tensor::int([1, 2], [1, 2]);
        let b = Tensor::int([1, 2], [3, 4]);
        assert_eq!(stack(&[&a, &b]), Tensor::int([2, 2], [1, 2, 3, 4]));
    }

    #[test]
    fn values_outside_the_type_are_refused() {
        let ty = TensorType::int([1, 2], Element::I8);
        assert!(tensor(&[1.0, 300.0], &ty, "x").is_err());
        assert!(tensor(&[1.0, 0.5], &ty, "x").is_err());
        assert!(tensor(&[1.0, f64::NAN], &TensorType::f32([1, 2]), "x").is_err());
        assert_eq!(tensor(&[1.0, -2.0], &ty, "x").ok(), Some(Tensor::int([1, 2], [1, -2])));
    }

    #[test]
    fn shapes_are_compared_and_not_counts() {
        let image = TensorType::f32([1, 3, 8, 8]);
        assert_eq!(Samples::of(&[5, 3, 8, 8], &image), Some(Samples::Stacked(5)));
        assert_eq!(Samples::of(&[5, 1, 3, 8, 8], &image), Some(Samples::Stacked(5)));
        assert_eq!(Samples::of(&[1, 3, 8, 8], &image), Some(Samples::Stacked(1)));
        assert_eq!(Samples::of(&[3, 8, 8], &image), Some(Samples::One));
        assert_eq!(Samples::of(&[5, 8, 8, 3], &image), None);
        assert_eq!(Samples::of(&[5, 192], &image), None);
        assert_eq!(Samples::of(&[4, 2, 3], &TensorType::f32([2, 3])), Some(Samples::Stacked(4)));
        assert_eq!(Samples::of(&[2, 3], &TensorType::f32([2, 3])), Some(Samples::One));
        assert_eq!(Samples::of(&[7], &TensorType::f32([1])), Some(Samples::Stacked(7)));
    }
}
