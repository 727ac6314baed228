//! Sum of two integer tensors of different scales, with a single rounding.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::pointwise;
use crate::quant;
use crate::range::{self, Operands, Sums};
use crate::tensor::{Element, Tensor, TensorType};

/// With `sum = x0 * multipliers[0] + x1 * multipliers[1] + offset`,
/// `y = clamp(((sum + 2^(shift-1)) >> shift) + zero_point, lo, hi)` for operands `x0 [1,h,w,c]`
/// and `x1 [1,h,w,c]` or `[1,1,1,c]`, or the same with fewer leading axes. A shift of 0 adds no
/// rounding term.
///
/// The operands' zero points are in `offset`. A negative multiplier subtracts. The sum, with
/// the rounding term, fits 32 bits.
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
attributes!(QAdd, "qadd", multipliers, offset, shift, zero_point, lo, hi, element);

/// The largest shift of a [`QAdd`].
pub const MAX_ADD_SHIFT: u8 = 31;

impl QAdd {
    /// The output for two operands' elements.
    pub fn apply(&self, x0: i32, x1: i32) -> i32 {
        let sum = i64::from(x0) * i64::from(self.multipliers[0])
            + i64::from(x1) * i64::from(self.multipliers[1])
            + i64::from(self.offset);
        let y = quant::round_shift(sum, self.shift) + i64::from(self.zero_point);
        y.clamp(i64::from(self.lo), i64::from(self.hi)) as i32
    }
}

impl Operator for QAdd {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let shape = pointwise::infer(operands)?;
        if let Some(multiplier) = self.multipliers.iter().find(|multiplier| multiplier.unsigned_abs() > 0xffff) {
            return Err(format!("multiplier {multiplier} has more than 16 bits and a sign"));
        }
        if self.shift > MAX_ADD_SHIFT {
            return Err(format!("shift {} exceeds {MAX_ADD_SHIFT}", self.shift));
        }
        quant::check_output(self.zero_point, self.lo, self.hi, self.element)?;
        Ok(TensorType::int(shape, self.element))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        pointwise::eval(ty, operands, |x0, x1| self.apply(x0, x1))
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::Between(self.lo.into(), self.hi.into())
    }

    /// The rounding term counts as a term.
    fn accumulator(&self, operands: &Operands) -> Option<(i64, i64)> {
        let rounding = if self.shift == 0 { 0 } else { 1i64 << (self.shift - 1) };
        let mut sums = Sums::default();
        for (index, multiplier) in self.multipliers.into_iter().map(i64::from).enumerate() {
            sums.add(range::product(operands.range(index), (multiplier, multiplier)));
        }
        sums.add((self.offset.into(), self.offset.into()));
        sums.add((rounding, rounding));
        Some(sums.range())
    }

    fn zero_point(&self) -> Option<i32> {
        Some(self.zero_point)
    }
}
