//! The topology of CoDeNet.

use super::{Configuration, Stem};
use crate::builder::{Activation, Builder, Layer, Value};
use lutweave_ir::Tensor;

/// Largest distance between a deformable layer's taps.
pub const REACH: u8 = 7;

/// Channels after the stem.
const STEM: usize = 24;
/// Units of each backbone stage.
const UNITS: [usize; 3] = [4, 8, 4];
/// Channels of each decoder stage.
const DECODER: [usize; 3] = [256, 128, 64];
/// Channels inside a head.
const HEAD: usize = 64;
/// Name, mean and spread of the three results. A logit of -2.19 says one cell in ten.
const HEADS: [(&str, f64, f64); 3] = [("heatmap", -2.19, 1.0), ("size", 10.0, 3.0), ("offset", 0.5, 0.25)];
/// Height and width of the images that weights are scaled on, and their number.
const STATISTICS: (usize, u64) = (256, 8);

/// The network of a configuration.
pub fn build(configuration: &Configuration) -> Builder {
    let mut builder = Builder::new(configuration.name, 0xC0DE);
    let images = (0..STATISTICS.1).map(|index| {
        let scene = configuration.scene(STATISTICS.0, u64::MAX - index);
        let pixels: Vec<f32> = scene.pixels.iter().map(|&pixel| f32::from(pixel)).collect();
        Tensor::f32([1, STATISTICS.0, STATISTICS.0, 3], pixels)
    });
    let image = builder.image("image", configuration.size, images.collect());
    let x = stem(&mut builder, &image, configuration.stem);
    let (stages, last) = configuration.width.channels();
    let x = backbone(&mut builder, x, stages);
    let mut x = builder.convolve("neck", &x, Layer::pointwise(last));
    for (index, channels) in DECODER.into_iter().enumerate() {
        let name = format!("decoder{}", index + 1);
        let y = builder.deform(&format!("{name}/deform"), &x, REACH);
        let y = builder.convolve(&format!("{name}/pointwise"), &y, Layer::pointwise(channels));
        x = builder.upsample(&format!("{name}/upsample"), &y);
    }
    let outputs = [configuration.classes.get(), 2, 2];
    for ((name, mean, spread), outputs) in HEADS.into_iter().zip(outputs) {
        let y = builder.convolve(&format!("{name}/first"), &x, Layer::pointwise(HEAD));
        let depthwise = Layer::depthwise(HEAD, 1).with(Activation::Relu);
        let y = builder.convolve(&format!("{name}/depthwise"), &y, depthwise);
        let y = builder.convolve(&format!("{name}/last"), &y, Layer::pointwise(outputs).linear(mean, spread));
        builder.output(name, &y);
    }
    builder
}

fn stem(builder: &mut Builder, image: &Value, stem: Stem) -> Value {
    let layer = Layer { kernel: 3, ..Layer::pointwise(STEM) };
    match stem {
        Stem::Strided => builder.convolve("stem", image, Layer { stride: 4, ..layer }),
        Stem::Pooled => {
            let y = builder.convolve("stem", image, Layer { stride: 2, ..layer });
            builder.max_pool("stem/pool", &y, 3, 2)
        }
    }
}

/// The stages of ShuffleNetV2.
fn backbone(builder: &mut Builder, mut x: Value, stages: [usize; 3]) -> Value {
    for (stage, (channels, units)) in stages.into_iter().zip(UNITS).enumerate() {
        let half = channels / 2;
        for unit in 0..units {
            let name = format!("stage{}/unit{}", stage + 1, unit + 1);
            let stride = if unit == 0 { 2 } else { 1 };
            let (left, right) = if unit == 0 {
                let y = builder.convolve(&format!("{name}/left/depthwise"), &x, Layer::depthwise(x.channels(), 2));
                let y = builder.convolve(&format!("{name}/left/pointwise"), &y, Layer::pointwise(half));
                (y, x)
            } else {
                let [left, right] = builder.split(&name, &x);
                (left, right)
            };
            let y = builder.convolve(&format!("{name}/right/first"), &right, Layer::pointwise(half));
            let y = builder.convolve(&format!("{name}/right/depthwise"), &y, Layer::depthwise(half, stride));
            let y = builder.convolve(&format!("{name}/right/last"), &y, Layer::pointwise(half));
            x = builder.concat_and_shuffle(&name, [&left, &y]);
        }
    }
    x
}
