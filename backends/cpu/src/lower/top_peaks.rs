//! Peaks of heatmaps.

use super::{Lowering, byte_range, images};
use crate::program::{Fill, Kernel, TopPeaks};
use lutweave_ir::{Diagnostic, NodeId, op};

impl Lowering<'_> {
    /// Bytes are distances from the smallest value already, as in the records.
    pub(super) fn top_peaks(&mut self, id: NodeId, peaks: &op::TopPeaks) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        let [_, height, width, channels] = images(self.operand_type(node, 0))?;
        let mut sources = Vec::with_capacity(node.operands.len());
        for (position, &operand) in node.operands.iter().enumerate() {
            let ty = self.operand_type(node, position);
            byte_range(ty.element)?;
            sources.push((self.data(operand)?, images(ty)?[3]));
        }
        let maps = sources.split_off(1);
        let search = TopPeaks {
            heatmap: sources[0].0,
            maps,
            target: self.result(id),
            image: [height, width, channels],
            count: peaks.count,
            index_bytes: op::TopPeaks::index_bytes(height * width * channels),
        };
        let fill = |offset: usize, rows: usize, run: usize, value: u8| {
            let target = search.target.plus(offset);
            Kernel::Fill(Fill { target, rows, stride: search.fields(), run, value, widen: false })
        };
        let absent = [fill(0, 1, search.count * search.fields(), 0), fill(1, search.count, search.index_bytes, 255)];
        self.push(absent.into_iter().chain([Kernel::TopPeaks(search.clone())]).collect());
        Ok(())
    }
}
