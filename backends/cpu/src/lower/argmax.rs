//! Largest channels.

use super::{Lowering, byte_range};
use crate::program::{ArgMax, Kernel};
use lutweave_ir::op::QArgMax;
use lutweave_ir::{Diagnostic, NodeId};

impl Lowering<'_> {
    /// Bytes are distances from the smallest value, so that they rank as the elements do.
    pub(super) fn argmax(&mut self, id: NodeId, argmax: &QArgMax) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        let ty = self.operand_type(node, 0);
        byte_range(ty.element)?;
        let channels = ty.shape.last().copied().unwrap_or(1);
        let source = self.data(node.operands[0])?;
        let target = self.result(id);
        let (pixels, bytes) = (ty.count() / channels, QArgMax::bytes(channels));
        self.push(vec![Kernel::ArgMax(ArgMax { source, target, pixels, channels, bytes, last: argmax.last })]);
        Ok(())
    }
}
