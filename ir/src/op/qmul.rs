//! Product of two integer tensors.

use crate::quant::Requantize;
use crate::tensor::{Element, Tensor, TensorType};

/// `y = requantize(0, (x0 - zero_points[0]) * (x1 - zero_points[1]))` for operands
/// `x0 [1,h,w,c]` and `x1 [1,h,w,c]` or `[1,1,1,c]`.
#[derive(Clone, Debug, PartialEq)]
pub struct QMul {
    /// The operands' zero points.
    pub zero_points: [i32; 2],
    /// Product to output; one multiplier, one shift.
    pub requantize: Requantize,
    /// Element type of the result, at most 8 bits.
    pub element: Element,
}
