//! Estimates of how the values of a tensor spread, for choosing rescaling parameters.

use lutweave_ir::Element;

/// Mean and standard deviation of a tensor's elements, estimated as if neighbours were
/// independent and normally distributed.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, at least [`Spread::LEAST`].
    pub deviation: f64,
}

/// Centres of eight equally likely parts of the standard normal distribution.
const QUANTILES: [f64; 8] = [-1.534, -0.887, -0.489, -0.157, 0.157, 0.489, 0.887, 1.534];

impl Spread {
    /// Below this an integer hardly varies; it keeps factors finite.
    const LEAST: f64 = 0.25;

    /// A spread with a deviation of at least [`Self::LEAST`].
    pub fn new(mean: f64, deviation: f64) -> Self {
        Self { mean, deviation: deviation.max(Self::LEAST) }
    }

    /// Uniform over an element's range.
    pub fn uniform(element: Element) -> Self {
        let (lo, hi) = range(element);
        Self::new(f64::from(lo + hi) / 2.0, f64::from(hi - lo) / 3.46)
    }

    /// The spread of a function of the values.
    pub fn through(self, function: impl Fn(f64) -> f64) -> Self {
        let values = QUANTILES.map(|quantile| function(self.mean + quantile * self.deviation));
        let mean = values.iter().sum::<f64>() / QUANTILES.len() as f64;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
        Self::new(mean, (variance / QUANTILES.len() as f64).sqrt())
    }
}

/// Smallest and largest value of an activation's element type.
pub fn range(element: Element) -> (i32, i32) {
    let (lo, hi) = element.range().expect("invariant: an activation is an integer");
    (lo as i32, hi as i32)
}
