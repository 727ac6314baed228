//! From observed values to a scale and a zero point.

use super::assign::Grid;
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

/// What was observed of one value.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Smallest finite value.
    pub min: f32,
    /// Largest finite value.
    pub max: f32,
    /// Values drawn evenly from all samples.
    pub drawn: Vec<f32>,
}

impl Observed {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY, drawn: Vec::new() }
    }

    /// Observes a tensor, keeping about `draws` of its values.
    pub fn of(values: &[f32], draws: usize) -> Self {
        let mut observed = Self::new();
        for &value in values.iter().filter(|value| value.is_finite()) {
            observed.min = observed.min.min(value);
            observed.max = observed.max.max(value);
        }
        let draws = draws.min(values.len()).max(1);
        let drawn = (0..draws).map(|draw| values[draw * values.len() / draws]);
        observed.drawn = drawn.filter(|value| value.is_finite()).collect();
        observed
    }

    /// Adds what another sample showed.
    pub fn merge(&mut self, other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.drawn.extend(other.drawn);
    }

    /// The signed 8-bit grid for a range that holds 0.
    pub fn grid(&self, method: RangeMethod) -> Grid {
        let (min, max) = (self.min.min(0.0), self.max.max(0.0));
        let (lo, hi) = match method {
            RangeMethod::MinMax => (min, max),
            RangeMethod::Percentile(share) => self.percentile(share, min, max),
            RangeMethod::Mse => self.least_error(min, max),
        };
        signed_grid(lo, hi)
    }

    fn percentile(&self, share: f64, min: f32, max: f32) -> (f32, f32) {
        let mut sorted = self.drawn.clone();
        sorted.sort_by(f32::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return (min, max) };
        let share = if share.is_nan() { 1.0 } else { share.clamp(0.5, 1.0) };
        if share == 1.0 {
            return (min, max);
        }
        let at = (share * last as f64).round() as usize;
        (sorted[last - at].min(0.0), sorted[at].max(0.0))
    }

    fn least_error(&self, min: f32, max: f32) -> (f32, f32) {
        const STEPS: usize = 40;
        let mut best = (f64::INFINITY, (min, max));
        for step in 0..STEPS {
            let share = 1.0 - step as f32 * 0.02;
            let bounds = (min * share, max * share);
            let grid = signed_grid(bounds.0, bounds.1);
            let error = squared_error(&self.drawn, &grid);
            if error < best.0 {
                best = (error, bounds);
            }
        }
        best.1
    }
}

/// Sum of squared rounding and clipping errors.
fn squared_error(values: &[f32], grid: &Grid) -> f64 {
    let (lo, hi) = grid.range();
    let (scale, zero_point) = (grid.quantization.scale, grid.quantization.zero_point);
    let (lo, hi) = ((lo - zero_point) as f32, (hi - zero_point) as f32);
    let inverse = 1.0 / scale;
    values
        .iter()
        .map(|&value| {
            let error = (value * inverse).round_ties_even().clamp(lo, hi) * scale - value;
            f64::from(error * error)
        })
        .sum()
}

/// The signed 8-bit grid whose range is nearest to one that holds 0.
pub(super) fn signed_grid(lo: f32, hi: f32) -> Grid {
    let span = (f64::from(hi) - f64::from(lo)) / 255.0;
    let scale = span as f32;
    if !(scale.is_normal() && scale.is_finite()) {
        return Grid { element: Element::I8, quantization: Quantization { scale: 1.0, zero_point: -128 } };
    }
    let zero_point = (-128.0 - f64::from(lo) / span).round_ties_even().clamp(-128.0, 127.0) as i32;
    Grid { element: Element::I8, quantization: Quantization { scale, zero_point } }
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
    fn outliers_are_clipped_by_error_but_not_by_the_extremes() {
        let mut values: Vec<f32> = (0..10_000).map(|i| (i % 100) as f32 / 100.0).collect();
        values[7] = 3.0;
        let observed = Observed::of(&values, values.len());
        let scale = |method| observed.grid(method).quantization.scale;
        assert!((scale(RangeMethod::MinMax) - 3.0 / 255.0).abs() < 1e-6);
        assert!(scale(RangeMethod::Percentile(0.999)) < 1.01 / 255.0);
        assert!(scale(RangeMethod::Mse) <= scale(RangeMethod::MinMax));
    }
}
