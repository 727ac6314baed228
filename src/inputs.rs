//! What a model is fed: calibration samples, and arrays that a user gives.

use crate::failure::Failure;
use crate::model::Model;
use crate::options::Options;
use crate::samples::Archive;
use crate::task::Section;
use lutweave_ir::{Diagnostic, Graph, Tensor, TensorType};
use std::path::Path;

/// Calibration inputs of a model: of a file, of its task, or none.
///
/// # Errors
/// If the data cannot be used.
pub fn calibration(model: &Model, options: &Options) -> Result<Vec<Vec<Tensor>>, Failure> {
    let limit = options.calibration_limit();
    if let Some(path) = &options.calibration {
        let mut samples = read_inputs(path, &model.graph)?;
        samples.truncate(limit);
        return Ok(samples);
    }
    let Some(task) = &model.task else { return Ok(Vec::new()) };
    let ty = single_input(&model.graph)?;
    let samples = task.samples(Section::Calibration, ty, limit)?;
    Ok(samples.inputs.into_iter().map(|input| vec![input]).collect())
}

/// The type of the only input: tasks feed one.
///
/// # Errors
/// If there are several.
pub fn single_input(graph: &Graph) -> Result<&TensorType, Failure> {
    match graph.inputs() {
        [input] => Ok(&graph.node(*input).ty),
        inputs => Err(Diagnostic::error("bad-task", format!("a task feeds one input, the model has {}", inputs.len()))
            .at(&graph.name)
            .into()),
    }
}

/// Model inputs from an `.npz` file with one array per input (by name, or the only array) as the
/// model is fed: one list of inputs per sample.
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

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::Element;

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
