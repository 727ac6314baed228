//! `run`: one executor on inputs from a file.

use crate::artefact::Compiled;
use crate::cli::Run;
use crate::eval::through_host;
use crate::executor::Drive;
use crate::failure::Failure;
use crate::samples::{Archive, Array, write};
use crate::verify::execute;
use lutweave_ir::{Data, Diagnostic, Graph, Tensor, TensorType};
use serde_json::json;
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// If the inputs do not fit the model, or something cannot run or be written.
pub fn command(arguments: &Run) -> Result<(), Failure> {
    let compiled = Compiled::read(&arguments.directory)?;
    let samples = read_inputs(&arguments.input, &compiled.graph)?;
    let outputs =
        through_host(&compiled, &samples, |core| execute(&compiled, arguments.executor, core, Drive::default()))?;
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
    write(&mut bytes, &named).map_err(|error| Failure::file(&arguments.output, "make the outputs", error))?;
    let folder = arguments.output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(|error| Failure::file(folder, "write here", error))?;
    std::io::Write::write_all(&mut file, &bytes).map_err(|error| Failure::file(&arguments.output, "write", error))?;
    file.persist(&arguments.output).map_err(|error| Failure::file(&arguments.output, "write", error))?;
    if arguments.format.json {
        let shapes: serde_json::Map<String, serde_json::Value> =
            named.iter().map(|(name, tensor)| (name.clone(), json!(tensor.shape))).collect();
        println!("{}", json!({ "executor": arguments.executor.name(), "samples": samples.len(), "outputs": shapes }));
    } else {
        println!("{} samples through {} -> {}", samples.len(), arguments.executor.name(), arguments.output.display());
    }
    Ok(())
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
