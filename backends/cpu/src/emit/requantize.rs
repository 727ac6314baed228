//! Accumulators to output bytes.
//!
//! The definition is `clamp(((acc * m + 2^(s-1)) >> s) + zero_point)`. The kernels compute it in
//! `f64`, where `p = acc * (m / 2^s)` is exact, and read the rounded integer out of the bits of a
//! sum with a large constant:
//!
//! - Fixed: `p + 0.5 + zero_point + 1.5 * 2^20` has its last bit at `2^-32`. If `s <= 32` and
//!   `|p| < 2^18` the sum is exact, and the upper half of its bits is `floor` of it.
//! - Fused: the same sum in one multiply-add, from an accumulator that carries `2^31` and so is
//!   unsigned. Below the bits of `2^52` it is the `f64` number `2^52 + 2^31 + acc`, without a
//!   conversion; the addend takes `(2^52 + 2^31) * m / 2^s` back, which is exact if `s >= 16`.
//! - Tie break: `p + 2^-(s+2)` is exact and never half-way between integers, so the sum with
//!   `1.5 * 2^52`, whose last bit is 1, rounds to the nearest integer just as rounding half up
//!   does to `p`. The lower half of its bits is that integer. `p` is confined first.
//!
//! Both need the default rounding mode, to nearest.

use super::Emitter;
use crate::program::{Requantizer, Rounding};
use cranelift_codegen::ir::types::{F64X2, I32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

/// `1.5 * 2^20`: its bits' upper half is [`FIXED_BITS`].
pub(crate) const FIXED: f64 = 1_572_864.0;
const FIXED_BITS: i32 = 0x4138_0000;

/// `2^52 + 2^31`: what an unsigned accumulator below the bits of `2^52`, [`UNSIGNED_BITS`], adds.
pub(crate) const UNSIGNED: f64 = 4_503_601_774_854_144.0;
const UNSIGNED_BITS: i32 = 0x4330_0000;

/// `1.5 * 2^52`.
const WHOLE: f64 = 6_755_399_441_055_744.0;

/// Where the tables of the current block of 16 channels are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    pub factors: Value,
    /// Addends or tie breakers; the factors where there are none.
    pub terms: Value,
}

impl Emitter<'_, '_> {
    pub(super) fn tables(&mut self, requantizer: &Requantizer) -> Tables {
        let factors = self.rom(requantizer.factors);
        let terms = match requantizer.rounding {
            Rounding::Fixed { .. } => factors,
            Rounding::Fused { addends, .. } => self.rom(addends),
            Rounding::TieBreak { ties } => self.rom(ties),
        };
        Tables { factors, terms }
    }

    /// Bytes from up to four vectors of accumulators. Bytes without a vector are arbitrary.
    pub(super) fn requantize(&mut self, accumulators: &[Value], tables: Tables, requantizer: &Requantizer) -> Value {
        let integers: Vec<Value> = match requantizer.rounding {
            Rounding::Fixed { clamp } => self.fixed(accumulators, tables, requantizer, clamp),
            Rounding::Fused { clamp, .. } => self.fused(accumulators, tables, requantizer, clamp),
            Rounding::TieBreak { .. } => self.tie_break(accumulators, tables, requantizer),
        };
        self.narrow(&integers, requantizer.lo, requantizer.hi)
    }

    fn fixed(&mut self, accumulators: &[Value], tables: Tables, requantizer: &Requantizer, clamp: bool) -> Vec<Value> {
        let sum = self.doubles(FIXED + 0.5 + f64::from(requantizer.zero_point));
        let sums = self.each_half(accumulators, Self::halves, &mut |emitter, value, at| {
            let factor = emitter.load(F64X2, tables.factors, at);
            if emitter.capabilities.fma {
                return emitter.builder.ins().fma(value, factor, sum);
            }
            let product = emitter.builder.ins().fmul(value, factor);
            emitter.builder.ins().fadd(product, sum)
        });
        self.upper_halves(sums, requantizer, clamp)
    }

    fn fused(&mut self, accumulators: &[Value], tables: Tables, requantizer: &Requantizer, clamp: bool) -> Vec<Value> {
        let sums = self.each_half(accumulators, Self::unsigned_halves, &mut |emitter, value, at| {
            let factor = emitter.load(F64X2, tables.factors, at);
            let addend = emitter.load(F64X2, tables.terms, at);
            emitter.builder.ins().fma(value, factor, addend)
        });
        self.upper_halves(sums, requantizer, clamp)
    }

    fn tie_break(&mut self, accumulators: &[Value], tables: Tables, requantizer: &Requantizer) -> Vec<Value> {
        let bound = |byte: u8| f64::from(i32::from(byte) - requantizer.zero_point);
        let bounds = [self.doubles(bound(requantizer.lo)), self.doubles(bound(requantizer.hi))];
        let whole = self.doubles(WHOLE + f64::from(requantizer.zero_point));
        let sums = self.each_half(accumulators, Self::halves, &mut |emitter, value, at| {
            let factor = emitter.load(F64X2, tables.factors, at);
            let product = emitter.builder.ins().fmul(value, factor);
            let tie = emitter.load(F64X2, tables.terms, at);
            let product = emitter.builder.ins().fadd(product, tie);
            let product = emitter.confine(product, bounds);
            emitter.builder.ins().fadd(product, whole)
        });
        sums.into_iter().map(|[low, high]| self.lanes(low, high, 4, &[0, 2, 4, 6])).collect()
    }

    /// Applies `split` to every vector of accumulators and `rounded` to its halves, with their
    /// offset in the tables. The results are seen as 32-bit lanes.
    fn each_half(
        &mut self,
        accumulators: &[Value],
        split: fn(&mut Self, Value) -> [Value; 2],
        rounded: &mut dyn FnMut(&mut Self, Value, usize) -> Value,
    ) -> Vec<[Value; 2]> {
        let mut results = Vec::with_capacity(accumulators.len());
        for (index, &accumulator) in accumulators.iter().enumerate() {
            let [low, high] = split(self, accumulator);
            let [low, high] = [rounded(self, low, index * 32), rounded(self, high, index * 32 + 16)];
            results.push([self.cast(I32X4, low), self.cast(I32X4, high)]);
        }
        results
    }

    /// The integers above [`FIXED`] in sums, confined first if they may not fit.
    fn upper_halves(&mut self, sums: Vec<[Value; 2]>, requantizer: &Requantizer, clamp: bool) -> Vec<Value> {
        let bits = self.integers(FIXED_BITS);
        let bounds = clamp.then(|| {
            [self.doubles(FIXED + f64::from(requantizer.lo)), self.doubles(FIXED + f64::from(requantizer.hi))]
        });
        sums.into_iter()
            .map(|pair| {
                let [low, high] = match bounds {
                    None => pair,
                    Some(bounds) => pair.map(|sum| {
                        let sum = self.cast(F64X2, sum);
                        let sum = self.confine(sum, bounds);
                        self.cast(I32X4, sum)
                    }),
                };
                let upper = self.lanes(low, high, 4, &[1, 3, 5, 7]);
                self.builder.ins().isub(upper, bits)
            })
            .collect()
    }

    /// The lower and upper two lanes as `f64`.
    fn halves(&mut self, accumulator: Value) -> [Value; 2] {
        let upper = self.lanes(accumulator, accumulator, 4, &[2, 3, 2, 3]);
        [accumulator, upper].map(|lanes| {
            let wide = self.builder.ins().swiden_low(lanes);
            self.builder.ins().fcvt_from_sint(F64X2, wide)
        })
    }

    /// The lower and upper two unsigned lanes plus `2^52` as `f64`.
    fn unsigned_halves(&mut self, accumulator: Value) -> [Value; 2] {
        let bits = self.integers(UNSIGNED_BITS);
        [[0, 4, 1, 5], [2, 6, 3, 7]].map(|lanes| {
            let lanes = self.lanes(accumulator, bits, 4, &lanes);
            self.cast(F64X2, lanes)
        })
    }

    fn confine(&mut self, value: Value, [lo, hi]: [Value; 2]) -> Value {
        let value = self.builder.ins().fmax(value, lo);
        self.builder.ins().fmin(value, hi)
    }
}
