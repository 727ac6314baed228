//! CoDeNet (Dong et al., "CoDeNet: Efficient Deployment of Input-Adaptive Object Detection on Embedded
//! FPGAs", FPGA 2021): the five published configurations with random weights, as ONNX.
//!
//! A ShuffleNetV2 backbone down to stride 32, three decoder stages of a square deformable depthwise
//! layer, a pointwise layer and nearest upsampling, and a head each for heatmap, size and offset at
//! stride 4. Distances are integers from 0 to [`REACH`], as the paper's text has them.
//!
//! Weights are drawn from a fixed seed and scaled so that every channel of every layer has the mean
//! and the spread of a trained network's normalised layers on generated scenes: no
//! channel is dead and none explodes. Nothing is learned; the models show cycles and resources.

mod network;
mod samples;

pub use network::REACH;

use crate::generated::Generated;
use crate::scene::{self, Scene};
use lutweave_ir::random::SplitMix64;
use std::num::NonZeroUsize;

/// How an image enters the backbone, at stride 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// A convolution of stride 4.
    Strided,
    /// A convolution of stride 2, then max pooling.
    Pooled,
}

/// Width of the backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// ShuffleNetV2 1x.
    One,
    /// ShuffleNetV2 2x.
    Two,
}

impl Width {
    /// Channels of the three backbone stages and of the layer after them.
    fn channels(self) -> ([usize; 3], usize) {
        match self {
            Self::One => ([116, 232, 464], 1024),
            Self::Two => ([244, 488, 976], 2153),
        }
    }
}

/// A network to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    name: &'static str,
    size: usize,
    stem: Stem,
    width: Width,
    classes: NonZeroUsize,
}

/// Classes of PASCAL VOC.
const CLASSES: NonZeroUsize = NonZeroUsize::new(20).expect("invariant: 20 is not 0");

impl Configuration {
    /// The published configurations.
    pub const ALL: [Self; 5] = [
        Self { name: "codenet-a", size: 256, stem: Stem::Strided, width: Width::One, classes: CLASSES },
        Self { name: "codenet-b", size: 256, stem: Stem::Pooled, width: Width::One, classes: CLASSES },
        Self { name: "codenet-c", size: 512, stem: Stem::Strided, width: Width::One, classes: CLASSES },
        Self { name: "codenet-d", size: 512, stem: Stem::Strided, width: Width::Two, classes: CLASSES },
        Self { name: "codenet-e", size: 512, stem: Stem::Pooled, width: Width::Two, classes: CLASSES },
    ];

    /// The configuration of a name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|configuration| configuration.name == name)
    }

    /// The same network for another number of classes.
    #[must_use]
    pub fn with_classes(self, classes: NonZeroUsize) -> Self {
        Self { classes, ..self }
    }

    /// Height and width of the image in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Parameters and multiply-accumulates of one inference.
    pub fn counts(&self) -> (u64, u64) {
        network::build(self).counts()
    }

    /// A scene of objects of this network's classes.
    pub fn scene(&self, size: usize, index: u64) -> Scene {
        scene::draw(size, self.classes.get(), &mut SplitMix64::new(0x5CE7E ^ (index << 20)))
    }
}

impl Generated for Configuration {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Input `image` float `[1,3,size,size]` of raw pixels 0..255; outputs `heatmap` (logits), `size` and `offset` (in
    /// cells of 4 pixels) at stride 4.
    fn onnx(&self) -> Vec<u8> {
        network::build(self).finish()
    }

    fn samples(&self) -> Vec<u8> {
        samples::archive(self)
    }

    fn task(&self) -> String {
        samples::task(self)
    }
}

#[cfg(test)]
mod tests;
