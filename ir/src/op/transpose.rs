//! Axis permutation.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::{gather, shape};
use crate::range::Operands;
use crate::tensor::{Tensor, TensorType};

/// Axis permutation: axis `i` of the result is axis `permutation[i]` of the operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// The permutation.
    pub permutation: Vec<usize>,
}
attributes!(Transpose, "transpose", permutation);

impl Operator for Transpose {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let permutation = &self.permutation[..];
        let [x] = shape::exactly(operands)?;
        let mut sorted = permutation.to_vec();
        sorted.sort_unstable();
        if sorted.len() != x.shape.len() || sorted.iter().enumerate().any(|(index, &axis)| index != axis) {
            return Err(format!("{permutation:?} is not a permutation of the axes of {x}"));
        }
        Ok(TensorType { shape: permutation.iter().map(|&axis| x.shape[axis]).collect(), ..x.clone() })
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let permutation = &self.permutation[..];
        let x = operands[0];
        let strides = shape::strides(&x.shape);
        let strides: Vec<usize> = permutation.iter().map(|&axis| strides[axis]).collect();
        gather::gather(x, &ty.shape, 0, &strides)
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
}
