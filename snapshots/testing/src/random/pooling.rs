//! Random windows and pooling.

use super::builder::{Builder, Value};
use super::rescaling;
use super::spread::Spread;
use lutweave_ir::Op;
use lutweave_ir::op::{Geometry, MaxPool, QAveragePool, Window};
use lutweave_ir::random::SplitMix64;

/// How a window moves along one axis.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Number of taps.
    pub kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
}

impl Sweep {
    /// One tap that visits every position.
    pub const POINT: Self = Self { kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };

    /// A sweep over an extent that [fits](Self::fits).
    pub fn random(random: &mut SplitMix64, extent: usize, largest: usize, dilated: bool) -> Self {
        for _ in 0..16 {
            let kernel = random.between(1, largest);
            let dilation = if dilated && random.chance(25) { 2 } else { 1 };
            let reach = dilation * (kernel - 1);
            let (before, after) = match random.below(4) {
                0 => (0, 0),
                1 => (random.between(0, reach.min(4)), random.between(0, reach.min(4))),
                _ => (reach / 2, reach.div_ceil(2)),
            };
            let stride = random.pick(&[1, 1, 1, 2, 2, 3]);
            let sweep = Self { kernel, stride, dilation, before, after };
            if sweep.fits(extent) {
                return sweep;
            }
        }
        Self::POINT
    }

    /// An undilated sweep of another kernel, padded by its half or as before.
    pub fn of_kernel(self, kernel: usize, by_half: bool) -> Self {
        let pads = if by_half { [kernel / 2; 2] } else { [self.before, self.after] };
        Self { kernel, dilation: 1, before: pads[0], after: pads[1], ..self }
    }

    /// Whether there is a window and every window has a tap inside.
    pub fn fits(self, extent: usize) -> bool {
        let reach = self.dilation * (self.kernel - 1) + 1;
        let padded = extent + self.before + self.after;
        let inside = |position: usize| self.before <= position && position < self.before + extent;
        let overlaps = |window: usize| (0..self.kernel).any(|tap| inside(window * self.stride + tap * self.dilation));
        padded >= reach && (0..=(padded - reach) / self.stride).all(overlaps)
    }

    /// Two sweeps as a convolution's geometry.
    pub fn geometry(vertical: Self, horizontal: Self, groups: usize) -> Geometry {
        let Window { strides, dilations, pads, kernel: _ } = Self::window(vertical, horizontal);
        Geometry { strides, dilations, pads, groups }
    }

    fn window(vertical: Self, horizontal: Self) -> Window {
        Window {
            kernel: [vertical.kernel, horizontal.kernel],
            strides: [vertical.stride, horizontal.stride],
            dilations: [vertical.dilation, horizontal.dilation],
            pads: [vertical.before, horizontal.before, vertical.after, horizontal.after],
        }
    }
}

impl Builder<'_> {
    /// The largest of each window.
    pub fn max_pool(&mut self, x: Value) -> Value {
        let window = self.window(x, true);
        let taps = (window.kernel[0] * window.kernel[1]) as f64;
        let spread = self.spread(x);
        // The largest of n independent normal values lies about sqrt(ln n) deviations high.
        let spread =
            Spread::new(spread.mean + spread.deviation * taps.ln().sqrt(), spread.deviation / (1.0 + taps.ln() / 2.0));
        self.apply(Op::MaxPool(MaxPool { window }), &[x], &[], None, spread)
    }

    /// Means of windows, or of the whole image.
    pub fn average_pool(&mut self, x: Value) -> Value {
        if self.random.chance(35) {
            return self.global_average_pool(x);
        }
        let window = self.window(x, false);
        self.average(x, window)
    }

    /// The mean of each channel.
    pub fn global_average_pool(&mut self, x: Value) -> Value {
        let [height, width, _] = self.extents(x);
        let strides = if self.random.chance(50) { [1, 1] } else { [height, width] };
        self.average(x, Window { kernel: [height, width], strides, dilations: [1, 1], pads: [0; 4] })
    }

    fn average(&mut self, x: Value, window: Window) -> Value {
        let area = window.kernel[0] * window.kernel[1];
        let pad_value = self.zero_point(x);
        let bias = -pad_value * area as i32;
        let spread = self.spread(x);
        let mean = (spread.mean - f64::from(pad_value)) * area as f64;
        let accumulator = Spread::new(mean, spread.deviation * (area as f64).sqrt());
        let mut target = self.target();
        let (requantize, spread) = rescaling::centred(&mut self.random, accumulator, &mut target);
        let op = QAveragePool { window, pad_value, bias, requantize, element: target.element };
        self.apply(Op::QAveragePool(op), &[x], &[], Some(target), spread)
    }

    fn window(&mut self, x: Value, dilated: bool) -> Window {
        let [height, width, _] = self.extents(x);
        let vertical = Sweep::random(&mut self.random, height, 4, dilated);
        let square = vertical.fits(width) && self.random.chance(50);
        let horizontal = if square { vertical } else { Sweep::random(&mut self.random, width, 4, dilated) };
        Sweep::window(vertical, horizontal)
    }
}
