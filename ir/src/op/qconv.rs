//! Integer convolution with requantization.

use super::attributes::attributes;
use super::operator::Operator;
use super::{Geometry, shape};
use crate::convolve::{self, Packed, Weights};
use crate::quant::Requantize;
use crate::range::{self, Operands};
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
attributes!(QConv, "qconv", geometry, pad_value, requantize, element);

impl QConv {
    /// The weights in the order in which the evaluation reads them.
    fn packed(&self, weights: &Tensor) -> Packed<i32> {
        Packed::new(weights.ints(), convolve::extents(&weights.shape), self.geometry.groups)
    }

    fn convolve(&self, packed: &Packed<i32>, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        let mut y = self.accumulate_packed(packed, operands);
        self.requantize.apply_all(ty.shape[3], &mut y);
        Tensor::int(ty.shape.clone(), y)
    }

    /// The accumulators before requantization, in the order of the result's elements.
    pub fn accumulate(&self, operands: &[&Tensor]) -> Vec<i32> {
        self.accumulate_packed(&self.packed(operands[1]), operands)
    }

    fn accumulate_packed(&self, packed: &Packed<i32>, operands: &[&Tensor]) -> Vec<i32> {
        let [x, bias] = [operands[0], operands[2]];
        let extents = convolve::extents(&x.shape);
        convolve::convolve(x.ints(), extents, packed, &self.geometry, Some(bias.ints()), self.pad_value)
    }
}

impl Operator for QConv {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x, w, b] = shape::exactly(operands)?;
        shape::activation("the operand", x)?;
        shape::integer("the weights", w)?;
        shape::integer("the bias", b)?;
        shape::one_image(x)?;
        shape::padding(self.pad_value, x)?;
        let shape = self.geometry.infer(x, w, Some(b))?;
        self.requantize.check(shape[3], self.element)?;
        Ok(TensorType::int(shape, self.element))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        self.convolve(&self.packed(operands[1]), ty, operands)
    }

    fn macs(&self, ty: &TensorType, types: &[&TensorType]) -> u64 {
        shape::products(ty, types)
    }

    fn requantize(&self) -> Option<&Requantize> {
        Some(&self.requantize)
    }

    fn accumulator(&self, operands: &Operands) -> Option<(i64, i64)> {
        Some(range::of_convolution(operands, self.pad_value))
    }

    fn pack(&self, weights: &Tensor) -> Option<Weights> {
        Some(Weights::Integers(self.packed(weights)))
    }

    fn eval_packed(&self, weights: &Weights, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        self.convolve(weights.integers(), ty, operands)
    }
}
