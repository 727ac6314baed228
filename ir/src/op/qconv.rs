//! Integer convolution with requantization.

use super::{Geometry, shape};
use crate::convolve::{self, Packed};
use crate::quant::Requantize;
use crate::tensor::{Element, Tensor, TensorType};

/// Convolution of integers: operands `x [1,h,w,i]`, `w [o,kh,kw,i/groups]`, `b [o]`.
///
/// `y[o] = requantize(o, b[o] + sum of w * x)`, where positions outside the image read
/// `pad_value`. The zero point of `x` is not subtracted: whoever builds the node has put
/// `-zero_point * sum of w` into the bias, and the zero point into `pad_value`. No partial sum,
/// in any order of summation, leaves 32 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct QConv {
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
    /// What positions outside the image read; the zero point of `x`.
    pub pad_value: i32,
    /// Accumulator to output, per output channel.
    pub requantize: Requantize,
    /// Element type of the result, at most 8 bits.
    pub element: Element,
}

impl QConv {
    pub(crate) fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x, w, b] = shape::exactly(operands)?;
        let (lo, hi) = shape::activation("the operand", x)?;
        shape::integer("the weights", w)?;
        shape::integer("the bias", b)?;
        if x.shape.first() != Some(&1) {
            return Err(format!("the operand's batch extent must be 1, but it is {x}"));
        }
        if !(lo..=hi).contains(&i64::from(self.pad_value)) {
            return Err(format!("padding value {} is outside {}", self.pad_value, x.element));
        }
        let shape = self.geometry.infer(x, w, Some(b))?;
        self.requantize.check(shape[3], self.element)?;
        Ok(TensorType::int(shape, self.element))
    }

    /// The weights in the order in which the evaluation reads them.
    pub(crate) fn pack(&self, weights: &Tensor) -> Packed<i32> {
        Packed::new(weights.ints(), convolve::extents(&weights.shape), self.geometry.groups)
    }

    pub(crate) fn eval(&self, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        self.eval_packed(&self.pack(operands[1]), ty, operands)
    }

    pub(crate) fn eval_packed(&self, packed: &Packed<i32>, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        let mut y = self.accumulate_packed(packed, operands);
        self.requantize.apply_all(ty.shape[3], &mut y);
        Tensor::int(ty.shape.clone(), y)
    }

    /// The accumulators before requantization, in the order of the result's elements.
    pub fn accumulate(&self, operands: &[&Tensor]) -> Vec<i32> {
        self.accumulate_packed(&self.pack(operands[1]), operands)
    }

    fn accumulate_packed(&self, packed: &Packed<i32>, operands: &[&Tensor]) -> Vec<i32> {
        let [x, bias] = [operands[0], operands[2]];
        let extents = convolve::extents(&x.shape);
        convolve::convolve(x.ints(), extents, packed, &self.geometry, Some(bias.ints()), self.pad_value)
    }
}
