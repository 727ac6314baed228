//! The reductions of engines as SIMD code.

use crate::code::Place;
use crate::code::at;
use crate::emitter::Emitter;
use crate::layout::{Image, lane_bytes};
use crate::window::{Taps, WindowLayout};
use lutweave_hw::rtl::engine::Step;
use lutweave_hw::rtl::{Engine, EngineId, ParallelTaps, Reduce, Ty};
use std::ops::Range;
use wasm_encoder::ValType;

/// How an engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Dense, four outputs and two elements a multiplication.
    Quad,
    /// Dense with one lane a word: four outputs and two neighbouring columns a multiplication,
    /// which lie side by side in a plane of their own for each group.
    Planar,
    /// Dense, one output and eight elements a multiplication; the four partial sums are added
    /// up when the result is due.
    Across,
    /// Depthwise and sum: four lanes and two taps a multiplication.
    Lanes,
    /// Maximum of eight lanes at once.
    Maximum,
    /// Anything, one 64-bit product at a time.
    Scalar,
}

/// Accumulators held in locals at once, in vectors.
const BLOCK: u32 = 4;

/// Element vectors held in locals at once. Compilers move additions down to where a sum is
/// stored but leave loads where they are: without a store after each few products the loaded
/// weights fill all registers and spill.
const CHUNK: u32 = 4;

impl Form {
    /// The form for an engine.
    pub fn choose(engine: &Engine, result: Ty) -> Self {
        let word = engine.word;
        let narrow = word.bits + u32::from(!word.signed) <= 16 && result.bits + u32::from(!result.signed) <= 32;
        if !narrow {
            return Self::Scalar;
        }
        match &engine.reduce {
            Reduce::Dense { outputs, .. } => {
                let (taps, lanes) = (engine.taps(), word.lanes);
                if lanes == 1
                    && engine.kernel[1] > 1
                    && engine.dilations[1] == 1
                    && engine.parallel != ParallelTaps::One
                {
                    return Self::Planar;
                }
                let quad = outputs.div_ceil(4) * (taps * lanes.div_ceil(2) * 3 + 2) + taps * lanes.div_ceil(2);
                let across = outputs * (taps * lanes.div_ceil(8) * 3 + 3) + taps * lanes.div_ceil(8);
                if across < quad { Self::Across } else { Self::Quad }
            }
            Reduce::Depthwise { .. } | Reduce::Sum => Self::Lanes,
            Reduce::Max => Self::Maximum,
        }
    }

    /// Stored elements of a word of so many lanes.
    pub fn stride(self, lanes: u32) -> u32 {
        match self {
            Self::Quad => lanes.next_multiple_of(2),
            Self::Across | Self::Maximum => lanes.next_multiple_of(8),
            Self::Lanes => lanes.next_multiple_of(4),
            Self::Planar | Self::Scalar => lanes,
        }
    }

    /// Bytes of an engine's accumulators.
    pub fn accumulator_bytes(self, engine: &Engine) -> u32 {
        match self {
            Self::Quad | Self::Planar => engine.outputs().div_ceil(4) * 16,
            Self::Across => engine.outputs() * 16,
            Self::Lanes | Self::Maximum => engine.outputs().next_multiple_of(8) * 4,
            Self::Scalar => engine.outputs() * 8,
        }
    }
}

/// Weights in memory.
pub struct Weights {
    /// Address.
    pub base: u32,
    /// Bytes per weight address.
    pub step_bytes: u32,
    /// Whether a weight takes two bytes rather than one.
    pub wide: bool,
    /// Where weights are loaded: the address of a table of 32-bit distances from an address's first byte, one for
    /// each weight of each load.
    pub places: Option<u32>,
}

/// Bytes behind the weights of an address that take what the last load has too much.
const SPARE: u32 = 16;

impl Weights {
    /// Stores an engine's weights.
    pub fn new(form: Form, engine: &Engine, image: &mut Image) -> Option<Self> {
        let products = engine.products()?;
        let wide = form == Form::Scalar || products.weight_bits > 8;
        let order = order(form, engine);
        if engine.is_loaded() {
            return Some(Self::loaded(&order, wide, engine, image));
        }
        let per_address = engine.weights_per_address() as usize;
        let mut bytes = Vec::with_capacity(order.len() * engine.weight_depth() as usize * (1 + usize::from(wide)));
        for step in engine.weights.chunks_exact(per_address) {
            for index in &order {
                let weight = index.map_or(0, |index| step[index as usize]);
                bytes.extend(weight.to_le_bytes().into_iter().take(1 + usize::from(wide)));
            }
        }
        let step_bytes = order.len() as u32 * (1 + u32::from(wide));
        Some(Self { base: image.place(bytes), step_bytes, wide, places: None })
    }

    /// Room for weights that are loaded, and where each goes.
    fn loaded(order: &[Option<u32>], wide: bool, engine: &Engine, image: &mut Image) -> Self {
        let bytes = 1 + u32::from(wide);
        let end = order.len() as u32 * bytes;
        let mut places = vec![end; engine.weights_per_address() as usize];
        for (place, index) in (0..).zip(order) {
            if let Some(index) = index {
                places[*index as usize] = place * bytes;
            }
        }
        let step_bytes = end + SPARE;
        let lanes = engine.weights_per_load();
        let table = (0..engine.loads_per_address() * lanes).flat_map(|at| {
            let (address, position) = engine.loaded_place(at / lanes, at % lanes);
            let known = position < engine.weights_per_address();
            let place = if known { places[engine.loaded_weight(position) as usize] } else { end };
            (address * step_bytes + place).to_le_bytes()
        });
        let table = image.place(table.collect());
        let addresses = engine.weight_depth().next_multiple_of(engine.addresses_per_load());
        Self { base: image.reserve(step_bytes * addresses), step_bytes, wide, places: Some(table) }
    }
}

/// Where the weights of one address come from, in the order in which a form reads them; `None`
/// is a zero.
fn order(form: Form, engine: &Engine) -> Vec<Option<u32>> {
    let (outputs, taps, lanes) = (engine.outputs(), engine.taps(), engine.word.lanes);
    let dense = |o: u32, t: u32, l: u32| (o < outputs && l < lanes).then(|| (o * taps + t) * lanes + l);
    let depthwise = |t: u32, l: u32| (t < taps && l < lanes).then(|| t * lanes + l);
    let mut order = Vec::new();
    match form {
        Form::Quad | Form::Planar => {
            let pairs = pairs(form, engine);
            for (block, chunk) in tiles(outputs.div_ceil(4), pairs.len() as u32) {
                for quad in block {
                    for pair in chunk.clone() {
                        for output in 4 * quad..4 * quad + 4 {
                            let elements = pairs[pair as usize];
                            order.extend(elements.map(|element| element.and_then(|(t, l)| dense(output, t, l))));
                        }
                    }
                }
            }
        }
        Form::Across => {
            for (block, chunk) in tiles(outputs, taps * lanes.div_ceil(8)) {
                for output in block {
                    for vector in chunk.clone() {
                        let (tap, lane) = (vector / lanes.div_ceil(8), vector % lanes.div_ceil(8) * 8);
                        order.extend((lane..lane + 8).map(|lane| dense(output, tap, lane)));
                    }
                }
            }
        }
        Form::Lanes => {
            for quad in 0..lanes.div_ceil(4) {
                for pair in 0..taps.div_ceil(2) {
                    for lane in 4 * quad..4 * quad + 4 {
                        order.extend([depthwise(2 * pair, lane), depthwise(2 * pair + 1, lane)]);
                    }
                }
            }
        }
        Form::Scalar => order.extend((0..outputs * engine.elements()).map(Some)),
        Form::Maximum => {}
    }
    order
}

/// Pairs of elements that lie side by side in memory, as tap and lane.
fn pairs(form: Form, engine: &Engine) -> Vec<[Option<(u32, u32)>; 2]> {
    let lanes = engine.word.lanes;
    let width = engine.kernel[1];
    let mut pairs = Vec::new();
    if form == Form::Planar {
        for row in 0..engine.taps() / width {
            for column in (0..width).step_by(2) {
                let tap = row * width + column;
                pairs.push([Some((tap, 0)), (column + 1 < width).then_some((tap + 1, 0))]);
            }
        }
    } else {
        for tap in 0..engine.taps() {
            for lane in (0..lanes).step_by(2) {
                pairs.push([Some((tap, lane)), (lane + 1 < lanes).then_some((tap, lane + 1))]);
            }
        }
    }
    pairs
}

/// Even parts of `0..count` of at most `most` each.
fn parts(count: u32, most: u32) -> impl Iterator<Item = Range<u32>> + Clone {
    let number = count.div_ceil(most);
    (0..number).map(move |part| part * count / number..(part + 1) * count / number)
}

/// Blocks of accumulators, and for each the chunks of element vectors.
fn tiles(accumulators: u32, elements: u32) -> impl Iterator<Item = (Range<u32>, Range<u32>)> {
    blocks(accumulators).flat_map(move |block| parts(elements, CHUNK).map(move |chunk| (block.clone(), chunk)))
}

fn blocks(count: u32) -> impl Iterator<Item = Range<u32>> {
    (0..count).step_by(BLOCK as usize).map(move |start| start..(start + BLOCK).min(count))
}

/// What the code of one step needs.
struct Context<'c> {
    window: &'c WindowLayout,
    engine: &'c Engine,
    step: &'c Step,
    taps: &'c Taps,
    /// Local: distance of the step's weights.
    weights: u32,
    /// Local: where a result goes.
    slot: u32,
    /// Local: all ones where old accumulators count; `None` where they never do.
    mask: Option<u32>,
}

impl Emitter<'_> {
    /// Reduces one step.
    pub fn reduce(&mut self, id: EngineId, step: &Step, taps: &Taps, weights: u32, slot: u32) {
        let engine = self.module.engine(id);
        let window = &self.layout.windows[id.0 as usize];
        let mask = window.continues.map(|continues| {
            if window.form == Form::Scalar {
                self.code.op().i32_const(0).i64_load32_s(at(continues));
                self.code.keep(ValType::I64)
            } else {
                self.code.op().i32_const(0).v128_load32_splat(at(continues));
                self.code.keep(ValType::V128)
            }
        });
        let context = Context { window, engine, step, taps, weights, slot, mask };
        match window.form {
            Form::Quad | Form::Planar => self.quads(&context),
            Form::Across => self.across(&context),
            Form::Lanes => self.lanewise(&context),
            Form::Maximum => self.maximum(&context),
            Form::Scalar => self.scalars(&context),
        }
        if let Some(continues) = window.continues {
            self.code.op().i32_const(0);
            self.scalar(&step.last);
            self.code.op().i32_const(1).i32_sub().i32_store(at(continues));
        }
    }

    /// Local with the start value of an accumulator vector.
    fn accumulator(&mut self, context: &Context, number: u32) -> u32 {
        let mut op = self.code.op();
        match context.mask {
            None => op.v128_const(0),
            Some(mask) => {
                op.i32_const(0).v128_load(at(context.window.accumulators + 16 * number)).local_get(mask).v128_and()
            }
        };
        self.code.keep(ValType::V128)
    }

    fn store_accumulator(&mut self, context: &Context, number: u32, local: u32) {
        let address = context.window.accumulators + 16 * number;
        self.code.op().i32_const(0).local_get(local).v128_store(at(address));
    }

    /// Pushes eight weights as 16-bit lanes; `number` counts such vectors.
    fn load_weights(&mut self, context: &Context, number: u32) {
        let Some(weights) = &context.window.weights else {
            self.code.op().v128_const(0x0001_0001_0001_0001_0001_0001_0001_0001);
            return;
        };
        let mut op = self.code.op();
        op.local_get(context.weights);
        if weights.wide {
            op.v128_load(at(weights.base + 16 * number));
        } else {
            op.v128_load8x8_s(at(weights.base + 8 * number));
        }
    }

    /// Adds the dot products of the vectors on the stack to an accumulator.
    fn accumulate(&mut self, accumulator: u32) {
        self.code.op().i32x4_dot_i16x8_s().local_get(accumulator).i32x4_add().local_set(accumulator);
    }

    fn quads(&mut self, context: &Context) {
        let pairs = pairs(context.window.form, context.engine);
        let quads = context.engine.outputs().div_ceil(4);
        self.tiled(
            context,
            quads,
            pairs.len() as u32,
            |this, pair| {
                let (tap, lane) = pairs[pair as usize][0].expect("invariant: only the second may be missing");
                let place = context.taps.place(tap as usize).plus(2 * lane);
                this.push_base(place);
                this.code.op().v128_load32_splat(at(place.offset));
            },
            |_, sums| sums.to_vec(),
            4,
        );
    }

    fn across(&mut self, context: &Context) {
        let vectors = context.engine.word.lanes.div_ceil(8);
        self.tiled(
            context,
            context.engine.outputs(),
            context.engine.taps() * vectors,
            |this, vector| {
                let place = context.taps.place((vector / vectors) as usize).plus(16 * (vector % vectors));
                this.push_base(place);
                this.code.op().v128_load(at(place.offset));
            },
            |this, sums| sums.chunks(4).map(|sums| this.add_across(sums)).collect(),
            1,
        );
    }

    /// Dot products of `elements` vectors that `load` pushes with the weights of so many
    /// accumulators; `finish` makes vectors of four results of a block's sums, `each` results
    /// an accumulator.
    fn tiled(
        &mut self,
        context: &Context,
        accumulators: u32,
        elements: u32,
        load: impl Fn(&mut Self, u32),
        finish: impl Fn(&mut Self, &[u32]) -> Vec<u32>,
        each: u32,
    ) {
        let result = self.module.signal(context.engine.result).ty;
        let mut weight = 0;
        for block in blocks(accumulators) {
            let sums: Vec<u32> = block.clone().map(|number| self.accumulator(context, number)).collect();
            for chunk in parts(elements, CHUNK) {
                let vectors: Vec<u32> = chunk
                    .map(|element| {
                        load(self, element);
                        self.code.keep(ValType::V128)
                    })
                    .collect();
                for (number, &sum) in block.clone().zip(&sums) {
                    for &vector in &vectors {
                        self.load_weights(context, weight);
                        self.code.op().local_get(vector);
                        self.accumulate(sum);
                        weight += 1;
                    }
                    self.store_accumulator(context, number, sum);
                }
            }
            self.at_last(&context.step.last, |this| {
                let quads = finish(this, &sums);
                this.store_result(&quads, result, context.slot, each * block.start);
            });
        }
    }

    /// Local with the sums of up to four vectors.
    fn add_across(&mut self, vectors: &[u32]) -> u32 {
        let of = |index: usize| vectors.get(index).copied().unwrap_or(vectors[0]);
        let mut fold = |a: u32, b: u32, low: [u8; 4], high: [u8; 4]| {
            let mut op = self.code.op();
            op.local_get(a).local_get(b).i8x16_shuffle(words(low));
            op.local_get(a).local_get(b).i8x16_shuffle(words(high)).i32x4_add();
            self.code.keep(ValType::V128)
        };
        let first = fold(of(0), of(1), [0, 4, 1, 5], [2, 6, 3, 7]);
        let second = fold(of(2), of(3), [0, 4, 1, 5], [2, 6, 3, 7]);
        fold(first, second, [0, 1, 4, 5], [2, 3, 6, 7])
    }

    fn lanewise(&mut self, context: &Context) {
        let engine = context.engine;
        let result = self.module.signal(engine.result).ty;
        let (taps, quads) = (engine.taps(), engine.word.lanes.div_ceil(4));
        let pairs = taps.div_ceil(2);
        for start in (0..quads).step_by(2) {
            let both = start + 1 < quads;
            let mut sums = vec![self.accumulator(context, start)];
            if both {
                sums.push(self.accumulator(context, start + 1));
            }
            for pair in 0..pairs {
                let mut load = |tap: u32| {
                    if tap >= taps {
                        self.code.op().v128_const(0);
                        return self.code.keep(ValType::V128);
                    }
                    let place = context.taps.place(tap as usize).plus(8 * start);
                    self.push_base(place);
                    if both {
                        self.code.op().v128_load(at(place.offset));
                    } else {
                        self.code.op().v128_load64_zero(at(place.offset));
                    }
                    self.code.keep(ValType::V128)
                };
                let (a, b) = (load(2 * pair), load(2 * pair + 1));
                for (half, &sum) in sums.iter().enumerate() {
                    let first = 8 * half as u8;
                    let lanes: [u8; 16] = std::array::from_fn(|byte| {
                        let byte = byte as u8;
                        first + byte / 4 * 2 + byte % 2 + if byte % 4 >= 2 { 16 } else { 0 }
                    });
                    self.code.op().local_get(a).local_get(b).i8x16_shuffle(lanes);
                    self.load_weights(context, (start + half as u32) * pairs + pair);
                    self.accumulate(sum);
                    if pair % 2 == 1 || pair + 1 == pairs {
                        self.store_accumulator(context, start + half as u32, sum);
                    }
                }
            }
            self.at_last(&context.step.last, |this| this.store_result(&sums, result, context.slot, 4 * start));
        }
    }

    fn maximum(&mut self, context: &Context) {
        let engine = context.engine;
        let result = self.module.signal(engine.result).ty;
        for chunk in 0..engine.word.lanes.div_ceil(8) {
            let least = 0x8000_8000_8000_8000_8000_8000_8000_8000_u128 as i128;
            self.code.op().v128_const(least);
            if let Some(mask) = context.mask {
                let address = context.window.accumulators + 16 * chunk;
                let least = self.code.keep(ValType::V128);
                let mut op = self.code.op();
                op.i32_const(0).v128_load(at(address)).local_get(least).local_get(mask).v128_bitselect();
            }
            for tap in 0..engine.taps() {
                let place = context.taps.place(tap as usize).plus(16 * chunk);
                self.push_base(place);
                self.code.op().v128_load(at(place.offset)).i16x8_max_s();
            }
            let most = self.code.keep(ValType::V128);
            self.store_accumulator(context, chunk, most);
            self.at_last(&context.step.last, |this| {
                this.code.op().local_get(most).i32x4_extend_low_i16x8_s();
                let low = this.code.keep(ValType::V128);
                this.code.op().local_get(most).i32x4_extend_high_i16x8_s();
                let high = this.code.keep(ValType::V128);
                this.store_result(&[low, high], result, context.slot, 8 * chunk);
            });
        }
    }

    /// Stores vectors of four 32-bit sums as lanes of the result from `first` on; what they
    /// hold beyond the result's lanes goes to the slot's padding.
    fn store_result(&mut self, quads: &[u32], ty: Ty, slot: u32, first: u32) {
        let quads = &quads[..quads.len().min((ty.lanes - first.min(ty.lanes)).div_ceil(4) as usize)];
        let bytes = lane_bytes(ty);
        let per_store = match bytes {
            1 => 4,
            2 => 2,
            _ => 1,
        };
        for (number, group) in quads.chunks(per_store).enumerate() {
            let offset = (first + number as u32 * 4 * per_store as u32) * bytes;
            let of = |index: usize| group.get(index).copied().unwrap_or(group[0]);
            let mut op = self.code.op();
            op.local_get(slot);
            match (bytes, ty.signed) {
                (1, signed) => {
                    op.local_get(of(0)).local_get(of(1)).i16x8_narrow_i32x4_s();
                    op.local_get(of(2)).local_get(of(3)).i16x8_narrow_i32x4_s();
                    if signed {
                        op.i8x16_narrow_i16x8_s();
                    } else {
                        op.i8x16_narrow_i16x8_u();
                    }
                    op.v128_store(at(offset));
                }
                (2, true) => {
                    op.local_get(of(0)).local_get(of(1)).i16x8_narrow_i32x4_s().v128_store(at(offset));
                }
                (2, false) => {
                    op.local_get(of(0)).local_get(of(1)).i16x8_narrow_i32x4_u().v128_store(at(offset));
                }
                (4, _) => {
                    op.local_get(of(0)).v128_store(at(offset));
                }
                _ => {
                    op.local_get(of(0)).i64x2_extend_low_i32x4_s().v128_store(at(offset));
                    op.local_get(slot).local_get(of(0)).i64x2_extend_high_i32x4_s().v128_store(at(offset + 16));
                }
            }
        }
    }

    fn scalars(&mut self, context: &Context) {
        let engine = context.engine;
        let result = self.module.signal(engine.result).ty;
        let lanes = engine.word.lanes;
        for output in 0..engine.outputs() {
            let address = context.window.accumulators + 8 * output;
            let maximum = matches!(engine.reduce, Reduce::Max);
            let start = if maximum { i64::MIN } else { 0 };
            let sum = self.code.local(ValType::I64);
            let mut op = self.code.op();
            match context.mask {
                None => op.i64_const(start),
                Some(mask) => {
                    op.i32_const(0).i64_load(at(address)).i64_const(start).local_get(mask).i64_eqz().i32_eqz().select()
                }
            };
            op.local_set(sum);
            for tap in 0..engine.taps() {
                let (of_lane, weights) = match &engine.reduce {
                    Reduce::Dense { .. } => (0..lanes, Some((output * engine.taps() + tap) * lanes)),
                    Reduce::Depthwise { .. } => (output..output + 1, Some(tap * lanes)),
                    Reduce::Max | Reduce::Sum => (output..output + 1, None),
                };
                for lane in of_lane {
                    let place = context.taps.place(tap as usize).plus(8 * lane);
                    self.push_base(place);
                    let mut op = self.code.op();
                    op.i64_load(at(place.offset));
                    if let (Some(index), Some(weights)) = (weights, &context.window.weights) {
                        op.local_get(context.weights).i64_load16_s(at(weights.base + 2 * (index + lane))).i64_mul();
                    }
                    if maximum {
                        let element = self.code.keep(ValType::I64);
                        let mut op = self.code.op();
                        op.local_get(element).local_get(sum).local_get(element).local_get(sum).i64_gt_s().select();
                        op.local_set(sum);
                    } else {
                        self.code.op().local_get(sum).i64_add().local_set(sum);
                    }
                }
            }
            if context.mask.is_some() {
                self.code.op().i32_const(0).local_get(sum).i64_store(at(address));
            }
            let place = Place { base: Some(context.slot), offset: output * lane_bytes(result) };
            self.at_last(&context.step.last, |this| {
                this.store_lane(result, place, |this| {
                    this.code.op().local_get(sum);
                    crate::emitter::Rep::I64
                });
            });
        }
    }
}

/// Byte lanes of a shuffle of 32-bit lanes.
fn words(lanes: [u8; 4]) -> [u8; 16] {
    std::array::from_fn(|byte| lanes[byte / 4] * 4 + (byte % 4) as u8)
}
