//! Task files: what a model is for and how it is judged.

use crate::failure::Failure;
use crate::samples::{Archive, Array};
use lutweave_ir::{Diagnostic, Element, Tensor, TensorType};
use lutweave_models::BuiltIn;
use lutweave_passes::sensitivity::Loss;
use serde::Deserialize;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A task: data to calibrate with, data to judge by, and the metric.
#[derive(Clone, Debug)]
pub struct Task {
    spec: Spec,
    place: Place,
}

/// Where a task's files are.
#[derive(Clone, Debug)]
enum Place {
    Directory(PathBuf),
    BuiltIn(&'static BuiltIn),
}

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    model: Option<String>,
    metric: Metric,
    calibration: Window,
    evaluation: Window,
    input: Input,
    output: Option<Affine>,
    labels: Option<Labels>,
}

/// How outputs are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of samples whose largest output is at the label.
    Top1,
    /// Mean squared difference of output and input, in the model's real units.
    Mse,
}

impl Metric {
    /// Its name in task files and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top1",
            Self::Mse => "mse",
        }
    }

    /// True if larger is better.
    pub fn larger_is_better(self) -> bool {
        self == Self::Top1
    }

    /// The loss that stands for the metric where errors are priced.
    pub fn loss(self) -> Loss {
        match self {
            Self::Top1 => Loss::Divergence,
            Self::Mse => Loss::SquaredError,
        }
    }

    /// Text for a table.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Top1 => format!("{:.2} %", 100.0 * value),
            Self::Mse => format!("{value:.4}"),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Window {
    file: String,
    start: usize,
    count: usize,
}

#[derive(Clone, Debug, Deserialize)]
struct Input {
    array: String,
    layout: String,
    model_layout: String,
    channels: Option<String>,
    mean: Vec<f64>,
    std: Vec<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Affine {
    mean: Vec<f64>,
    std: Vec<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Labels {
    array: String,
}

/// Which window of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// For choosing ranges and corrections.
    Calibration,
    /// For judging.
    Evaluation,
}

/// Samples as the model wants them.
#[derive(Clone, Debug)]
pub struct Samples {
    /// One model input a sample.
    pub inputs: Vec<Tensor>,
    /// One label a sample; empty for metrics without labels.
    pub labels: Vec<usize>,
}

impl Task {
    /// Reads a task file.
    ///
    /// # Errors
    /// If it cannot be read or is not a task.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, "read the task file", error))?;
        let spec = parse(&text, &path.display().to_string())?;
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Self { spec, place: Place::Directory(directory) })
    }

    /// The task of a built-in model.
    ///
    /// # Errors
    /// Never for the models that are shipped; the text is checked all the same.
    pub fn of_built_in(model: &'static BuiltIn) -> Result<Self, Failure> {
        Ok(Self { spec: parse(model.task, model.name)?, place: Place::BuiltIn(model) })
    }

    /// The model that the task names, if it is a file.
    pub fn model_path(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Directory(directory) => self.spec.model.as_ref().map(|model| directory.join(model)),
            Place::BuiltIn(_) => None,
        }
    }

    /// How outputs are judged.
    pub fn metric(&self) -> Metric {
        self.spec.metric
    }

    /// Samples of a window, at most `limit`, for a model with an input of type `ty`.
    ///
    /// # Errors
    /// If data is missing, damaged, or does not fit the model.
    pub fn samples(&self, section: Section, ty: &TensorType, limit: usize) -> Result<Samples, Failure> {
        let window = match section {
            Section::Calibration => &self.spec.calibration,
            Section::Evaluation => &self.spec.evaluation,
        };
        match &self.place {
            Place::Directory(directory) => {
                let path = directory.join(&window.file);
                let file = std::fs::File::open(&path).map_err(|error| Failure::file(&path, "open the data", error))?;
                let archive = Archive::open(std::io::BufReader::new(file), &path.display().to_string())?;
                self.select(archive, window, ty, limit)
            }
            Place::BuiltIn(model) => {
                self.select(Archive::open(Cursor::new(model.samples), model.samples_file)?, window, ty, limit)
            }
        }
    }

    /// The metric of one sample's output: 1 or 0 for a hit, or a squared error.
    pub fn judge(&self, samples: &Samples, index: usize, output: &Tensor) -> f64 {
        match self.spec.metric {
            Metric::Top1 => f64::from(u8::from(samples.labels.get(index) == Some(&class(output)))),
            Metric::Mse => {
                let values: Vec<f64> = reals(output);
                let input = &self.spec.input;
                let output_affine = self.spec.output.as_ref();
                let (mean, std) = output_affine.map_or((0.0, 1.0), |affine| (affine.mean[0], affine.std[0]));
                let inputs = reals(&samples.inputs[index]);
                let squares: f64 = inputs
                    .iter()
                    .zip(&values)
                    .map(|(x, y)| {
                        let difference = (y * std + mean) - (x * input.std[0] + input.mean[0]);
                        difference * difference
                    })
                    .sum();
                squares / inputs.len().max(1) as f64
            }
        }
    }

    fn select<R: std::io::Read + std::io::Seek>(
        &self,
        mut archive: Archive<R>,
        window: &Window,
        ty: &TensorType,
        limit: usize,
    ) -> Result<Samples, Failure> {
        let input = &self.spec.input;
        let array = archive.array(&input.array)?;
        let total = array.shape.first().copied().unwrap_or(0);
        let end = window.start.saturating_add(window.count);
        if end > total || window.count == 0 {
            let message = format!("samples {} to {end} are asked for, the file has {total}", window.start);
            return Err(fault(&window.file, message));
        }
        let range = window.start..window.start + window.count.min(limit);
        let labels = match &self.spec.labels {
            None => Vec::new(),
            Some(labels) => {
                let labels = archive.array(&labels.array)?;
                if labels.values.len() != total {
                    return Err(fault(&window.file, format!("{} labels for {total} samples", labels.values.len())));
                }
                labels.values[range.clone()].iter().map(|&label| label as usize).collect()
            }
        };
        let inputs = range.map(|index| self.sample(&array, index, ty)).collect::<Result<_, _>>()?;
        Ok(Samples { inputs, labels })
    }

    /// One sample as the model wants it: `(x - mean) / std`, channels, layout, element type.
    fn sample(&self, array: &Array, index: usize, ty: &TensorType) -> Result<Tensor, Failure> {
        let input = &self.spec.input;
        let size: usize = array.shape[1..].iter().product();
        if size == 0 {
            return Err(fault(&input.array, format!("shape {:?} has no elements", array.shape)));
        }
        let mut shape = array.shape[1..].to_vec();
        let mut values: Vec<f32> =
            array.values[index * size..(index + 1) * size].iter().map(|&value| value as f32).collect();
        let channels = shape.last().copied().unwrap_or(1);
        let image = input.layout == "NHWC";
        if image && shape.len() == 2 {
            // A grey image without a channel axis.
            shape.push(1);
        } else if image && channels == 3 {
            match input.channels.as_deref() {
                Some("GRAY") => {
                    values = values
                        .chunks_exact(3)
                        .map(|pixel| (pixel[0] * 0.299 + pixel[1] * 0.587 + pixel[2] * 0.114).round_ties_even())
                        .collect();
                    *shape.last_mut().expect("an image has a channel axis") = 1;
                }
                Some("BGR") => values.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
                _ => {}
            }
        }
        let channels = shape.last().copied().unwrap_or(1);
        for constants in [&input.mean, &input.std] {
            if constants.len() != 1 && !(image && constants.len() == channels) {
                let message = format!("mean and std have {} values, a sample {channels} channels", constants.len());
                return Err(fault(&input.array, message));
            }
        }
        let constant = |values: &[f64], channel: usize| values[if values.len() == 1 { 0 } else { channel }] as f32;
        for (position, value) in values.iter_mut().enumerate() {
            let channel = if image { position % channels } else { 0 };
            *value = (*value - constant(&input.mean, channel)) / constant(&input.std, channel);
        }
        if image && input.model_layout == "NCHW" {
            let pixels = values.len() / channels;
            values = (0..values.len()).map(|to| values[(to % pixels) * channels + to / pixels]).collect();
        }
        if values.len() != ty.count() {
            let message = format!("a sample has {} elements, the model's input is {ty}", values.len());
            return Err(fault(&input.array, message));
        }
        Ok(match ty.element {
            Element::F32 => Tensor::f32(ty.shape.clone(), values),
            element => {
                let (lo, hi) = element.range().expect("an integer element has a range");
                let values: Vec<i32> =
                    values.iter().map(|value| (value.round_ties_even() as i64).clamp(lo, hi) as i32).collect();
                Tensor::int(ty.shape.clone(), values)
            }
        })
    }
}

/// The class that a classifier's output names: the first of the largest, or the output itself of a
/// model that ends in an argmax.
pub fn class(output: &Tensor) -> usize {
    let values = reals(output);
    match values[..] {
        [class] => class as usize,
        _ => (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best }),
    }
}

/// The probabilities of the classes that a classifier's output stands for: the output where it is
/// a distribution, otherwise its softmax. `None` of a model that ends in an argmax.
pub fn probabilities(output: &Tensor) -> Option<Vec<f64>> {
    /// How far the sum of a softmax may be from 1 by rounding.
    const ROUNDING: f64 = 1e-2;
    let values = reals(output);
    let distribution = values.iter().all(|&value| value >= 0.0) && (values.iter().sum::<f64>() - 1.0).abs() < ROUNDING;
    if values.len() < 2 || distribution {
        return (values.len() >= 2).then_some(values);
    }
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = values.iter().map(|value| (value - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    Some(weights.iter().map(|weight| weight / total).collect())
}

fn reals(tensor: &Tensor) -> Vec<f64> {
    match &tensor.data {
        lutweave_ir::Data::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        lutweave_ir::Data::Int(values) => values.iter().map(|&value| f64::from(value)).collect(),
    }
}

fn parse(text: &str, name: &str) -> Result<Spec, Failure> {
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
    if spec.metric == Metric::Top1 && spec.labels.is_none() {
        return Err(fault(name, "metric top1 needs [labels]".to_owned()));
    }
    Ok(spec)
}

fn fault(name: &str, message: String) -> Failure {
    Diagnostic::error("bad-data", message).at(name).into()
}
