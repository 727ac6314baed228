//! Pools: blocks of 16 channels, one pixel at a time.

use super::Emitter;
use crate::program::{BLOCK, Pool, Pooling, Requantizer};
use cranelift_codegen::ir::types::I8X16;
use cranelift_codegen::ir::{InstBuilder, Value};

/// Windows of at most so many taps are unrolled.
const UNROLLED: usize = 9;

/// Bytes that a 16-bit lane can sum.
const NARROW_SUM: usize = 257;

impl Emitter<'_, '_> {
    pub(super) fn pool(&mut self, pool: &Pool) {
        let (full, rest) = (pool.channels / BLOCK, pool.channels % BLOCK);
        let blocks = [(self.address(pool.source), BLOCK), (self.address(pool.target), BLOCK)];
        self.repeat(full, &blocks, &mut |emitter, values| emitter.pool_block(pool, BLOCK, values[0], values[1]));
        if rest > 0 {
            let [source, target] = blocks.map(|(pointer, stride)| self.plus(pointer, full * stride));
            self.pool_block(pool, rest, source, target);
        }
    }

    fn pool_block(&mut self, pool: &Pool, channels: usize, source: Value, target: Value) {
        let walk = pool.walk;
        self.repeat(walk.rows, &[(source, walk.source_row), (target, walk.target_row)], &mut |emitter, row| {
            let columns = [(row[0], walk.source_column), (row[1], walk.target_column)];
            emitter.repeat(walk.columns, &columns, &mut |emitter, pixel| {
                let bytes = match &pool.pooling {
                    Pooling::Max => emitter.maximum(pool, pixel[0]),
                    Pooling::Sum { bias, requantizer } => emitter.mean(pool, pixel[0], *bias, requantizer),
                };
                emitter.store_first(bytes, pixel[1], 0, channels);
            });
        });
    }

    fn maximum(&mut self, pool: &Pool, source: Value) -> Value {
        let [(outer, outer_stride), (inner, inner_stride)] = pool.taps;
        if outer * inner <= UNROLLED {
            let mut largest = self.load(I8X16, source, 0);
            for tap in 1..outer * inner {
                let tap = self.load(I8X16, source, tap / inner * outer_stride + tap % inner * inner_stride);
                largest = self.builder.ins().umax(largest, tap);
            }
            return largest;
        }
        let start = vec![self.bytes(0)];
        let result = self.carry(outer, &[(source, outer_stride)], start, &mut |emitter, outer, largest| {
            emitter.carry(inner, &[(outer[0], inner_stride)], largest, &mut |emitter, inner, largest| {
                let tap = emitter.load(I8X16, inner[0], 0);
                vec![emitter.builder.ins().umax(largest[0], tap)]
            })
        });
        result[0]
    }

    fn mean(&mut self, pool: &Pool, source: Value, bias: i32, requantizer: &Requantizer) -> Value {
        let [(outer, outer_stride), (inner, inner_stride)] = pool.taps;
        let start = vec![self.integers(bias); 4];
        let sums = self.carry(outer, &[(source, outer_stride)], start, &mut |emitter, outer, mut sums| {
            // Sum in 16-bit lanes as long as they hold it.
            let pieces = inner.div_ceil(NARROW_SUM);
            for piece in 0..pieces {
                let first = piece * NARROW_SUM;
                let start = emitter.plus(outer[0], first * inner_stride);
                let zero = vec![emitter.words(0); 2];
                let count = (inner - first).min(NARROW_SUM);
                let words = emitter.carry(count, &[(start, inner_stride)], zero, &mut |emitter, inner, words| {
                    let tap = emitter.load(I8X16, inner[0], 0);
                    let low = emitter.builder.ins().uwiden_low(tap);
                    let high = emitter.builder.ins().uwiden_high(tap);
                    vec![emitter.builder.ins().iadd(words[0], low), emitter.builder.ins().iadd(words[1], high)]
                });
                let wide = [
                    emitter.builder.ins().uwiden_low(words[0]),
                    emitter.builder.ins().uwiden_high(words[0]),
                    emitter.builder.ins().uwiden_low(words[1]),
                    emitter.builder.ins().uwiden_high(words[1]),
                ];
                for (sum, wide) in sums.iter_mut().zip(wide) {
                    *sum = emitter.builder.ins().iadd(*sum, wide);
                }
            }
            sums
        });
        let tables = self.tables(requantizer);
        self.requantize(&sums, tables, requantizer)
    }
}
