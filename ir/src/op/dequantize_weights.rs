//! Constant integers to reals, with one scale per index of an axis.

use super::attributes::attributes;
use super::operator::Operator;
use super::shape;
use crate::quant::Quantization;
use crate::tensor::{Tensor, TensorType};

/// `w[..,i,..] = scales[i] * (q[..,i,..] - zero_points[i])` along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct DequantizeWeights {
    /// The axis; 0 where there is a single scale.
    pub axis: usize,
    /// One positive scale per index of the axis, or one for all.
    pub scales: Vec<f32>,
    /// As many zero points as scales.
    pub zero_points: Vec<i32>,
}
attributes!(DequantizeWeights, "dequantize_weights", axis, scales, zero_points);

impl Operator for DequantizeWeights {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [q] = shape::exactly(operands)?;
        let (lo, hi) = shape::integer("the operand", q)?;
        if self.zero_points.len() != self.scales.len() {
            return Err(format!("there are {} scales but {} zero points", self.scales.len(), self.zero_points.len()));
        }
        if self.scales.len() == 1 {
            if self.axis != 0 && self.axis >= q.shape.len() {
                return Err(format!("axis {} is not an axis of {q}", self.axis));
            }
        } else {
            shape::axis(self.axis, q)?;
            if self.scales.len() != q.shape[self.axis] {
                return Err(format!("{} scales do not match axis {} of {q}", self.scales.len(), self.axis));
            }
        }
        if let Some(scale) = self.scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
            return Err(format!("scale {scale:?} is not positive and finite"));
        }
        if let Some(zero_point) = self.zero_points.iter().find(|&&z| !(lo..=hi).contains(&i64::from(z))) {
            return Err(format!("zero point {zero_point} is outside {}", q.element));
        }
        Ok(TensorType::f32(q.shape.clone()))
    }

    fn eval(&self, _ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let q = operands[0];
        let real = |q: i32, index: usize| {
            Quantization { scale: self.scales[index], zero_point: self.zero_points[index] }.dequantize(q)
        };
        let y: Vec<f32> = if self.scales.len() == 1 {
            q.ints().iter().map(|&q| real(q, 0)).collect()
        } else {
            let (_, extent, inner) = shape::around(&q.shape, self.axis);
            q.ints().iter().enumerate().map(|(position, &q)| real(q, position / inner % extent)).collect()
        };
        Tensor::f32(q.shape.clone(), y)
    }
}
