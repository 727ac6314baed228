//! Functions of two reals.

use super::attributes::{Attributes, Given, Named, Written};
use super::operator::Operator;
use super::{broadcast, shape};
use crate::tensor::{Tensor, TensorType};

/// A function of two reals, numpy broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Binary {
    /// `x + y`.
    Add,
    /// `x - y`.
    Sub,
    /// `x * y`.
    Mul,
    /// `x / y`.
    Div,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// `x` to the power of `y`.
    Pow,
}

impl Binary {
    /// Every function, in declaration order.
    pub const ALL: [Self; 7] = [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Max, Self::Min, Self::Pow];

    /// The operator's name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Max => "max",
            Self::Min => "min",
            Self::Pow => "pow",
        }
    }

    /// The function's value. A NaN operand makes the result NaN.
    pub fn apply(self, x: f32, y: f32) -> f32 {
        match self {
            Self::Add => x + y,
            Self::Sub => x - y,
            Self::Mul => x * y,
            Self::Div => x / y,
            Self::Max => {
                if x.is_nan() || x > y {
                    x
                } else {
                    y
                }
            }
            Self::Min => {
                if x.is_nan() || x < y {
                    x
                } else {
                    y
                }
            }
            Self::Pow => x.powf(y),
        }
    }
}

impl Attributes for Binary {
    fn name(&self) -> &'static str {
        Binary::name(*self)
    }

    fn write(&self, _to: &mut Written) {}
}

impl Named for Binary {
    fn read(name: &str, _given: &mut Given) -> Option<Result<Self, String>> {
        Self::ALL.into_iter().find(|binary| binary.name() == name).map(Ok)
    }
}

impl Operator for Binary {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x, y] = shape::exactly(operands)?;
        shape::float("the first operand", x)?;
        shape::float("the second operand", y)?;
        Ok(TensorType::f32(broadcast::shape(&x.shape, &y.shape)?))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let [x, y] = [operands[0], operands[1]];
        let zip = |f: fn(f32, f32) -> f32| broadcast::zip(&ty.shape, (x.f32s(), &x.shape), (y.f32s(), &y.shape), f);
        // One instance per function, so that the inner loop holds no dispatch.
        let z = match self {
            Binary::Add => broadcast::zip(&ty.shape, (x.f32s(), &x.shape), (y.f32s(), &y.shape), |x, y| x + y),
            Binary::Mul => broadcast::zip(&ty.shape, (x.f32s(), &x.shape), (y.f32s(), &y.shape), |x, y| x * y),
            Binary::Sub => zip(|x, y| Binary::Sub.apply(x, y)),
            Binary::Div => zip(|x, y| Binary::Div.apply(x, y)),
            Binary::Max => zip(|x, y| Binary::Max.apply(x, y)),
            Binary::Min => zip(|x, y| Binary::Min.apply(x, y)),
            Binary::Pow => zip(|x, y| Binary::Pow.apply(x, y)),
        };
        Tensor::f32(ty.shape.clone(), z)
    }
}
