//! Well-known networks of real size with random weights, as ONNX, written from their published descriptions.
//!
//! * MobileNetV2 (Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018);
//! * ResNet-18 and ResNet-50 (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016), with the stride of a
//!   bottleneck in its 3x3 layer;
//! * YOLOv8n (Ultralytics, 2023), whose heads give class scores and distributions of distances; boxes are decoded on the
//!   host.
//!
//! Batch normalization is folded into the layers. Weights are drawn as those of [`crate::codenet`] are. Nothing is
//! learned; the models show cycles and resources. What a classifier should answer is what it answers in float, so that its
//! accuracy is the agreement with itself.

mod mobilenet;
mod resnet;
mod samples;
mod yolo;

use crate::builder::{Builder, Value};
use crate::generated::Generated;
use crate::scene::{self, Scene};
use lutweave_ir::random::SplitMix64;

/// A network to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// MobileNetV2 of width 1.
    MobileNetV2,
    /// ResNet of 18 layers.
    ResNet18,
    /// ResNet of 50 layers.
    ResNet50,
    /// YOLOv8, the smallest.
    YoloV8n,
}

/// Classes of a classifier.
const CLASSES: usize = 1000;

/// Number of images that weights are scaled on, and their height and width.
const STATISTICS: (u64, usize) = (8, 96);

impl Published {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::MobileNetV2, Self::ResNet18, Self::ResNet50, Self::YoloV8n];

    /// Height and width of the image in pixels.
    pub fn size(self) -> usize {
        match self {
            Self::YoloV8n => 640,
            Self::MobileNetV2 | Self::ResNet18 | Self::ResNet50 => 224,
        }
    }

    /// Mean and divisor of red, green and blue that the network expects.
    fn normalization(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::YoloV8n => ([0.0; 3], [255.0; 3]),
            // Those of ImageNet.
            Self::MobileNetV2 | Self::ResNet18 | Self::ResNet50 => ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        }
    }

    /// Parameters and multiply-accumulates of one inference.
    pub fn counts(self) -> (u64, u64) {
        self.build().counts()
    }

    /// A scene of shapes.
    pub fn scene(self, size: usize, index: u64) -> Scene {
        scene::draw(size, yolo::CLASSES, &mut SplitMix64::new(0x5CE7E ^ (index << 20)))
    }

    fn build(self) -> Builder {
        let mut builder = Builder::new(self.name(), 0xC0DE);
        let (mean, std) = self.normalization();
        let images = (0..STATISTICS.0)
            .map(|index| self.scene(STATISTICS.1, u64::MAX - index).normalized(STATISTICS.1, mean, std))
            .collect();
        let image: Value = builder.image("image", self.size(), images);
        match self {
            Self::MobileNetV2 => mobilenet::build(&mut builder, &image),
            Self::ResNet18 => resnet::build(&mut builder, &image, &resnet::BASIC),
            Self::ResNet50 => resnet::build(&mut builder, &image, &resnet::DEEP),
            Self::YoloV8n => yolo::build(&mut builder, &image),
        }
        builder
    }
}

impl Generated for Published {
    fn name(&self) -> &'static str {
        match self {
            Self::MobileNetV2 => "mobilenetv2",
            Self::ResNet18 => "resnet18",
            Self::ResNet50 => "resnet50",
            Self::YoloV8n => "yolov8n",
        }
    }

    /// Input `image` float `[1,3,size,size]`; output `scores` of classifiers, or for each stride `scores` and `distances`.
    fn onnx(&self) -> Vec<u8> {
        self.build().finish()
    }

    fn samples(&self) -> Vec<u8> {
        samples::archive(*self)
    }

    fn task(&self) -> String {
        samples::task(*self)
    }
}

#[cfg(test)]
mod tests;
