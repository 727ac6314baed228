//! Integer arithmetic, defined once. Every backend implements exactly what stands here.

use crate::op::shape;
use crate::tensor::Element;
use std::fmt;

/// What the integers of an activation tensor stand for: `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// Step between neighbouring integers; positive and finite.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
}

impl Quantization {
    /// Rounds a real value to the nearest integer (half to even, as ONNX does) and clamps it.
    pub fn quantize(self, value: f32, lo: i32, hi: i32) -> i32 {
        let q = f64::from(value / self.scale).round_ties_even() + f64::from(self.zero_point);
        // A NaN has no nearest integer; it becomes the zero point.
        if q.is_nan() { self.zero_point.clamp(lo, hi) } else { q.clamp(f64::from(lo), f64::from(hi)) as i32 }
    }

    /// The real value that an integer stands for.
    pub fn dequantize(self, q: i32) -> f32 {
        (i64::from(q) - i64::from(self.zero_point)) as f32 * self.scale
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:?},{})", self.scale, self.zero_point)
    }
}

/// The largest shift of a [`Requantize`].
pub const MAX_SHIFT: u8 = 47;

/// Maps an accumulator to an activation:
/// `clamp(((acc * multiplier + 2^(shift-1)) >> shift) + zero_point, lo, hi)`,
/// computed without overflow in 64 bits, with an arithmetic shift. A shift of 0 adds no
/// rounding term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requantize {
    /// One multiplier per output channel, or a single one for all.
    pub multipliers: Vec<u16>,
    /// One shift (0 to [`MAX_SHIFT`]) per output channel, or a single one for all.
    pub shifts: Vec<u8>,
    /// The output's zero point.
    pub zero_point: i32,
    /// Smallest output; carries a fused ReLU or clip.
    pub lo: i32,
    /// Largest output.
    pub hi: i32,
}

impl Requantize {
    /// Multiplier and shift of a channel.
    pub fn factor(&self, channel: usize) -> (u16, u8) {
        let multiplier = if self.multipliers.len() == 1 { self.multipliers[0] } else { self.multipliers[channel] };
        let shift = if self.shifts.len() == 1 { self.shifts[0] } else { self.shifts[channel] };
        (multiplier, shift)
    }

    /// Checks the table's lengths against the number of output channels, its ranges, and that the
    /// output fits an element of at most 8 bits.
    pub(crate) fn check(&self, channels: usize, element: Element) -> Result<(), String> {
        for (what, length) in [("multipliers", self.multipliers.len()), ("shifts", self.shifts.len())] {
            if length != 1 && length != channels {
                return Err(format!("there are {length} {what} for {channels} output channels"));
            }
        }
        if let Some(shift) = self.shifts.iter().find(|&&shift| shift > MAX_SHIFT) {
            return Err(format!("shift {shift} exceeds {MAX_SHIFT}"));
        }
        check_output(self.zero_point, self.lo, self.hi, element)
    }

    /// The output for an accumulator of a channel.
    pub fn apply(&self, channel: usize, accumulator: i32) -> i32 {
        let (multiplier, shift) = self.factor(channel);
        let product = i64::from(accumulator) * i64::from(multiplier);
        (round_shift(product, shift) + i64::from(self.zero_point)).clamp(i64::from(self.lo), i64::from(self.hi)) as i32
    }

    /// [`Requantize::apply`] on accumulators whose innermost axis is the channels.
    pub(crate) fn apply_all(&self, channels: usize, accumulators: &mut [i32]) {
        let (zero_point, lo, hi) = (i64::from(self.zero_point), i64::from(self.lo), i64::from(self.hi));
        let factors: Vec<(i64, i64, u8)> = (0..channels)
            .map(|channel| {
                let (multiplier, shift) = self.factor(channel);
                (i64::from(multiplier), (1i64 << shift) >> 1, shift)
            })
            .collect();
        for pixel in accumulators.chunks_exact_mut(channels) {
            for (value, &(multiplier, half, shift)) in pixel.iter_mut().zip(&factors) {
                let scaled = (i64::from(*value) * multiplier + half) >> shift;
                *value = (scaled + zero_point).clamp(lo, hi) as i32;
            }
        }
    }
}

/// Checks zero point and bounds of an integer result of at most 8 bits.
pub(crate) fn check_output(zero_point: i32, lo: i32, hi: i32, element: Element) -> Result<(), String> {
    let (least, most) = shape::narrow("the result", element)?;
    let inside = |value: i32| (least..=most).contains(&i64::from(value));
    if lo > hi || !inside(lo) || !inside(hi) {
        return Err(format!("bounds {lo} to {hi} are not a range of {element}"));
    }
    if !inside(zero_point) {
        return Err(format!("zero point {zero_point} is outside {element}"));
    }
    Ok(())
}

/// `(value + 2^(shift-1)) >> shift`: division by a power of two, halves rounded up. A shift of 0
/// returns the value.
pub fn round_shift(value: i64, shift: u8) -> i64 {
    if shift == 0 { value } else { (value + (1i64 << (shift - 1))) >> shift }
}

/// The multiplier (at most 16 bits) and shift nearest to a positive real factor:
/// `factor ~ multiplier / 2^shift`, with the multiplier in `[2^15, 2^16)` where the shift's
/// range allows it. Factors too small for [`MAX_SHIFT`] lose bits and end at 0.
///
/// Returns `None` if the factor is negative, not finite, or at least `2^16`.
pub fn factor(real: f64) -> Option<(u16, u8)> {
    if !(real.is_finite() && (0.0..65536.0).contains(&real)) {
        return None;
    }
    if real == 0.0 {
        return Some((0, 0));
    }
    let mut shift = (15 - real.log2().floor() as i64).clamp(0, i64::from(MAX_SHIFT));
    let mut multiplier = (real * (shift as f64).exp2()).round();
    if multiplier > 65535.0 {
        if shift == 0 {
            return None;
        }
        shift -= 1;
        multiplier = (real * (shift as f64).exp2()).round();
    }
    Some((multiplier as u16, shift as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_is_close_and_normalised() {
        for real in [1e-6, 0.000_3, 0.1, 0.5, 0.999_999_9, 1.0, 3.7, 40_000.0] {
            let (multiplier, shift) = factor(real).unwrap();
            let back = f64::from(multiplier) / f64::from(shift).exp2();
            assert!((back / real - 1.0).abs() < 2e-5, "{real} became {back}");
        }
        assert_eq!(factor(65535.9), None);
        assert_eq!(factor(-1.0), None);
        assert_eq!(factor(f64::NAN), None);
    }

    #[test]
    fn rounding_is_half_up() {
        assert_eq!(round_shift(3, 1), 2);
        assert_eq!(round_shift(-3, 1), -1);
        assert_eq!(round_shift(-3, 0), -3);
    }
}
