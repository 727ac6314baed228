//! The topology of ResNets.

use super::CLASSES;
use crate::builder::{Activation, Builder, Layer, Value};

/// What differs between ResNets.
pub struct Depth {
    blocks: [usize; 4],
    /// A 3x3 layer between two pointwise ones, the second four times as wide, in place of two 3x3 layers.
    bottleneck: bool,
}

/// 18 layers.
pub const BASIC: Depth = Depth { blocks: [2, 2, 2, 2], bottleneck: false };
/// 50 layers.
pub const DEEP: Depth = Depth { blocks: [3, 4, 6, 3], bottleneck: true };

/// Channels inside the first stage; twice as many in each that follows.
const WIDTH: usize = 64;

pub fn build(builder: &mut Builder, image: &Value, depth: &Depth) {
    let stem = builder.convolve("stem", image, Layer { kernel: 7, stride: 2, ..Layer::pointwise(WIDTH) });
    let mut x = builder.max_pool("stem/pool", &stem, 3, 2);
    for (stage, blocks) in depth.blocks.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("stage{}/block{}", stage + 1, block + 1);
            x = self::block(builder, &name, &x, WIDTH << stage, stride, depth.bottleneck);
        }
    }
    let x = builder.mean("mean", &x);
    builder.classify("scores", &x, CLASSES);
}

fn block(builder: &mut Builder, name: &str, x: &Value, width: usize, stride: usize, bottleneck: bool) -> Value {
    let square = |stride: usize| Layer { kernel: 3, stride, ..Layer::pointwise(width) };
    let channels = if bottleneck { 4 * width } else { width };
    let y = if bottleneck {
        let y = builder.convolve(&format!("{name}/reduce"), x, Layer::pointwise(width));
        let y = builder.convolve(&format!("{name}/square"), &y, square(stride));
        builder.convolve(&format!("{name}/expand"), &y, Layer::pointwise(channels).linear(0.0, 1.0))
    } else {
        let y = builder.convolve(&format!("{name}/first"), x, square(stride));
        builder.convolve(&format!("{name}/second"), &y, square(1).linear(0.0, 1.0))
    };
    let skip = if x.channels() == channels && stride == 1 {
        x.clone()
    } else {
        let layer = Layer { stride, ..Layer::pointwise(channels) };
        builder.convolve(&format!("{name}/skip"), x, layer.linear(0.0, 1.0))
    };
    let sum = builder.add(&format!("{name}/sum"), &y, &skip);
    builder.activate(&format!("{name}/result"), &sum, Activation::Relu)
}
