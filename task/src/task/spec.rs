//! Task files.

use super::layout::Layout;
use super::schema;
use crate::detect::decode::Decode;
use crate::failure::Failure;
use crate::metric::Metric;
use crate::samples::Archive;
use lutweave_ir::{Diagnostic, Diagnostics};
use serde::Deserialize;

/// Most rows or columns that an image is resized to.
const MAX_EXTENT: usize = 1 << 14;

/// Most samples of a window.
const MAX_SAMPLES: usize = 1 << 20;

/// A task file, as it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Name of the array with one sample after the other.
    pub array: String,
    /// Axes of the array.
    pub layout: Layout,
    /// Axes of the model's input.
    pub model_layout: Layout,
    /// Colours as the model wants them; three channels of the array are red, green and blue.
    pub channels: Option<Channels>,
    /// One mean, or one per channel.
    pub mean: Vec<f64>,
    /// One deviation, or one per channel; none is 0.
    pub std: Vec<f64>,
    /// Height and width that images are resized to before anything else; boxes are rescaled accordingly.
    pub resize: Option<[usize; 2]>,
}

/// The order of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luminance.
    Gray,
}

impl Channels {
    /// Its name in task files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
            Self::Gray => "GRAY",
        }
    }
}

/// `x * std + mean`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// One mean, or one per channel.
    pub mean: Vec<f64>,
    /// One deviation, or one per channel; none is 0.
    pub std: Vec<f64>,
}

/// Arrays of what is true: a class a sample, or boxes `[m,4]` (left, top, right, bottom in pixels)
/// with their classes `[m]`, of which sample `i` owns those from `box_offsets[i]` to
/// `box_offsets[i+1]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Positions of at most `limit` of the window's samples in a file of `total`, and how many the
    /// window has.
    ///
    /// # Errors
    /// If there are not as many as asked for, or no splits.
    pub fn choose(&self, archive: &mut Archive, total: usize, limit: usize) -> Result<(Vec<usize>, usize), Failure> {
        let among = self.split.as_ref().map(|wanted| self.of_splits(wanted, archive, total)).transpose()?;
        let found = among.as_ref().map_or(total, Vec::len);
        let end = self.count.map_or(found, |count| self.start.saturating_add(count));
        if end > found || self.start >= end {
            let message = match self.count {
                Some(_) => format!("samples {} to {end} are asked for, and there are {found}", self.start),
                None => format!("samples from {} on are asked for, and there are {found}", self.start),
            };
            return Err(fault(&self.file, message));
        }
        let available = end - self.start;
        let count = available.min(limit);
        if count > MAX_SAMPLES {
            let message = format!("{count} samples are asked for, of which at most {MAX_SAMPLES} are read");
            return Err(fault(&self.file, message));
        }
        let chosen = self.start..self.start + count;
        Ok((among.map_or_else(|| chosen.clone().collect(), |among| among[chosen.clone()].to_vec()), available))
    }

    /// The samples of some splits.
    fn of_splits(&self, wanted: &[i64], archive: &mut Archive, total: usize) -> Result<Vec<usize>, Failure> {
        let splits = archive.array(&self.split_array)?;
        if splits.values.len() != total {
            let message = format!("{} splits for {total} samples", splits.values.len());
            return Err(fault(&self.split_array, message));
        }
        let chosen = |&index: &usize| wanted.iter().any(|&split| splits.values[index] == split as f64);
        Ok((0..total).filter(chosen).collect())
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
/// All that keeps it from being a task.
pub fn parse(text: &str, name: &str) -> Result<Spec, Failure> {
    let refuse = |message: String| Diagnostic::error("bad-task", message).at(name);
    let syntax = |error: toml::de::Error| -> Failure {
        refuse(error.to_string().trim().to_owned()).help("see the README for the format of task files").into()
    };
    let table: toml::Table = text.parse().map_err(syntax)?;
    let faults = schema::faults(&table, name);
    if !faults.is_empty() {
        return Err(Diagnostics(faults).into());
    }
    let spec: Spec = table.try_into().map_err(syntax)?;
    let faults = spec.faults();
    if faults.is_empty() { Ok(spec) } else { Err(Diagnostics(faults.into_iter().map(refuse).collect()).into()) }
}

impl Spec {
    /// What the keys say together that makes no task: one sentence each.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let input = [("input", &self.input.mean, &self.input.std)];
        let output = self.output.iter().map(|affine| ("output", &affine.mean, &affine.std));
        for (table, mean, std) in input.into_iter().chain(output) {
            for (key, values) in [("mean", mean), ("std", std)] {
                if values.is_empty() {
                    faults.push(format!("`{table}.{key}` is empty: one number, or one per channel"));
                }
            }
            if std.contains(&0.0) {
                faults.push(format!("`{table}.std` holds 0, by which nothing can be divided"));
            }
        }
        let Input { layout, model_layout, .. } = self.input;
        if !layout.becomes(model_layout) {
            faults.push(format!("samples in the layout {layout} have no form in the model layout {model_layout}"));
        }
        if let Some(channels) = self.input.channels.filter(|_| !layout.is_image()) {
            faults.push(format!("`input.channels` is {}, and layout {layout} holds no images", channels.name()));
        }
        if let Some(size) = self.input.resize {
            if !layout.is_image() {
                faults.push(format!("`input.resize` is for images, and layout {layout} holds none"));
            }
            if size.iter().any(|extent| !(1..=MAX_EXTENT).contains(extent)) {
                faults.push(format!("images are resized to 1 to {MAX_EXTENT} rows and columns"));
            }
        }
        let empty = self.windows().filter(|(_, window)| window.count == Some(0));
        faults.extend(empty.map(|(name, _)| format!("`{name}.count` is 0: leave it out for all samples")));
        self.judging_faults(&mut faults);
        faults
    }

    fn windows(&self) -> impl Iterator<Item = (&'static str, &Window)> {
        [("calibration", &self.calibration), ("evaluation", &self.evaluation)].into_iter()
    }

    /// What the metric lacks, and what it has no use for.
    fn judging_faults(&self, faults: &mut Vec<String>) {
        let labels = self.labels.as_ref();
        match self.metric {
            Some(Metric::Top1) if labels.is_none_or(|labels| labels.array.is_none()) => {
                faults.push("metric top1 needs [labels] with an array".to_owned());
            }
            Some(metric @ (Metric::Ap50 | Metric::Map)) => {
                if labels.and_then(Labels::of_boxes).is_none() {
                    let name = metric.name();
                    faults.push(format!("metric {name} needs [labels] with boxes, box_class and box_offsets"));
                }
                if self.decode.is_none() {
                    faults.push(format!("metric {} needs [decode]", metric.name()));
                }
            }
            Some(Metric::Top1 | Metric::Mse) | None => {}
        }
        if self.output.is_some() && self.metric != Some(Metric::Mse) {
            faults.push("[output] is for metric mse only".to_owned());
        }
        if let Some(Err(message)) = self.decode.as_ref().map(Decode::check) {
            faults.push(message);
        }
    }
}

/// Data that cannot be used.
pub fn fault(name: &str, message: String) -> Failure {
    Diagnostic::error("bad-data", message).at(name).into()
}
