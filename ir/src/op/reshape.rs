//! The same elements with another shape.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::shape;
use crate::range::Operands;
use crate::tensor::{Tensor, TensorType};

/// The same elements in row-major order with another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// The new shape.
    pub shape: Vec<usize>,
}
attributes!(Reshape, "reshape", shape);

impl Operator for Reshape {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let target = &self.shape[..];
        let [x] = shape::exactly(operands)?;
        let target = shape::checked(target.to_vec())?;
        if target.iter().product::<usize>() != x.count() {
            return Err(format!("shape {target:?} has another element count than {x}"));
        }
        Ok(TensorType { shape: target, ..x.clone() })
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        operands[0].reshaped(ty.shape.clone())
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
}
