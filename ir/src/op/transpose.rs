//! Axis permutation.

use super::{gather, shape};
use crate::tensor::{Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(permutation: &[usize], operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    let mut sorted = permutation.to_vec();
    sorted.sort_unstable();
    if sorted.len() != x.shape.len() || sorted.iter().enumerate().any(|(index, &axis)| index != axis) {
        return Err(format!("{permutation:?} is not a permutation of the axes of {x}"));
    }
    Ok(TensorType { shape: permutation.iter().map(|&axis| x.shape[axis]).collect(), ..x.clone() })
}

/// Value of the result.
pub(crate) fn eval(permutation: &[usize], ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let x = operands[0];
    let strides = shape::strides(&x.shape);
    let strides: Vec<usize> = permutation.iter().map(|&axis| strides[axis]).collect();
    gather::gather(x, &ty.shape, 0, &strides)
}
