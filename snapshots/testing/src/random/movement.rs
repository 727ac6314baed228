//! Random joins, boxes, frames and shapes.

use super::builder::{Activation, Builder, MOST_CHANNELS, Target, Value};
use super::spread::{Spread, range};
use lutweave_ir::op::{Borders, Concat, Pad, Reshape, Resize, Select, Slice, Transpose};
use lutweave_ir::{Op, TensorType};

impl Builder<'_> {
    /// Values joined along the channels.
    pub fn concat(&mut self, x: Value) -> Value {
        let [height, width, channels] = self.extents(x);
        let ty = self.ty(x).clone();
        let quantization = ty.quantization.expect("invariant: every value is quantized");
        let target = Target { element: ty.element, quantization };
        let mut parts = vec![x];
        let mut total = channels;
        for _ in 1..self.random.between(2, 3) {
            let room = MOST_CHANNELS.saturating_sub(total).max(1);
            let joins = |_: &Activation, other: &TensorType| {
                other.shape.len() == 4
                    && other.shape[1..3] == [height, width]
                    && other.shape[3] <= room
                    && other.element == ty.element
                    && other.quantization == ty.quantization
            };
            let part = match self.find(joins) {
                Some(found) if found != x || self.random.chance(20) => found,
                Some(_) | None => {
                    let channels = self.channels().min(room);
                    self.same_size(x, channels, target)
                }
            };
            total += self.extents(part)[2];
            parts.push(part);
        }
        if self.random.chance(50) {
            parts.reverse();
        }
        let spreads: Vec<Spread> = parts.iter().map(|&part| self.spread(part)).collect();
        let count = spreads.len() as f64;
        let mean = spreads.iter().map(|spread| spread.mean).sum::<f64>() / count;
        let deviation = spreads.iter().map(|spread| spread.deviation).sum::<f64>() / count;
        self.apply(Op::Concat(Concat { axis: 3 }), &parts, &[], None, Spread::new(mean, deviation))
    }

    /// A box with steps along one, two or all axes.
    pub fn slice(&mut self, x: Value) -> Value {
        let extents = self.extents(x);
        let (mut starts, mut sizes, mut steps) = (vec![0; 4], vec![1; 4], vec![1; 4]);
        let always = self.random.below(3);
        for axis in 0..3 {
            let extent = extents[axis];
            let (start, size, step) = if axis == always || self.random.chance(30) {
                let step = self.random.pick(&[1, 1, 2, 3]);
                let start = self.random.below(extent);
                (start, self.random.between(1, (extent - start).div_ceil(step)), step)
            } else {
                (0, extent, 1)
            };
            (starts[axis + 1], sizes[axis + 1], steps[axis + 1]) = (start, size, step);
        }
        let spread = self.spread(x);
        self.apply(Op::Slice(Slice { starts, sizes, steps }), &[x], &[], None, spread)
    }

    /// Channels in another order: interleaved halves, any permutation, or any choice.
    pub fn select(&mut self, x: Value) -> Value {
        let [_, _, inputs] = self.extents(x);
        let mut channels: Vec<usize> = (0..inputs).collect();
        match self.random.below(3) {
            0 => {
                let runs: Vec<usize> = (1..=inputs).filter(|run| inputs.is_multiple_of(*run)).collect();
                let run = self.random.pick(&runs);
                channels.sort_by_key(|channel| channel % run);
            }
            1 => (1..inputs).for_each(|last| channels.swap(last, self.random.below(last + 1))),
            _ => {
                let count = self.random.between(1, (2 * inputs).min(MOST_CHANNELS));
                channels = (0..count).map(|_| self.random.below(inputs)).collect();
            }
        }
        let spread = self.spread(x);
        self.apply(Op::Select(Select { channels }), &[x], &[], None, spread)
    }

    /// A frame of constants, now and then around the channels too.
    pub fn pad(&mut self, x: Value) -> Value {
        let extents = self.extents(x);
        let mut frame = || -> Vec<usize> {
            let mut widths = vec![0; 4];
            for axis in 0..2 {
                let most = 3.min((2 * self.options.extent).saturating_sub(extents[axis]) / 2);
                widths[axis + 1] = self.random.between(0, most);
            }
            if self.random.chance(15) {
                widths[3] = self.random.between(1, 2);
            }
            widths
        };
        let (before, after) = (frame(), frame());
        let (lo, hi) = range(self.ty(x).element);
        let value = if self.random.chance(70) { self.zero_point(x) } else { self.random.integer(lo, hi) };
        let spread = self.spread(x);
        self.apply(Op::Pad(Pad { before, after, value: value as f32 }), &[x], &[], None, spread)
    }

    /// Nearest-neighbour upsampling, now and then with copies of the border.
    pub fn resize(&mut self, x: Value) -> Value {
        let extents = self.extents(x);
        let factors = [0, 1].map(|axis| {
            let most = (2 * self.options.extent / extents[axis]).clamp(1, 3);
            self.random.between(1, most)
        });
        let mut borders = [0; 4];
        if self.random.chance(40) {
            for (side, copies) in borders.iter_mut().enumerate() {
                let axis = side % 2;
                let room = (2 * self.options.extent).saturating_sub(extents[axis] * factors[axis]) / 2;
                *copies = self.random.between(0, room.min(3));
            }
        }
        let spread = self.spread(x);
        self.apply(Op::Resize(Resize { factors, borders: Borders(borders) }), &[x], &[], None, spread)
    }

    /// Another image, or a flat `[1,k]`.
    pub fn reshape(&mut self, x: Value) -> Value {
        let count = self.ty(x).count();
        if self.ty(x).shape.len() == 4 && self.random.chance(25) {
            return self.reshaped(x, vec![1, count]);
        }
        let most = 2 * self.options.extent;
        let mut shapes = vec![self.ty(x).shape.clone()];
        for channels in (1..=MOST_CHANNELS).filter(|channels| count.is_multiple_of(*channels)) {
            let pixels = count / channels;
            let widths = (1..=most).filter(|width| pixels.is_multiple_of(*width) && pixels / width <= most);
            shapes.extend(widths.map(|width| vec![1, pixels / width, width, channels]));
        }
        let chosen = self.random.below(shapes.len());
        self.reshaped(x, shapes.swap_remove(chosen))
    }

    /// The same elements in a given shape.
    pub fn reshaped(&mut self, x: Value, shape: Vec<usize>) -> Value {
        let spread = self.spread(x);
        self.apply(Op::Reshape(Reshape { shape }), &[x], &[], None, spread)
    }

    /// A permutation of height, width and channels.
    pub fn transpose(&mut self, x: Value) -> Value {
        let mut axes = vec![1, 2, 3];
        axes.rotate_left(self.random.below(3));
        if self.random.chance(50) {
            axes.swap(0, 1);
        }
        axes.insert(0, 0);
        let spread = self.spread(x);
        self.apply(Op::Transpose(Transpose { permutation: axes }), &[x], &[], None, spread)
    }
}
