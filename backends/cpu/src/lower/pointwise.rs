//! Sums, products and tables.

use super::{Lowering, byte_range, magnitude};
use crate::program::{Kernel, Lookup, Pointwise, PointwiseFunction, Sum};
use lutweave_ir::op::{QAdd, QMul, Table};
use lutweave_ir::{Diagnostic, NodeId};

impl Lowering<'_> {
    pub(super) fn add(&mut self, id: NodeId, add: &QAdd) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let ranges = [byte_range(self.operand_type(node, 0).element)?, byte_range(self.operand_type(node, 1).element)?];
        let output = byte_range(node.ty.element)?;
        let rounding = if add.shift == 0 { 0 } else { 1i64 << (add.shift - 1) };
        let mut offset = i64::from(add.offset) + rounding;
        for (&multiplier, range) in add.multipliers.iter().zip(ranges) {
            offset += i64::from(multiplier) * i64::from(range.least);
        }
        let (least, most) = self.accumulator(id)?;
        let zero_point = add.zero_point - output.least;
        let fits = |sum: i32| (sum >> add.shift).checked_add(zero_point).is_some();
        let function = PointwiseFunction::Add(Sum {
            multipliers: add.multipliers,
            // Additions modulo 2^32 give the sum, which fits; only it matters.
            offset: offset as i32,
            shift: add.shift,
            zero_point,
            limits: (!fits(least) || !fits(most)).then_some((add.lo - add.zero_point, add.hi - add.zero_point)),
            lo: (add.lo - output.least) as u8,
            hi: (add.hi - output.least) as u8,
        });
        self.pointwise(id, function)
    }

    pub(super) fn multiply(&mut self, id: NodeId, mul: &QMul) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let ranges = [byte_range(self.operand_type(node, 0).element)?, byte_range(self.operand_type(node, 1).element)?];
        let output = byte_range(node.ty.element)?;
        let zero_points = [mul.zero_points[0] - ranges[0].least, mul.zero_points[1] - ranges[1].least];
        let bound = magnitude(self.accumulator(id)?);
        let requantizer = self.shared_requantizer(&mul.requantize, output, bound);
        self.pointwise(id, PointwiseFunction::Multiply { zero_points, requantizer })
    }

    fn pointwise(&mut self, id: NodeId, function: PointwiseFunction) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        let sources = [self.data(node.operands[0])?, self.data(node.operands[1])?];
        let length = self.operand_type(node, 1).count();
        let rows = node.ty.count() / length;
        let target = self.result(id);
        self.push(vec![Kernel::Pointwise(Pointwise { sources, target, rows, length, function })]);
        Ok(())
    }

    pub(super) fn lookup(&mut self, id: NodeId, table: &Table) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        let output = byte_range(node.ty.element)?;
        let source = self.data(node.operands[0])?;
        // Kernels look up whole vectors, so bytes of any value may come after the end.
        let mut bytes: Vec<u8> = table.entries.iter().map(|&entry| (entry - output.least) as u8).collect();
        bytes.resize(256, 0);
        let table = self.program.table(bytes);
        let target = self.result(id);
        self.push(vec![Kernel::Lookup(Lookup { source, target, length: node.ty.count(), table })]);
        Ok(())
    }
}
