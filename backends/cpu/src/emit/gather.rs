//! The taps of moved windows, side by side.

use super::{Emitter, memory};
use crate::program::{Gather, Moves};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};

/// Where a window's taps are written, and where it lies in the image.
#[derive(Clone, Copy)]
struct Window {
    image: Value,
    border: Value,
    /// Row and column of its start, padding not yet taken off.
    start: [Value; 2],
    offsets: Value,
    target: Value,
}

impl Emitter<'_, '_> {
    pub(super) fn gather(&mut self, gather: &Gather) {
        let [image, target] = [gather.source, gather.target].map(|location| self.address(location));
        let offsets = self.address(gather.offsets);
        let border = self.rom(gather.border);
        let zero = self.builder.ins().iconst(self.pointer, 0);
        let [rows, columns] = gather.output;
        let lanes = gather.lanes();
        let pixel = gather.kernel[0] * gather.kernel[1] * gather.channels;
        let lines = [(zero, gather.strides[0]), (offsets, columns * lanes), (target, columns * pixel)];
        self.repeat(rows, &lines, &mut |emitter, line| {
            let row = line[0];
            let pixels = [(zero, gather.strides[1]), (line[1], lanes), (line[2], pixel)];
            emitter.repeat(columns, &pixels, &mut |emitter, at| {
                let window = Window { image, border, start: [row, at[0]], offsets: at[1], target: at[2] };
                emitter.gather_window(gather, window, zero);
            });
        });
    }

    fn gather_window(&mut self, gather: &Gather, window: Window, zero: Value) {
        let [height, width] = gather.kernel;
        let line = width * gather.channels;
        match gather.moves {
            Moves::ByTap { dilations } => {
                let rows = [(zero, dilations[0]), (window.offsets, 2 * width), (window.target, line)];
                self.repeat(height, &rows, &mut |emitter, row| {
                    let down = row[0];
                    let taps = [(zero, dilations[1]), (row[1], 2), (row[2], gather.channels)];
                    emitter.repeat(width, &taps, &mut |emitter, tap| {
                        let moved = [0, 1].map(|axis| emitter.offset_at(gather, tap[1], axis));
                        let at =
                            [emitter.builder.ins().iadd(down, moved[0]), emitter.builder.ins().iadd(tap[0], moved[1])];
                        emitter.gather_tap(gather, window, at, tap[2]);
                    });
                });
            }
            Moves::ByDistance => {
                let distance = self.offset_at(gather, window.offsets, 0);
                let centre = gather.kernel.map(|extent| (extent / 2) as i64);
                let place = |emitter: &mut Self, axis: usize, tap: Value| {
                    let steps = emitter.builder.ins().iadd_imm_s(tap, -centre[axis]);
                    let moved = emitter.builder.ins().imul(steps, distance);
                    emitter.builder.ins().iadd_imm_s(moved, centre[axis])
                };
                self.repeat(height, &[(zero, 1), (window.target, line)], &mut |emitter, row| {
                    let down = place(emitter, 0, row[0]);
                    emitter.repeat(width, &[(zero, 1), (row[1], gather.channels)], &mut |emitter, tap| {
                        let right = place(emitter, 1, tap[0]);
                        emitter.gather_tap(gather, window, [down, right], tap[1]);
                    });
                });
            }
        }
    }

    /// An offset in pixels.
    fn offset_at(&mut self, gather: &Gather, offsets: Value, at: usize) -> Value {
        let byte = self.builder.ins().uload8(self.pointer, memory(), offsets, super::offset(at));
        self.builder.ins().iadd_imm_s(byte, i64::from(gather.least))
    }

    /// Copies a pixel, or the border if there is none, at a distance from the window's start.
    fn gather_tap(&mut self, gather: &Gather, window: Window, distance: [Value; 2], target: Value) {
        let place = [0, 1].map(|axis| {
            let start = self.builder.ins().iadd_imm_s(window.start[axis], -(gather.pads[axis] as i64));
            self.builder.ins().iadd(start, distance[axis])
        });
        // Negative places are large unsigned numbers.
        let inside = [0, 1].map(|axis| {
            let extent = self.builder.ins().iconst(self.pointer, gather.image[axis] as i64);
            self.builder.ins().icmp(IntCC::UnsignedLessThan, place[axis], extent)
        });
        let inside = self.builder.ins().band(inside[0], inside[1]);
        let row = self.builder.ins().imul_imm_s(place[0], gather.image[1] as i64);
        let pixel = self.builder.ins().iadd(row, place[1]);
        let bytes = self.builder.ins().imul_imm_s(pixel, gather.channels as i64);
        let there = self.builder.ins().iadd(window.image, bytes);
        let source = self.builder.ins().select(inside, there, window.border);
        self.copy_run(gather.channels, 0, source, target);
    }
}
