//! Matrix product with a constant matrix.

use super::attributes::attributes;
use super::operator::Operator;
use super::shape;
use crate::convolve::{self, Packed, Weights};
use crate::tensor::{Tensor, TensorType};

/// Matrix product with a constant matrix: `x [..,k], w [o,k], [b [o]] -> [..,o]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense;
attributes!(Dense, "dense");

impl Operator for Dense {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
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

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        multiply(&packed(operands[1]), ty, operands)
    }

    fn macs(&self, ty: &TensorType, types: &[&TensorType]) -> u64 {
        shape::products(ty, types)
    }

    fn pack(&self, weights: &Tensor) -> Option<Weights> {
        Some(Weights::Reals(packed(weights)))
    }

    fn eval_packed(&self, weights: &Weights, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        multiply(weights.reals(), ty, operands)
    }
}

/// The weights in the order in which the evaluation reads them.
fn packed(weights: &Tensor) -> Packed<f32> {
    Packed::new(weights.f32s(), [weights.shape[0], 1, 1, weights.shape[1]], 1)
}

fn multiply(packed: &Packed<f32>, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let bias = operands.get(2).map(|bias| bias.f32s());
    Tensor::f32(ty.shape.clone(), convolve::multiply(operands[0].f32s(), packed, bias))
}
