//! Random deformable convolutions.

use super::builder::{Builder, Target, Value};
use super::convolution::{Filter, MOST_WEIGHTS, Weighted};
use super::pooling::Sweep;
use lutweave_ir::op::{QConv, QDeformConv, Sampling, Table};
use lutweave_ir::{Element, NodeId, Op, Quantization};

/// Largest reach.
const MOST_REACH: i32 = 7;

/// Whole pixels.
const PIXELS: Quantization = Quantization { scale: 1.0, zero_point: 0 };

impl Builder<'_> {
    /// A convolution whose taps are moved by what another operator makes of an image of the same
    /// size.
    pub fn deformable(&mut self, x: Value) -> Value {
        let [height, width, inputs] = self.extents(x);
        let square = self.random.chance(60);
        let vertical = Sweep::random(&mut self.random, height, 3, !square);
        let horizontal = Sweep::random(&mut self.random, width, 3, !square);
        let (vertical, horizontal) =
            if square { self.squared(vertical, [height, width]) } else { (vertical, horizontal) };
        let (groups, channels) = self.grouping(inputs);
        let weights = vertical.kernel * horizontal.kernel * channels * (inputs / groups);
        let [vertical, horizontal] = if weights > MOST_WEIGHTS { [Sweep::POINT; 2] } else { [vertical, horizontal] };
        let kernel = [vertical.kernel, horizontal.kernel];
        let geometry = Sweep::geometry(vertical, horizontal, groups);
        let sampling = if square { Sampling::Square } else { Sampling::Free { offset_groups: 1 } };
        let reach = self.random.between(0, MOST_REACH as usize) as i32;
        let bounds = if square { (0, reach) } else { (-reach, reach) };
        let sources = self.of_one_size(x);
        let source = self.random.pick(&sources);
        let filter =
            Filter { kernel, geometry: Sweep::geometry(vertical, horizontal, 1), channels: sampling.channels(kernel) };
        let offsets = self.offsets(source, filter, bounds);
        let target = self.target();
        let filter = Filter { kernel, geometry, channels };
        let Weighted { weights, bias, requantize, spread } = self.weighted(x, filter, target);
        let op = QDeformConv {
            geometry,
            sampling,
            reach: reach as u32,
            pad_value: self.zero_point(x),
            requantize,
            element: target.element,
        };
        self.apply(Op::QDeformConv(op), &[x], &[weights, bias, offsets], Some(target), spread)
    }

    /// A square kernel of odd extent, with one tap if it would not fit.
    fn squared(&mut self, sweep: Sweep, [height, width]: [usize; 2]) -> (Sweep, Sweep) {
        let kernel = self.random.pick(&[1, 3, 3, 3, 5, 5]);
        let sweep = sweep.of_kernel(kernel, self.random.chance(70));
        if sweep.fits(height) && sweep.fits(width) { (sweep, sweep) } else { (Sweep::POINT, Sweep::POINT) }
    }

    /// Integers within bounds: what a convolution makes of an image, perhaps through a table.
    fn offsets(&mut self, source: Value, filter: Filter, (lo, hi): (i32, i32)) -> NodeId {
        let signed = lo < 0;
        let narrow = Element::Int { bits: if signed { 4 } else { 3 }, signed };
        let element = if self.random.chance(60) { narrow } else { Element::Int { bits: 8, signed } };
        if self.random.chance(60) {
            // Spread over the reach, whatever the element could hold.
            let target = Target { element: narrow, quantization: PIXELS };
            let Weighted { weights, bias, mut requantize, spread } = self.weighted(source, filter, target);
            (requantize.zero_point, requantize.lo, requantize.hi) = (0, lo, hi);
            let op = QConv { geometry: filter.geometry, pad_value: self.zero_point(source), requantize, element };
            let target = Target { element, quantization: PIXELS };
            self.apply(Op::QConv(op), &[source], &[weights, bias], Some(target), spread);
            return self.withdraw();
        }
        let between = self.target();
        let y = self.convolve(source, filter, between);
        let range = self.ty(y).element.range().map_or(1, |(least, most)| most - least + 1);
        let entries: Vec<i32> = (0..range).map(|_| self.random.integer(lo, hi)).collect();
        let spread = self.spread(y);
        let target = Target { element, quantization: PIXELS };
        self.apply(Op::Table(Table { entries: entries.into(), element }), &[y], &[], Some(target), spread);
        self.withdraw()
    }
}
