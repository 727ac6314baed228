//! Joining tensors along an axis.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::{gather, shape};
use crate::range::Operands;
use crate::tensor::{Data, Tensor, TensorType};

/// Joins tensors along an axis: `x, y, .. -> z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}
attributes!(Concat, "concat", axis);

impl Operator for Concat {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let axis = self.axis;
        let [first, rest @ ..] = operands else {
            return Err("at least one operand is required".to_owned());
        };
        shape::axis(axis, first)?;
        let mut result = TensorType::clone(first);
        for x in rest {
            let other = |(index, extent): (usize, &usize)| index != axis && x.shape[index] != *extent;
            if x.shape.len() != first.shape.len() || first.shape.iter().enumerate().any(other) {
                return Err(format!("{x} and {first} differ in another axis than {axis}"));
            }
            if x.element != first.element {
                return Err(format!("{x} and {first} differ in element type"));
            }
            if x.quantization != first.quantization {
                return Err(format!(
                    "{x} and {first} differ in quantization and must be requantized to a common scale"
                ));
            }
            result.shape[axis] += x.shape[axis];
            shape::check(&result.shape)?;
        }
        Ok(result)
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let axis = self.axis;
        let data = match &operands[0].data {
            Data::F32(_) => Data::F32(join(axis, ty, operands, Tensor::f32s).into()),
            Data::Int(_) => Data::Int(join(axis, ty, operands, Tensor::ints).into()),
        };
        Tensor { shape: ty.shape.clone(), data }
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
}

fn join<T: Copy + Default>(
    axis: usize,
    ty: &TensorType,
    operands: &[&Tensor],
    elements: fn(&Tensor) -> &[T],
) -> Vec<T> {
    let mut y = vec![T::default(); ty.count()];
    let stride: usize = ty.shape[axis + 1..].iter().product();
    let mut start = 0;
    for x in operands {
        gather::scatter(elements(x), &x.shape, &mut y, &ty.shape, start * stride);
        start += x.shape[axis];
    }
    y
}
