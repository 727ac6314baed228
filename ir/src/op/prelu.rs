//! Leaky ReLU with a slope per element.

use super::attributes::attributes;
use super::operator::Operator;
use super::{broadcast, shape};
use crate::tensor::{Tensor, TensorType};

/// `x < 0 ? slope * x : x`, slope broadcast: `x, slope -> x`.
#[derive(Clone, Debug, PartialEq, Eq, Copy)]
pub struct PRelu;
attributes!(PRelu, "prelu");

impl Operator for PRelu {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x, slope] = shape::exactly(operands)?;
        shape::float("the operand", x)?;
        shape::float("the slope", slope)?;
        if broadcast::shape(&x.shape, &slope.shape)? != x.shape {
            return Err(format!("the slope {slope} does not broadcast to {x}"));
        }
        Ok(x.clone())
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let [x, slope] = [operands[0], operands[1]];
        let prelu = |x: f32, slope: f32| if x < 0.0 { slope * x } else { x };
        let y = broadcast::zip(&ty.shape, (x.f32s(), &x.shape), (slope.f32s(), &slope.shape), prelu);
        Tensor::f32(ty.shape.clone(), y)
    }
}
