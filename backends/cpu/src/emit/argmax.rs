//! The place of the largest channel of each pixel.

use super::{Emitter, memory};
use crate::program::ArgMax;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I8;
use cranelift_codegen::ir::{InstBuilder, Value};

impl Emitter<'_, '_> {
    pub(super) fn argmax(&mut self, argmax: &ArgMax) {
        let [source, target] = [argmax.source, argmax.target].map(|location| self.address(location));
        let pointers = [(source, argmax.channels), (target, argmax.bytes)];
        self.carry(argmax.pixels, &pointers, Vec::new(), &mut |emitter, pixel, _| {
            let at = emitter.largest(argmax, pixel[0]);
            for digit in 0..argmax.bytes {
                let byte = emitter.builder.ins().ushr_imm_u(at, 8 * digit as i64);
                let byte = emitter.builder.ins().ireduce(I8, byte);
                emitter.builder.ins().store(memory(), byte, pixel[1], super::offset(digit));
            }
            Vec::new()
        });
    }

    /// The channel that is largest, of the pixel at an address. Nothing is smaller than the byte 0.
    fn largest(&mut self, argmax: &ArgMax, pixel: Value) -> Value {
        let zero = self.builder.ins().iconst(self.pointer, 0);
        let least = self.builder.ins().iconst(I8, 0);
        let replaces = if argmax.last { IntCC::UnsignedGreaterThanOrEqual } else { IntCC::UnsignedGreaterThan };
        let places = [(pixel, 1), (zero, 1)];
        let best = self.carry(argmax.channels, &places, vec![least, zero], &mut |emitter, place, best| {
            let value = emitter.load(I8, place[0], 0);
            let better = emitter.builder.ins().icmp(replaces, value, best[0]);
            let value = emitter.builder.ins().select(better, value, best[0]);
            let at = emitter.builder.ins().select(better, place[1], best[1]);
            vec![value, at]
        });
        best[1]
    }
}
