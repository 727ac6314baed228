//! Integer average pooling.

use super::attributes::attributes;
use super::operator::Operator;
use super::{Window, shape};
use crate::quant::Requantize;
use crate::range::{self, Operands, Sums};
use crate::tensor::{Element, Tensor, TensorType};

/// Mean of each window of integers: `x [1,h,w,c] -> [1,h',w',c]`.
///
/// `y = requantize(0, bias + sum of x)`, where positions outside the image read `pad_value`; the
/// divisor is in the multiplier, the zero point of `x` in `bias`. No dilation.
#[derive(Clone, Debug, PartialEq)]
pub struct QAveragePool {
    /// The window; its dilations are 1.
    pub window: Window,
    /// What positions outside the image read; the zero point of `x`.
    pub pad_value: i32,
    /// Added to the sum: minus the zero point of `x` times the window's area.
    pub bias: i32,
    /// Accumulator to output; one multiplier, one shift.
    pub requantize: Requantize,
    /// Element type of the result, at most 8 bits.
    pub element: Element,
}
attributes!(QAveragePool, "qaverage_pool", window, pad_value, bias, requantize, element);

impl Operator for QAveragePool {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        shape::activation("the operand", x)?;
        shape::one_image(x)?;
        if self.window.dilations != [1, 1] {
            return Err(format!("dilations {:?} are not 1", self.window.dilations));
        }
        shape::padding(self.pad_value, x)?;
        self.requantize.check(1, self.element)?;
        Ok(TensorType::int(self.window.infer(x)?, self.element))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let x = operands[0];
        let [vertical, horizontal] = self.window.sweeps([x.shape[1], x.shape[2]]);
        let area = self.window.kernel[0] * self.window.kernel[1];
        let mut y = Vec::with_capacity(ty.count());
        self.window.fold(x.ints(), &x.shape, ty, self.bias, i32::wrapping_add, |row, column, sums| {
            let padding = area - vertical.taps(row).len() * horizontal.taps(column).len();
            let padded = (padding as i32).wrapping_mul(self.pad_value);
            y.extend(sums.iter().map(|sum| self.requantize.apply(0, sum.wrapping_add(padded))));
        });
        Tensor::int(ty.shape.clone(), y)
    }

    fn requantize(&self) -> Option<&Requantize> {
        Some(&self.requantize)
    }

    fn accumulator(&self, operands: &Operands) -> Option<(i64, i64)> {
        let mut sums = Sums::default();
        let x = range::union(operands.range(0), self.pad_value.into());
        sums.add_times(x, self.window.kernel[0] * self.window.kernel[1]);
        sums.add((self.bias.into(), self.bias.into()));
        Some(sums.range())
    }
}
