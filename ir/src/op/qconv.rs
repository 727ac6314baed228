//! Integer convolution with requantization.

use super::Geometry;
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
