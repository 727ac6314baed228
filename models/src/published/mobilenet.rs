//! The topology of MobileNetV2.

use super::CLASSES;
use crate::builder::{Activation, Builder, Layer, Value};

/// Expansion, channels, blocks and stride of each stage.
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Channels after the first layer, and after the last.
const ENDS: [usize; 2] = [32, 1280];

pub fn build(builder: &mut Builder, image: &Value) {
    let relu6 = |layer: Layer| layer.with(Activation::Relu6);
    let first = relu6(Layer { kernel: 3, stride: 2, ..Layer::pointwise(ENDS[0]) });
    let mut x = builder.convolve("stem", image, first);
    for (stage, (expansion, channels, blocks, stride)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let name = format!("stage{}/block{}", stage + 1, block + 1);
            let stride = if block == 0 { stride } else { 1 };
            let inside = x.channels() * expansion;
            let mut y = x.clone();
            if expansion > 1 {
                y = builder.convolve(&format!("{name}/expand"), &y, relu6(Layer::pointwise(inside)));
            }
            y = builder.convolve(&format!("{name}/depthwise"), &y, relu6(Layer::depthwise(inside, stride)));
            y = builder.convolve(&format!("{name}/project"), &y, Layer::pointwise(channels).linear(0.0, 1.0));
            x = if stride == 1 && x.channels() == channels { builder.add(&format!("{name}/sum"), &x, &y) } else { y };
        }
    }
    let x = builder.convolve("last", &x, relu6(Layer::pointwise(ENDS[1])));
    let x = builder.mean("mean", &x);
    builder.classify("scores", &x, CLASSES);
}
