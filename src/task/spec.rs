//! Task files.

use crate::detect::decode::Decode;
use crate::failure::Failure;
use crate::metric::Metric;
use crate::samples::Archive;
use lutweave_ir::Diagnostic;
use serde::Deserialize;
use std::io::{Read, Seek};

/// Most rows or columns that an image is resized to.
const MAX_EXTENT: usize = 1 << 14;

/// A task file, as it is.
#[derive(Clone, Debug, Deserialize)]
pub struct Spec {
    /// An ONNX file.
    pub model: Option<String>,
    /// How outputs are judged, if they are.
    pub metric: Option<Metric>,
    /// Samples that choose ranges, weights and knobs.
    pub calibration: Window,
    /// Samples that judge the result.
    pub evaluation: Window,
    /// How a sample becomes the model's input.
    pub input: Input,
    /// What makes outputs real: `y * std + mean`.
    pub output: Option<Affine>,
    /// What is true of the samples.
    pub labels: Option<Labels>,
    /// How a detector's outputs are read.
    pub decode: Option<Decode>,
}

/// Which samples of a file: all, or those of some splits, and of these a run.
#[derive(Clone, Debug, Deserialize)]
pub struct Window {
    /// An `.npz` file.
    pub file: String,
    /// The first sample, counted from 0 among those that are not left out.
    #[serde(default)]
    pub start: usize,
    /// All from `start` on if absent.
    pub count: Option<usize>,
    /// Values of the array `split_array`; samples with others are left out.
    pub split: Option<Vec<i64>>,
    /// Name of the array with one split a sample.
    #[serde(default = "split_array")]
    pub split_array: String,
}

fn split_array() -> String {
    "split".to_owned()
}

/// How a sample becomes the model's input: `(x - mean) / std`, per channel.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    /// Name of the array with one sample after the other.
    pub array: String,
    /// Axes of the array: NHWC, NCHW or NC.
    pub layout: String,
    /// Axes of the model's input.
    pub model_layout: String,
    /// RGB, BGR or GRAY, as the model wants them; the array is RGB.
    pub channels: Option<String>,
    /// One mean, or one a channel.
    pub mean: Vec<f64>,
    /// One deviation, or one a channel; none is 0.
    pub std: Vec<f64>,
    /// Height and width that images are resized to before anything else; boxes move along.
    pub resize: Option<[usize; 2]>,
}

/// `x * std + mean`.
#[derive(Clone, Debug, Deserialize)]
pub struct Affine {
    /// One mean, or one a channel.
    pub mean: Vec<f64>,
    /// One deviation, or one a channel; none is 0.
    pub std: Vec<f64>,
}

/// Arrays of what is true: a class a sample, or boxes `[m,4]` (left, top, right, bottom in pixels)
/// with their classes `[m]`, of which sample `i` owns those from `box_offsets[i]` to
/// `box_offsets[i+1]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Labels {
    /// Name of the array of classes of samples.
    pub array: Option<String>,
    /// Name of the array of boxes.
    pub boxes: Option<String>,
    /// Name of the array of classes of boxes.
    pub box_class: Option<String>,
    /// Name of the array of where the boxes of samples begin.
    pub box_offsets: Option<String>,
    /// Names of the classes.
    #[serde(default)]
    pub classes: Vec<String>,
}

impl Window {
    /// Positions of at most `limit` samples in a file of `total`.
    ///
    /// # Errors
    /// If there are not as many as asked for, or no splits.
    pub fn choose<R: Read + Seek>(
        &self,
        archive: &mut Archive<R>,
        total: usize,
        limit: usize,
    ) -> Result<Vec<usize>, Failure> {
        let mut candidates: Vec<usize> = (0..total).collect();
        if let Some(wanted) = &self.split {
            let splits = archive.array(&self.split_array)?;
            if splits.values.len() != total {
                let message = format!("{} splits for {total} samples", splits.values.len());
                return Err(fault(&self.split_array, message));
            }
            candidates.retain(|&index| wanted.iter().any(|&split| splits.values[index] == split as f64));
        }
        let found = candidates.len();
        let end = self.count.map_or(found, |count| self.start.saturating_add(count));
        if end > found || self.start >= end {
            let message = format!("samples {} to {end} are asked for, the file has {found}", self.start);
            return Err(fault(&self.file, message));
        }
        Ok(candidates[self.start..end].iter().copied().take(limit).collect())
    }
}

impl Labels {
    /// Names of the arrays of boxes, their classes, and where each sample's begin.
    pub fn of_boxes(&self) -> Option<[&str; 3]> {
        Some([self.boxes.as_deref()?, self.box_class.as_deref()?, self.box_offsets.as_deref()?])
    }
}

/// Reads a task file; `name` is for messages.
///
/// # Errors
/// If it is not a task.
pub fn parse(text: &str, name: &str) -> Result<Spec, Failure> {
    let spec: Spec = toml::from_str(text).map_err(|error| {
        Failure::from(
            Diagnostic::error("bad-task", error.to_string().trim().to_owned())
                .at(name)
                .help("see the README for the format of task files"),
        )
    })?;
    let affines = [(&spec.input.mean, &spec.input.std)];
    let outputs = spec.output.iter().map(|affine| (&affine.mean, &affine.std));
    for (mean, std) in affines.into_iter().chain(outputs) {
        let sound = |values: &[f64]| matches!(values.len(), 1 | 3) && values.iter().all(|value| value.is_finite());
        if !sound(mean) || !sound(std) || std.contains(&0.0) {
            return Err(fault(name, "mean and std are one or three finite numbers each, std not 0".to_owned()));
        }
    }
    for layout in [&spec.input.layout, &spec.input.model_layout] {
        if !matches!(layout.as_str(), "NHWC" | "NCHW" | "NC") {
            return Err(fault(name, format!("layout `{layout}` is not NHWC, NCHW or NC")));
        }
    }
    if let Some(size) = spec.input.resize {
        if spec.input.layout != "NHWC" {
            return Err(fault(name, "only images in the layout NHWC are resized".to_owned()));
        }
        if size.iter().any(|extent| !(1..=MAX_EXTENT).contains(extent)) {
            return Err(fault(name, format!("images are resized to 1 to {MAX_EXTENT} rows and columns")));
        }
    }
    let labels = spec.labels.as_ref();
    match spec.metric {
        Some(Metric::Top1) if labels.is_none_or(|labels| labels.array.is_none()) => {
            return Err(fault(name, "metric top1 needs [labels] with an array".to_owned()));
        }
        Some(metric @ (Metric::Ap50 | Metric::Map)) if labels.and_then(Labels::of_boxes).is_none() => {
            let message = format!("metric {} needs [labels] with boxes, box_class and box_offsets", metric.name());
            return Err(fault(name, message));
        }
        Some(metric @ (Metric::Ap50 | Metric::Map)) if spec.decode.is_none() => {
            return Err(fault(name, format!("metric {} needs [decode]", metric.name())));
        }
        Some(Metric::Top1 | Metric::Mse | Metric::Ap50 | Metric::Map) | None => {}
    }
    if let Some(decode) = &spec.decode {
        decode.check().map_err(|message| fault(name, message))?;
    }
    Ok(spec)
}

/// Data that cannot be used.
pub fn fault(name: &str, message: String) -> Failure {
    Diagnostic::error("bad-data", message).at(name).into()
}
