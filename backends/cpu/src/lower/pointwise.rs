//! Sums, products and tables.

use super::{Lowering, byte_range};
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
        let [mut least, mut most] = [0, 0];
        for (&multiplier, range) in add.multipliers.iter().zip(ranges) {
            let multiplier = i64::from(multiplier);
            offset += multiplier * i64::from(range.least);
            least += (multiplier * i64::from(range.span)).min(0);
            most += (multiplier * i64::from(range.span)).max(0);
        }
        let [least, most] = [least + offset, most + offset];
        if i32::try_from(least).is_err() || i32::try_from(most).is_err() {
            let message = format!("the sum reaches from {least} to {most}, which does not fit 32 bits");
            return Err(Diagnostic::error("accumulator-overflow", message).help("use smaller multipliers and shift"));
        }
        let zero_point = add.zero_point - output.least;
        let shifted = |sum: i64| i32::try_from((sum >> add.shift) + i64::from(zero_point));
        let fits = shifted(least).is_ok() && shifted(most).is_ok();
        let function = PointwiseFunction::Add(Sum {
            multipliers: add.multipliers,
            // Additions modulo 2^32 give the sum, which fits; only it matters.
            offset: offset as i32,
            shift: add.shift,
            zero_point,
            limits: (!fits).then_some((add.lo - add.zero_point, add.hi - add.zero_point)),
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
        let requantizer = self.shared_requantizer(&mul.requantize, output, 65025.0);
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
