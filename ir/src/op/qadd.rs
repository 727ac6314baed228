//! Sum of two integer tensors of different scales, with a single rounding.

use crate::tensor::{Element, Tensor, TensorType};

/// `y = clamp(((x0 * multipliers[0] + x1 * multipliers[1] + offset + 2^(shift-1)) >> shift)
/// + zero_point, lo, hi)` for operands `x0 [1,h,w,c]` and `x1 [1,h,w,c]` or `[1,1,1,c]`.
///
/// The operands' zero points are in `offset`. A negative multiplier subtracts. The sum fits 32
/// bits.
#[derive(Clone, Debug, PartialEq)]
pub struct QAdd {
    /// Factors of the operands, at most 16 bits and a sign.
    pub multipliers: [i32; 2],
    /// Added before the shift: minus the zero points times the multipliers.
    pub offset: i32,
    /// Right shift, 0 to 31.
    pub shift: u8,
    /// The output's zero point.
    pub zero_point: i32,
    /// Smallest output.
    pub lo: i32,
    /// Largest output.
    pub hi: i32,
    /// Element type of the result, at most 8 bits.
    pub element: Element,
}
