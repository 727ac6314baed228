//! Random convolutions.

use super::builder::{Builder, MOST_CHANNELS, Target, Value};
use super::pooling::Sweep;
use super::rescaling;
use super::spread::Spread;
use lutweave_ir::op::{Geometry, QConv};
use lutweave_ir::{Element, NodeId, Op, Requantize, Tensor};

/// A convolution with more weights than this gets a kernel of one tap.
pub const MOST_WEIGHTS: usize = 4096;

/// A larger image is averaged before a dense layer.
const MOST_FLATTENED: usize = 128;

/// A larger bias might leave no room for the products in 32 bits.
const MOST_BIAS: i32 = 1 << 30;

/// Extents of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Vertical and horizontal extent.
    pub kernel: [usize; 2],
    /// How it moves.
    pub geometry: Geometry,
    /// Output channels.
    pub channels: usize,
}

/// Constants of a convolution, and how its result spreads.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// Weights `[o, kh, kw, i / groups]`.
    pub weights: NodeId,
    /// Bias.
    pub bias: NodeId,
    /// From accumulator to result.
    pub requantize: Requantize,
    /// Of the result.
    pub spread: Spread,
}

impl Filter {
    /// A filter of one tap and one group.
    fn pointwise(channels: usize) -> Self {
        let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
        Self { kernel: [1, 1], geometry, channels }
    }
}

impl Builder<'_> {
    /// A convolution of any kind.
    pub fn convolution(&mut self, x: Value) -> Value {
        let [height, width, inputs] = self.extents(x);
        let vertical = Sweep::random(&mut self.random, height, 5, true);
        let horizontal =
            if self.random.chance(50) { Sweep::random(&mut self.random, width, 5, true) } else { vertical };
        let horizontal = if horizontal.fits(width) { horizontal } else { Sweep::POINT };
        let (groups, channels) = self.grouping(inputs);
        let weights = vertical.kernel * horizontal.kernel * channels * (inputs / groups);
        let [vertical, horizontal] = if weights > MOST_WEIGHTS { [Sweep::POINT; 2] } else { [vertical, horizontal] };
        let geometry = Sweep::geometry(vertical, horizontal, groups);
        let filter = Filter { kernel: [vertical.kernel, horizontal.kernel], geometry, channels };
        let target = self.target();
        self.convolve(x, filter, target)
    }

    /// Groups and output channels of a convolution of so many inputs.
    pub fn grouping(&mut self, inputs: usize) -> (usize, usize) {
        let divisors: Vec<usize> = (2..inputs).filter(|groups| inputs.is_multiple_of(*groups)).collect();
        match self.random.below(10) {
            0..=2 => (inputs, inputs),
            3 if inputs * 2 <= MOST_CHANNELS => (inputs, inputs * 2),
            4 | 5 if !divisors.is_empty() => {
                let groups = self.random.pick(&divisors);
                (groups, groups * self.random.between(1, (MOST_CHANNELS / groups).clamp(1, 3)))
            }
            _ => (1, self.channels()),
        }
    }

    /// A convolution whose result has the operand's height and width.
    pub fn same_size(&mut self, x: Value, channels: usize, target: Target) -> Value {
        let kernel = [0, 1].map(|_| self.random.pick(&[1, 2, 3, 3, 5]));
        let dilations = [0, 1].map(|_| if self.random.chance(20) { 2 } else { 1 });
        let total: [usize; 2] = [0, 1].map(|axis| dilations[axis] * (kernel[axis] - 1));
        // An odd total is asymmetric.
        let pads = [total[0] / 2, total[1] / 2, total[0].div_ceil(2), total[1].div_ceil(2)];
        let inputs = self.extents(x)[2];
        let groups = if channels == inputs && self.random.chance(40) { inputs } else { 1 };
        if kernel[0] * kernel[1] * channels * (inputs / groups) > MOST_WEIGHTS {
            return self.pointwise(x, channels, target);
        }
        let geometry = Geometry { strides: [1, 1], dilations, pads, groups };
        self.convolve(x, Filter { kernel, geometry, channels }, target)
    }

    /// A convolution with a kernel of one tap.
    pub fn pointwise(&mut self, x: Value, channels: usize, target: Target) -> Value {
        self.convolve(x, Filter::pointwise(channels), target)
    }

    /// A pointwise convolution of a flattened image: a dense layer.
    pub fn dense(&mut self, x: Value) -> Value {
        let count = self.ty(x).count();
        let x = if count > MOST_FLATTENED { self.global_average_pool(x) } else { x };
        let count = self.ty(x).count();
        let x = if self.random.chance(50) { self.reshaped(x, vec![1, count]) } else { x };
        let x = self.reshaped(x, vec![1, 1, 1, count]);
        let channels = self.random.between(1, self.options.channels);
        let target = self.target();
        self.pointwise(x, channels, target)
    }

    /// A convolution by a filter.
    pub fn convolve(&mut self, x: Value, filter: Filter, target: Target) -> Value {
        let Weighted { weights, bias, requantize, spread } = self.weighted(x, filter, target);
        let op =
            QConv { geometry: filter.geometry, pad_value: self.zero_point(x), requantize, element: target.element };
        self.apply(Op::QConv(op), &[x], &[weights, bias], Some(target), spread)
    }

    /// The constants of a convolution of a value.
    pub fn weighted(&mut self, x: Value, filter: Filter, target: Target) -> Weighted {
        let inputs = self.extents(x)[2];
        let shape = [filter.channels, filter.kernel[0], filter.kernel[1], inputs / filter.geometry.groups];
        let bits = self.random.pick(&self.options.weight_bits);
        let mut weights = self.weights(filter.channels, shape[1..].iter().product(), bits);
        self.thin(&mut weights, filter.channels, shape[3]);
        let spread = self.spread(x);
        let mut bias = Vec::with_capacity(filter.channels);
        let mut deviations = Vec::with_capacity(filter.channels);
        for row in weights.chunks_exact(weights.len() / filter.channels) {
            let sum: f64 = row.iter().map(|&weight| f64::from(weight)).sum();
            let squares: f64 = row.iter().map(|&weight| f64::from(weight) * f64::from(weight)).sum();
            let deviation = (spread.deviation * squares.sqrt()).max(1.0);
            bias.push(if self.random.chance(1) {
                // Saturates the channel, and needs an accumulator of 31 bits.
                self.random.integer(-MOST_BIAS, MOST_BIAS)
            } else {
                (-sum * spread.mean + self.random.real(-0.7, 0.7) * deviation).round() as i32
            });
            deviations.push(deviation);
        }
        let (requantize, spread) = rescaling::per_channel(&mut self.random, &deviations, target);
        let weights = self.constant("weights", Tensor::int(shape, weights), Element::Int { bits, signed: true });
        let bias = self.constant("bias", Tensor::int([filter.channels], bias), Element::I32);
        Weighted { weights, bias, requantize, spread }
    }

    /// Weights by output channel: dense or sparse, rarely with a channel of zeros.
    fn weights(&mut self, channels: usize, taps: usize, bits: u8) -> Vec<i32> {
        let most = (1 << (bits - 1)) - 1;
        let least = if self.random.chance(20) { -most - 1 } else { -most };
        let zeros = if self.random.chance(20) { 60 } else { 0 };
        let mut weights = Vec::with_capacity(channels * taps);
        for _ in 0..channels {
            let zeros = if self.random.chance(2) { 100 } else { zeros };
            let peaked = self.random.chance(50);
            for _ in 0..taps {
                let weight = self.random.integer(least, most);
                let weight = if peaked { (weight + self.random.integer(least, most)) / 2 } else { weight };
                weights.push(if self.random.chance(zeros) { 0 } else { weight });
            }
        }
        weights
    }

    /// Often leaves only some weights of each run of 4 or 8 input channels: other ones for every
    /// output, or the same for pairs of outputs.
    fn thin(&mut self, weights: &mut [i32], outputs: usize, channels: usize) {
        let runs: Vec<usize> = [4, 8].into_iter().filter(|run| channels.is_multiple_of(*run)).collect();
        if runs.is_empty() || self.random.chance(40) {
            return;
        }
        let run = self.random.pick(&runs);
        let kept = if self.random.chance(50) { run / 2 } else { self.random.between(1, run - 1) };
        let together = if outputs.is_multiple_of(2) && self.random.chance(70) { 2 } else { 1 };
        let filter = weights.len() / outputs;
        for filters in weights.chunks_mut(filter * together) {
            for start in (0..filter).step_by(run) {
                let mut places: Vec<usize> = (start..start + run).collect();
                while places.len() > kept {
                    let zero = places.swap_remove(self.random.below(places.len()));
                    filters.iter_mut().skip(zero).step_by(filter).for_each(|weight| *weight = 0);
                }
            }
        }
    }
}
