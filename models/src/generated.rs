//! Models that are made when they are asked for.

use std::fmt::Debug;

/// A model that is generated from a fixed seed, with its data.
pub trait Generated: Debug + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The network as an ONNX file.
    fn onnx(&self) -> Vec<u8>;

    /// Generated scenes for calibration and evaluation, as the `.npz` file that the task calls `samples.npz`.
    fn samples(&self) -> Vec<u8>;

    /// The task file.
    fn task(&self) -> String;
}

/// What tasks of generated models say alike.
pub struct Task<'a> {
    /// What is to be known of the model.
    pub note: &'a str,
    /// How it is judged.
    pub metric: &'a str,
    /// Scenes for calibration, and for evaluation after them.
    pub scenes: [u64; 2],
    /// What pixels have subtracted, and then are divided by.
    pub normalization: [&'a [f32]; 2],
    /// Labels and decoding.
    pub rest: &'a str,
}

/// The labels of a detector.
pub const BOXES: &str = r#"[labels]
boxes = "boxes"
box_class = "box_class"
box_offsets = "box_offsets"
"#;

impl Task<'_> {
    /// The task file of the model of a name.
    pub fn text(&self, name: &str) -> String {
        let Self { note, metric, scenes: [calibration, evaluation], normalization: [mean, std], rest } = self;
        format!(
            r#"# {name} has random weights: {note}.
model = "model.onnx"
metric = "{metric}"

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
mean = {mean:?}
std = {std:?}
model_layout = "NCHW"

{rest}"#
        )
    }
}
