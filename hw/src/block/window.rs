//! Convolution and pooling: a window memory, an engine, a requantizer and a queue.
//!
//! The writer fills the ring of rows with the input stream; the reader walks over the output
//! positions and issues a window as soon as its last pixel is there and the queue has room for
//! the result. Both run at the same time; pixels of the first row that an output row gives back
//! are the writer's when the reader has passed them, those of others at the end of the row.
//!
//! Where a second stream moves the taps ([`Displacement`]), a window's taps are read one at a
//! time, and a row is needed as long as any offset within reach could lead to it.
//!
//! Weights are constants of the circuit, or come from outside: once after a reset, before the first window, or tile by
//! tile for every block of rows (`streamed`).

mod displaced;
mod folding;
mod geometry;
mod load;
mod outside;
mod streamed;
mod transposed;
mod writer;

use super::fifo::CreditFifo;
use super::requantize::{Parameters, Requantizer};
use crate::family::HardMultiplier;
use crate::rtl::build::{Builder, Level, add_modulo, advance, branch, by_counter, set, side_by_side, when};
use crate::rtl::engine::{EngineShape, Pairing, ParallelTaps, Products, Reduce, Step};
use crate::rtl::expr::{Expr, add, all, and, eq, lt, mux, not, or, sub};
use crate::rtl::{Module, SignalId, Statement, Ty};
use displaced::{Decision, Displacer, Placement, wrapped};
pub use folding::{Bus, Folding, Port, WeightSource};
pub use geometry::{Displacement, WindowGeometry};
use load::Loader;
pub use outside::WeightSupply;
pub use streamed::Blocks;
use writer::Writer;

/// What is computed over a window.
#[derive(Clone, Debug)]
pub enum Computation<'a> {
    /// Convolution with `groups` groups, weights `[o, kh, kw, i / groups]`.
    Convolution {
        /// Channel groups.
        groups: u32,
        /// Weights in row-major order; `None` makes a module without them, which only serves to
        /// be counted.
        weights: Option<&'a [i32]>,
        /// Width of a weight.
        weight_bits: u32,
        /// No weight is the least of its width.
        symmetric: bool,
        /// Bias and requantization.
        parameters: Parameters<'a>,
    },
    /// Sum over the window, requantized.
    Sum(Parameters<'a>),
    /// Maximum over the window.
    Max,
}

/// A window operation to generate.
#[derive(Clone, Debug)]
pub struct Window<'a> {
    /// Name of the module.
    pub name: &'a str,
    /// One line about it.
    pub summary: String,
    /// Sizes.
    pub extent: WindowGeometry,
    /// Folding.
    pub folding: Folding,
    /// What is computed.
    pub computation: Computation<'a>,
    /// What positions outside the image read.
    pub pad_value: i64,
    /// Lane type of the input.
    pub input: Ty,
    /// Lane type of the offsets stream; that of the input where there is none.
    pub offsets: Ty,
    /// Lane type of the output.
    pub output: Ty,
    /// Lane type of the accumulators; holds every partial sum.
    pub accumulator: Ty,
    /// Hardware multipliers.
    pub hard: HardMultiplier,
}

/// The taps of a window.
enum Taps {
    /// Where the step number says.
    Fixed(Level),
    /// Where offsets say.
    Displaced(Box<Displacer>),
}

/// Counts that follow from extent, folding and computation.
struct Nest {
    /// Words that one result reads per tap step.
    words: u32,
    /// Tap steps of a window.
    taps: u32,
    /// Results of a convolution group (or of all channels without groups).
    results: u32,
    /// Convolution groups with words of their own.
    groups: u32,
    /// Depthwise: each result reads a word of its own.
    depthwise: bool,
}

impl Nest {
    /// Of a convolution with so many groups, or of a pool.
    fn new(extent: &WindowGeometry, folding: &Folding, groups: Option<u32>) -> Self {
        let WindowGeometry { input: [_, _, channels], output: [_, _, outputs], kernel, .. } = *extent;
        let taps = match folding.parallel {
            ParallelTaps::One => kernel[0] * kernel[1],
            ParallelTaps::Row => kernel[0],
            ParallelTaps::All => 1,
        };
        match groups {
            Some(groups) if !extent.is_depthwise(groups) => Self {
                words: channels / groups / folding.lanes,
                taps,
                results: outputs / groups / folding.outputs,
                groups,
                depthwise: false,
            },
            _ => Self { words: 1, taps, results: channels / folding.lanes, groups: 1, depthwise: true },
        }
    }

    /// Steps of one result.
    fn steps(&self) -> u32 {
        self.words * self.taps
    }
}

/// Rows of the window memory of a folded convolution with so many groups, or of a pool.
pub fn ring_rows(extent: &WindowGeometry, folding: &Folding, groups: Option<u32>) -> u32 {
    if let WeightSource::Streamed { rows, .. } = folding.source {
        return extent.block_rows(Blocks::new(extent.output[0], rows));
    }
    let nest = Nest::new(extent, folding, groups);
    extent.ring_rows(extent.input[2] / folding.lanes, nest.groups * nest.results * nest.steps())
}

impl Window<'_> {
    /// Channel groups of a convolution.
    fn groups(&self) -> Option<u32> {
        match self.computation {
            Computation::Convolution { groups, .. } => Some(groups),
            Computation::Sum(_) | Computation::Max => None,
        }
    }

    fn nest(&self) -> Nest {
        Nest::new(&self.extent, &self.folding, self.groups())
    }

    fn ring_rows(&self) -> u32 {
        ring_rows(&self.extent, &self.folding, self.groups())
    }

    fn reduce(&self, nest: &Nest) -> Reduce {
        self.reduce_with(match self.folding.source {
            WeightSource::Constant | WeightSource::Loaded(_) => nest.groups * nest.results * nest.steps(),
            WeightSource::Streamed { .. } => 2 * self.tile_addresses(nest),
        })
    }

    /// The reduction with a weight memory of so many addresses.
    fn reduce_with(&self, addresses: u32) -> Reduce {
        let nest = self.nest();
        match self.computation {
            Computation::Convolution { weight_bits, symmetric, .. } => {
                let Folding { outputs, pattern, multiplier, weight_memory, source, .. } = self.folding;
                let loaded = source.bus().map(|bus| bus.bytes);
                let products = Products {
                    weight_bits,
                    addresses,
                    multiplier,
                    pairing: Pairing::separate(self.input, weight_bits),
                    chain: 1,
                    memory: weight_memory,
                    loaded,
                };
                let taps = self.extent.kernel[0] * self.extent.kernel[1] / nest.taps;
                let elements = if nest.depthwise { taps } else { taps * self.folding.lanes };
                let terms = pattern.map_or(elements, |pattern| pattern.kept_of(elements));
                let products = products.arranged(self.input, symmetric, terms, self.hard);
                if nest.depthwise {
                    Reduce::Depthwise { products }
                } else {
                    Reduce::Dense { outputs, pattern, products }
                }
            }
            Computation::Sum(_) => Reduce::Sum,
            Computation::Max => Reduce::Max,
        }
    }

    /// The engine without its weights.
    pub fn engine_shape(&self) -> EngineShape {
        self.shape_with(self.reduce(&self.nest()))
    }

    fn shape_with(&self, reduce: Reduce) -> EngineShape {
        let WindowGeometry { input: [height, width, channels], kernel, dilations, displacement, .. } = self.extent;
        // A moved tap is a window of its own.
        let (kernel, dilations) = if displacement.is_some() { ([1, 1], [1, 1]) } else { (kernel, dilations) };
        EngineShape {
            word: self.input.by(self.folding.lanes),
            rows: self.ring_rows(),
            columns: width,
            groups: channels / self.folding.lanes,
            image_rows: height,
            kernel,
            dilations,
            leaves: self.extent.leaves(),
            pad_value: self.pad_value,
            parallel: self.folding.parallel,
            reduce,
            accumulator: self.accumulator,
            steps: self.nest().steps(),
            large_from: self.folding.large_from,
        }
    }

    /// The weights in the engine's order.
    fn ordered_weights(&self, nest: &Nest) -> Vec<i16> {
        let WindowGeometry { input: [_, _, channels], kernel: [height, width], .. } = self.extent;
        let Folding { lanes, outputs, .. } = self.folding;
        let Computation::Convolution { groups, weights: Some(weights), .. } = self.computation else {
            return Vec::new();
        };
        let group_channels = channels / groups;
        let taps = height * width / nest.taps;
        let weight = |output: u32, tap: u32, channel: u32| {
            weights[((output * height * width + tap) * group_channels + channel) as usize] as i16
        };
        let mut ordered = Vec::with_capacity(weights.len());
        if nest.depthwise {
            for result in 0..nest.results {
                for tap in 0..height * width {
                    ordered.extend((0..lanes).map(|lane| weight(result * lanes + lane, tap, 0)));
                }
            }
            return ordered;
        }
        for result in 0..nest.groups * nest.results {
            for step in 0..nest.taps {
                for word in 0..nest.words {
                    for output in 0..outputs {
                        for tap in 0..taps {
                            ordered.extend(
                                (0..lanes).map(|lane| {
                                    weight(result * outputs + output, step * taps + tap, word * lanes + lane)
                                }),
                            );
                        }
                    }
                }
            }
        }
        ordered
    }

    /// Depth of the queue behind the results: what is under way, so that steps are issued without
    /// a gap.
    pub fn queue_depth(&self, engine_latency: u32, requantizer_latency: u32) -> u32 {
        let beats = self.folding.outputs / self.folding.stream;
        let steps = self.nest().steps();
        let displacing = self.extent.displacement.map_or(0, |_| displaced::STAGES);
        let latency = steps + displacing + engine_latency + beats + requantizer_latency + 4;
        ((latency.div_ceil(steps) + 1) * beats).next_power_of_two().max(4)
    }

    /// For each output row, complete rows that its windows need beyond the first one, and rows
    /// that are not needed after them.
    fn rows_by_output(&self) -> [Vec<i64>; 2] {
        let top_of = |y: u32| self.extent.top(y);
        let WindowGeometry { input: [height, ..], output: [out_height, ..], strides, .. } = self.extent;
        let span = self.extent.span(0).1;
        let base_of = |y: u32| top_of(y).clamp(0, i64::from(height));
        let needs = (0..out_height).map(|y| {
            let bottom = (top_of(y) + span).min(i64::from(height) - 1);
            if bottom < base_of(y) { -i64::from(height.max(strides[0])) - 1 } else { bottom - base_of(y) }
        });
        let freed =
            (0..out_height).map(|y| if y + 1 == out_height { i64::from(height) } else { base_of(y + 1) } - base_of(y));
        [needs.collect(), freed.collect()]
    }

    /// Statements that give results of the engine to the requantizer, as many lanes at a time as the stream has.
    /// `each` says of the beats of a result what channel one has, and what else happens with it; it may add to where
    /// their number wraps.
    fn launched(
        &self,
        b: &mut Builder,
        requantizer: &Requantizer,
        [valid, result]: [SignalId; 2],
        each: impl FnOnce(&mut Level) -> (Expr, Vec<Statement>),
    ) -> Vec<Statement> {
        let Folding { outputs, stream, .. } = self.folding;
        let held = (outputs > stream).then(|| {
            let hold = b.data_register("hold", self.accumulator.by(outputs));
            (hold, b.register("draining", Ty::BIT, 0))
        });
        let mut beat = Level::new(b, "beat", outputs / stream);
        let (channel, along) = each(&mut beat);
        let Some((hold, draining)) = held else {
            let mut launch = vec![requantizer.launch(result.into(), channel)];
            launch.extend(along);
            launch.extend(advance(vec![beat]));
            return vec![when(valid, launch)];
        };
        let slice = Expr::SliceAt { signal: hold, index: Box::new(beat.value()), lanes: stream };
        let mut drain = vec![requantizer.launch(slice, channel)];
        drain.extend(along);
        beat.on_wrap.push(set(draining, valid));
        drain.extend(advance(vec![beat]));
        vec![branch(draining, drain, vec![when(valid, vec![set(draining, 1)])]), when(valid, vec![set(hold, result)])]
    }

    /// The module.
    pub fn generate(&self) -> Module {
        if let WeightSource::Streamed { rows, .. } = self.folding.source {
            return self.generate_streamed(Blocks::new(self.extent.output[0], rows));
        }
        let extent = self.extent;
        let WindowGeometry { input: [height, _, channels], output: [out_height, out_width, out_channels], .. } = extent;
        let folding = self.folding;
        let nest = self.nest();
        let rows = self.ring_rows();
        let word_count = channels / folding.lanes;
        let mut b = Builder::new(self.name, self.summary.clone());
        let input = b.input("in", self.input.by(folding.lanes));
        let displacer =
            extent.displacement.map(|displacement| Displacer::new(&mut b, &extent, displacement, self.offsets));

        let [needs, frees] = self.rows_by_output();
        let least = match extent.displacement {
            Some(_) => extent.least_ahead([[-1, 0]]),
            None => extent.least_ahead(needs.iter().zip(&frees).map(|(&needed, &freed)| [needed, freed])),
        };

        // Writer.
        let writer = Writer::new(&mut b, &extent, word_count, rows, least);
        let rows_ahead = writer.rows_ahead;
        // `rows_ahead` minus rows reserved for windows already issued.
        let rows_kept = if displacer.is_some() {
            let ty = b.ty(&rows_ahead.into());
            b.register("rows_kept", ty, 0)
        } else {
            rows_ahead
        };
        // Reader.
        let word = Level::new(&mut b, "word", nest.words);
        let taps = match displacer {
            None => Taps::Fixed(Level::new(&mut b, "tap", nest.taps)),
            Some(displacer) => Taps::Displaced(Box::new(displacer)),
        };
        let result = Level::new(&mut b, "result", nest.results);
        let mut group = Level::new(&mut b, "group", nest.groups);
        let mut column = Level::new(&mut b, "column", out_width);
        let mut row = Level::new(&mut b, "row", out_height);

        let left_of = |x: u32| extent.left(x);
        let top_of = |y: u32| extent.top(y);
        let top_ty = Ty::range(top_of(0).min(0), top_of(out_height - 1).max(0));
        let top = b.register("top", top_ty, top_of(0));
        let left = b.register("left", Ty::range(left_of(0).min(0), left_of(out_width - 1).max(0)), left_of(0));
        let ring_ty = Ty::holding(u64::from(rows - 1));
        let row_at_end = row.at_end();
        // Where windows begin in the ring; the first row that they need, complete rows needed
        // beyond it, and rows that the last window of an output row frees.
        let (ring, base, rows_needed, freed) = if extent.displacement.is_some() {
            let ring = b.register("ring", ring_ty, 0);
            let (first, last) = extent.span(0);
            let [from, to] = [(first, 0, height.into()), (last, -1, i64::from(height) - 1)];
            // Registers, because whether a window may start hangs on them.
            let mut bound = |name: &str, (by, lo, hi): (i64, i64, i64)| {
                let register = b.register(name, Ty::range(lo, hi), (top_of(0) + by).clamp(lo, hi));
                let next = Expr::Clamp(Box::new(add(top, i64::from(extent.strides[0]) + by)), lo, hi);
                row.on_step.push(set(register, next.clone()));
                row.on_wrap.push(set(register, (top_of(0) + by).clamp(lo, hi)));
                (register, next)
            };
            let (base, next_base) = bound("base", from);
            let (bottom, _) = bound("bottom", to);
            let next_base = mux(row_at_end, i64::from(height), next_base);
            let freed = b.wire_typed("freed", Ty::range(0, i64::from(height)), sub(next_base, base));
            (ring, base, sub(bottom, base), freed.into())
        } else {
            let start_ring = (i64::from(rows) - i64::from(extent.pads[0] % rows)) % i64::from(rows);
            let ring = b.register("ring", ring_ty, start_ring);
            (ring, ring, by_counter(&row.value(), &needs), by_counter(&row.value(), &frees))
        };
        let has_row = lt(rows_kept, i64::from(rows));
        let has_place = if extent.saves_row(rows) {
            // Behind the windows of an output row that frees a row, its pixels are free already.
            let behind = and(lt(writer.column.value(), left), not(writer.column.at_end()));
            or(has_row, all([eq(rows_ahead, i64::from(rows)), lt(0, freed.clone()), behind]))
        } else {
            has_row
        };
        let filling = writer.connect(&mut b, input, has_place);
        let row_done = filling.row_done;
        let available = filling.available(&mut b, &extent, left, rows_needed);

        let beats = folding.outputs / folding.stream;
        let steps = nest.steps();
        let shape = self.engine_shape();
        let constant = if shape.is_loaded() { Vec::new() } else { self.ordered_weights(&nest) };
        let (engine, engine_valid, engine_result) = b.engine("engine", shape, constant);
        let loader = self.tiles().map(|tiles| Loader::new(&mut b, engine, &shape, &tiles, false));
        let requantizer = match &self.computation {
            Computation::Convolution { parameters, .. } | Computation::Sum(parameters) => {
                let accumulator = self.accumulator.by(folding.stream);
                Some(Requantizer::new(&mut b, parameters, accumulator, self.output, self.hard.widths[0]))
            }
            Computation::Max => None,
        };
        let depth = self.queue_depth(b.engine_latency(engine), requantizer.map_or(0, |r| r.latency));
        let queue = CreditFifo::new(&mut b, "out", self.output.by(folding.stream), depth);

        let first = (steps > 1).then(|| b.register("first", Ty::BIT, 1));
        let first_value = first.map_or(Expr::Const(1), Expr::Signal);
        let mut ready_to_start = and(available, queue.has_free(beats));
        if let Taps::Displaced(displacer) = &taps {
            ready_to_start = and(ready_to_start, displacer.is_known());
        }
        if let Some(loader) = &loader {
            ready_to_start = and(ready_to_start, loader.is_loaded());
        }
        let start = b.wire("start", ready_to_start);
        let issue = match first {
            Some(first) => b.wire("issue", or(not(first), start)),
            None => start,
        };
        let last_tap = match &taps {
            Taps::Fixed(tap) => tap.at_end(),
            Taps::Displaced(displacer) => displacer.at_end(),
        };
        let last = b.wire("last", and(word.at_end(), last_tap));
        let row_end =
            b.wire("row_end", all([issue.into(), last.into(), result.at_end(), group.at_end(), column.at_end()]));

        let addresses = b.engine_addresses(engine).max(1);
        let numbered = match &taps {
            Taps::Fixed(tap) if addresses > 1 => side_by_side(&[
                (word.value(), if nest.depthwise { 1 } else { nest.words }),
                (tap.value(), nest.taps),
                (result.value(), nest.results),
                (group.value(), nest.groups),
            ]),
            _ => None,
        };
        let address = if numbered.is_some() { Level::single() } else { Level::new(&mut b, "address", addresses) };
        let address_value = numbered.unwrap_or_else(|| address.value());

        let word_value = if nest.depthwise {
            result.value()
        } else if nest.groups > 1 {
            add(group.times(&mut b, "group_base", nest.words), word.value())
        } else {
            word.value()
        };

        let mut pixel_served = Vec::new();
        let (taps, decided, placed) = match taps {
            Taps::Fixed(tap) => {
                let step = Step {
                    ring: ring.into(),
                    row: top.into(),
                    column: left.into(),
                    group: word_value,
                    tap: tap.value(),
                    address: address_value,
                    last: last.into(),
                };
                (vec![tap], Statement::Issue { engine, step }, None)
            }
            Taps::Displaced(displacer) => {
                let decision = Decision {
                    top,
                    left,
                    base,
                    ring,
                    group: word_value,
                    address: address_value,
                    last: last.into(),
                    freed: mux(row_end, freed.clone(), 0),
                };
                let pixel_end = all([issue.into(), last.into(), result.at_end(), group.at_end()]);
                let pixel_end = b.wire("pixel_end", pixel_end);
                pixel_served = displacer.serve(&mut b, pixel_end);
                let Placement { launch, valid, step, freed } = displacer.place(&mut b, rows, decision);
                (displacer.levels(), launch, Some((valid, step, freed)))
            }
        };
        column.on_step.push(set(left, add(left, i64::from(extent.strides[1]))));
        column.on_wrap.push(set(left, left_of(0)));
        row.on_step.push(set(top, add(top, i64::from(extent.strides[0]))));
        row.on_wrap.push(set(top, top_of(0)));
        if extent.displacement.is_some() {
            let next = set(ring, wrapped(add(ring, freed.clone()), rows));
            row.on_step.push(next.clone());
            row.on_wrap.push(next);
        } else {
            row.on_step.push(set(ring, add_modulo(ring, extent.strides[0], rows)));
            let next_frame =
                (i64::from(height) - i64::from((out_height - 1) * extent.strides[0])).rem_euclid(i64::from(rows));
            row.on_wrap.push(set(ring, add_modulo(ring, next_frame as u32, rows)));
        }

        let mut issued = vec![decided];
        if let Some(first) = first {
            issued.push(set(first, last));
        }
        issued.extend(advance(vec![address]));
        let mut levels = if nest.depthwise { Vec::new() } else { vec![word] };
        levels.extend(taps);
        levels.push(result);
        if !nest.depthwise {
            levels.push(group);
        }
        levels.extend([column, row]);
        issued.extend(advance(levels));

        let [filled, counted] = filling.serve(engine, row_end, freed);
        let mut statements = vec![filled, when(issue, issued), counted];
        statements.extend(pixel_served);
        statements.extend(loader.into_iter().flat_map(|loader| loader.serve(None)));
        if let Some((valid, step, freed)) = placed {
            statements.push(branch(
                valid,
                vec![Statement::Issue { engine, step }, set(rows_kept, add(sub(rows_kept, freed), row_done))],
                vec![when(row_done, vec![set(rows_kept, add(rows_kept, 1))])],
            ));
        }

        let (push, data) = match requantizer {
            None => (engine_valid, engine_result),
            Some(requantizer) => {
                let mut channel = Level::new(&mut b, "channel", out_channels / folding.stream);
                if !requantizer.is_addressed() {
                    channel = Level::single();
                }
                let each = |_: &mut Level| (channel.value(), advance(vec![channel]));
                statements.extend(self.launched(&mut b, &requantizer, [engine_valid, engine_result], each));
                (requantizer.valid, requantizer.result)
            }
        };
        let reserve = and(issue, first_value);
        statements.extend(queue.serve(reserve, beats, &push.into(), data.into()));
        b.finish(statements)
    }
}
