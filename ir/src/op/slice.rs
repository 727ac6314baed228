//! A strided box of a tensor.

use super::{gather, shape};
use crate::tensor::{Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(
    starts: &[usize],
    sizes: &[usize],
    steps: &[usize],
    operands: &[&TensorType],
) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    let rank = x.shape.len();
    if [starts.len(), sizes.len(), steps.len()] != [rank; 3] {
        return Err(format!("starts, sizes and steps must have one entry per axis of {x}"));
    }
    for axis in 0..rank {
        let (start, size, step, extent) = (starts[axis], sizes[axis], steps[axis], x.shape[axis]);
        let last = size.checked_sub(1).and_then(|count| count.checked_mul(step)).and_then(|run| run.checked_add(start));
        if step == 0 || last.is_none_or(|last| last >= extent) {
            return Err(format!("{size} elements from {start} by {step} are not inside axis {axis} of {x}"));
        }
    }
    Ok(TensorType { shape: shape::checked(sizes.to_vec())?, ..x.clone() })
}

/// Value of the result.
pub(crate) fn eval(starts: &[usize], steps: &[usize], ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let x = operands[0];
    let strides = shape::strides(&x.shape);
    let offset = starts.iter().zip(&strides).map(|(start, stride)| start * stride).sum();
    let strides: Vec<usize> = steps.iter().zip(&strides).map(|(step, stride)| step * stride).collect();
    gather::gather(x, &ty.shape, offset, &strides)
}
