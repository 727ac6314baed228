//! `run`: one executor on inputs from a file.

use crate::artefact::{Compiled, DETECTIONS, Files, write_file};
use crate::cli::Run;
use crate::detect::{Bounds, Detection};
use crate::eval::{task_of, through_host};
use crate::executor::Drive;
use crate::failure::Failure;
use crate::flow::single_input;
use crate::samples::{Archive, Array, write};
use crate::task::{Section, Task};
use crate::verify::execute;
use lutweave_ir::{Data, Diagnostic, Graph, Tensor, TensorType};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// If the inputs do not fit the model, or something cannot run or be written.
pub fn command(arguments: &Run) -> Result<(), Failure> {
    let compiled = Compiled::read(&arguments.directory)?;
    let task = match arguments.draw {
        Some(_) => Some(task_of(&compiled, arguments.task.as_deref())?),
        None => None,
    };
    let samples = match (&arguments.input, &task) {
        (Some(input), _) => read_inputs(input, &compiled.graph)?,
        (None, Some(task)) => {
            let ty = single_input(&compiled.graph)?;
            let samples = task.samples(Section::Evaluation, ty, arguments.samples as usize)?;
            samples.inputs.into_iter().map(|input| vec![input]).collect()
        }
        (None, None) => {
            return Err(Failure::Usage(Diagnostic::error("no-input", "there is nothing to run").help("give --input")));
        }
    };
    let outputs =
        through_host(&compiled, &samples, |core| execute(&compiled, arguments.executor, core, Drive::default()))?;
    let mut report = json!({ "executor": arguments.executor.name(), "samples": samples.len() });
    if let Some(path) = &arguments.output {
        report["outputs"] = write_outputs(&compiled, &outputs, path)?;
    }
    if let (Some(directory), Some(task)) = (&arguments.draw, &task) {
        let found = draw(&compiled, task, &samples, &outputs, arguments.min_score, directory)?;
        report["detections"] = found.into();
    }
    if arguments.format.json {
        outln!("{report}");
    } else {
        let targets: Vec<_> =
            arguments.output.iter().chain(&arguments.draw).map(|path| path.display().to_string()).collect();
        outln!("{} samples through {} -> {}", samples.len(), arguments.executor.name(), targets.join(", "));
    }
    Ok(())
}

/// Writes all outputs as an `.npz` file; their shapes.
fn write_outputs(compiled: &Compiled, outputs: &[Vec<Tensor>], path: &Path) -> Result<Value, Failure> {
    let named: Vec<(String, Tensor)> = compiled
        .manifest
        .model_outputs
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
    compiled: &Compiled,
    task: &Task,
    samples: &[Vec<Tensor>],
    outputs: &[Vec<Tensor>],
    min_score: f64,
    directory: &Path,
) -> Result<usize, Failure> {
    let names = &compiled.manifest.model_outputs;
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

/// Model inputs from an `.npz` file with one array per input (by name, or the only array): one
/// list of inputs a sample.
///
/// # Errors
/// If the file does not fit the model.
pub fn read_inputs(path: &Path, graph: &Graph) -> Result<Vec<Vec<Tensor>>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::file(path, "open the inputs", error))?;
    let mut archive = Archive::open(std::io::BufReader::new(file), &path.display().to_string())?;
    let names = archive.names();
    let mut inputs: Vec<Vec<Tensor>> = Vec::new();
    for &input in graph.inputs() {
        let node = graph.node(input);
        let name = match names.iter().find(|name| **name == node.name) {
            Some(name) => name.clone(),
            None if names.len() == 1 && graph.inputs().len() == 1 => names[0].clone(),
            None => {
                let wanted: Vec<&str> = graph.inputs().iter().map(|&input| graph.node(input).name.as_str()).collect();
                return Err(Diagnostic::error("bad-data", format!("there is no array `{}`", node.name))
                    .help(format!("the model's inputs are: {}", wanted.join(", ")))
                    .into());
            }
        };
        inputs.push(split_samples(&archive.array(&name)?, &node.ty, &name)?);
    }
    let count = inputs.first().map_or(0, Vec::len);
    if inputs.iter().any(|samples| samples.len() != count) {
        return Err(Diagnostic::error("bad-data", "the inputs have different numbers of samples").into());
    }
    Ok((0..count).map(|index| inputs.iter().map(|samples| samples[index].clone()).collect()).collect())
}

fn split_samples(array: &Array, ty: &TensorType, name: &str) -> Result<Vec<Tensor>, Failure> {
    let fault = |message: String| Failure::from(Diagnostic::error("bad-data", message).at(name));
    let count = ty.count();
    if array.values.is_empty() || !array.values.len().is_multiple_of(count) {
        return Err(fault(format!("shape {:?} is not a number of samples of {ty}", array.shape)));
    }
    array
        .values
        .chunks_exact(count)
        .map(|values| match ty.element.range() {
            None => Ok(Tensor::f32(ty.shape.clone(), values.iter().map(|&value| value as f32).collect::<Vec<_>>())),
            Some((lo, hi)) => {
                let whole = |value: f64| {
                    let inside = value.fract() == 0.0 && value >= lo as f64 && value <= hi as f64;
                    inside.then_some(value as i32).ok_or_else(|| fault(format!("{value} is not an {}", ty.element)))
                };
                let values = values.iter().map(|&value| whole(value)).collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::int(ty.shape.clone(), values))
            }
        })
        .collect()
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
        let array = Array { shape: vec![2], values: vec![1.0, 300.0] };
        assert!(split_samples(&array, &TensorType::int([1, 2], Element::I8), "x").is_err());
        let array = Array { shape: vec![4], values: vec![1.0, 2.0, 3.0, 4.0] };
        assert_eq!(split_samples(&array, &TensorType::int([1, 2], Element::I8), "x").map(|s| s.len()).ok(), Some(2));
    }
}
