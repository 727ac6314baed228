//! Softmax.

use super::attributes::attributes;
use super::operator::Operator;
use super::shape;
use crate::tensor::{Tensor, TensorType};

/// Softmax over an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// The axis.
    pub axis: usize,
}
attributes!(Softmax, "softmax", axis);

impl Operator for Softmax {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let axis = self.axis;
        let [x] = shape::exactly(operands)?;
        shape::float("the operand", x)?;
        shape::axis(axis, x)?;
        Ok(x.clone())
    }

    /// `exp(x - max) / sum`, summed in double precision.
    fn eval(&self, _ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let axis = self.axis;
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
}
