//! Tables of the requantizers.
//!
//! A factor `multiplier / 2^shift` and every product with a 32-bit accumulator are exact in
//! `f64`: at most 16 + 31 bits. Only the rounding needs care; `emit::requantize` says how.

use super::{ByteRange, Lowering};
use crate::emit::requantize::{FIXED, UNSIGNED};
use crate::program::{Requantizer, Rounding};
use lutweave_ir::Requantize;

/// The largest shift for which a product has no bits below those of [`Rounding::Fixed`].
const FIXED_SHIFT: u8 = 32;

/// The smallest shift for which the addends of [`Rounding::Fused`] are exact.
const FUSED_SHIFT: u8 = 16;

/// What accumulators carry in [`Rounding::Fused`].
const CARRIED: i32 = i32::MIN;

/// Products below this magnitude leave room for zero point and rounding in [`Rounding::Fixed`].
const FIXED_BOUND: f64 = 131_072.0;

impl Lowering<'_> {
    /// The requantizer of channels laid out in `slots`: a channel each, or none for padding; as
    /// many as whole blocks of 16. `bound` is the largest magnitude of a channel's accumulator.
    /// With `carrying` the caller adds [`Requantizer::carried`] to the accumulators.
    pub(super) fn requantizer(
        &mut self,
        requantize: &Requantize,
        slots: &[Option<usize>],
        range: ByteRange,
        carrying: bool,
        bound: impl Fn(usize) -> f64,
    ) -> Requantizer {
        let factor = |slot: &Option<usize>| slot.map(|channel| requantize.factor(channel));
        let scale = |shift: u8| (-f64::from(shift)).exp2();
        let factors: Vec<f64> =
            slots.iter().map(|slot| factor(slot).map_or(0.0, |(m, s)| f64::from(m) * scale(s))).collect();
        let zero_point = requantize.zero_point - range.least;
        let shifts = || slots.iter().filter_map(factor).map(|(_, shift)| shift);
        let largest_shift = shifts().max().unwrap_or(0);
        let rounding = if largest_shift <= FIXED_SHIFT {
            let channel = |slot: &Option<usize>| slot.unwrap_or(0);
            let products = slots.iter().zip(&factors).map(|(slot, factor)| bound(channel(slot)) * factor);
            let clamp = products.fold(0.0, f64::max) >= FIXED_BOUND;
            if carrying && self.capabilities.fma && shifts().all(|shift| shift >= FUSED_SHIFT) {
                let sum = FIXED + 0.5 + f64::from(zero_point);
                let addends = factors.iter().map(|factor| sum - UNSIGNED * factor);
                Rounding::Fused { addends: self.program.table(addends.flat_map(f64::to_le_bytes)), clamp }
            } else {
                Rounding::Fixed { clamp }
            }
        } else {
            // A quarter of the step of the product, so that a tie goes up and nothing else moves.
            let ties = slots.iter().map(|slot| factor(slot).map_or(0.0, |(_, shift)| scale(shift) / 4.0));
            Rounding::TieBreak { ties: self.program.table(ties.flat_map(f64::to_le_bytes)) }
        };
        Requantizer {
            factors: self.program.table(factors.into_iter().flat_map(f64::to_le_bytes)),
            rounding,
            zero_point,
            lo: (requantize.lo - range.least) as u8,
            hi: (requantize.hi - range.least) as u8,
        }
    }

    /// The requantizer of an operator with one factor for all channels.
    pub(super) fn shared_requantizer(&mut self, requantize: &Requantize, range: ByteRange, bound: f64) -> Requantizer {
        self.requantizer(requantize, &[Some(0); 16], range, false, |_| bound)
    }
}

impl Requantizer {
    /// What the accumulators must carry, modulo 2^32.
    pub(super) fn carried(&self) -> i32 {
        match self.rounding {
            Rounding::Fused { .. } => CARRIED,
            Rounding::Fixed { .. } | Rounding::TieBreak { .. } => 0,
        }
    }
}
