//! Generated images of coloured shapes, with their boxes.

use crate::npz::NpzWriter;
use lutweave_ir::Tensor;
use lutweave_ir::random::SplitMix64;
use std::io::Cursor;

/// An image with its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Red, green and blue, row by row.
    pub pixels: Vec<u8>,
    /// `x1, y1, x2, y2` of each object in pixels, and its class.
    pub objects: Vec<([f32; 4], usize)>,
}

impl Scene {
    /// What a network sees of a square scene: `(pixel - mean) / std` for red, green and blue, `[1,size,size,3]`.
    pub fn normalized(&self, size: usize, mean: [f32; 3], std: [f32; 3]) -> Tensor {
        let value = |(at, &pixel): (usize, &u8)| (f32::from(pixel) - mean[at % 3]) / std[at % 3];
        Tensor::f32([1, size, size, 3], self.pixels.iter().enumerate().map(value).collect::<Vec<f32>>())
    }
}

/// Scenes of `size` pixels as an `.npz` file: `images` u8 `[n,size,size,3]`, `boxes` f32 `[m,4]`, `box_class`
/// i32 `[m]`, and `box_offsets` i32 `[n+1]`, where scene `i` owns the boxes from offset `i` to `i+1`.
pub fn archive(size: usize, scenes: &[Scene]) -> Vec<u8> {
    let objects: Vec<_> = scenes.iter().flat_map(|scene| scene.objects.iter().copied()).collect();
    let boxes: Vec<f32> = objects.iter().flat_map(|(bounds, _)| *bounds).collect();
    let classes: Vec<i32> = objects.iter().map(|&(_, class)| class as i32).collect();
    let mut offsets = vec![0];
    for scene in scenes {
        offsets.push(offsets[offsets.len() - 1] + scene.objects.len() as i32);
    }
    written(size, scenes, |writer| {
        writer.add("boxes", &[objects.len(), 4], &boxes)?;
        writer.add("box_class", &[classes.len()], &classes)?;
        writer.add("box_offsets", &[offsets.len()], &offsets)
    })
}

/// Scenes as an `.npz` file: `images` as in [`archive`], and `labels` i64 `[n]`.
pub fn labelled(size: usize, scenes: &[Scene], labels: &[i64]) -> Vec<u8> {
    written(size, scenes, |writer| writer.add("labels", &[labels.len()], labels))
}

fn written(
    size: usize,
    scenes: &[Scene],
    more: impl FnOnce(&mut NpzWriter<Cursor<&mut Vec<u8>>>) -> std::io::Result<()>,
) -> Vec<u8> {
    let memory = "invariant: memory takes what is written";
    let pixels: Vec<u8> = scenes.iter().flat_map(|scene| scene.pixels.iter().copied()).collect();
    let mut bytes = Vec::new();
    let mut writer = NpzWriter::new(Cursor::new(&mut bytes));
    writer.add("images", &[scenes.len(), size, size, 3], &pixels).expect(memory);
    more(&mut writer).expect(memory);
    writer.finish().expect(memory);
    bytes
}

/// How an object fills its box.
#[derive(Clone, Copy)]
enum Shape {
    Rectangle,
    Ellipse,
    Diamond,
}

/// Draws a square image of `size` pixels with one to eight objects of `classes` classes before a
/// shaded, noisy ground.
pub fn draw(size: usize, classes: usize, random: &mut SplitMix64) -> Scene {
    let corners: Vec<[f64; 3]> = (0..4).map(|_| std::array::from_fn(|_| random.real(40.0, 215.0))).collect();
    let mut pixels = Vec::with_capacity(size * size * 3);
    for row in 0..size {
        for column in 0..size {
            let (y, x) = (row as f64 / size as f64, column as f64 / size as f64);
            let shade = |channel: usize| {
                let top = corners[0][channel] * (1.0 - x) + corners[1][channel] * x;
                let bottom = corners[2][channel] * (1.0 - x) + corners[3][channel] * x;
                top * (1.0 - y) + bottom * y
            };
            pixels.extend((0..3).map(|channel| shade(channel) + random.real(-20.0, 20.0)));
        }
    }
    let mut objects = Vec::new();
    for _ in 0..random.between(1, 8) {
        let class = random.below(classes);
        let sides = [(); 2].map(|()| random.real(0.08, 0.45) * size as f64);
        let [left, top] = sides.map(|side| random.real(0.0, size as f64 - side));
        let bounds = [left, top, left + sides[0], top + sides[1]];
        paint(&mut pixels, size, bounds, class, random);
        objects.push((bounds.map(|bound| bound as f32), class));
    }
    Scene { pixels: pixels.into_iter().map(|value| value.clamp(0.0, 255.0) as u8).collect(), objects }
}

fn paint(pixels: &mut [f64], size: usize, bounds: [f64; 4], class: usize, random: &mut SplitMix64) {
    // A class looks the same in every scene.
    let mut look = SplitMix64::new(class as u64);
    let colour: [f64; 3] = std::array::from_fn(|_| look.real(0.0, 255.0));
    let shape = look.pick(&[Shape::Rectangle, Shape::Ellipse, Shape::Diamond]);
    let [left, top, right, bottom] = bounds;
    for row in top as usize..(bottom.ceil() as usize).min(size) {
        for column in left as usize..(right.ceil() as usize).min(size) {
            // From -1 to 1 inside the box.
            let x = (2.0 * (column as f64 + 0.5) - left - right) / (right - left);
            let y = (2.0 * (row as f64 + 0.5) - top - bottom) / (bottom - top);
            let inside = match shape {
                Shape::Rectangle => x.abs() <= 1.0 && y.abs() <= 1.0,
                Shape::Ellipse => x * x + y * y <= 1.0,
                Shape::Diamond => x.abs() + y.abs() <= 1.0,
            };
            if inside {
                let pixel = &mut pixels[(row * size + column) * 3..][..3];
                for (value, colour) in pixel.iter_mut().zip(colour) {
                    *value = colour + random.real(-12.0, 12.0);
                }
            }
        }
    }
}
