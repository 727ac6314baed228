//! A convolution whose weights come again and again: pixels walk under a tile of weights.
//!
//! The output rows are taken in blocks. For each block every tile of weights, those of the results that are computed
//! at once, passes over all its pixels while the next tile comes; the block's input rows stay in the window memory.
//! Results are put back into the order of the pixels in a buffer of one block ([`Transposed`]): the places of a block
//! that leaves are those of the next. A result is computed only when a place is free for it.

use super::load::Loader;
use super::transposed::Transposed;
use super::writer::Writer;
use super::{Computation, Window, WindowGeometry};
use crate::block::requantize::Requantizer;
use crate::rtl::build::{Builder, Level, add_modulo, advance, branch, by_counter, count, set, side_by_side, when};
use crate::rtl::engine::Step;
use crate::rtl::expr::{Expr, add, all, and, eq, lt, mux, not, or};
use crate::rtl::{Module, SignalId, Statement, Ty};

/// Blocks of output rows.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// Rows of a block.
    pub rows: u32,
    /// Blocks of a frame.
    pub count: u32,
}

impl Blocks {
    /// Of an image of so many output rows, which those of a block divide.
    pub fn new(all: u32, rows: u32) -> Self {
        Self { rows, count: all / rows }
    }
}

impl Window<'_> {
    /// The module of a convolution whose weights are streamed under blocks of rows.
    pub(super) fn generate_streamed(&self, blocks: Blocks) -> Module {
        let extent = self.extent;
        let WindowGeometry { input: [height, _, channels], output: [out_height, out_width, _], .. } = extent;
        let folding = self.folding;
        let nest = self.nest();
        let rows = self.ring_rows();
        let mut b = Builder::new(self.name, self.summary.clone());
        let input = b.input("in", self.input.by(folding.lanes));
        let ty = self.output.by(folding.stream);
        let output = b.output("out", ty);

        // Rows are given back block by block.
        let (needs, frees) = self.rows_by_block(&blocks);
        let ends = needs.chunks_exact(blocks.rows as usize).map(|needs| needs[needs.len() - 1]);
        let least = extent.least_ahead(ends.zip(&frees).map(|(needed, &freed)| [needed, freed]));
        let writer = Writer::new(&mut b, &extent, channels / folding.lanes, rows, least);
        let has_place = lt(writer.rows_ahead, i64::from(rows));
        let filling = writer.connect(&mut b, input, has_place);

        // Reader, innermost level first: words, taps, columns, rows of a block, results, groups, blocks.
        let word = Level::new(&mut b, "word", nest.words);
        let tap = Level::new(&mut b, "tap", nest.taps);
        let mut column = Level::new(&mut b, "column", out_width);
        let block = Level::new(&mut b, "block", blocks.count);
        let mut row = Level::new(&mut b, "row", blocks.rows);
        let result = Level::new(&mut b, "result", nest.results);
        let mut group = Level::new(&mut b, "group", nest.groups);

        let left_of = |x: u32| extent.left(x);
        let left = b.register("left", Ty::range(left_of(0).min(0), left_of(out_width - 1).max(0)), left_of(0));
        let start_ring = (-i64::from(extent.pads[0])).rem_euclid(i64::from(rows));
        let mut walk = |name: &str, ty: Ty, reset: i64| Walk::new(&mut b, name, ty, reset, &blocks);
        let ring = walk("ring", Ty::holding(u64::from(rows - 1)), start_ring);
        let top_of = |y: u32| extent.top(y);
        let top_ty = Ty::range(top_of(0).min(0), top_of(out_height - 1).max(0));
        let top = walk("top", top_ty, top_of(0));
        let varies = blocks.rows > 1 && needs.iter().any(|&needed| needed != needs[0]);
        let y = varies.then(|| walk("y", Ty::holding(u64::from(out_height - 1)), 0));

        let freed = b.wire("freed", by_counter(&block.value(), &frees));
        let row_number = y.as_ref().map_or_else(|| block.value(), |y| y.now.into());
        let rows_needed =
            if blocks.rows > 1 && y.is_none() { needs[0].into() } else { by_counter(&row_number, &needs) };
        let available = filling.available(&mut b, &extent, left, rows_needed);

        let (engine, engine_valid, engine_result) = b.engine("engine", self.engine_shape(), Vec::new());
        let steps = nest.steps();
        let tiles = self.tiles().expect("invariant: its weights come from outside");
        let tile_addresses = tiles.addresses;
        let loader = Loader::new(&mut b, engine, &self.engine_shape(), &tiles, true);

        // Places of results that are free, and whether a block is complete.
        let beats = folding.outputs / folding.stream;
        let transposed = Transposed { tiles: nest.groups * nest.results, pixels: blocks.rows * out_width, beats };
        let places = transposed.words() / beats;
        let free = b.register("free", Ty::holding(places.into()), places.into());
        let complete = b.register("complete", Ty::BIT, 0);
        let first = (steps > 1).then(|| b.register("first", Ty::BIT, 1));
        let first_value = first.map_or(Expr::Const(1), Expr::Signal);
        let start = b.wire("start", all([available.into(), loader.is_loaded(), not(eq(free, 0))]));
        let issue = match first {
            Some(first) => b.wire("issue", or(not(first), start)),
            None => start,
        };
        let last = b.wire("last", and(word.at_end(), tap.at_end()));
        let tile_end = b.wire("tile_end", all([issue.into(), last.into(), column.at_end(), row.at_end()]));
        let block_end = b.wire("block_end", all([tile_end.into(), result.at_end(), group.at_end()]));

        // The tile's half of the weight memory, and the step in it.
        let half = b.register("half", Ty::BIT, 0);
        let levels = [(word.value(), nest.words), (tap.value(), nest.taps), (half.into(), 2)];
        let mut changed_half = vec![set(half, not(half))];
        let numbered = side_by_side(&levels).filter(|_| nest.steps() == tile_addresses);
        let (address, advance_address) = match numbered {
            Some(address) => (address, when(and(last, tile_end), changed_half)),
            None => {
                let address = b.register("address", Ty::holding(u64::from(2 * tile_addresses - 1)), 0);
                let start_of = |half: Expr| mux(half, i64::from(tile_addresses), 0);
                changed_half.push(set(address, start_of(not(half))));
                let to_start = branch(tile_end, changed_half, vec![set(address, start_of(half.into()))]);
                (address.into(), branch(last, vec![to_start], vec![set(address, add(address, 1))]))
            }
        };

        let word_value = if nest.groups > 1 {
            add(group.times(&mut b, "group_base", nest.words), word.value())
        } else {
            word.value()
        };
        let step = Step {
            ring: ring.now.into(),
            row: top.now.into(),
            column: left.into(),
            group: word_value,
            tap: tap.value(),
            address,
            last: last.into(),
        };
        column.on_step.push(set(left, add(left, i64::from(extent.strides[1]))));
        column.on_wrap.push(set(left, left_of(0)));
        // A row further; from the last one of a frame, to the first of the next.
        let frame_end = block.at_end();
        let next_frame = i64::from(height) - i64::from((out_height - 1) * extent.strides[0]);
        let next_frame = next_frame.rem_euclid(i64::from(rows)) as u32;
        let mut further = vec![
            (&ring, add_modulo(ring.now, extent.strides[0], rows), add_modulo(ring.now, next_frame, rows)),
            (&top, add(top.now, i64::from(extent.strides[0])), top_of(0).into()),
        ];
        further.extend(y.iter().map(|y| (y, add(y.now, 1), 0.into())));
        let (mut to_block, mut again) = (Vec::new(), Vec::new());
        for (walk, on, over) in further {
            row.on_step.push(set(walk.now, on.clone()));
            let next = if on == over { on } else { mux(frame_end.clone(), over, on) };
            to_block.push(set(walk.now, next.clone()));
            if let Some(first) = walk.first {
                to_block.push(set(first, next));
                again.push(set(walk.now, first));
            }
        }
        row.on_wrap.push(branch(block_end, to_block, again));

        let mut issued = vec![Statement::Issue { engine, step }, advance_address];
        if let Some(first) = first {
            issued.push(set(first, last));
        }
        issued.extend(advance(vec![word, tap, column, row, result, group, block]));

        let [filled, counted] = filling.serve(engine, block_end, freed.into());
        let mut statements = vec![filled, when(issue, issued), counted];
        statements.extend(loader.serve(Some(tile_end)));

        let (push, data) = self.requantized(&mut b, &transposed, [engine_valid, engine_result], &mut statements);

        // Results in, tile by tile, and out, pixel by pixel.
        let buffer = b.memory("block_buffer", ty, transposed.words());
        let entering = transposed.walk(&mut b, "place", false);
        let written = b.wire("written", and(push, entering.end.clone()));
        let mut pushed = vec![Statement::Write { memory: buffer, address: entering.place.clone(), data: data.into() }];
        pushed.extend(entering.advance());
        statements.push(when(push, pushed));

        let leaving = transposed.walk(&mut b, "out_place", true);
        let take = b.wire("take", and(complete, or(not(output.valid), output.ready)));
        let left = b.wire("left_block", and(take, leaving.end.clone()));
        let given_back = b.wire("given_back", and(take, leaving.result_end.clone()));
        let read = Statement::Read { memory: buffer, address: leaving.place.clone(), into: output.data };
        let mut taken = vec![read, set(output.valid, 1)];
        taken.extend(leaving.advance());
        statements.push(branch(take, taken, vec![when(output.ready, vec![set(output.valid, 0)])]));
        statements.push(count(free, given_back, and(issue, first_value)));
        statements.push(branch(written, vec![set(complete, 1)], vec![when(left, vec![set(complete, 0)])]));
        b.finish(statements)
    }

    /// For each output row the complete rows that its windows need beyond the first one of their block; for each block
    /// the rows that it gives back.
    fn rows_by_block(&self, blocks: &Blocks) -> (Vec<i64>, Vec<i64>) {
        let WindowGeometry { input: [height, ..], output: [out_height, ..], strides, .. } = self.extent;
        let span = self.extent.span(0).1;
        let top_of = |y: u32| self.extent.top(y);
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
        results: &Transposed,
        [valid, result]: [SignalId; 2],
        statements: &mut Vec<Statement>,
    ) -> (SignalId, SignalId) {
        let folding = self.folding;
        let Computation::Convolution { parameters, .. } = &self.computation else {
            unreachable!("only convolutions have weights that are streamed")
        };
        let accumulator = self.accumulator.by(folding.stream);
        let requantizer = Requantizer::new(b, parameters, accumulator, self.output, self.hard.widths[0]);
        let Transposed { tiles, pixels, beats } = *results;
        let mut nest = None;
        if requantizer.is_addressed() {
            let pixel = Level::new(b, "channel_pixel", pixels);
            let mut tile = Level::new(b, "channel_tile", tiles);
            let base = tile.times(b, "channel_base", beats);
            nest = Some((base, vec![pixel, tile]));
        }
        let each = |beat: &mut Level| {
            let Some((base, levels)) = nest else { return (Expr::Const(0), Vec::new()) };
            beat.on_wrap.extend(advance(levels));
            (add(base, beat.value()), Vec::new())
        };
        statements.extend(self.launched(b, &requantizer, [valid, result], each));
        (requantizer.valid, requantizer.result)
    }
}

/// A number that goes on from row to row, and goes back to the block's first row for each tile.
struct Walk {
    now: SignalId,
    /// None in blocks of one row.
    first: Option<SignalId>,
}

impl Walk {
    fn new(b: &mut Builder, name: &str, ty: Ty, reset: i64, blocks: &Blocks) -> Self {
        let now = b.register(name, ty, reset);
        let first = (blocks.rows > 1).then(|| b.register(&format!("block_{name}"), ty, reset));
        Self { now, first }
    }
}
