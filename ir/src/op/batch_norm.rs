//! Batch normalization over the last axis.

use super::attributes::attributes;
use super::operator::Operator;
use super::shape;
use crate::tensor::{Tensor, TensorType};

/// Batch normalization over the last axis:
/// `x [..,c], scale [c], bias [c], mean [c], variance [c] -> [..,c]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}
attributes!(BatchNorm, "batch_norm", epsilon);

impl Operator for BatchNorm {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x, parameters @ ..] = &shape::exactly::<5>(operands)?;
        shape::float("the operand", x)?;
        shape::number(self.epsilon)?;
        let Some(&channels) = x.shape.last() else {
            return Err("the operand has no axis to normalize over".to_owned());
        };
        for (what, ty) in ["the scale", "the bias", "the mean", "the variance"].into_iter().zip(parameters) {
            shape::float(what, ty)?;
            shape::vector(what, ty, channels)?;
        }
        Ok(TensorType::clone(x))
    }

    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`.
    fn eval(&self, _ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let epsilon = self.epsilon;
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
}
