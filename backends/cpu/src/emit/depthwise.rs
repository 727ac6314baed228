//! Convolution of every channel by itself: blocks of 16 channels, one or two pixels at a
//! time.

use super::requantize::Tables;
use super::{Emitter, Pointers};
use crate::program::{BLOCK, Depthwise};
use cranelift_codegen::ir::types::{I8X16, I32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

impl Emitter<'_, '_> {
    pub(super) fn depthwise(&mut self, depthwise: &Depthwise) {
        let (full, rest) = (depthwise.channels / BLOCK, depthwise.channels % BLOCK);
        let tables = self.tables(&depthwise.requantizer);
        let row_weights = row_weights(depthwise);
        let blocks = [
            (self.address(depthwise.source), BLOCK),
            (self.address(depthwise.target), BLOCK),
            (self.rom(depthwise.weights), depthwise.rows.0 * row_weights),
            (self.rom(depthwise.biases), BLOCK * 4),
            (tables.factors, BLOCK * 8),
            (tables.terms, BLOCK * 8),
        ];
        let pointers = |values: &[Value]| Pointers {
            source: values[0],
            target: values[1],
            weights: values[2],
            biases: values[3],
            tables: Tables { factors: values[4], terms: values[5] },
        };
        self.repeat(full, &blocks, &mut |emitter, values| {
            emitter.depthwise_block(depthwise, BLOCK, pointers(values));
        });
        if rest > 0 {
            let values = blocks.map(|(pointer, stride)| self.plus(pointer, full * stride));
            self.depthwise_block(depthwise, rest, pointers(&values));
        }
    }

    fn depthwise_block(&mut self, depthwise: &Depthwise, channels: usize, pointers: Pointers) {
        let walk = depthwise.walk;
        let pixels = depthwise.pixels.min(walk.columns);
        let rows = [(pointers.source, walk.source_row), (pointers.target, walk.target_row)];
        self.repeat(walk.rows, &rows, &mut |emitter, row| {
            let columns = [(row[0], walk.source_column), (row[1], walk.target_column)];
            emitter.tiles(walk.columns, pixels, columns, &mut |emitter, [source, target]| {
                let biases: Vec<Value> =
                    (0..4).map(|vector| emitter.load(I32X4, pointers.biases, vector * 16)).collect();
                let sums = (0..pixels).flat_map(|_| biases.iter().copied()).collect();
                let (count, stride) = depthwise.rows;
                let window = [(source, stride), (pointers.weights, row_weights(depthwise))];
                let sums = emitter.carry(count, &window, sums, &mut |emitter, current, mut sums| {
                    emitter.depthwise_taps(depthwise, current[0], current[1], &mut sums);
                    sums
                });
                for (pixel, sums) in sums.chunks_exact(4).enumerate() {
                    let bytes = emitter.requantize(sums, pointers.tables, &depthwise.requantizer);
                    emitter.store_first(bytes, target, pixel * walk.target_column, channels);
                }
            });
        });
    }

    /// Adds all groups of taps to the sums of the pixels, four vectors each.
    fn depthwise_taps(&mut self, depthwise: &Depthwise, source: Value, weights: Value, sums: &mut [Value]) {
        let mut uses = Vec::new();
        for pixel in 0..sums.len() / 4 {
            for (group, taps) in depthwise.groups.iter().enumerate() {
                let at: Vec<usize> = taps.iter().map(|tap| tap + pixel * depthwise.walk.source_column).collect();
                uses.push((at, pixel, group));
            }
        }
        // Pixels that read the same taps read them once.
        uses.sort();
        let mut read: Option<(Vec<usize>, [Value; 4])> = None;
        for (at, pixel, group) in uses {
            let lanes = match &read {
                Some((last, lanes)) if *last == at => *lanes,
                Some(_) | None => self.depthwise_lanes(depthwise, source, &at),
            };
            read = Some((at, lanes));
            for (vector, (sum, lanes)) in sums[pixel * 4..].iter_mut().zip(lanes).enumerate() {
                let weights = self.load(I8X16, weights, (group * 4 + vector) * 16);
                *sum = if depthwise.dot4 { self.dot4(*sum, weights, lanes) } else { self.dot2(*sum, weights, lanes) };
            }
        }
    }

    /// The taps of 16 channels side by side, a channel in every lane of 32 bits.
    fn depthwise_lanes(&mut self, depthwise: &Depthwise, source: Value, taps: &[usize]) -> [Value; 4] {
        let loaded: Vec<Value> = taps.iter().map(|&at| self.load(I8X16, source, at)).collect();
        let tap = |emitter: &mut Self, index: usize| loaded.get(index).copied().unwrap_or_else(|| emitter.bytes(0));
        let first = self.interleave(&tap, 0);
        if depthwise.dot4 {
            let second = self.interleave(&tap, 2);
            let low = self.zip(first[0], second[0], 2);
            let high = self.zip(first[1], second[1], 2);
            return [low[0], low[1], high[0], high[1]];
        }
        [
            self.builder.ins().uwiden_low(first[0]),
            self.builder.ins().uwiden_high(first[0]),
            self.builder.ins().uwiden_low(first[1]),
            self.builder.ins().uwiden_high(first[1]),
        ]
    }

    /// Bytes of taps `first` and `first + 1` in turn: the lower and the upper eight channels.
    fn interleave(&mut self, tap: &dyn Fn(&mut Self, usize) -> Value, first: usize) -> [Value; 2] {
        let (a, b) = (tap(self, first), tap(self, first + 1));
        self.zip(a, b, 1)
    }

    /// Lanes of `width` bytes of two vectors in turn: from the lower and the upper halves.
    fn zip(&mut self, a: Value, b: Value, width: usize) -> [Value; 2] {
        let count = 16 / width;
        let half = |start: usize| -> Vec<u8> {
            (start..start + count / 2).flat_map(|lane| [lane as u8, (lane + count) as u8]).collect()
        };
        [self.lanes(a, b, width, &half(0)), self.lanes(a, b, width, &half(count / 2))]
    }
}

/// Bytes of the weights of all groups.
fn row_weights(depthwise: &Depthwise) -> usize {
    depthwise.groups.len() * 4 * 16
}
