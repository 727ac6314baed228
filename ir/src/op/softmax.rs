//! Softmax.

use super::shape;
use crate::tensor::{Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(axis: usize, operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    shape::float("the operand", x)?;
    shape::axis(axis, x)?;
    Ok(x.clone())
}

/// Value of the result: `exp(x - max) / sum`, summed in double precision.
pub(crate) fn eval(axis: usize, operands: &[&Tensor]) -> Tensor {
    let x = operands[0];
    let (outer, extent, inner) = shape::around(&x.shape, axis);
    let mut y = x.f32s().to_vec();
    for block in 0..outer {
        for offset in 0..inner {
            let at = |index: usize| (block * extent + index) * inner + offset;
            let largest = (0..extent).map(|index| y[at(index)]).fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0f64;
            for index in 0..extent {
                let e = (y[at(index)] - largest).exp();
                y[at(index)] = e;
                sum += f64::from(e);
            }
            for index in 0..extent {
                y[at(index)] = (f64::from(y[at(index)]) / sum) as f32;
            }
        }
    }
    Tensor::f32(x.shape.clone(), y)
}
