//! Random searches for peaks.

use super::builder::{Builder, Target, Value};
use super::spread::Spread;
use lutweave_ir::op::TopPeaks;
use lutweave_ir::{Element, Op, Quantization};

/// Most records.
const MOST_RECORDS: usize = 6;

/// Most channels of a map.
const MOST_CHANNELS: usize = 12;

impl Builder<'_> {
    /// The largest peaks of a value, with what up to two others of its size hold there: bytes,
    /// whatever the elements are.
    pub fn top_peaks(&mut self, x: Value) -> Value {
        let maps = self.of_one_size(x).into_iter().filter(|&map| self.extents(map)[2] <= MOST_CHANNELS);
        let maps: Vec<Value> = maps.collect();
        let count = if maps.is_empty() { 0 } else { self.random.below(3) };
        let mut operands = vec![x];
        operands.extend((0..count).map(|_| self.random.pick(&maps)));
        let op = Op::TopPeaks(TopPeaks { count: self.random.between(1, MOST_RECORDS) });
        let quantization = Quantization { scale: 1.0, zero_point: 0 };
        let target = Target { element: Element::U8, quantization };
        self.apply(op, &operands, &[], Some(target), Spread::uniform(Element::U8))
    }
}
