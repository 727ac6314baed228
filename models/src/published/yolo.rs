//! The topology of YOLOv8n.

use crate::builder::{Activation, Builder, Layer, Value};

/// Classes that it tells apart, those of COCO.
pub const CLASSES: usize = 80;
/// Pixels of a cell of each level.
pub const STRIDES: [usize; 3] = [8, 16, 32];
/// Numbers in the distribution of a side's distance.
const DISTANCES: usize = 16;
/// Channels inside a head: of distances, and of scores.
const HEADS: [usize; 2] = [64, 80];
/// A logit of -2.19 says one cell in ten.
const RARE: f64 = -2.19;

pub fn build(builder: &mut Builder, image: &Value) {
    let x = down(builder, "stem", image, 16);
    let x = down(builder, "stage1/down", &x, 32);
    let x = fused(builder, "stage1", &x, 32, 1, true);
    let x = down(builder, "stage2/down", &x, 64);
    let eighth = fused(builder, "stage2", &x, 64, 2, true);
    let x = down(builder, "stage3/down", &eighth, 128);
    let sixteenth = fused(builder, "stage3", &x, 128, 2, true);
    let x = down(builder, "stage4/down", &sixteenth, 256);
    let x = fused(builder, "stage4", &x, 256, 1, true);
    let deep = pyramid(builder, "pool", &x, 256);

    let x = builder.upsample("up1/upsample", &deep);
    let x = builder.concat("up1/both", &[&x, &sixteenth]);
    let middle = fused(builder, "up1", &x, 128, 1, false);
    let x = builder.upsample("up2/upsample", &middle);
    let x = builder.concat("up2/both", &[&x, &eighth]);
    let first = fused(builder, "up2", &x, 64, 1, false);
    let x = down(builder, "down1/down", &first, 64);
    let x = builder.concat("down1/both", &[&x, &middle]);
    let second = fused(builder, "down1", &x, 128, 1, false);
    let x = down(builder, "down2/down", &second, 128);
    let x = builder.concat("down2/both", &[&x, &deep]);
    let third = fused(builder, "down2", &x, 256, 1, false);
    for (level, stride) in [first, second, third].iter().zip(STRIDES) {
        head(builder, level, stride);
    }
}

/// A layer that halves the image.
fn down(builder: &mut Builder, name: &str, x: &Value, channels: usize) -> Value {
    builder.convolve(name, x, Layer { stride: 2, ..square(channels) })
}

fn square(channels: usize) -> Layer {
    Layer { kernel: 3, ..Layer::pointwise(channels) }.with(Activation::Silu)
}

fn pointwise(channels: usize) -> Layer {
    Layer::pointwise(channels).with(Activation::Silu)
}

/// Half of the channels goes through blocks; what each of them gives is joined.
fn fused(builder: &mut Builder, name: &str, x: &Value, channels: usize, blocks: usize, skips: bool) -> Value {
    let half = channels / 2;
    let x = builder.convolve(&format!("{name}/first"), x, pointwise(channels));
    let [left, right] = builder.split(&format!("{name}/halves"), &x);
    let mut parts = vec![left, right];
    for block in 0..blocks {
        let name = format!("{name}/block{}", block + 1);
        let x = parts[parts.len() - 1].clone();
        let y = builder.convolve(&format!("{name}/first"), &x, square(half));
        let y = builder.convolve(&format!("{name}/second"), &y, square(half));
        parts.push(if skips { builder.add(&format!("{name}/sum"), &x, &y) } else { y });
    }
    let joined = builder.concat(&format!("{name}/joined"), &parts.iter().collect::<Vec<_>>());
    builder.convolve(&format!("{name}/last"), &joined, pointwise(channels))
}

/// Largest elements of ever larger windows beside each other.
fn pyramid(builder: &mut Builder, name: &str, x: &Value, channels: usize) -> Value {
    let mut parts = vec![builder.convolve(&format!("{name}/first"), x, pointwise(channels / 2))];
    for level in 1..=3 {
        let pooled = builder.max_pool(&format!("{name}/window{level}"), &parts[level - 1], 5, 1);
        parts.push(pooled);
    }
    let joined = builder.concat(&format!("{name}/joined"), &parts.iter().collect::<Vec<_>>());
    builder.convolve(&format!("{name}/last"), &joined, pointwise(channels))
}

/// Scores of classes and distributions of distances for each cell.
fn head(builder: &mut Builder, x: &Value, stride: usize) {
    let results = [(4 * DISTANCES, 0.0), (CLASSES, RARE)];
    for ((kind, inside), (outputs, mean)) in ["distances", "scores"].into_iter().zip(HEADS).zip(results) {
        let name = format!("{kind}{stride}");
        let y = builder.convolve(&format!("{name}/first"), x, square(inside));
        let y = builder.convolve(&format!("{name}/second"), &y, square(inside));
        let layer = Layer::pointwise(outputs).linear(mean, 1.0);
        let layer = if kind == "scores" { layer.with(Activation::Sigmoid) } else { layer };
        let y = builder.convolve(&format!("{name}/last"), &y, layer);
        builder.output_rows(&name, &y);
    }
}
