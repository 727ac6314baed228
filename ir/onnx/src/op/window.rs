//! Geometry of sliding windows: explicit and automatic padding, rounding of the output extent.

use crate::node::Node;
use lutweave_ir::Diagnostic;
use lutweave_ir::op::{Geometry, Window};

/// No kernel extent, stride, dilation or padding may be larger.
const MAX_WINDOW: usize = 65_535;

/// A window over the image, vertical before horizontal.
pub struct Sliding {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// The model's own padding at top, left, bottom, right.
    pub pads: [usize; 4],
    /// What `ceil_mode` adds at bottom and right.
    extra: [usize; 2],
}

struct Axis {
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
    extra: usize,
}

impl Sliding {
    /// Reads the attributes that convolution and pooling share. `spatial` are the extents of the
    /// operand's one or two spatial axes, `kernel` those of the window.
    pub fn read(node: &Node, spatial: &[usize], kernel: &[usize]) -> Result<Self, Diagnostic> {
        let rank = spatial.len();
        let strides = node.extents("strides", 1, rank)?;
        let dilations = node.extents("dilations", 1, rank)?;
        let pads = match node.ints("pads") {
            Some(pads) if pads.iter().any(|&pad| pad < 0) => {
                return Err(node.unsupported("negative padding", "slice the operand before this node"));
            }
            _ => node.extents("pads", 0, 2 * rank)?,
        };
        let all = [&strides[..], &dilations[..], kernel];
        if all.iter().any(|list| list.iter().any(|&value| value == 0 || value > MAX_WINDOW)) {
            return Err(node.invalid("kernel extents, strides and dilations must be from 1 to 65535"));
        }
        if pads.iter().any(|&pad| pad > MAX_WINDOW) {
            return Err(node.invalid("padding must be at most 65535"));
        }
        let automatic = node.string("auto_pad", "NOTSET");
        let ceil = node.flag("ceil_mode");
        let mut sliding = Self { kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0; 4], extra: [0, 0] };
        for index in 0..rank {
            let mut axis = Axis {
                stride: strides[index],
                dilation: dilations[index],
                before: pads[index],
                after: pads[rank + index],
                extra: 0,
            };
            let extent = spatial[index];
            let span = (kernel[index] - 1) * axis.dilation + 1;
            match automatic {
                "NOTSET" | "" => {}
                "VALID" => (axis.before, axis.after) = (0, 0),
                "SAME_UPPER" | "SAME_LOWER" => {
                    let windows = extent.div_ceil(axis.stride);
                    let total = ((windows - 1) * axis.stride + span).saturating_sub(extent);
                    let (less, more) = (total / 2, total - total / 2);
                    (axis.before, axis.after) = if automatic == "SAME_UPPER" { (less, more) } else { (more, less) };
                }
                other => return Err(node.invalid(format!("`auto_pad` is `{other}`"))),
            }
            if ceil {
                axis.extra = ceil_padding(&axis, extent, span);
            }
            // A one-dimensional window is one of height 1.
            let target = index + 2 - rank;
            sliding.kernel[target] = kernel[index];
            sliding.strides[target] = axis.stride;
            sliding.dilations[target] = axis.dilation;
            sliding.pads[target] = axis.before;
            sliding.pads[target + 2] = axis.after;
            sliding.extra[target] = axis.extra;
        }
        Ok(sliding)
    }

    /// As the geometry of a convolution.
    pub fn geometry(&self, groups: usize) -> Geometry {
        Geometry { strides: self.strides, dilations: self.dilations, pads: self.pads, groups }
    }

    /// As a pooling window, the padding of `ceil_mode` included.
    pub fn window(&self) -> Window {
        let [top, left, bottom, right] = self.pads;
        let pads = [top, left, bottom + self.extra[0], right + self.extra[1]];
        Window { kernel: self.kernel, strides: self.strides, dilations: self.dilations, pads }
    }
}

/// The padding behind the image that admits the last, partial window: it must start on the image
/// or in the padding before it.
fn ceil_padding(axis: &Axis, extent: usize, span: usize) -> usize {
    let padded = axis.before + extent + axis.after;
    if padded < span {
        return 0;
    }
    let mut windows = (padded - span).div_ceil(axis.stride) + 1;
    if (windows - 1) * axis.stride >= extent + axis.before {
        windows -= 1;
    }
    ((windows - 1) * axis.stride + span).saturating_sub(padded)
}
