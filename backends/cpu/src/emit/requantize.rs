//! Accumulators to output bytes.
//!
//! The definition is `clamp(((acc * m + 2^(s-1)) >> s) + zero_point)`. The kernels compute it in
//! `f64`, where `p = acc * (m / 2^s)` is exact, and read the rounded integer out of the bits of a
//! sum with a large constant:
//!
//! - Fixed: `p + 0.5 + zero_point + 1.5 * 2^20` has its last bit at `2^-32`. If `s <= 32` and
//!   `|p| < 2^18` the sum is exact, and the upper half of its bits is `floor` of it.
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
const FIXED: f64 = 1_572_864.0;
const FIXED_BITS: i32 = 0x4138_0000;

/// `1.5 * 2^52`.
const WHOLE: f64 = 6_755_399_441_055_744.0;

/// Where the tables of the current block of 16 channels are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    pub factors: Value,
    pub ties: Value,
}

impl Emitter<'_, '_> {
    pub(super) fn tables(&mut self, requantizer: &Requantizer) -> Tables {
        let factors = self.rom(requantizer.factors);
        let ties = match requantizer.rounding {
            Rounding::Fixed { .. } => factors,
            Rounding::TieBreak { ties } => self.rom(ties),
        };
        Tables { factors, ties }
    }

    /// Bytes from up to four vectors of accumulators. Bytes without a vector are arbitrary.
    pub(super) fn requantize(&mut self, accumulators: &[Value], tables: Tables, requantizer: &Requantizer) -> Value {
        let integers: Vec<Value> = match requantizer.rounding {
            Rounding::Fixed { clamp } => self.fixed(accumulators, tables, requantizer, clamp),
            Rounding::TieBreak { .. } => self.tie_break(accumulators, tables, requantizer),
        };
        self.narrow(&integers, requantizer.lo, requantizer.hi)
    }

    fn fixed(&mut self, accumulators: &[Value], tables: Tables, requantizer: &Requantizer, clamp: bool) -> Vec<Value> {
        let sum = self.doubles(FIXED + 0.5 + f64::from(requantizer.zero_point));
        let bits = self.integers(FIXED_BITS);
        let bounds = clamp.then(|| {
            [self.doubles(FIXED + f64::from(requantizer.lo)), self.doubles(FIXED + f64::from(requantizer.hi))]
        });
        let mut integers = Vec::with_capacity(accumulators.len());
        for (index, &accumulator) in accumulators.iter().enumerate() {
            let halves = self.halves(accumulator);
            let [low, high] = [0, 1].map(|half| {
                let factor = self.load(F64X2, tables.factors, index * 32 + half * 16);
                let rounded = if self.capabilities.fma {
                    self.builder.ins().fma(halves[half], factor, sum)
                } else {
                    let product = self.builder.ins().fmul(halves[half], factor);
                    self.builder.ins().fadd(product, sum)
                };
                self.confine(rounded, bounds)
            });
            let (low, high) = (self.cast(I32X4, low), self.cast(I32X4, high));
            let upper = self.lanes(low, high, 4, &[1, 3, 5, 7]);
            integers.push(self.builder.ins().isub(upper, bits));
        }
        integers
    }

    fn tie_break(&mut self, accumulators: &[Value], tables: Tables, requantizer: &Requantizer) -> Vec<Value> {
        let bound = |byte: u8| f64::from(i32::from(byte) - requantizer.zero_point);
        let bounds = Some([self.doubles(bound(requantizer.lo)), self.doubles(bound(requantizer.hi))]);
        let whole = self.doubles(WHOLE + f64::from(requantizer.zero_point));
        let mut integers = Vec::with_capacity(accumulators.len());
        for (index, &accumulator) in accumulators.iter().enumerate() {
            let halves = self.halves(accumulator);
            let [low, high] = [0, 1].map(|half| {
                let at = index * 32 + half * 16;
                let factor = self.load(F64X2, tables.factors, at);
                let product = self.builder.ins().fmul(halves[half], factor);
                let tie = self.load(F64X2, tables.ties, at);
                let product = self.builder.ins().fadd(product, tie);
                let product = self.confine(product, bounds);
                self.builder.ins().fadd(product, whole)
            });
            let (low, high) = (self.cast(I32X4, low), self.cast(I32X4, high));
            integers.push(self.lanes(low, high, 4, &[0, 2, 4, 6]));
        }
        integers
    }

    /// The lower and upper two lanes as `f64`.
    fn halves(&mut self, accumulator: Value) -> [Value; 2] {
        let upper = self.lanes(accumulator, accumulator, 4, &[2, 3, 2, 3]);
        [accumulator, upper].map(|lanes| {
            let wide = self.builder.ins().swiden_low(lanes);
            self.builder.ins().fcvt_from_sint(F64X2, wide)
        })
    }

    fn confine(&mut self, value: Value, bounds: Option<[Value; 2]>) -> Value {
        match bounds {
            None => value,
            Some([lo, hi]) => {
                let value = self.builder.ins().fmax(value, lo);
                self.builder.ins().fmin(value, hi)
            }
        }
    }
}
