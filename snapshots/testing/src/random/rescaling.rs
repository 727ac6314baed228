//! Random parameters that bring accumulators into the range of an activation.

use super::builder::Target;
use super::spread::{Spread, range};
use lutweave_ir::Requantize;
use lutweave_ir::quant::factor;
use lutweave_ir::random::SplitMix64;

/// Bounds of the output: mostly the element's range, at times a fused ReLU or clip.
pub fn bounds(random: &mut SplitMix64, target: Target) -> (i32, i32) {
    let (lo, hi) = range(target.element);
    let zero = target.quantization.zero_point;
    match random.below(10) {
        0 | 1 if zero < hi => (zero, hi),
        2 if zero < hi => (zero, random.integer(zero + 1, hi)),
        3 => {
            let quarter = (hi - lo) / 4;
            (random.integer(lo, lo + quarter), random.integer(hi - quarter, hi))
        }
        _ => (lo, hi),
    }
}

/// Requantization of accumulators that spread around 0, with one factor per channel.
pub fn per_channel(random: &mut SplitMix64, deviations: &[f64], target: Target) -> (Requantize, Spread) {
    let (lo, hi) = bounds(random, target);
    let wanted = width(target) / random.real(3.0, 8.0);
    let reals: Vec<f64> = deviations.iter().map(|deviation| wanted / deviation * random.real(0.7, 1.4)).collect();
    let smallest = reals.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = reals.iter().copied().fold(0.0, f64::max);
    let (mut multipliers, shifts) = match random.below(4) {
        0 => {
            let (multiplier, shift) = coarse(random, smallest);
            (vec![multiplier], vec![shift])
        }
        1 => {
            let (_, shift) = coarse(random, largest);
            let scale = f64::from(shift).exp2();
            (reals.iter().map(|real| ((real * scale).round() as u16).max(1)).collect(), vec![shift])
        }
        2 => {
            let mantissa = random.real(1.0, 2.0);
            let (multiplier, _) = coarse(random, mantissa);
            let shift = |real: &f64| (f64::from(multiplier) / real).log2().round().clamp(0.0, 40.0) as u8;
            (vec![multiplier], reals.iter().map(shift).collect())
        }
        _ => reals.iter().map(|&real| coarse(random, real)).unzip(),
    };
    if multipliers.len() > 1 && random.chance(4) {
        // What becomes of a factor that is too small.
        let channel = random.below(multipliers.len());
        multipliers[channel] = 0;
    }
    let zero_point = target.quantization.zero_point;
    let requantize = Requantize { multipliers, shifts, zero_point, lo, hi };
    let spread = Spread::new(f64::from(zero_point), wanted);
    let spread = spread.through(|value| value.clamp(f64::from(lo), f64::from(hi)));
    (requantize, spread)
}

/// Requantization by one factor of accumulators with any mean; its zero point moves their mean
/// towards the middle of the output's range, so it is not the target's.
pub fn centred(random: &mut SplitMix64, accumulator: Spread, target: &mut Target) -> (Requantize, Spread) {
    let (lo, hi) = range(target.element);
    let room = width(*target);
    let wanted =
        (room / random.real(3.0, 8.0) / accumulator.deviation).min(room / 2.0 / accumulator.mean.abs().max(1.0));
    let (multiplier, shift) = coarse(random, wanted);
    let real = f64::from(multiplier) / f64::from(shift).exp2();
    let middle = f64::from(lo) + room / 2.0;
    let zero_point = (middle - real * accumulator.mean).round().clamp(f64::from(lo), f64::from(hi)) as i32;
    target.quantization.zero_point = zero_point;
    // A ReLU at a zero point far from the mean would leave a constant.
    let (lo, hi) = if f64::from(zero_point) < middle + 1.0 { bounds(random, *target) } else { (lo, hi) };
    let requantize = Requantize { multipliers: vec![multiplier], shifts: vec![shift], zero_point, lo, hi };
    let spread =
        accumulator.through(|value| (value * real + f64::from(zero_point)).clamp(f64::from(lo), f64::from(hi)));
    (requantize, spread)
}

/// Multiplier and shift near a positive factor, at times with few bits or a power of two.
fn coarse(random: &mut SplitMix64, real: f64) -> (u16, u8) {
    let (multiplier, shift) = factor(real.clamp(1e-6, 60_000.0)).expect("invariant: the factor is in range");
    let dropped = if random.chance(40) { random.between(1, 15) as u8 } else { 0 }.min(shift);
    ((multiplier >> dropped).max(1), shift - dropped)
}

/// Width of the range of a target's element.
pub fn width(target: Target) -> f64 {
    let (lo, hi) = range(target.element);
    f64::from(hi - lo)
}
