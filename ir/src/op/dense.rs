//! Matrix product with a constant matrix.

use super::shape;
use crate::convolve::{self, Packed};
use crate::tensor::{Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(operands: &[&TensorType]) -> Result<TensorType, String> {
    let (x, w, b) = shape::two_and_bias(operands)?;
    shape::float("the operand", x)?;
    shape::float("the weights", w)?;
    let [outputs, inputs] = w.shape[..] else {
        return Err(format!("the weights must have 2 axes, but are {w}"));
    };
    if x.shape.last() != Some(&inputs) {
        return Err(format!("the last axis of {x} does not match the weights {w}"));
    }
    if let Some(b) = b {
        shape::float("the bias", b)?;
        shape::vector("the bias", b, outputs)?;
    }
    let mut shape = x.shape.clone();
    shape[x.shape.len() - 1] = outputs;
    Ok(TensorType::f32(shape::checked(shape)?))
}

/// The weights in the order in which the evaluation reads them.
pub(crate) fn pack(weights: &Tensor) -> Packed<f32> {
    Packed::new(weights.f32s(), [weights.shape[0], 1, 1, weights.shape[1]], 1)
}

/// Value of the result.
pub(crate) fn eval(ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    eval_packed(&pack(operands[1]), ty, operands)
}

/// Value of the result, for weights that are packed.
pub(crate) fn eval_packed(packed: &Packed<f32>, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let bias = operands.get(2).map(|bias| bias.f32s());
    Tensor::f32(ty.shape.clone(), convolve::multiply(operands[0].f32s(), packed, bias))
}
