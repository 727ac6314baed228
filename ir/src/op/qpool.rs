//! Integer average pooling.

use super::Window;
use crate::quant::Requantize;
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
