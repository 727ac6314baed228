//! Float convolution, and the geometry it shares with the integer one.

use crate::tensor::{Tensor, TensorType};

/// How a window of weights moves over an image. Vertical before horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Geometry {
    /// Distance between windows, at least 1.
    pub strides: [usize; 2],
    /// Distance between taps, at least 1.
    pub dilations: [usize; 2],
    /// Padding at top, left, bottom, right.
    pub pads: [usize; 4],
    /// Channel groups; divides input and output channels.
    pub groups: usize,
}

/// 2-D convolution (cross-correlation, as ONNX has it), zero padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conv {
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
}
