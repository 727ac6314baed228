//! Product of two integer tensors.

use super::attributes::attributes;
use super::operator::Operator;
use super::{pointwise, shape};
use crate::quant::Requantize;
use crate::range::{self, Operands};
use crate::tensor::{Element, Tensor, TensorType};

/// `y = requantize(0, (x0 - zero_points[0]) * (x1 - zero_points[1]))` for operands
/// `x0 [1,h,w,c]` and `x1 [1,h,w,c]` or `[1,1,1,c]`, or the same with fewer
/// leading axes.
#[derive(Clone, Debug, PartialEq)]
pub struct QMul {
    /// The operands' zero points.
    pub zero_points: [i32; 2],
    /// Product to output; one multiplier, one shift.
    pub requantize: Requantize,
    /// Element type of the result, at most 8 bits.
    pub element: Element,
}
attributes!(QMul, "qmul", zero_points, requantize, element);

impl QMul {
    /// The output for two operands' elements.
    pub fn apply(&self, x0: i32, x1: i32) -> i32 {
        self.requantize.apply(0, (x0 - self.zero_points[0]) * (x1 - self.zero_points[1]))
    }
}

impl Operator for QMul {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let shape = pointwise::infer(operands)?;
        for (ty, zero_point) in operands.iter().zip(self.zero_points) {
            let (lo, hi) = shape::integer("an operand", ty)?;
            if !(lo..=hi).contains(&i64::from(zero_point)) {
                return Err(format!("zero point {zero_point} is outside {}", ty.element));
            }
        }
        self.requantize.check(1, self.element)?;
        Ok(TensorType::int(shape, self.element))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        pointwise::eval(ty, operands, |x0, x1| self.apply(x0, x1))
    }

    fn requantize(&self) -> Option<&Requantize> {
        Some(&self.requantize)
    }

    fn accumulator(&self, operands: &Operands) -> Option<(i64, i64)> {
        let [x0, x1] = [0, 1].map(|index| {
            let ((lo, hi), zero_point) = (operands.range(index), i64::from(self.zero_points[index]));
            (lo - zero_point, hi - zero_point)
        });
        Some(range::product(x0, x1))
    }
}
