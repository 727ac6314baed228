//! Max and average pooling over windows.

use crate::tensor::{Tensor, TensorType};

/// A pooling window. Vertical before horizontal. Each window overlaps the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Extent, at least 1.
    pub kernel: [usize; 2],
    /// Distance between windows, at least 1.
    pub strides: [usize; 2],
    /// Distance between taps, at least 1.
    pub dilations: [usize; 2],
    /// Padding at top, left, bottom, right. A `ceil_mode` of the model is in the bottom and
    /// right padding.
    pub pads: [usize; 4],
}

/// Float average pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AveragePool {
    /// The window.
    pub window: Window,
    /// The padding (top, left, bottom, right) that counts as zeros in the mean: the model's own,
    /// without what a `ceil_mode` added to [`Window::pads`]. `None` if padding does not count:
    /// the mean is over the part of the window inside the image.
    pub counted_pads: Option<[usize; 4]>,
}
