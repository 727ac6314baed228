//! Random searches for peaks and for the largest channel.

use super::builder::{Builder, Target, Value};
use super::spread::Spread;
use lutweave_ir::op::{QArgMax, TopPeaks};
use lutweave_ir::{Element, Op, Quantization};

/// Numbers that stand for themselves.
const BYTES: Target = Target { element: Element::U8, quantization: Quantization { scale: 1.0, zero_point: 0 } };

/// Most records.
const MOST_RECORDS: usize = 6;

/// Most channels of a map.
const MOST_CHANNELS: usize = 12;

impl Builder<'_> {
    /// The place of the largest channel of each pixel: bytes, whatever the elements are.
    pub fn argmax(&mut self, x: Value) -> Value {
        let op = Op::QArgMax(QArgMax { last: self.random.chance(50) });
        self.apply(op, &[x], &[], Some(BYTES), Spread::uniform(Element::U8))
    }

    /// The largest peaks of a value, with what up to two others of its size hold there: bytes,
    /// whatever the elements are.
    pub fn top_peaks(&mut self, x: Value) -> Value {
        let maps = self.of_one_size(x).into_iter().filter(|&map| self.extents(map)[2] <= MOST_CHANNELS);
        let maps: Vec<Value> = maps.collect();
        let count = if maps.is_empty() { 0 } else { self.random.below(3) };
        let mut operands = vec![x];
        operands.extend((0..count).map(|_| self.random.pick(&maps)));
        let op = Op::TopPeaks(TopPeaks { count: self.random.between(1, MOST_RECORDS) });
        self.apply(op, &operands, &[], Some(BYTES), Spread::uniform(Element::U8))
    }
}
