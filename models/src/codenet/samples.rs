//! Data for networks that have learned nothing: scenes with the boxes that a detector of these
//! classes should find.

use super::{Configuration, Scene};
use crate::generated::Generated;
use crate::scene;

/// Scenes for calibration, and for evaluation after them.
const SCENES: [u64; 2] = [8, 4];

/// The scenes as an `.npz` file.
pub fn archive(configuration: &Configuration) -> Vec<u8> {
    let size = configuration.size();
    let scenes: Vec<Scene> = (0..SCENES.iter().sum()).map(|index| configuration.scene(size, index)).collect();
    scene::archive(size, &scenes)
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
