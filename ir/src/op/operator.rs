//! What every operator says of itself, in its own file.

use super::attributes::Attributes;
use crate::convolve::Weights;
use crate::quant::Requantize;
use crate::range::Operands;
use crate::tensor::{Tensor, TensorType};

/// Where an operator belongs. What holds for a whole dialect is asked of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Inputs and constants.
    Leaf,
    /// Computes with reals. A host runs it.
    Float,
    /// Every element of the result is an element of an operand, or a constant of the operator. Takes
    /// reals and integers.
    Movement,
    /// Between reals and integers.
    Bridge,
    /// Computes with integers, as hardware does.
    Integer,
}

/// Which integers a result can hold.
pub(crate) enum Values {
    /// Any that its element type has.
    OfType,
    /// From the first to the second.
    Between(i64, i64),
    /// Those of the operands, and one more if it is stated.
    OfOperands(Option<i64>),
}

impl Values {
    /// Some of these.
    pub fn among(values: &[i32]) -> Self {
        match (values.iter().min(), values.iter().max()) {
            (Some(&least), Some(&most)) => Self::Between(least.into(), most.into()),
            (_, _) => Self::OfType,
        }
    }
}

/// An operator of the table. What follows from the operator alone is here; what a pass or a
/// backend makes of it is theirs.
///
/// A method with a body has the answer that holds for most operators.
pub(crate) trait Operator: Attributes {
    /// Type of the result, or one sentence that says what is wrong with operands or attributes.
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String>;

    /// Value of the result. `ty` is the result's inferred type, `types` the operands'.
    fn eval(&self, ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor;

    /// Products of one evaluation that are summed.
    fn macs(&self, _ty: &TensorType, _types: &[&TensorType]) -> u64 {
        0
    }

    /// What makes the result of its sums or products, if it requantizes them.
    fn requantize(&self) -> Option<&Requantize> {
        None
    }

    /// Which integers the result can hold, if it holds integers.
    fn values(&self, _operands: &Operands) -> Values {
        self.requantize()
            .map_or(Values::OfType, |requantize| Values::Between(requantize.lo.into(), requantize.hi.into()))
    }

    /// Smallest and largest partial sum, if there are sums: over output channels and inputs, of
    /// some of the terms, in any order, with and without the bias.
    fn accumulator(&self, _operands: &Operands) -> Option<(i64, i64)> {
        None
    }

    /// The zero point that the arithmetic adds to its result.
    fn zero_point(&self) -> Option<i32> {
        self.requantize().map(|requantize| requantize.zero_point)
    }

    /// The second operand in the order in which [`Operator::eval_packed`] reads it.
    fn pack(&self, _weights: &Tensor) -> Option<Weights> {
        None
    }

    /// As [`Operator::eval`], for weights that [`Operator::pack`] gave.
    fn eval_packed(&self, _weights: &Weights, _ty: &TensorType, _operands: &[&Tensor]) -> Tensor {
        unreachable!("only operators that pack weights are given packed ones")
    }
}
