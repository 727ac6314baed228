//! Convolution as dot products: tiles of a few pixels by up to 16 output channels.

use super::requantize::Tables;
use super::{Emitter, Pointers};
use crate::program::{BLOCK, Dense};
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::types::{I8X16, I32X4};

/// Bytes of a unit: what one 32-bit lane of a dot product takes.
const UNIT: usize = 4;

/// Windows of at most so many units are unrolled over all taps.
const UNROLLED_WINDOW: usize = 20;

/// Runs of at most so many units are unrolled.
const UNROLLED_RUN: usize = 24;

/// Units of a turn of the loop over a longer run.
const TURN: usize = 16;

/// A block of output channels.
#[derive(Clone, Copy)]
struct Block {
    /// Output channels, at most [`BLOCK`].
    channels: usize,
    /// Vectors of four channels.
    vectors: usize,
    /// Bytes of weights of a unit.
    unit: usize,
}

impl Block {
    fn new(channels: usize) -> Self {
        let vectors = channels.div_ceil(4);
        Self { channels, vectors, unit: vectors * 16 }
    }

    /// Pixels of a tile: as many as keep accumulators and operands in 16 registers.
    fn pixels(self) -> usize {
        match self.vectors {
            4 | 3 => 2,
            2 => 4,
            _ => 6,
        }
    }
}

impl Emitter<'_, '_> {
    pub(super) fn dense(&mut self, dense: &Dense) {
        let units = dense.taps[0].0 * dense.taps[1].0 * dense.units;
        let (full, rest) = (dense.channels / BLOCK, dense.channels % BLOCK);
        let slots = dense.channels.next_multiple_of(BLOCK);
        let block_bytes = units * Block::new(BLOCK).unit;
        let rest_bytes = if rest > 0 { units * Block::new(rest).unit } else { 0 };
        let tables = self.tables(&dense.requantizer);
        let groups = [
            (self.address(dense.source), dense.group_stride),
            (self.address(dense.target), dense.channels),
            (self.rom(dense.weights), full * block_bytes + rest_bytes),
            (self.rom(dense.biases), slots * 4),
            (tables.factors, slots * 8),
            (tables.terms, slots * 8),
        ];
        self.repeat(dense.groups, &groups, &mut |emitter, group| {
            let blocks = [
                (group[1], BLOCK),
                (group[2], block_bytes),
                (group[3], BLOCK * 4),
                (group[4], BLOCK * 8),
                (group[5], BLOCK * 8),
            ];
            let pointers = |values: &[Value]| Pointers {
                source: group[0],
                target: values[0],
                weights: values[1],
                biases: values[2],
                tables: Tables { factors: values[3], terms: values[4] },
            };
            emitter.repeat(full, &blocks, &mut |emitter, values| {
                emitter.block(dense, Block::new(BLOCK), pointers(values));
            });
            if rest > 0 {
                let values = blocks.map(|(pointer, stride)| emitter.plus(pointer, full * stride));
                emitter.block(dense, Block::new(rest), pointers(&values));
            }
        });
    }

    fn block(&mut self, dense: &Dense, block: Block, pointers: Pointers) {
        let walk = dense.walk;
        let pixels = block.pixels().min(walk.columns);
        let rows = [(pointers.source, walk.source_row), (pointers.target, walk.target_row)];
        self.repeat(walk.rows, &rows, &mut |emitter, row| {
            let columns = [(row[0], walk.source_column), (row[1], walk.target_column)];
            emitter.tiles(walk.columns, pixels, columns, &mut |emitter, [source, target]| {
                emitter.tile(dense, block, pixels, Pointers { source, target, ..pointers });
            });
        });
    }

    fn tile(&mut self, dense: &Dense, block: Block, pixels: usize, pointers: Pointers) {
        let biases: Vec<Value> =
            (0..block.vectors).map(|vector| self.load(I32X4, pointers.biases, vector * 16)).collect();
        let start: Vec<Value> = (0..pixels).flat_map(|_| biases.iter().copied()).collect();
        let sums = self.window(dense, block, pointers, start);
        for (pixel, sums) in sums.chunks_exact(block.vectors).enumerate() {
            let bytes = self.requantize(sums, pointers.tables, &dense.requantizer);
            self.store_first(bytes, pointers.target, pixel * dense.walk.target_column, block.channels);
        }
    }

    /// Adds all taps to the sums, pixel by pixel and within a pixel vector by vector.
    fn window(&mut self, dense: &Dense, block: Block, pointers: Pointers, mut sums: Vec<Value>) -> Vec<Value> {
        let [(outer, outer_stride), (inner, inner_stride)] = dense.taps;
        let Pointers { source, weights, .. } = pointers;
        if outer * inner * dense.units <= UNROLLED_WINDOW {
            for tap in 0..outer * inner {
                let at = tap / inner * outer_stride + tap % inner * inner_stride;
                let weights_at = tap * dense.units * block.unit;
                self.units(dense, block, dense.units, (source, at), (weights, weights_at), &mut sums);
            }
            return sums;
        }
        let mut carried = vec![weights];
        carried.extend(sums);
        let mut carried = self.carry(outer, &[(source, outer_stride)], carried, &mut |emitter, outer, carried| {
            emitter.carry(inner, &[(outer[0], inner_stride)], carried, &mut |emitter, inner, mut carried| {
                let mut sums = carried.split_off(1);
                sums = emitter.run(dense, block, inner[0], carried[0], sums);
                let mut next = vec![emitter.plus(carried[0], dense.units * block.unit)];
                next.extend(sums);
                next
            })
        });
        carried.split_off(1)
    }

    /// Adds one contiguous run.
    fn run(&mut self, dense: &Dense, block: Block, source: Value, weights: Value, mut sums: Vec<Value>) -> Vec<Value> {
        let turns = if dense.units <= UNROLLED_RUN { 0 } else { dense.units / TURN };
        let pointers = [(source, TURN * UNIT), (weights, TURN * block.unit)];
        sums = self.carry(turns, &pointers, sums, &mut |emitter, current, mut sums| {
            emitter.units(dense, block, TURN, (current[0], 0), (current[1], 0), &mut sums);
            sums
        });
        let done = turns * TURN;
        let rest = dense.units - done;
        self.units(dense, block, rest, (source, done * UNIT), (weights, done * block.unit), &mut sums);
        sums
    }

    /// Adds `units` units that follow each other.
    fn units(
        &mut self,
        dense: &Dense,
        block: Block,
        units: usize,
        (source, source_at): (Value, usize),
        (weights, weights_at): (Value, usize),
        sums: &mut [Value],
    ) {
        for first in (0..units).step_by(4) {
            let pixels: Vec<Value> = (0..sums.len() / block.vectors)
                .map(|pixel| {
                    let at = source_at + pixel * dense.walk.source_column + first * UNIT;
                    self.load(I8X16, source, at)
                })
                .collect();
            for unit in first..units.min(first + 4) {
                let lane = (unit - first) as u8;
                let vectors: Vec<Value> = (0..block.vectors)
                    .map(|vector| self.load(I8X16, weights, weights_at + unit * block.unit + vector * 16))
                    .collect();
                for (pixel, sums) in pixels.iter().zip(sums.chunks_exact_mut(block.vectors)) {
                    let broadcast = self.lanes(*pixel, *pixel, 4, &[lane; 4]);
                    for (sum, &weights) in sums.iter_mut().zip(&vectors) {
                        *sum = if dense.dot4 {
                            self.dot4(*sum, weights, broadcast)
                        } else {
                            self.dot2(*sum, weights, broadcast)
                        };
                    }
                }
            }
        }
    }
}
