//! Copies and fills. They touch exactly the bytes they are about.

use super::{Emitter, memory};
use crate::program::{Copy, Dimension, Fill};
use cranelift_codegen::ir::types::{I8, I8X16, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};

/// Vectors of a run that are written out in one turn of the loop.
const UNROLLED: usize = 4;

/// Writes out one piece of a run: gets the pointers, the offset and the type of the piece.
type Piece<'f, E> = dyn FnMut(&mut E, &[Value], usize, Type) + 'f;

impl Emitter<'_, '_> {
    pub(super) fn copy(&mut self, copy: &Copy) {
        let source = self.address(copy.source);
        let target = self.address(copy.target);
        let mut dimensions = merged(&copy.dimensions);
        let run = match dimensions.last() {
            Some(&Dimension { count, source: 1, target: 1 }) => {
                dimensions.pop();
                count
            }
            _ => 1,
        };
        self.copy_box(copy, &dimensions, run, source, target);
    }

    fn copy_box(&mut self, copy: &Copy, dimensions: &[Dimension], run: usize, source: Value, target: Value) {
        let element = if copy.widen { 2 } else { 1 };
        match dimensions {
            [] if copy.widen => self.widen_run(run, source, target),
            [] => self.copy_run(run, copy.add, source, target),
            [first, rest @ ..] => {
                let pointers = [(source, first.source), (target, first.target * element)];
                self.repeat(first.count, &pointers, &mut |emitter, current| {
                    emitter.copy_box(copy, rest, run, current[0], current[1]);
                });
            }
        }
    }

    pub(super) fn copy_run(&mut self, run: usize, add: u8, source: Value, target: Value) {
        // Carries must not cross bytes, so what is no whole vector moves byte by byte.
        let pieces: &[Type] = if add == 0 { &[I64, I32, I16, I8] } else { &[I8] };
        self.runs(run, &[(source, 1), (target, 1)], pieces, &mut |emitter, current, at, ty| {
            let mut value = emitter.load(ty, current[0], at);
            if add != 0 {
                let amount = match ty {
                    I8X16 => emitter.bytes(add),
                    _ => emitter.builder.ins().iconst(ty, i64::from(add)),
                };
                value = emitter.builder.ins().iadd(value, amount);
            }
            emitter.store(value, current[1], at);
        });
    }

    fn widen_run(&mut self, run: usize, source: Value, target: Value) {
        let eight = |emitter: &mut Self, source: Value, target: Value, at: usize| {
            let value = emitter.builder.ins().uload8x8(memory(), source, super::offset(at));
            emitter.store(value, target, 2 * at);
        };
        self.repeat(run / 8, &[(source, 8), (target, 16)], &mut |emitter, current| {
            eight(emitter, current[0], current[1], 0);
        });
        match run {
            8.. if run.is_multiple_of(8) => {}
            8.. => eight(self, source, target, run - 8),
            _ => {
                for at in 0..run {
                    let value = self.builder.ins().uload8(I16, memory(), source, super::offset(at));
                    self.store(value, target, 2 * at);
                }
            }
        }
    }

    pub(super) fn fill(&mut self, fill: &Fill) {
        let element = if fill.widen { 2 } else { 1 };
        let target = self.address(fill.target);
        self.repeat(fill.rows, &[(target, fill.stride * element)], &mut |emitter, rows| {
            let pieces: &[Type] = if fill.widen { &[I64, I32, I16] } else { &[I64, I32, I16, I8] };
            emitter.runs(fill.run * element, &[(rows[0], 1)], pieces, &mut |emitter, current, at, ty| {
                let byte = u64::from(fill.value);
                let word = if fill.widen { byte * 0x0001_0001_0001_0001 } else { byte * 0x0101_0101_0101_0101 };
                let value = match ty {
                    I8X16 if fill.widen => emitter.words(i16::from(fill.value)),
                    I8X16 => emitter.bytes(fill.value),
                    _ => {
                        let kept = if ty == I64 { word } else { word & ((1 << ty.bits()) - 1) };
                        emitter.builder.ins().iconst(ty, kept.cast_signed())
                    }
                };
                emitter.store(value, current[0], at);
            });
        });
    }

    /// Covers `length` bytes by vectors, the last of which may overlap its neighbour, or by
    /// smaller pieces where not even one vector fits. `pointers` advance with the bytes.
    fn runs(&mut self, length: usize, pointers: &[(Value, usize)], pieces: &[Type], piece: &mut Piece<Self>) {
        let starts: Vec<Value> = pointers.iter().map(|&(pointer, _)| pointer).collect();
        if length < 16 {
            let mut at = 0;
            for &ty in pieces {
                while length - at >= ty.bytes() as usize {
                    piece(self, &starts, at, ty);
                    at += ty.bytes() as usize;
                }
            }
            return;
        }
        let turn = 16 * UNROLLED;
        let strided: Vec<(Value, usize)> = pointers.iter().map(|&(pointer, stride)| (pointer, stride * turn)).collect();
        self.repeat(length / turn, &strided, &mut |emitter, current| {
            for at in (0..turn).step_by(16) {
                piece(emitter, current, at, I8X16);
            }
        });
        let mut at = length / turn * turn;
        while at + 16 <= length {
            piece(self, &starts, at, I8X16);
            at += 16;
        }
        if at < length {
            piece(self, &starts, length - 16, I8X16);
        }
    }
}

/// The same box with the fewest levels.
fn merged(dimensions: &[Dimension]) -> Vec<Dimension> {
    let mut merged: Vec<Dimension> = Vec::new();
    for &dimension in dimensions.iter().filter(|dimension| dimension.count != 1) {
        match merged.last_mut() {
            Some(outer)
                if outer.source == dimension.count * dimension.source
                    && outer.target == dimension.count * dimension.target =>
            {
                *outer = Dimension { count: outer.count * dimension.count, ..dimension };
            }
            _ => merged.push(dimension),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_levels_merge() {
        let levels = [(1, 7, 9), (4, 30, 30), (5, 6, 6), (6, 1, 1)];
        let levels = levels.map(|(count, source, target)| Dimension { count, source, target });
        assert_eq!(merged(&levels), [Dimension { count: 120, source: 1, target: 1 }]);
        let padded = [(4, 30, 40), (30, 1, 1)].map(|(count, source, target)| Dimension { count, source, target });
        assert_eq!(merged(&padded), padded);
    }
}
