//! Outputs of a run as files: arrays, or images with boxes.

use crate::artefact::{DETECTIONS, Files, write_file};
use crate::detect::{Bounds, Detection};
use crate::failure::Failure;
use crate::observer::Context;
use crate::samples::write;
use crate::task::Task;
use lutweave_ir::{Data, Tensor};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes all outputs as an `.npz` file, samples along the first axis; their shapes by name.
///
/// # Errors
/// What the file system says.
pub fn write_outputs(names: &[String], outputs: &[Vec<Tensor>], path: &Path) -> Result<Value, Failure> {
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
///
/// # Errors
/// If the outputs are not what the task says, or cannot be written.
pub fn draw(
    names: &[String],
    task: &Task,
    samples: &[Vec<Tensor>],
    outputs: &[Vec<Tensor>],
    min_score: f64,
    directory: &Path,
    context: &Context,
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
    files.write_detections(directory, context)?;
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
