//! Deformable convolutions: what the moved taps read is gathered, and convolved as it lies.

use super::convolution::Filter;
use super::window::Sliding;
use super::{Lowering, byte_range, images};
use crate::program::{Gather, Kernel, Location, Moves};
use lutweave_ir::op::{QDeformConv, Sampling};
use lutweave_ir::{Diagnostic, NodeId};

impl Lowering<'_> {
    pub(super) fn deformable_convolution(&mut self, id: NodeId, conv: &QDeformConv) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let [_, h, w, c] = images(self.operand_type(node, 0))?;
        let [_, height, width, _] = images(&node.ty)?;
        let kernel = &self.operand_type(node, 1).shape;
        let kernel = [kernel[1], kernel[2]];
        let input = byte_range(self.operand_type(node, 0).element)?;
        let offsets = byte_range(self.operand_type(node, 3).element)?;
        let geometry = &conv.geometry;
        let taps = kernel[0] * kernel[1];
        let target = Location::buffer(self.program.buffer(height * width * taps * c));
        let border = std::iter::repeat_n((conv.pad_value - input.least) as u8, c);
        let gather = Gather {
            source: self.data(node.operands[0])?,
            offsets: self.data(node.operands[3])?,
            target,
            image: [h, w],
            channels: c,
            output: [height, width],
            kernel,
            strides: geometry.strides,
            pads: [geometry.pads[0], geometry.pads[1]],
            moves: match conv.sampling {
                Sampling::Free { .. } => Moves::ByTap { dilations: geometry.dilations },
                Sampling::Square => Moves::ByDistance,
            },
            least: offsets.least,
            border: self.program.table(border),
        };
        // The taps of a window are neighbours in a row.
        let sliding = Sliding {
            image: [height, width * taps, c],
            output: [height, width],
            kernel: [1, taps],
            strides: [1, taps],
            dilations: [1, 1],
            pads: [0, 0],
        };
        let filter = Filter { groups: geometry.groups, pad_value: conv.pad_value, requantize: &conv.requantize };
        self.filtered(id, vec![Kernel::Gather(gather)], target, sliding, filter)
    }
}
