//! Leaky ReLU with a slope per element.

use super::{broadcast, shape};
use crate::tensor::{Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x, slope] = shape::exactly(operands)?;
    shape::float("the operand", x)?;
    shape::float("the slope", slope)?;
    if broadcast::shape(&x.shape, &slope.shape)? != x.shape {
        return Err(format!("the slope {slope} does not broadcast to {x}"));
    }
    Ok(x.clone())
}

/// Value of the result.
pub(crate) fn eval(ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let [x, slope] = [operands[0], operands[1]];
    let prelu = |x: f32, slope: f32| if x < 0.0 { slope * x } else { x };
    let y = broadcast::zip(&ty.shape, (x.f32s(), &x.shape), (slope.f32s(), &slope.shape), prelu);
    Tensor::f32(ty.shape.clone(), y)
}
