//! A convolution whose weights come again and again: pixels walk under a tile of weights.
//!
//! The output rows are taken in blocks. For each block every tile of weights, those of the results that are computed
//! at once, passes over all its pixels while the next tile comes; the block's input rows stay in the window memory.
//! Results are put back into the order of the pixels in a buffer of two blocks: one is written while the other one
//! leaves. A block starts only when one of the two is free, so that what is computed always has its place.

use super::load::Loader;
use super::writer::Writer;
use super::{Computation, Window, WindowGeometry};
use crate::block::requantize::Requantizer;
use crate::rtl::build::{Builder, Level, add_modulo, advance, branch, by_counter, count, set, when};
use crate::rtl::engine::Step;
use crate::rtl::expr::{Expr, add, all, and, eq, lt, mux, not, or};
use crate::rtl::{Module, SignalId, Statement, Ty};

/// Blocks of output rows.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// Rows of a block.
    pub rows: u32,
    /// Rows of the last one.
    pub last: u32,
    /// Blocks of a frame.
    pub count: u32,
}

impl Blocks {
    /// Of an image of so many output rows.
    pub fn new(all: u32, rows: u32) -> Self {
        let count = all.div_ceil(rows);
        Self { rows, last: all - (count - 1) * rows, count }
    }

    /// A level that counts `unit`s of a row over the rows of a block, whose number is `block`'s.
    fn level(&self, b: &mut Builder, name: &str, unit: u32, block: &Level) -> Level {
        let level = Level::new(b, name, self.rows * unit);
        if self.last == self.rows {
            return level;
        }
        let [full, short] = [self.rows, self.last].map(|rows| i64::from(rows * unit) - 1);
        level.wrapping(Expr::Const(0), mux(block.at_end(), short, full))
    }
}

/// Places of results in the buffer of two blocks, in the order in which they are computed.
struct Places {
    place: SignalId,
    statements: Vec<Statement>,
    /// The last result of a block.
    complete: SignalId,
}

impl Window<'_> {
    /// The module of a convolution whose weights are streamed under blocks of rows.
    pub(super) fn generate_streamed(&self, blocks: Blocks) -> Module {
        let extent = self.extent;
        let WindowGeometry { input: [height, _, channels], output: [out_height, out_width, out_channels], .. } = extent;
        let folding = self.folding;
        let nest = self.nest();
        let rows = self.ring_rows();
        let mut b = Builder::new(self.name, self.summary.clone());
        let input = b.input("in", self.input.by(folding.lanes));
        let ty = self.output.by(folding.stream);
        let output = b.output("out", ty);

        // Rows are given back block by block.
        let writer = Writer::new(&mut b, &extent, channels / folding.lanes, rows);
        let has_place = lt(writer.rows_ahead, i64::from(rows));
        let filling = writer.connect(&mut b, input, has_place);

        // Reader, innermost level first: words, taps, columns, rows of a block, results, groups, blocks.
        let word = Level::new(&mut b, "word", nest.words);
        let tap = Level::new(&mut b, "tap", nest.taps);
        let mut column = Level::new(&mut b, "column", out_width);
        let block = Level::new(&mut b, "block", blocks.count);
        let mut row = blocks.level(&mut b, "row", 1, &block);
        let result = Level::new(&mut b, "result", nest.results);
        let mut group = Level::new(&mut b, "group", nest.groups);

        let top_of = |y: u32| i64::from(y * extent.strides[0]) - i64::from(extent.pads[0]);
        let left_of = |x: u32| i64::from(x * extent.strides[1]) - i64::from(extent.pads[1]);
        let left = b.register("left", Ty::range(left_of(0).min(0), left_of(out_width - 1).max(0)), left_of(0));
        let start_ring = (-i64::from(extent.pads[0])).rem_euclid(i64::from(rows));
        let walk = [
            Walk::new(&mut b, "y", Ty::holding(u64::from(out_height - 1)), 0),
            Walk::new(&mut b, "top", Ty::range(top_of(0).min(0), top_of(out_height - 1).max(0)), top_of(0)),
            Walk::new(&mut b, "ring", Ty::holding(u64::from(rows - 1)), start_ring),
        ];
        let [y, top, ring] = [walk[0].now, walk[1].now, walk[2].now];

        let (needs, freed) = self.rows_by_block(&blocks, top_of);
        let freed = b.wire("freed", by_counter(&block.value(), &freed));
        let available = filling.available(&mut b, &extent, left, by_counter(&y.into(), &needs));

        let (engine, engine_valid, engine_result) = b.engine("engine", self.engine_shape(), Vec::new());
        let steps = nest.steps();
        let tiles = self.tiles().expect("invariant: its weights come from outside");
        let tile_addresses = tiles.addresses;
        let loader = Loader::new(&mut b, engine, &self.engine_shape(), &tiles, true);

        // Blocks of the buffer that are free, and those that are complete.
        let free = b.register("free", Ty::holding(2), 2);
        let full = b.register("full", Ty::holding(2), 0);
        let opening = b.register("opening", Ty::BIT, 1);
        let first = (steps > 1).then(|| b.register("first", Ty::BIT, 1));
        let first_value = first.map_or(Expr::Const(1), Expr::Signal);
        let has_place = or(not(opening), not(eq(free, 0)));
        let start = b.wire("start", all([available.into(), loader.is_loaded(), has_place]));
        let issue = match first {
            Some(first) => b.wire("issue", or(not(first), start)),
            None => start,
        };
        let last = b.wire("last", and(word.at_end(), tap.at_end()));
        let tile_end = b.wire("tile_end", all([issue.into(), last.into(), column.at_end(), row.at_end()]));
        let block_end = b.wire("block_end", all([tile_end.into(), result.at_end(), group.at_end()]));

        // The tile's half of the weight memory, and the step in it.
        let half = b.register("half", Ty::BIT, 0);
        let address = b.register("address", Ty::holding(u64::from(2 * tile_addresses - 1)), 0);
        let start_of = |half: Expr| mux(half, i64::from(tile_addresses), 0);
        let advance_address = branch(
            last,
            vec![branch(
                tile_end,
                vec![set(half, not(half)), set(address, start_of(not(half)))],
                vec![set(address, start_of(half.into()))],
            )],
            vec![set(address, add(address, 1))],
        );

        let word_value = if nest.groups > 1 {
            let base = b.register("group_base", Ty::holding(u64::from(channels / folding.lanes - 1)), 0);
            group.on_step.push(set(base, add(base, i64::from(nest.words))));
            group.on_wrap.push(set(base, 0));
            add(base, word.value())
        } else {
            word.value()
        };
        let step = Step {
            ring: ring.into(),
            row: top.into(),
            column: left.into(),
            group: word_value,
            tap: tap.value(),
            address: address.into(),
            first: first_value.clone(),
            last: last.into(),
        };
        column.on_step.push(set(left, add(left, i64::from(extent.strides[1]))));
        column.on_wrap.push(set(left, left_of(0)));
        // A row further; from the last one of a frame, to the first of the next.
        let frame_end = block.at_end();
        let next_frame = i64::from(height) - i64::from((out_height - 1) * extent.strides[0]);
        let next_frame = next_frame.rem_euclid(i64::from(rows)) as u32;
        let further = [
            (add(y, 1), Expr::Const(0)),
            (add(top, i64::from(extent.strides[0])), Expr::Const(top_of(0))),
            (add_modulo(ring, extent.strides[0], rows), add_modulo(ring, next_frame, rows)),
        ];
        let (mut to_block, mut again) = (Vec::new(), Vec::new());
        for (walk, (on, over)) in walk.iter().zip(further) {
            row.on_step.push(set(walk.now, on.clone()));
            let next = mux(frame_end.clone(), over, on);
            to_block.extend([set(walk.now, next.clone()), set(walk.first, next)]);
            again.push(set(walk.now, walk.first));
        }
        row.on_wrap.push(branch(block_end, to_block, again));

        let mut issued = vec![Statement::Issue { engine, step }, advance_address, set(opening, block_end)];
        if let Some(first) = first {
            issued.push(set(first, last));
        }
        issued.extend(advance(vec![word, tap, column, row, result, group, block]));

        let [filled, counted] = filling.serve(engine, block_end, freed.into());
        let mut statements = vec![filled, when(issue, issued), counted];
        statements.extend(loader.serve(Some(tile_end)));

        let tiles = nest.groups * nest.results;
        let (push, data) = self.requantized(&mut b, &blocks, tiles, [engine_valid, engine_result], &mut statements);

        // Results in, block by block, and out.
        let words = out_channels / folding.stream;
        let block_words = blocks.rows * out_width * words;
        let buffer = b.memory("block_buffer", ty, 2 * block_words);
        let places = self.places(&mut b, &blocks, tiles, block_words);
        let mut pushed = vec![Statement::Write { memory: buffer, address: places.place.into(), data: data.into() }];
        pushed.extend(places.statements);
        statements.push(when(push, pushed));
        let written = b.wire("block_written", and(push, places.complete));

        let out_block = Level::new(&mut b, "out_block", blocks.count);
        let mut out_word = blocks.level(&mut b, "out_word", out_width * words, &out_block);
        let place = b.register("out_place", Ty::holding(u64::from(2 * block_words - 1)), 0);
        let other = b.register("out_half", Ty::BIT, 0);
        out_word.on_step.push(set(place, add(place, 1)));
        out_word.on_wrap.extend([set(other, not(other)), set(place, mux(other, 0, i64::from(block_words)))]);
        let take = b.wire("take", and(not(eq(full, 0)), or(not(output.valid), output.ready)));
        let left_block = b.wire("block_left", and(take, out_word.at_end()));
        let mut taken =
            vec![Statement::Read { memory: buffer, address: place.into(), into: output.data }, set(output.valid, 1)];
        taken.extend(advance(vec![out_word, out_block]));
        statements.push(branch(take, taken, vec![when(output.ready, vec![set(output.valid, 0)])]));
        let opened = and(issue, opening);
        statements.extend([count(free, left_block, opened), count(full, written, left_block)]);
        b.finish(statements)
    }

    /// For each output row the complete rows that its windows need beyond the first one of their block; for each block
    /// the rows that it gives back.
    fn rows_by_block(&self, blocks: &Blocks, top_of: impl Fn(u32) -> i64) -> (Vec<i64>, Vec<i64>) {
        let WindowGeometry { input: [height, ..], output: [out_height, ..], strides, .. } = self.extent;
        let span = self.extent.span(0).1;
        let base_of = |y: u32| top_of(y).clamp(0, i64::from(height));
        let needs = (0..out_height).map(|y| {
            let base = base_of(y / blocks.rows * blocks.rows);
            let bottom = (top_of(y) + span).min(i64::from(height) - 1);
            if bottom < base { -i64::from(height.max(strides[0])) - 1 } else { bottom - base }
        });
        let first = |block: u32| if block == blocks.count { i64::from(height) } else { base_of(block * blocks.rows) };
        (needs.collect(), (0..blocks.count).map(|block| first(block + 1) - first(block)).collect())
    }

    /// The requantizer behind the engine, whose results come tile by tile; `valid` and `data` of the results.
    fn requantized(
        &self,
        b: &mut Builder,
        blocks: &Blocks,
        tiles: u32,
        [valid, result]: [SignalId; 2],
        statements: &mut Vec<Statement>,
    ) -> (SignalId, SignalId) {
        let folding = self.folding;
        let Computation::Convolution { parameters, .. } = &self.computation else {
            unreachable!("only convolutions have weights that are streamed")
        };
        let accumulator = self.accumulator.by(folding.stream);
        let requantizer = Requantizer::new(b, parameters, accumulator, self.output, self.multiplier_width);
        let beats = folding.outputs / folding.stream;
        let mut nest = None;
        if requantizer.is_addressed() {
            let block = Level::new(b, "channel_block", blocks.count);
            let pixel = blocks.level(b, "channel_pixel", self.extent.output[1], &block);
            let mut tile = Level::new(b, "channel_tile", tiles);
            let base = b.register("channel_base", Ty::holding(u64::from(tiles * beats - 1)), 0);
            tile.on_step.push(set(base, add(base, i64::from(beats))));
            tile.on_wrap.push(set(base, 0));
            nest = Some((base, vec![pixel, tile, block]));
        }
        let each = |beat: &mut Level| {
            let Some((base, levels)) = nest else { return (Expr::Const(0), Vec::new()) };
            beat.on_wrap.extend(advance(levels));
            (add(base, beat.value()), Vec::new())
        };
        statements.extend(self.launched(b, &requantizer, [valid, result], each));
        (requantizer.valid, requantizer.result)
    }

    /// Where results go: beat by beat, pixel by pixel, tile by tile, block by block.
    fn places(&self, b: &mut Builder, blocks: &Blocks, tiles: u32, block_words: u32) -> Places {
        let beats = self.folding.outputs / self.folding.stream;
        let ty = Ty::holding(u64::from(2 * block_words - 1));
        let mut beat = Level::new(b, "place_beat", beats);
        let block = Level::new(b, "place_block", blocks.count);
        let mut pixel = blocks.level(b, "place_pixel", self.extent.output[1], &block);
        let mut tile = Level::new(b, "place_tile", tiles);
        let place = b.register("place", ty, 0);
        let tile_place = b.register("tile_place", ty, 0);
        let half = b.register("place_half", Ty::BIT, 0);
        let complete = all([beat.at_end(), pixel.at_end(), tile.at_end()]);
        let complete = b.wire("place_last", complete);
        beat.on_step.push(set(place, add(place, 1)));
        // To the next pixel's words of the same tile.
        pixel.on_step.push(set(place, add(place, i64::from(tiles * beats - beats + 1))));
        let next_tile = add(tile_place, i64::from(beats));
        tile.on_step.extend([set(place, next_tile.clone()), set(tile_place, next_tile)]);
        let other = mux(half, 0, i64::from(block_words));
        tile.on_wrap.extend([set(place, other.clone()), set(tile_place, other), set(half, not(half))]);
        let statements = advance(vec![beat, pixel, tile, block]);
        Places { place, statements, complete }
    }
}

/// A number that goes on from row to row, and goes back to the block's first row for each tile.
struct Walk {
    now: SignalId,
    first: SignalId,
}

impl Walk {
    fn new(b: &mut Builder, name: &str, ty: Ty, reset: i64) -> Self {
        Self { now: b.register(name, ty, reset), first: b.register(&format!("block_{name}"), ty, reset) }
    }
}
