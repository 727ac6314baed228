//! Ground truth: classes and objects: classes and objects.

use super::spec::fault;
use crate::detect::{Bounds, Object};
use crate::failure::Failure;
use crate::samples::{Archive, Array};

/// The class of every sample of a file of `total`.
///
/// # Errors
/// If the array is not one whole number a sample.
pub fn labels(archive: &mut Archive, name: &str, total: usize) -> Result<Vec<usize>, Failure> {
    let labels = archive.array(name)?;
    if labels.values.len() != total {
        return Err(fault(name, format!("{} labels for {total} samples", labels.values.len())));
    }
    positions(&labels, name)
}

/// The objects of every sample of a file of `total`, from the arrays of boxes `[m,4]`, of their
/// classes `[m]`, and of where each sample's begin `[total+1]`.
///
/// # Errors
/// If they are not that.
pub fn objects(
    archive: &mut Archive,
    [boxes, classes, offsets]: [&str; 3],
    total: usize,
) -> Result<Vec<Vec<Object>>, Failure> {
    let bounds = archive.array(boxes)?;
    let kinds = positions(&archive.array(classes)?, classes)?;
    let starts = positions(&archive.array(offsets)?, offsets)?;
    let count = kinds.len();
    if bounds.shape != [count, 4] {
        return Err(fault(boxes, format!("shape {:?} is not one box of four for each of {count}", bounds.shape)));
    }
    if let Some(position) = bounds.values.iter().position(|value| !value.is_finite()) {
        return Err(fault(boxes, format!("a side of box {} is {}", position / 4, bounds.values[position])));
    }
    if starts.len() != total + 1 || starts.last() != Some(&count) || !starts.is_sorted() {
        return Err(fault(offsets, format!("it does not share {count} boxes out among {total} samples")));
    }
    let object = |index: usize| {
        let [x1, y1, x2, y2] = std::array::from_fn(|side| bounds.values[4 * index + side]);
        Object { bounds: Bounds { x1, y1, x2, y2 }, class: kinds[index] }
    };
    Ok(starts.windows(2).map(|pair| (pair[0]..pair[1]).map(object).collect()).collect())
}

/// The elements of an array that counts something.
fn positions(array: &Array, name: &str) -> Result<Vec<usize>, Failure> {
    let whole = |value: f64| value >= 0.0 && value.fract() == 0.0 && value <= f64::from(u32::MAX);
    match array.values.iter().position(|&value| !whole(value)) {
        Some(position) => {
            let message = format!("element {position} is {}, not a whole number from 0", array.values[position]);
            Err(fault(name, message))
        }
        None => Ok(array.values.iter().map(|&value| value as usize).collect()),
    }
}
