//! Batch normalization over the last axis.

use super::shape;
use crate::tensor::{Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x, parameters @ ..] = &shape::exactly::<5>(operands)?;
    shape::float("the operand", x)?;
    let Some(&channels) = x.shape.last() else {
        return Err("the operand has no axis to normalize over".to_owned());
    };
    for (what, ty) in ["the scale", "the bias", "the mean", "the variance"].into_iter().zip(parameters) {
        shape::float(what, ty)?;
        shape::vector(what, ty, channels)?;
    }
    Ok(TensorType::clone(x))
}

/// Value of the result: `(x - mean) / sqrt(variance + epsilon) * scale + bias`.
pub(crate) fn eval(epsilon: f32, operands: &[&Tensor]) -> Tensor {
    let x = operands[0];
    let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|index| operands[index].f32s());
    let channels = scale.len();
    let factors: Vec<f32> = (0..channels).map(|c| scale[c] / (variance[c] + epsilon).sqrt()).collect();
    let mut y = x.f32s().to_vec();
    for row in y.chunks_exact_mut(channels) {
        for (channel, value) in row.iter_mut().enumerate() {
            *value = (*value - mean[channel]) * factors[channel] + bias[channel];
        }
    }
    Tensor::f32(x.shape.clone(), y)
}
