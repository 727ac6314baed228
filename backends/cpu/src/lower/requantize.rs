//! Tables of the requantizers.
//!
//! A factor `multiplier / 2^shift` and every product with a 32-bit accumulator are exact in
//! `f64`: at most 16 + 31 bits. Only the rounding needs care; `emit::requantize` says how.

use super::{ByteRange, Lowering};
use crate::program::{Requantizer, Rounding};
use lutweave_ir::Requantize;

/// The largest shift for which a product has no bits below those of [`Rounding::Fixed`].
const FIXED_SHIFT: u8 = 32;

/// Products below this magnitude leave room for zero point and rounding in [`Rounding::Fixed`].
const FIXED_BOUND: f64 = 131_072.0;

impl Lowering<'_> {
    /// The requantizer of channels laid out in `slots`: a channel each, or none for padding; as
    /// many as whole blocks of 16. `bound` is the largest magnitude of a channel's accumulator.
    pub(super) fn requantizer(
        &mut self,
        requantize: &Requantize,
        slots: &[Option<usize>],
        range: ByteRange,
        bound: impl Fn(usize) -> f64,
    ) -> Requantizer {
        let factor = |slot: &Option<usize>| slot.map(|channel| requantize.factor(channel));
        let scale = |shift: u8| (-f64::from(shift)).exp2();
        let factors: Vec<f64> =
            slots.iter().map(|slot| factor(slot).map_or(0.0, |(m, s)| f64::from(m) * scale(s))).collect();
        let largest_shift = slots.iter().filter_map(factor).map(|(_, shift)| shift).max().unwrap_or(0);
        let rounding = if largest_shift <= FIXED_SHIFT {
            let channel = |slot: &Option<usize>| slot.unwrap_or(0);
            let products = slots.iter().zip(&factors).map(|(slot, factor)| bound(channel(slot)) * factor);
            Rounding::Fixed { clamp: products.fold(0.0, f64::max) >= FIXED_BOUND }
        } else {
            // A quarter of the step of the product, so that a tie goes up and nothing else moves.
            let ties = slots.iter().map(|slot| factor(slot).map_or(0.0, |(_, shift)| scale(shift) / 4.0));
            Rounding::TieBreak { ties: self.program.table(ties.flat_map(f64::to_le_bytes)) }
        };
        Requantizer {
            factors: self.program.table(factors.into_iter().flat_map(f64::to_le_bytes)),
            rounding,
            zero_point: requantize.zero_point - range.least,
            lo: (requantize.lo - range.least) as u8,
            hi: (requantize.hi - range.least) as u8,
        }
    }

    /// The requantizer of an operator with one factor for all channels.
    pub(super) fn shared_requantizer(&mut self, requantize: &Requantize, range: ByteRange, bound: f64) -> Requantizer {
        self.requantizer(requantize, &[Some(0); 16], range, |_| bound)
    }
}
