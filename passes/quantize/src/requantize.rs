//! Multipliers, shifts and bounds of the integer operators.

use super::assign::QuantParams;
use lutweave_ir::quant::{Requantize, factor};

/// Real bounds of a result, from a fused clamp.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Smallest real result.
    pub lo: f32,
    /// Largest real result.
    pub hi: f32,
}

impl Bounds {
    /// No bounds.
    pub const NONE: Self = Self { lo: f32::NEG_INFINITY, hi: f32::INFINITY };

    /// The integer bounds on a grid.
    pub fn on(self, grid: &QuantParams) -> (i32, i32) {
        let (lo, hi) = grid.range();
        let bound = |real: f32, open: i32| if real.is_infinite() { open } else { grid.quantize(real) };
        let (least, most) = (bound(self.lo, lo), bound(self.hi, hi));
        // An infinite bound on the wrong side leaves a single value.
        let least = if self.lo == f32::INFINITY { hi } else { least };
        let most = if self.hi == f32::NEG_INFINITY { lo } else { most };
        (least, most)
    }
}

/// A common shift may cost a channel this share of an output step.
const HARMLESS_STEPS: f64 = 1.0 / 32.0;
/// Multipliers of at least this size have 10 significant bits.
const SIGNIFICANT: f64 = 512.0;

/// The largest factor. One step of an accumulator is then more than the whole range of an output
/// of at most 8 bits, so that every accumulator but 0 saturates: a larger factor has the same
/// results. Calibration asks for one where a channel gave nothing but 0 beside others that gave
/// very little.
const SATURATING: f64 = 65535.0;

/// Requantization by one factor a channel, given the largest magnitude of each accumulator.
/// `None` if a factor is negative or not finite.
pub(super) fn requantize(
    factors: &[f64],
    accumulators: &[f64],
    grid: &QuantParams,
    bounds: Bounds,
) -> Option<Requantize> {
    if !factors.iter().all(|factor| factor.is_finite()) {
        return None;
    }
    let factors: &[f64] = &factors.iter().map(|factor| factor.min(SATURATING)).collect::<Vec<_>>();
    let own: Vec<(u16, u8)> = factors.iter().map(|&real| factor(real)).collect::<Option<_>>()?;
    let (lo, hi) = bounds.on(grid);
    let (multipliers, shifts) = match common_shift(factors, accumulators, &own) {
        Some((multipliers, shift)) => (multipliers, vec![shift]),
        None => own.iter().copied().unzip(),
    };
    let same = multipliers.iter().all(|multiplier| *multiplier == multipliers[0]) && shifts.len() == 1;
    let multipliers = if same { vec![multipliers[0]] } else { multipliers };
    Some(Requantize { multipliers, shifts, zero_point: grid.quantization.zero_point, lo, hi })
}

/// Multipliers for the shift of the largest factor, if no channel suffers from it.
fn common_shift(factors: &[f64], accumulators: &[f64], own: &[(u16, u8)]) -> Option<(Vec<u16>, u8)> {
    let shift = own.iter().filter(|(multiplier, _)| *multiplier > 0).map(|(_, shift)| *shift).min().unwrap_or(0);
    let power = f64::from(shift).exp2();
    let mut multipliers = Vec::with_capacity(factors.len());
    for (&real, &bound) in factors.iter().zip(accumulators) {
        let multiplier = (real * power).round();
        let error = (multiplier / power - real).abs();
        // Accumulators beyond the output's range are clamped whatever the multiplier is.
        let steps = error * bound.min(512.0 / real.max(f64::MIN_POSITIVE));
        if !(0.0..=65535.0).contains(&multiplier) || (multiplier < SIGNIFICANT && steps > HARMLESS_STEPS) {
            return None;
        }
        multipliers.push(multiplier as u16);
    }
    Some((multipliers, shift))
}

/// Fewer fractional bits than this in a factor make exact halves frequent.
const FREQUENT_HALVES: u32 = 8;

/// Lets half of the channels round exact halves down instead of up.
///
/// Scales that are powers of two, as some training frameworks use, make halves so frequent that
/// rounding all of them up shifts the mean. One accumulator step less does not change any other
/// result.
pub(super) fn alternate_halves(bias: &mut [i32], requantize: &Requantize) {
    for (channel, bias) in bias.iter_mut().enumerate().skip(1).step_by(2) {
        let (multiplier, shift) = requantize.factor(channel);
        let fraction = u32::from(shift).saturating_sub(multiplier.trailing_zeros());
        if multiplier > 0 && (1..=FREQUENT_HALVES).contains(&fraction) {
            *bias = bias.saturating_sub(1);
        }
    }
}

/// As [`alternate_halves`] for a sum: exact halves go down where the operand `signed` is positive
/// and up where it is negative. Its multiplier loses its last bit.
fn break_halves(multipliers: &mut [i32; 2], shift: u8, signed: usize) {
    let zeros = multipliers[0].trailing_zeros().min(multipliers[1].trailing_zeros());
    let fraction = u32::from(shift).saturating_sub(zeros);
    // The largest operand times the lost bit must not reach the next result.
    if (1..=FREQUENT_HALVES).contains(&fraction) && zeros > 8 {
        multipliers[signed] -= multipliers[signed].signum();
    }
}

/// Multipliers and shift of an addition of two integers with real factors, so that there is one
/// rounding: `(x0 * m0 + x1 * m1) >> shift`. `signed` is the operand whose sign is the more
/// balanced. `None` if a factor is not finite.
///
/// Where a factor is too large, both are scaled down: the rounding of that operand to its grid
/// moves the sum by more than the whole range of the result, of which only the sign is left.
pub(super) fn addition(factors: [f64; 2], signed: usize) -> Option<([i32; 2], u8)> {
    if !factors.iter().all(|factor| factor.is_finite()) {
        return None;
    }
    let excess = (factors[0].abs().max(factors[1].abs()) / SATURATING).max(1.0);
    let factors = factors.map(|factor| factor / excess);
    let largest = factors[0].abs().max(factors[1].abs());
    let (multiplier, shift) = factor(largest)?;
    if multiplier == 0 {
        return Some(([0, 0], 0));
    }
    // A shift over 31 bits only drops bits that no output step notices.
    let shift = shift.min(lutweave_ir::op::qadd::MAX_ADD_SHIFT);
    let power = f64::from(shift).exp2();
    let mut multipliers = factors.map(|real| (real * power).round().clamp(-65535.0, 65535.0) as i32);
    break_halves(&mut multipliers, shift, signed);
    Some((multipliers, shift))
}

/// Weights and biases of which some accumulator leaves 32 bits, brought within by dropping low
/// bits of those channels.
///
/// Such a channel has a bias near 2^31 steps, so that its weights hardly matter; halving weights
/// and bias while doubling the factor changes the result by less than a step.
pub(super) struct Fitted {
    /// The integers of the weights.
    pub weights: Vec<i32>,
    /// The accumulator's start: bias and zero point.
    pub bias: Vec<i32>,
    /// Accumulator step to output step.
    pub factors: Vec<f64>,
    /// Largest magnitude of each accumulator.
    pub accumulators: Vec<f64>,
}

/// Fits accumulators into 32 bits. `bias` is in accumulator steps, without the zero point; `x`
/// are the smallest and largest input, `zero_point` the input's.
pub(super) fn fit(
    weights: &[i32],
    bias: &[f64],
    factors: &[f64],
    (lo, hi): (i32, i32),
    zero_point: i32,
) -> Option<Fitted> {
    let outputs = bias.len();
    let taps = weights.len() / outputs;
    let steps = f64::from(lo.abs().max(hi.abs()));
    let mut fitted = Fitted {
        weights: weights.to_vec(),
        bias: Vec::with_capacity(outputs),
        factors: factors.to_vec(),
        accumulators: Vec::with_capacity(outputs),
    };
    for output in 0..outputs {
        let w = &mut fitted.weights[output * taps..(output + 1) * taps];
        let mut start = bias[output];
        let mut halvings = 0;
        loop {
            let sum: f64 = w.iter().map(|&w| f64::from(w)).sum();
            let magnitude: f64 = w.iter().map(|&w| f64::from(w).abs()).sum();
            let total = start.round() - f64::from(zero_point) * sum;
            let reach = total.abs() + magnitude * steps;
            if reach < f64::from(i32::MAX) {
                fitted.bias.push(total as i32);
                fitted.accumulators.push(reach);
                break;
            }
            halvings += 1;
            if halvings > 1000 || !start.is_finite() {
                return None;
            }
            start *= 0.5;
            fitted.factors[output] *= 2.0;
            let scale = (-f64::from(halvings)).exp2();
            for (w, &original) in w.iter_mut().zip(&weights[output * taps..(output + 1) * taps]) {
                *w = (f64::from(original) * scale).round_ties_even() as i32;
            }
        }
    }
    Some(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::{Element, Quantization};
    use proptest::prelude::*;

    fn grid() -> QuantParams {
        QuantParams { element: Element::I8, quantization: Quantization { scale: 1.0, zero_point: 3 } }
    }

    proptest! {
        #[test]
        fn outputs_are_within_a_step_of_the_ideal(
            exponents in proptest::collection::vec(-45.0f64..0.0, 1..6),
            share in -1.0f64..1.0,
        ) {
            let factors: Vec<f64> = exponents.iter().map(|e| e.exp2()).collect();
            // The accumulators reach about four times the output's range, or what 32 bits hold.
            let reach: Vec<f64> = factors.iter().map(|f| (1024.0 / f).min(2147483647.0)).collect();
            let r = requantize(&factors, &reach, &grid(), Bounds::NONE).unwrap();
            prop_assert!(r.shifts.iter().all(|&shift| shift <= lutweave_ir::quant::MAX_SHIFT));
            for (channel, factor) in factors.iter().enumerate() {
                let accumulator = (share * reach[channel]) as i32;
                let ideal = (f64::from(accumulator) * factor).round().clamp(-131.0, 124.0) + 3.0;
                let got = f64::from(r.apply(channel, accumulator));
                prop_assert!((got - ideal).abs() <= 1.0, "{got} for {ideal}");
            }
        }

        #[test]
        fn sums_are_within_a_step(f0 in 1e-4f64..200.0, f1 in -200.0f64..200.0, x0 in -128i32..128, x1 in -128i32..128) {
            let (m, shift) = addition([f0, f1], 0).unwrap();
            let sum = i64::from(x0) * i64::from(m[0]) + i64::from(x1) * i64::from(m[1]);
            let got = lutweave_ir::quant::round_shift(sum, shift) as f64;
            let ideal = f64::from(x0) * f0 + f64::from(x1) * f1;
            prop_assert!((got - ideal).abs() <= 0.5 + ideal.abs() * 1e-3 + 512.0 * f0.max(f1.abs()) / 65536.0);
        }
    }

    #[test]
    fn halves_go_either_way() {
        let halves = |x: i64| {
            let (m, shift) = addition([0.5, 0.5], 0).unwrap();
            let sum = x * i64::from(m[0]) + 6 * i64::from(m[1]);
            lutweave_ir::quant::round_shift(sum, shift)
        };
        assert_eq!((halves(1), halves(-1), halves(2), halves(-2)), (3, 3, 4, 2));
        let factors = requantize(&[1.0 / 64.0; 4], &[1e4; 4], &grid(), Bounds::NONE).unwrap();
        let mut bias = [32, 32, 33, 33];
        alternate_halves(&mut bias, &factors);
        assert_eq!(bias, [32, 31, 33, 32]);
        let outputs: Vec<i32> = (0..4).map(|c| factors.apply(c, bias[c])).collect();
        assert_eq!(outputs, [4, 3, 4, 4]);
    }

    #[test]
    fn factors_past_the_range_saturate() {
        let r = requantize(&[1e9, 0.25, 65535.9], &[1e3; 3], &grid(), Bounds::NONE).unwrap();
        let results = |channel: usize| [-1, 0, 1].map(|accumulator| r.apply(channel, accumulator));
        assert_eq!((results(0), results(2)), ([-128, 3, 127], [-128, 3, 127]));
        assert_eq!(r.apply(1, 40), 13);
        assert!(requantize(&[f64::INFINITY], &[1.0], &grid(), Bounds::NONE).is_none());
        let (m, shift) = addition([3e8, -1.5e8], 0).unwrap();
        let sum = |a: i64, b: i64| lutweave_ir::quant::round_shift(a * i64::from(m[0]) + b * i64::from(m[1]), shift);
        assert!(sum(1, 1) > 255 && sum(1, 3) < -255 && sum(1, 2).abs() <= 2, "{m:?} {shift}");
        assert!(addition([f64::NAN, 1.0], 0).is_none());
    }

    #[test]
    fn huge_biases_are_brought_within_32_bits() {
        let (weights, bias) = ([100, -100, 3, 5], [3.0e9, -10.0]);
        let factors = [1e-8, 0.01];
        let fitted = fit(&weights, &bias, &factors, (-128, 127), 5).unwrap();
        let ideal = (3.0e9 + 100.0 * 20.0) * 1e-8;
        let w = &fitted.weights[..2];
        let start = f64::from(fitted.bias[0]) + 5.0 * f64::from(w[0] + w[1]);
        let got = (start + f64::from(w[0]) * 20.0) * fitted.factors[0];
        assert!((got - ideal).abs() < 1e-3, "{got} {ideal}");
        assert_eq!(fitted.weights[2..], [3, 5]);
        assert_eq!(fitted.bias[1], -10 - 5 * 8);
    }

    #[test]
    fn one_shift_serves_similar_channels_and_not_distant_ones() {
        let common = requantize(&[0.01, 0.001], &[1e4, 1e5], &grid(), Bounds::NONE).unwrap();
        assert_eq!(common.shifts.len(), 1);
        let own = requantize(&[0.01, 1e-7], &[1e4, 1e9], &grid(), Bounds::NONE).unwrap();
        assert_eq!(own.shifts.len(), 2);
        let identity = requantize(&[1.0; 3], &[1e3; 3], &grid(), Bounds { lo: 0.0, hi: 6.0 }).unwrap();
        assert_eq!((identity.multipliers.len(), identity.lo, identity.hi), (1, 3, 9));
    }
}
