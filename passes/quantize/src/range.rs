//! From observed values to a scale and a zero point.

use super::assign::QuantParams;
use lutweave_ir::{Element, Quantization};

/// How the range of an activation is chosen from what was observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RangeMethod {
    /// Smallest and largest observed value.
    MinMax,
    /// Clips so that this share of the values, between 0.5 and 1, lies below the upper bound, and
    /// as many above the lower bound.
    Percentile(f64),
    /// The clipping with the least mean squared error.
    Mse,
}

/// Results of a pointwise function for a list of values.
pub(super) type Function<'f> = dyn Fn(&[f32]) -> Vec<f32> + 'f;

/// Bins on each side of 0.
const HALF: usize = 2048;

/// What was observed of one value: its extremes, and how often it was where.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Smallest finite value.
    pub min: f32,
    /// Largest finite value.
    pub max: f32,
    /// A bin is 2 to this power wide.
    exponent: i32,
    /// Bin `HALF` starts at 0.
    bins: Vec<u64>,
}

impl Observed {
    /// Observes a tensor.
    pub fn of(values: &[f32]) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
        for value in finite() {
            min = min.min(value);
            max = max.max(value);
        }
        let magnitude = f64::from(min.abs().max(max.abs()));
        let mut exponent = i32::from(f32::MIN_EXP as i16);
        if magnitude.is_finite() && magnitude > 0.0 {
            // The largest magnitude falls into the outermost bins.
            exponent = exponent.max((magnitude / HALF as f64).log2().floor() as i32 + 1);
        }
        let mut bins = vec![0u64; 2 * HALF];
        let inverse = (-f64::from(exponent)).exp2() as f32;
        for value in finite() {
            let bin = (value * inverse).floor() + HALF as f32;
            bins[(bin.max(0.0) as usize).min(2 * HALF - 1)] += 1;
        }
        Self { min, max, exponent, bins }
    }

    /// Adds what another sample showed.
    pub fn merge(&mut self, mut other: Self) {
        let exponent = self.exponent.max(other.exponent);
        self.widen(exponent);
        other.widen(exponent);
        self.bins.iter_mut().zip(&other.bins).for_each(|(bin, more)| *bin += more);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Joins bins until they have a width.
    fn widen(&mut self, exponent: i32) {
        let factor = 1usize << (exponent - self.exponent).clamp(0, 12);
        if exponent <= self.exponent {
            return;
        }
        let mut bins = vec![0u64; 2 * HALF];
        for (bin, count) in self.bins.iter().enumerate() {
            let at = (bin as i64 - HALF as i64).div_euclid(factor as i64) + HALF as i64;
            bins[at as usize] += count;
        }
        self.bins = bins;
        self.exponent = exponent;
    }

    /// The occupied bins: their middle and how many values they hold.
    fn occupied(&self) -> Vec<(f32, f64)> {
        let width = f64::from(self.exponent).exp2();
        let middle = |bin: usize| ((bin as f64 - HALF as f64 + 0.5) * width) as f32;
        let bins = self.bins.iter().enumerate().filter(|(_, count)| **count > 0);
        bins.map(|(bin, &count)| (middle(bin).clamp(self.min, self.max), count as f64)).collect()
    }

    /// The signed 8-bit grid for a range that holds 0.
    pub fn grid(&self, method: RangeMethod) -> QuantParams {
        let (min, max) = (self.min.min(0.0), self.max.max(0.0));
        let (lo, hi) = match method {
            RangeMethod::MinMax => (min, max),
            RangeMethod::Percentile(share) => self.percentile(share, min, max),
            RangeMethod::Mse => self.least_error(min, max),
        };
        signed_grid(lo, hi)
    }

    /// The signed 8-bit grid of a value that nothing but functions read, each of which gives their
    /// results for a list of values: the clipping with the least mean squared error of the results.
    /// What a function maps to nearly the same, as SiLU does negative values, takes no steps away
    /// from the others.
    ///
    /// Where a function has no finite result, it is the clipping with the least error of the value.
    pub fn grid_through(&self, functions: &[&Function]) -> QuantParams {
        /// Ratio of a tried bound to the one before.
        const RATIO: f32 = 0.93;
        /// Bounds that are tried on a side.
        const STEPS: i32 = 48;
        /// Rounds of trying bounds below, then above.
        const ROUNDS: usize = 3;
        let (min, max) = (self.min.min(0.0), self.max.max(0.0));
        let seen: Vec<Seen> = functions.iter().map(|&function| Seen::new(self, function)).collect();
        let error = |shares: [f32; 2]| {
            let grid = signed_grid(min * shares[0], max * shares[1]);
            seen.iter().map(|seen| seen.squared_error(&grid)).sum::<f64>()
        };
        let mut best = ([1.0; 2], error([1.0; 2]));
        if !best.1.is_finite() {
            return self.grid(RangeMethod::Mse);
        }
        for _ in 0..ROUNDS {
            for side in 0..2 {
                for step in 0..STEPS {
                    let mut shares = best.0;
                    shares[side] = RATIO.powi(step);
                    let error = error(shares);
                    if error < best.1 {
                        best = (shares, error);
                    }
                }
            }
        }
        signed_grid(min * best.0[0], max * best.0[1])
    }

    fn percentile(&self, share: f64, min: f32, max: f32) -> (f32, f32) {
        let share = if share.is_nan() { 1.0 } else { share.clamp(0.5, 1.0) };
        let occupied = self.occupied();
        let total: f64 = occupied.iter().map(|(_, count)| count).sum();
        let outside = total * (1.0 - share);
        let reach = |bins: &mut dyn Iterator<Item = &(f32, f64)>, extreme: f32| {
            let mut passed = 0.0;
            for (middle, count) in bins {
                passed += count;
                if passed > outside {
                    return if passed == *count { extreme } else { *middle };
                }
            }
            extreme
        };
        (reach(&mut occupied.iter(), min).min(0.0), reach(&mut occupied.iter().rev(), max).max(0.0))
    }

    fn least_error(&self, min: f32, max: f32) -> (f32, f32) {
        const STEPS: usize = 50;
        let occupied = self.occupied();
        let mut best = (f64::INFINITY, (min, max));
        for step in 0..STEPS {
            let share = 1.0 - step as f32 * 0.018;
            let bounds = (min * share, max * share);
            let error = squared_error(&occupied, &signed_grid(bounds.0, bounds.1));
            if error < best.0 {
                best = (error, bounds);
            }
        }
        best.1
    }
}

/// What a function makes of what was observed.
struct Seen<'f> {
    function: &'f dyn Fn(&[f32]) -> Vec<f32>,
    /// The middle of each occupied bin, how many values it holds, the function's value there, and
    /// its squared slope.
    bins: Vec<(f32, f64, f64, f64)>,
}

impl<'f> Seen<'f> {
    fn new(observed: &Observed, function: &'f dyn Fn(&[f32]) -> Vec<f32>) -> Self {
        let occupied = observed.occupied();
        let half = f64::from(observed.exponent - 1).exp2();
        let at = |shift: f64| {
            let places = occupied.iter().map(|&(middle, _)| (f64::from(middle) + shift) as f32);
            function(&places.collect::<Vec<f32>>())
        };
        let (before, values, after) = (at(-half), at(0.0), at(half));
        let bins = occupied.iter().enumerate().map(|(index, &(middle, count))| {
            let slope = (f64::from(after[index]) - f64::from(before[index])) / (2.0 * half);
            (middle, count, f64::from(values[index]), slope * slope)
        });
        Self { function, bins: bins.collect() }
    }

    /// As [`squared_error`], but of the function's results.
    fn squared_error(&self, grid: &QuantParams) -> f64 {
        let (lo, hi) = grid.range();
        let (lo, hi) = (grid.quantization.dequantize(lo), grid.quantization.dequantize(hi));
        let ends = (self.function)(&[lo, hi]);
        let rounding = f64::from(grid.quantization.scale).powi(2) / 12.0;
        let error = |&(middle, count, value, slope): &(f32, f64, f64, f64)| {
            let clipped = if middle < lo {
                Some(ends[0])
            } else if middle > hi {
                Some(ends[1])
            } else {
                None
            };
            count * clipped.map_or(rounding * slope, |end| (f64::from(end) - value).powi(2))
        };
        self.bins.iter().map(error).sum()
    }
}

/// Sum of squared errors: a twelfth of a step squared for rounding, since the values of a bin are
/// spread over it, and the distance where values are clipped.
fn squared_error(occupied: &[(f32, f64)], grid: &QuantParams) -> f64 {
    let (lo, hi) = grid.range();
    let (lo, hi) = (grid.quantization.dequantize(lo), grid.quantization.dequantize(hi));
    let rounding = f64::from(grid.quantization.scale).powi(2) / 12.0;
    let error = |value: f32| {
        let clipped = f64::from((value - hi).max(lo - value).max(0.0));
        // What lies on 0 exactly, as most results of a ReLU do, has no error.
        rounding.min(f64::from(value) * f64::from(value)) + clipped * clipped
    };
    occupied.iter().map(|&(value, count)| error(value) * count).sum()
}

/// The signed 8-bit grid whose range is nearest to one that holds 0.
pub(super) fn signed_grid(lo: f32, hi: f32) -> QuantParams {
    let span = (f64::from(hi) - f64::from(lo)) / 255.0;
    let scale = span as f32;
    if !(scale.is_normal() && scale.is_finite()) {
        return QuantParams { element: Element::I8, quantization: Quantization { scale: 1.0, zero_point: -128 } };
    }
    let zero_point = (-128.0 - f64::from(lo) / span).round_ties_even().clamp(-128.0, 127.0) as i32;
    QuantParams { element: Element::I8, quantization: Quantization { scale, zero_point } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_hold_zero_and_the_bounds() {
        for (lo, hi) in [(0.0, 255.0), (-1.0, 1.0), (-6.0, 0.0), (-0.1, 12.7), (0.0, 1e-20)] {
            let grid = signed_grid(lo, hi);
            let scale = grid.quantization.scale;
            assert_eq!(grid.quantization.dequantize(grid.quantize(0.0)), 0.0);
            for bound in [lo, hi] {
                let back = grid.quantization.dequantize(grid.quantize(bound));
                assert!((back - bound).abs() <= scale * 0.51, "{bound} became {back} in {lo}..{hi}");
            }
        }
        assert_eq!(signed_grid(0.0, 0.0).quantization.scale, 1.0);
        assert_eq!(signed_grid(0.0, 5.0).quantization.zero_point, -128);
    }

    #[test]
    fn functions_decide_what_is_clipped() {
        let values: Vec<f32> = (0..10_000).map(|i| (i % 1000) as f32 / 10.0 - 90.0).collect();
        let observed = Observed::of(&values);
        let silu = |values: &[f32]| values.iter().map(|x| x / (1.0 + (-x).exp())).collect::<Vec<f32>>();
        let same = |values: &[f32]| values.to_vec();
        let logarithm = |values: &[f32]| values.iter().map(|x| x.ln()).collect::<Vec<f32>>();
        let lowest = |grid: &QuantParams| grid.quantization.dequantize(-128);
        let through = observed.grid_through(&[&silu]);
        assert!((-20.0..-3.0).contains(&lowest(&through)), "{through:?}");
        assert!(through.quantization.dequantize(127) > 9.0, "{through:?}");
        // Another reader needs the negative values.
        assert!(lowest(&observed.grid_through(&[&silu, &same])) < -80.0);
        assert_eq!(observed.grid_through(&[&logarithm]), observed.grid(RangeMethod::Mse));
    }

    #[test]
    fn outliers_are_clipped_by_error_but_not_by_the_extremes() {
        let mut values: Vec<f32> = (0..10_000).map(|i| (i % 100) as f32 / 100.0).collect();
        values[7] = 3.0;
        let mut observed = Observed::of(&values[..5000]);
        observed.merge(Observed::of(&values[5000..]));
        let scale = |method| observed.grid(method).quantization.scale;
        assert!((scale(RangeMethod::MinMax) - 3.0 / 255.0).abs() < 1e-6);
        assert!(scale(RangeMethod::Percentile(0.999)) < 1.01 / 255.0);
        assert!(scale(RangeMethod::Percentile(1.0)) > 2.99 / 255.0);
        assert!(scale(RangeMethod::Mse) <= scale(RangeMethod::MinMax));
    }
}
