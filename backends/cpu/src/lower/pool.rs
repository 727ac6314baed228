//! Pools.

use super::window::{Layout, Sliding};
use super::{Lowering, byte_range, images, magnitude};
use crate::program::{Kernel, Pool, Pooling, Walk};
use lutweave_ir::op::{QAveragePool, Window};
use lutweave_ir::{Diagnostic, NodeId};

impl Lowering<'_> {
    pub(super) fn max_pool(&mut self, id: NodeId, window: &Window) -> Result<(), Diagnostic> {
        // The border reads the smallest byte, and every window overlaps the image.
        byte_range(self.graph.node(id).ty.element)?;
        self.pool(id, window, 0, Pooling::Max)
    }

    pub(super) fn average_pool(&mut self, id: NodeId, pool: &QAveragePool) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let input = byte_range(self.operand_type(node, 0).element)?;
        let output = byte_range(node.ty.element)?;
        let area = (pool.window.kernel[0] * pool.window.kernel[1]) as i64;
        let bias = i64::from(pool.bias) + area * i64::from(input.least);
        let bound = magnitude(self.accumulator(id)?);
        let requantizer = self.shared_requantizer(&pool.requantize, output, bound);
        let pooling = Pooling::Sum { bias: bias as i32, requantizer };
        self.pool(id, &pool.window, (pool.pad_value - input.least) as u8, pooling)
    }

    fn pool(&mut self, id: NodeId, window: &Window, border: u8, pooling: Pooling) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        let ([images, h, w, channels], [_, height, width, _]) =
            (images(self.operand_type(node, 0))?, images(&node.ty)?);
        let source = self.data(node.operands[0])?;
        let sliding = Sliding {
            image: [h, w, channels],
            output: [height, width],
            kernel: window.kernel,
            strides: window.strides,
            dilations: window.dilations,
            pads: [window.pads[0], window.pads[1]],
        };
        let target = self.result(id);
        let mut kernels = Vec::new();
        for index in 0..images {
            let layout = Layout { groups: 1, widen: false, border };
            let source = source.plus(index * h * w * channels);
            let bordered = self.bordered(&mut kernels, source, &sliding, layout);
            let row = bordered.width * bordered.pixel;
            let walk = Walk {
                rows: height,
                columns: width,
                source_row: window.strides[0] * row,
                source_column: window.strides[1] * bordered.pixel,
                target_row: width * channels,
                target_column: channels,
            };
            let taps = [
                (window.kernel[0], window.dilations[0] * row),
                (window.kernel[1], window.dilations[1] * bordered.pixel),
            ];
            let (walk, pixels) = walk.flattened().folded(channels);
            kernels.push(Kernel::Pool(Pool {
                source: bordered.location,
                target: target.plus(index * height * width * channels),
                walk,
                channels: channels * pixels,
                taps,
                pooling,
            }));
        }
        self.push(kernels);
        Ok(())
    }
}
