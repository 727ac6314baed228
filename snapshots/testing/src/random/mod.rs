//! Random integer graphs for property tests of everything that executes or transforms them.
//!
//! [`random_graph`] makes small valid graphs that reach all integer operators and the shapes of
//! real networks: residuals over several operators, squeeze and excitation, branches, flattened
//! dense layers, values that are an output and used further. Rescaling parameters follow
//! from estimates of how the values spread, so that outputs are not constant.

mod builder;
mod convolution;
mod deformable;
mod movement;
mod pointwise;
mod pooling;
mod rescaling;
mod spread;
mod strategy;
#[cfg(test)]
mod tests;
mod top_peaks;

pub use strategy::{Drawn, any_graph};

use builder::Builder;
use lutweave_ir::{Element, Graph};
use std::ops::RangeInclusive;

/// What the generator adds in one step: an operator, or a few that networks use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A convolution: dense, depthwise, grouped or pointwise.
    Convolution,
    /// A convolution whose taps move where another convolution or a table says.
    Deformable,
    /// A pointwise convolution of a tensor flattened to `[1,1,1,k]`.
    Dense,
    /// Average pooling of windows or of the whole image.
    AveragePool,
    /// Max pooling.
    MaxPool,
    /// A sum of two values, the second perhaps one value per channel.
    Add,
    /// A product of two values, the second perhaps one value per channel.
    Multiply,
    /// One or two convolutions, added to what they started from.
    Residual,
    /// A product with a gate made of the channels' means.
    SqueezeExcite,
    /// A function by table.
    Table,
    /// Values joined along the channels; convolutions make those that are lacking.
    Concat,
    /// A strided box.
    Slice,
    /// Channels in another order, some of them left out or repeated.
    Select,
    /// A frame of constants.
    Pad,
    /// Nearest-neighbour upsampling.
    Resize,
    /// Another shape of the same elements.
    Reshape,
    /// The place of the largest channel.
    ArgMax,
    /// The largest peaks, with what other values hold there.
    TopPeaks,
    /// A permutation of height, width and channels.
    Transpose,
}

impl Step {
    /// Every step but [`Step::Transpose`], which has no streaming circuit.
    pub const STREAMING: [Self; 18] = [
        Self::Convolution,
        Self::Deformable,
        Self::Dense,
        Self::AveragePool,
        Self::MaxPool,
        Self::Add,
        Self::Multiply,
        Self::Residual,
        Self::SqueezeExcite,
        Self::Table,
        Self::Concat,
        Self::Slice,
        Self::Select,
        Self::Pad,
        Self::Resize,
        Self::Reshape,
        Self::ArgMax,
        Self::TopPeaks,
    ];

    /// The most operators that it adds.
    fn most_operators(self) -> usize {
        match self {
            Self::Convolution
            | Self::AveragePool
            | Self::MaxPool
            | Self::Table
            | Self::Slice
            | Self::Select
            | Self::Pad
            | Self::Resize
            | Self::Reshape
            | Self::ArgMax
            | Self::TopPeaks
            | Self::Transpose => 1,
            Self::Add | Self::Multiply => 2,
            Self::Deformable | Self::Residual | Self::Concat => 3,
            Self::Dense | Self::SqueezeExcite => 4,
        }
    }

    /// Whether it only moves elements in a way that the host does at the graph's edges.
    fn is_layout(self) -> bool {
        matches!(self, Self::Reshape | Self::Transpose)
    }

    /// How often the step is chosen, among all that may be.
    fn weight(self) -> usize {
        match self {
            Self::Convolution => 10,
            Self::Residual => 5,
            Self::Deformable | Self::Add | Self::Multiply | Self::Concat => 4,
            Self::AveragePool | Self::MaxPool | Self::SqueezeExcite | Self::Table | Self::Slice | Self::Select => 3,
            Self::Dense
            | Self::Pad
            | Self::Resize
            | Self::Reshape
            | Self::ArgMax
            | Self::TopPeaks
            | Self::Transpose => 2,
        }
    }
}

/// Bounds on random graphs.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomOptions {
    /// Number of operators, inputs and constants not counted; at least one. The last step may
    /// exceed the bound where an input is still unused.
    pub operators: RangeInclusive<usize>,
    /// Most inputs, at least 1.
    pub inputs: usize,
    /// Most outputs, at least 1. Fewer outputs than inputs may mean fewer inputs.
    pub outputs: usize,
    /// Largest height and width of an input; padding and upsampling may double it.
    pub extent: usize,
    /// Largest number of channels of an input or a convolution, but for the wide ones; joining
    /// may double it.
    pub channels: usize,
    /// Now and then a value has this many channels.
    pub wide_channels: usize,
    /// Element types of activations, integers of at most 8 bits.
    pub elements: Vec<Element>,
    /// Widths of weights in bits, 2 to 9.
    pub weight_bits: Vec<u8>,
    /// The steps to choose from.
    pub steps: Vec<Step>,
    /// Whether one value may be an output twice.
    pub repeated_outputs: bool,
}

impl Default for RandomOptions {
    fn default() -> Self {
        Self {
            operators: 1..=8,
            inputs: 3,
            outputs: 3,
            extent: 9,
            channels: 9,
            wide_channels: 16,
            elements: vec![
                Element::I8,
                Element::I8,
                Element::U8,
                Element::U8,
                Element::I4,
                Element::Int { bits: 4, signed: false },
            ],
            weight_bits: vec![8, 8, 8, 8, 4, 4, 4, 9],
            steps: Step::STREAMING.to_vec(),
            repeated_outputs: true,
        }
    }
}

/// A random integer graph; the same for the same seed and options. No input is unused, and none
/// is an output. Every operator computes something that an output depends on.
///
/// [`lutweave_ir::split::split`] finds a core in it, unless the options leave only reshapes and
/// transposes; what it cuts off are reshapes and transposes at the edges.
///
/// # Panics
/// If the options leave nothing to choose from or state an element or width that they may not.
pub fn random_graph(seed: u64, options: &RandomOptions) -> Graph {
    Builder::new(seed, options).build()
}
