//! Sums, products and tables.

use super::{Emitter, memory};
use crate::program::{Lookup, Pointwise, PointwiseFunction, Requantizer, Sum};
use cranelift_codegen::ir::types::{I8, I8X16};
use cranelift_codegen::ir::{InstBuilder, Value};

/// Elements of a turn of a table look-up.
const LOOKUPS: usize = 8;

impl Emitter<'_, '_> {
    pub(super) fn pointwise(&mut self, pointwise: &Pointwise) {
        let [x0, x1] = pointwise.sources.map(|source| self.address(source));
        let target = self.address(pointwise.target);
        let length = pointwise.length;
        let rows = [(x0, length), (x1, 0), (target, length)];
        self.repeat(pointwise.rows, &rows, &mut |emitter, row| {
            let strided = [(row[0], 16), (row[1], 16), (row[2], 16)];
            emitter.repeat(length / 16, &strided, &mut |emitter, current| {
                let bytes = emitter.function(pointwise, current[0], current[1]);
                emitter.store(bytes, current[2], 0);
            });
            if !length.is_multiple_of(16) {
                let last = strided.map(|(pointer, _)| emitter.plus(pointer, length / 16 * 16));
                let bytes = emitter.function(pointwise, last[0], last[1]);
                emitter.store_first(bytes, last[2], 0, length % 16);
            }
        });
    }

    fn function(&mut self, pointwise: &Pointwise, x0: Value, x1: Value) -> Value {
        let x0 = self.load(I8X16, x0, 0);
        let x1 = self.load(I8X16, x1, 0);
        match &pointwise.function {
            PointwiseFunction::Add(sum) => {
                let sums = self.sums(sum, x0, x1);
                self.narrow(&sums, sum.lo, sum.hi)
            }
            PointwiseFunction::Multiply { zero_points, requantizer } => {
                self.products(*zero_points, requantizer, x0, x1)
            }
        }
    }

    fn sums(&mut self, sum: &Sum, x0: Value, x1: Value) -> Vec<Value> {
        let (x0, x1) = (self.widen_bytes(x0), self.widen_bytes(x1));
        let [m0, m1] = sum.multipliers.map(|multiplier| self.integers(multiplier));
        let offset = self.integers(sum.offset);
        let zero_point = self.integers(sum.zero_point);
        let limits = sum.limits.map(|(lo, hi)| [self.integers(lo), self.integers(hi)]);
        x0.into_iter()
            .zip(x1)
            .map(|(x0, x1)| {
                let y0 = self.builder.ins().imul(x0, m0);
                let y1 = self.builder.ins().imul(x1, m1);
                let products = self.builder.ins().iadd(y0, y1);
                let total = self.builder.ins().iadd(products, offset);
                let mut shifted = self.builder.ins().sshr_imm_u(total, i64::from(sum.shift));
                if let Some([lo, hi]) = limits {
                    shifted = self.builder.ins().smax(shifted, lo);
                    shifted = self.builder.ins().smin(shifted, hi);
                }
                self.builder.ins().iadd(shifted, zero_point)
            })
            .collect()
    }

    fn products(&mut self, zero_points: [i32; 2], requantizer: &Requantizer, x0: Value, x1: Value) -> Value {
        let (x0, x1) = (self.widen_bytes(x0), self.widen_bytes(x1));
        let zero_points = zero_points.map(|zero_point| self.integers(zero_point));
        let products: Vec<Value> = x0
            .into_iter()
            .zip(x1)
            .map(|(x0, x1)| {
                let x0 = self.builder.ins().isub(x0, zero_points[0]);
                let x1 = self.builder.ins().isub(x1, zero_points[1]);
                self.builder.ins().imul(x0, x1)
            })
            .collect();
        let tables = self.tables(requantizer);
        self.requantize(&products, tables, requantizer)
    }

    pub(super) fn lookup(&mut self, lookup: &Lookup) {
        let source = self.address(lookup.source);
        let target = self.address(lookup.target);
        let table = self.rom(lookup.table);
        let turns = lookup.length.div_ceil(LOOKUPS);
        self.repeat(turns, &[(source, LOOKUPS), (target, LOOKUPS)], &mut |emitter, current| {
            for at in 0..LOOKUPS {
                let index = emitter.builder.ins().uload8(emitter.pointer, memory(), current[0], super::offset(at));
                let entry = emitter.builder.ins().iadd(table, index);
                let byte = emitter.load(I8, entry, 0);
                emitter.store(byte, current[1], at);
            }
        });
    }
}
