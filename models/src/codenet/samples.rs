//! Data for networks that have learned nothing: scenes with the boxes that a detector of these
//! classes should find.

use super::{Configuration, Scene};
use crate::npz::NpzWriter;
use std::io::Cursor;

/// Scenes for calibration, and for evaluation after them.
const SCENES: [u64; 2] = [8, 4];

/// The scenes as an `.npz` file: `images` u8 `[n,size,size,3]`, `boxes` f32 `[m,4]`, `box_class`
/// i32 `[m]`, and `box_offsets` i32 `[n+1]`, where scene `i` owns the boxes from offset `i` to `i+1`.
pub fn archive(configuration: &Configuration) -> Vec<u8> {
    let size = configuration.size();
    let scenes: Vec<Scene> = (0..SCENES.iter().sum()).map(|index| configuration.scene(size, index)).collect();
    let pixels: Vec<u8> = scenes.iter().flat_map(|scene| scene.pixels.iter().copied()).collect();
    let objects: Vec<_> = scenes.iter().flat_map(|scene| scene.objects.iter().copied()).collect();
    let boxes: Vec<f32> = objects.iter().flat_map(|(bounds, _)| *bounds).collect();
    let classes: Vec<i32> = objects.iter().map(|&(_, class)| class as i32).collect();
    let mut offsets = vec![0];
    for scene in &scenes {
        offsets.push(offsets[offsets.len() - 1] + scene.objects.len() as i32);
    }
    let mut bytes = Vec::new();
    let memory = "invariant: memory takes what is written";
    let mut writer = NpzWriter::new(Cursor::new(&mut bytes));
    writer.add("images", &[scenes.len(), size, size, 3], &pixels).expect(memory);
    writer.add("boxes", &[objects.len(), 4], &boxes).expect(memory);
    writer.add("box_class", &[classes.len()], &classes).expect(memory);
    writer.add("box_offsets", &[offsets.len()], &offsets).expect(memory);
    writer.finish().expect(memory);
    bytes
}

/// The task file of a configuration.
pub fn task(configuration: &Configuration) -> String {
    let [calibration, evaluation] = SCENES;
    let name = configuration.name();
    format!(
        r#"# {name} has random weights: it finds nothing, and its AP50 is near 0.
model = "model.onnx"
metric = "ap50"

[calibration]
file = "samples.npz"
start = 0
count = {calibration}

[evaluation]
file = "samples.npz"
start = {calibration}
count = {evaluation}

[input]
array = "images"
layout = "NHWC"
channels = "RGB"
mean = [0.0]
std = [1.0]
model_layout = "NCHW"

[labels]
boxes = "boxes"
box_class = "box_class"
box_offsets = "box_offsets"

[decode]
kind = "centernet"
heatmap = "heatmap"
size = "size"
size_form = "linear"
offset = "offset"
stride = 4
limit = 100
"#
    )
}
