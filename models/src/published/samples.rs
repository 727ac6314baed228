//! Data for networks that have learned nothing.

use super::{Published, yolo};
use crate::generated::{BOXES, Generated, Task};
use crate::scene::{self, Scene};
use lutweave_ir::{Tensor, interpret};
use lutweave_onnx::ImportOptions;

/// Scenes for calibration, and for evaluation after them.
const SCENES: [u64; 2] = [4, 4];

/// The scenes as an `.npz` file, with boxes for a detector, or with what a classifier answers.
pub fn archive(model: Published) -> Vec<u8> {
    let size = model.size();
    let scenes: Vec<Scene> = (0..SCENES.iter().sum()).map(|index| model.scene(size, index)).collect();
    if model == Published::YoloV8n {
        return scene::archive(size, &scenes);
    }
    let options = ImportOptions { name: model.name().to_owned(), base: None };
    let graph = lutweave_onnx::import(model.onnx(), &options).expect("invariant: what is generated is a model").graph;
    let (mean, std) = model.normalization();
    let best = |scene: &Scene| {
        let image = scene.normalized(size, mean, std);
        let plane = |at: usize| image.f32s()[at % (size * size) * 3 + at / (size * size)];
        let image = Tensor::f32([1, 3, size, size], (0..3 * size * size).map(plane).collect::<Vec<f32>>());
        let scores = interpret::run(&graph, &[image]).expect("invariant: the image fits the model").remove(0);
        let better = |best: usize, class: usize| if scores.f32s()[class] > scores.f32s()[best] { class } else { best };
        (0..scores.f32s().len()).fold(0, better) as i64
    };
    scene::labelled(size, &scenes, &scenes.iter().map(best).collect::<Vec<i64>>())
}

/// The task file.
pub fn task(model: Published) -> String {
    let (mean, std) = model.normalization();
    let (note, metric, rest) = if model == Published::YoloV8n {
        let names = |kind: &str| yolo::STRIDES.map(|stride| format!("\"{kind}{stride}\"")).join(", ");
        let rest = format!(
            r#"{BOXES}
[decode]
kind = "nanodet"   # distances by distribution, as YOLOv8 has them
scores = [{}]
distances = [{}]
image = [{size}, {size}]
strides = {:?}
overlap = 0.7
min_score = 0.05
limit = 300
"#,
            names("scores"),
            names("distances"),
            yolo::STRIDES,
            size = model.size(),
        );
        ("it finds nothing, and its AP50 is near 0", "ap50", rest)
    } else {
        let labels = "[labels]\narray = \"labels\"\n".to_owned();
        ("labels are its own answers in float, so that top1 is the agreement with them", "top1", labels)
    };
    Task { note, metric, scenes: SCENES, normalization: [&mean, &std], rest: &rest }.text(model.name())
}
