//! Engines: the window memory and its addressing.
//!
//! The memory has a margin of pad values on both sides of each row and one more row of pad
//! values, so that a tap outside the image is an ordinary load. Elements are 16 bits wide, as
//! the products need them. Engines whose elements, weights or sums do not fit
//! ([`Form::Scalar`]) hold 64-bit elements.

use crate::check::WindowCheck;
use crate::code::Place;
use crate::code::at;
use crate::emitter::Emitter;
use crate::kernel::{Form, Weights};
use crate::layout::{Image, lane_bytes, value_bytes};
use lutweave_hw::rtl::engine::Step;
use lutweave_hw::rtl::{Engine, EngineId, Expr, Module, ParallelTaps};
use wasm_encoder::{BlockType, ValType};

/// Addresses and sizes of an engine.
pub struct WindowLayout {
    /// How it computes.
    pub form: Form,
    /// Address of the window memory.
    pub memory: u32,
    /// Bytes from a column to the next.
    pub column_bytes: u32,
    /// Bytes from a group to the next.
    pub group_bytes: u32,
    /// Bytes of a row with its margins.
    pub row_bytes: u32,
    /// Columns before the image's first and behind its last.
    pub margins: [u32; 2],
    /// Address of the accumulators.
    pub accumulators: u32,
    /// Address of 32 bits, all ones while the accumulators hold steps of a result; `None` where each step is one.
    pub continues: Option<u32>,
    /// Weights in the order in which the form reads them.
    pub weights: Option<Weights>,
    /// The check of what it reads, if asked for.
    pub check: Option<WindowCheck>,
}

impl WindowLayout {
    /// Lays out an engine.
    pub fn new(module: &Module, engine: &Engine, image: &mut Image, check: bool) -> Self {
        let form = Form::choose(engine, module.signal(engine.result).ty);
        let element_bytes = if form == Form::Scalar { 8 } else { 2 };
        let stride = form.stride(engine.word.lanes);
        let span = (engine.kernel[1] - 1) * engine.dilations[1];
        let margins = [span + 1, span + 1];
        let columns = engine.columns + margins[0] + margins[1];
        let word_bytes = stride * element_bytes;
        let planar = form == Form::Planar;
        let (column_bytes, group_bytes) =
            if planar { (word_bytes, columns * word_bytes) } else { (engine.groups * word_bytes, word_bytes) };
        let row_bytes = columns * engine.groups * word_bytes;
        let memory = image.reserve((engine.rows + 1) * row_bytes);
        if engine.pad_value != 0 {
            let word: Vec<u8> = (0..stride)
                .flat_map(|lane| {
                    let value = if lane < engine.word.lanes { engine.pad_value } else { 0 };
                    value.to_le_bytes().into_iter().take(element_bytes as usize)
                })
                .collect();
            let runs = if planar { engine.groups } else { 1 };
            let words = |columns: u32| word.repeat((columns * engine.groups / runs) as usize);
            for row in 0..engine.rows {
                for run in 0..runs {
                    let start = memory + row * row_bytes + run * group_bytes;
                    image.data.push((start, words(margins[0])));
                    image.data.push((start + (margins[0] + engine.columns) * column_bytes, words(margins[1])));
                }
            }
            image.data.push((memory + engine.rows * row_bytes, word.repeat((columns * engine.groups) as usize)));
        }
        let accumulators = image.reserve(form.accumulator_bytes(engine));
        let continues = (engine.steps > 1).then(|| image.reserve(4));
        let weights = Weights::new(form, engine, image);
        let check = check.then(|| WindowCheck::new(engine, image));
        Self { form, memory, column_bytes, group_bytes, row_bytes, margins, accumulators, continues, weights, check }
    }
}

/// The taps that a step reads: one pointer per tap row, and constant distances along it.
pub struct Taps {
    /// Locals with the address of the row's first tap, less the memory's address.
    pub rows: Vec<u32>,
    /// For each tap of the step in order: its row and its constant offset, with the memory's
    /// address.
    pub taps: Vec<(usize, u32)>,
}

impl Taps {
    /// Where tap `number` of the step lies.
    pub fn place(&self, number: usize) -> Place {
        let (row, offset) = self.taps[number];
        Place { base: Some(self.rows[row]), offset }
    }
}

impl Emitter<'_> {
    /// Pushes a scalar as i32.
    fn index(&mut self, expr: &Expr) {
        self.scalar_as(expr, crate::emitter::Rep::I32);
    }

    /// A word enters the window memory.
    pub fn fill(&mut self, id: EngineId, row: &Expr, column: &Expr, group: &Expr, data: &Expr) {
        self.check_fill(id, row, column);
        let engine = self.module.engine(id);
        let window = &self.layout.windows[id.0 as usize];
        let word = engine.word;
        let (row_bytes, column_bytes) = (window.row_bytes, window.column_bytes);
        let group_bytes = window.group_bytes;
        self.index(row);
        self.code.op().i32_const(row_bytes as i32).i32_mul();
        if engine.columns > 1 {
            self.index(column);
            self.code.op().i32_const(column_bytes as i32).i32_mul().i32_add();
        }
        if engine.groups > 1 {
            self.index(group);
            self.code.op().i32_const(group_bytes as i32).i32_mul().i32_add();
        }
        let base = self.code.keep(ValType::I32);
        let to = Place { base: Some(base), offset: window.memory + window.margins[0] * column_bytes };
        let scalar = window.form == Form::Scalar;
        if word.lanes == 1 {
            self.push_base(to);
            self.scalar_to(data, word);
            match (scalar, crate::emitter::Rep::of(word)) {
                (false, _) => self.code.op().i32_store16(at(to.offset)),
                (true, crate::emitter::Rep::I32) => self.code.op().i64_extend_i32_s().i64_store(at(to.offset)),
                (true, crate::emitter::Rep::I64) => self.code.op().i64_store(at(to.offset)),
            };
            return;
        }
        let from = self.place(data);
        if scalar {
            for lane in 0..word.lanes {
                self.push_base(to);
                self.load(word.lane(), from.plus(lane * lane_bytes(word)));
                if crate::emitter::Rep::of(word) == crate::emitter::Rep::I32 {
                    self.code.op().i64_extend_i32_s();
                }
                self.code.op().i64_store(at(to.offset + 8 * lane));
            }
        } else if lane_bytes(word) == 2 {
            self.copy(from, to, value_bytes(word));
        } else {
            self.widen(from, to, word.lanes, word.signed);
        }
    }

    /// Copies 8-bit lanes to 16-bit lanes.
    fn widen(&mut self, from: Place, to: Place, lanes: u32, signed: bool) {
        let mut done = 0;
        while done < lanes {
            let size = match lanes - done {
                8.. => 8,
                4.. => 4,
                _ => 1,
            };
            self.push_base(to);
            self.push_base(from);
            let (f, t) = (at(from.offset + done), at(to.offset + 2 * done));
            let mut op = self.code.op();
            match (size, signed) {
                (8, false) => op.v128_load8x8_u(f).v128_store(t),
                (8, true) => op.v128_load8x8_s(f).v128_store(t),
                (4, false) => op.v128_load32_zero(f).i16x8_extend_low_i8x16_u().v128_store64_lane(t, 0),
                (4, true) => op.v128_load32_zero(f).i16x8_extend_low_i8x16_s().v128_store64_lane(t, 0),
                (_, false) => op.i32_load8_u(f).i32_store16(t),
                (_, true) => op.i32_load8_s(f).i32_store16(t),
            };
            done += size;
        }
    }

    /// Weights enter the weight memory, one by one to their places.
    pub fn take_weights(&mut self, id: EngineId, address: &Expr, part: &Expr, data: &Expr) {
        let engine = self.module.engine(id);
        let Some(weights) = &self.layout.windows[id.0 as usize].weights else { return };
        let (Some(places), Some(products)) = (weights.places, engine.products()) else { return };
        let (base, step_bytes, wide) = (weights.base, weights.step_bytes, weights.wide);
        let (bits, lanes) = (products.weight_bits, engine.weights_per_load());
        let from = self.place(data);
        self.index(address);
        self.code.op().i32_const((step_bytes * engine.addresses_per_load()) as i32).i32_mul();
        let target = self.code.keep(ValType::I32);
        self.index(part);
        self.code.op().i32_const(4 * lanes as i32).i32_mul();
        let row = self.code.keep(ValType::I32);
        for lane in 0..lanes {
            let (byte, shift) = (lane * bits / 8, lane * bits % 8);
            self.code.op().local_get(row).i32_load(at(places + 4 * lane)).local_get(target).i32_add();
            self.push_base(from);
            let mut op = self.code.op();
            // Four bytes hold any field of up to 16 bits.
            op.i32_load(at(from.offset + byte)).i32_const((32 - bits - shift) as i32).i32_shl();
            op.i32_const((32 - bits) as i32).i32_shr_s();
            if wide {
                op.i32_store16(at(base));
            } else {
                op.i32_store8(at(base));
            }
        }
    }

    /// One step: the reduction, and the result's launch after the last step.
    pub fn issue(&mut self, id: EngineId, step: &Step) {
        self.check_step(id, step);
        let cell = self.layout.engines[id.0 as usize].clone();
        let taps = self.taps(id, step);
        let weights = self.weight_pointer(id, &step.address);
        match &step.last {
            Expr::Const(0) => {}
            Expr::Const(_) => self.launched(&cell),
            last => {
                let (_, next) = self.flight[cell.first_bit as usize / 64];
                self.scalar(last);
                let last = self.code.keep(ValType::I32);
                self.code.op().local_get(last).i64_extend_i32_u();
                if !cell.first_bit.is_multiple_of(64) {
                    self.code.op().i64_const(i64::from(cell.first_bit % 64)).i64_shl();
                }
                self.code.op().local_get(next).i64_or().local_set(next);
            }
        }
        let slot = self.slot_of(&cell, 0);
        self.reduce(id, step, &taps, weights, slot);
    }

    /// Emits `body` for steps that end a result.
    pub fn at_last(&mut self, last: &Expr, body: impl FnOnce(&mut Self)) {
        match last {
            Expr::Const(0) => {}
            Expr::Const(_) => body(self),
            last => {
                self.scalar(last);
                self.if_else(BlockType::Empty, body, None);
            }
        }
    }

    fn weight_pointer(&mut self, id: EngineId, address: &Expr) -> u32 {
        let bytes = self.layout.windows[id.0 as usize].weights.as_ref().map_or(0, |weights| weights.step_bytes);
        self.index(address);
        self.code.op().i32_const(bytes as i32).i32_mul();
        self.code.keep(ValType::I32)
    }

    fn taps(&mut self, id: EngineId, step: &Step) -> Taps {
        let engine = self.module.engine(id);
        let window = &self.layout.windows[id.0 as usize];
        let [height, width] = engine.kernel;
        let (row_bytes, column_bytes) = (window.row_bytes, window.column_bytes);
        let origin = window.memory;
        let along = self.along_row(id, step);
        let step_bytes = engine.dilations[1] * column_bytes;
        match engine.parallel {
            ParallelTaps::All => {
                let rows = (0..height)
                    .map(|row| {
                        let distance = (row * engine.dilations[0]) as i32;
                        self.row_pointer(engine, step, row_bytes, along, |this| {
                            this.code.op().i32_const(distance);
                        })
                    })
                    .collect();
                let taps = (0..height as usize)
                    .flat_map(|row| (0..width).map(move |column| (row, origin + column * step_bytes)))
                    .collect();
                Taps { rows, taps }
            }
            ParallelTaps::Row => {
                let dilation = engine.dilations[0] as i32;
                let row = self.row_pointer(engine, step, row_bytes, along, |this| {
                    this.index(&step.tap);
                    this.code.op().i32_const(dilation).i32_mul();
                });
                Taps { rows: vec![row], taps: (0..width).map(|column| (0, origin + column * step_bytes)).collect() }
            }
            ParallelTaps::One if height * width == 1 => {
                let row = self.row_pointer(engine, step, row_bytes, along, |this| {
                    this.code.op().i32_const(0);
                });
                Taps { rows: vec![row], taps: vec![(0, origin)] }
            }
            ParallelTaps::One => {
                self.index(&step.tap);
                self.code.op().i32_const(width as i32).i32_div_u();
                let tap_row = self.code.keep(ValType::I32);
                self.index(&step.tap);
                self.code.op().local_get(tap_row).i32_const(width as i32).i32_mul().i32_sub();
                self.code.op().i32_const(step_bytes as i32).i32_mul().local_get(along).i32_add();
                let along = self.code.keep(ValType::I32);
                let dilation = engine.dilations[0] as i32;
                let row = self.row_pointer(engine, step, row_bytes, along, |this| {
                    this.code.op().local_get(tap_row).i32_const(dilation).i32_mul();
                });
                Taps { rows: vec![row], taps: vec![(0, origin)] }
            }
        }
    }

    /// Local with the distance of the window's left column and group from the row's start.
    fn along_row(&mut self, id: EngineId, step: &Step) -> u32 {
        let engine = self.module.engine(id);
        let window = &self.layout.windows[id.0 as usize];
        let margin = i64::from(window.margins[0]);
        self.index(&step.column);
        let column = self.code.keep(ValType::I32);
        let (least, most) = self.ty(&step.column).bounds();
        for (bound, needed, low) in [(-margin, least < -margin, true), (i64::from(engine.columns), true, false)] {
            if !needed || (!low && most <= bound) {
                continue;
            }
            let mut op = self.code.op();
            op.i32_const(bound as i32).local_get(column).local_get(column).i32_const(bound as i32);
            if low {
                op.i32_lt_s();
            } else {
                op.i32_gt_s();
            }
            op.select().local_set(column);
        }
        self.code
            .op()
            .local_get(column)
            .i32_const(margin as i32)
            .i32_add()
            .i32_const(window.column_bytes as i32)
            .i32_mul();
        if engine.groups > 1 {
            self.index(&step.group);
            self.code.op().i32_const(window.group_bytes as i32).i32_mul().i32_add();
        }
        self.code.keep(ValType::I32)
    }

    /// Local with the address of the first tap of the row at the distance that `distance`
    /// pushes below the window's top.
    fn row_pointer(
        &mut self,
        engine: &Engine,
        step: &Step,
        row_bytes: u32,
        along: u32,
        distance: impl FnOnce(&mut Self),
    ) -> u32 {
        distance(self);
        let distance = self.code.keep(ValType::I32);
        let rows = engine.rows as i32;
        self.index(&step.ring);
        self.code.op().local_get(distance).i32_add();
        let ring = self.code.keep(ValType::I32);
        self.code.op().local_get(ring).i32_const(rows).i32_sub().local_get(ring);
        self.code.op().local_get(ring).i32_const(rows).i32_ge_s().select().i32_const(rows);
        self.index(&step.row);
        self.code.op().local_get(distance).i32_add().i32_const(engine.image_rows as i32).i32_lt_u().select();
        self.code.op().i32_const(row_bytes as i32).i32_mul().local_get(along).i32_add();
        self.code.keep(ValType::I32)
    }
}
