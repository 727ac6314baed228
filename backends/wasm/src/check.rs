//! The check that windows read what they mean: every tap on the image finds the pixel of its own
//! row and frame, neither overwritten nor still to come.
//!
//! Every place of the ring is tagged with the number of the row, counted over all frames, that
//! was last written there. A tap that finds its row in a later frame than the tap before moves
//! the window memory's frame on; one that finds any other row is wrong.

use crate::code::at;
use crate::emitter::{Emitter, Rep};
use crate::layout::Image;
use lutweave_hw::rtl::engine::Step;
use lutweave_hw::rtl::{Engine, EngineId, Expr, ParallelTaps};
use wasm_encoder::{BlockType, InstructionSink, ValType};

/// Addresses of a window memory's check.
#[derive(Clone, Copy, Debug)]
pub struct WindowCheck {
    /// 32 bits for every place of the ring: one more than the row's number, 0 for none.
    tags: u32,
    /// Bytes of the tags.
    tag_bytes: u32,
    /// 32 bits: words that were filled.
    filled: u32,
    /// 32 bits: the frame that taps read.
    frame: u32,
    /// 64 bits: taps that found another row.
    pub wrong: u32,
}

impl WindowCheck {
    /// Lays out the check of an engine.
    pub fn new(engine: &Engine, image: &mut Image) -> Self {
        let tag_bytes = 4 * engine.rows * engine.columns;
        let tags = image.reserve(tag_bytes);
        let [filled, frame] = [0; 2].map(|_| image.reserve(4));
        Self { tags, tag_bytes, filled, frame, wrong: image.reserve(8) }
    }

    /// Forgets everything.
    pub fn reset(&self, mut op: InstructionSink) {
        op.i32_const(self.tags as i32).i32_const(0).i32_const(self.tag_bytes as i32).memory_fill(0);
        op.i32_const(0).i32_const(0).i32_store(at(self.filled));
        op.i32_const(0).i32_const(0).i32_store(at(self.frame));
        op.i32_const(0).i64_const(0).i64_store(at(self.wrong));
    }
}

impl Emitter<'_> {
    fn checked(&self, id: EngineId) -> Option<WindowCheck> {
        self.layout.windows[id.0 as usize].check
    }

    fn keep_index(&mut self, expr: &Expr) -> u32 {
        self.scalar_as(expr, Rep::I32);
        self.code.keep(ValType::I32)
    }

    /// Tags the place that a word enters; until the last word of a pixel, as no row's. Words come
    /// in the order of the image.
    pub fn check_fill(&mut self, id: EngineId, row: &Expr, column: &Expr) {
        let Some(check) = self.checked(id) else { return };
        let engine = self.module.engine(id);
        let (columns, groups) = (engine.columns as i32, engine.groups as i32);
        let words = columns * groups;
        let row = self.keep_index(row);
        let column = self.keep_index(column);
        let mut op = self.code.op();
        op.local_get(row).i32_const(columns).i32_mul().local_get(column).i32_add().i32_const(4).i32_mul();
        op.i32_const(0).i32_load(at(check.filled)).i32_const(words).i32_div_u().i32_const(1).i32_add();
        if groups > 1 {
            op.i32_const(0);
            op.i32_const(0).i32_load(at(check.filled)).i32_const(groups).i32_rem_u().i32_const(groups - 1).i32_eq();
            op.select();
        }
        op.i32_store(at(check.tags));
        op.i32_const(0).i32_const(0).i32_load(at(check.filled)).i32_const(1).i32_add().i32_store(at(check.filled));
    }

    /// Checks all taps of a step.
    pub fn check_step(&mut self, id: EngineId, step: &Step) {
        let Some(check) = self.checked(id) else { return };
        let engine = self.module.engine(id);
        let ([height, width], [down, right]) = (engine.kernel, engine.dilations);
        let [ring, row, column] = [&step.ring, &step.row, &step.column].map(|expr| self.keep_index(expr));
        let tap = self.keep_index(&step.tap);
        let fixed = |this: &mut Self, value: u32| {
            this.code.op().i32_const(value as i32);
            this.code.keep(ValType::I32)
        };
        let scaled = |this: &mut Self, by: u32, number: &dyn Fn(&mut InstructionSink)| {
            number(&mut this.code.op());
            this.code.op().i32_const(by as i32).i32_mul();
            this.code.keep(ValType::I32)
        };
        let kernel_width = width as i32;
        let (rows, columns): (Vec<u32>, Vec<u32>) = match engine.parallel {
            ParallelTaps::All => (
                (0..height).map(|i| fixed(self, i * down)).collect(),
                (0..width).map(|j| fixed(self, j * right)).collect(),
            ),
            ParallelTaps::Row => (
                vec![scaled(self, down, &|op| {
                    op.local_get(tap);
                })],
                (0..width).map(|j| fixed(self, j * right)).collect(),
            ),
            ParallelTaps::One => (
                vec![scaled(self, down, &|op| {
                    op.local_get(tap).i32_const(kernel_width).i32_div_u();
                })],
                vec![scaled(self, right, &|op| {
                    op.local_get(tap).i32_const(kernel_width).i32_rem_u();
                })],
            ),
        };
        for &below in &rows {
            for &beside in &columns {
                self.check_tap(engine, check, [ring, row, column], [below, beside]);
            }
        }
    }

    /// Checks the tap at a distance from the window's start.
    fn check_tap(
        &mut self,
        engine: &Engine,
        check: WindowCheck,
        [ring, row, column]: [u32; 3],
        [below, beside]: [u32; 2],
    ) {
        let [tap_row, tap_column, place, ahead] = [0; 4].map(|_| self.code.local(ValType::I32));
        let (rows, height) = (engine.rows as i32, engine.image_rows as i32);
        let mut op = self.code.op();
        op.local_get(row).local_get(below).i32_add().local_tee(tap_row).i32_const(height).i32_lt_u();
        op.local_get(column).local_get(beside).i32_add().local_tee(tap_column).i32_const(engine.columns as i32);
        op.i32_lt_u().i32_and().if_(BlockType::Empty);
        op.local_get(ring).local_get(below).i32_add().local_tee(place).i32_const(rows).i32_sub().local_get(place);
        op.local_get(place).i32_const(rows).i32_ge_s().select();
        op.i32_const(engine.columns as i32).i32_mul().local_get(tap_column).i32_add().i32_const(4).i32_mul();
        op.i32_load(at(check.tags));
        // How many rows later than the tap's own the one is that lies there.
        op.i32_const(0).i32_load(at(check.frame)).i32_const(height).i32_mul().local_get(tap_row).i32_add();
        op.i32_const(1).i32_add().i32_sub().local_tee(ahead).if_(BlockType::Empty);
        op.local_get(ahead).i32_const(0).i32_lt_s();
        op.local_get(ahead).i32_const(height).i32_rem_s().i32_eqz().i32_eqz().i32_or().if_(BlockType::Empty);
        op.i32_const(0).i32_const(0).i64_load(at(check.wrong)).i64_const(1).i64_add().i64_store(at(check.wrong));
        op.else_();
        op.i32_const(0).i32_const(0).i32_load(at(check.frame));
        op.local_get(ahead).i32_const(height).i32_div_s().i32_add().i32_store(at(check.frame));
        op.end().end().end();
    }
}
