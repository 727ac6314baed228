//! Tasks: what a model is for and how it is judged.

mod ground_truth;
mod layout;
mod resize;
mod sample;
mod schema;
mod spec;

use crate::detect::activation::softmax;
use crate::detect::average_precision::Matches;
use crate::detect::decode::{Decode, Outputs};
use crate::detect::draw::RgbImage;
use crate::detect::head::Head;
use crate::detect::{Detection, Object};
use crate::failure::Failure;
use crate::file;
use crate::metric::{Metric, Verdict};
use crate::samples::Archive;
use layout::Layout;
use lutweave_ir::{Diagnostic, Graph, Tensor, TensorType};
use lutweave_models::BuiltIn;
use sample::Reader;
pub use schema::nearest;
use spec::{Channels, Input, Labels, Spec, Window, fault, parse};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A task: data to calibrate with, data to judge by, and the metric.
#[derive(Clone, Debug)]
pub struct Task {
    spec: Spec,
    place: Place,
    /// The head whose records are among the outputs that are judged.
    head: Option<Head>,
}

/// Where a task's files are.
#[derive(Clone, Debug)]
enum Place {
    Directory(PathBuf),
    BuiltIn(&'static BuiltIn),
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
    /// The objects of each sample; empty for metrics without boxes.
    pub objects: Vec<Vec<Object>>,
    /// Samples that the window has.
    pub available: usize,
}

impl Task {
    /// Reads a task file.
    ///
    /// # Errors
    /// If it cannot be read or is not a task.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = file::read_text(path, file::SETTINGS, "read the task file")?;
        let spec = parse(&text, &path.display().to_string())?;
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Self { spec, place: Place::Directory(directory), head: None })
    }

    /// The task of a built-in model.
    ///
    /// # Errors
    /// Never for the models that are shipped; the text is checked all the same.
    pub fn of_built_in(model: &'static BuiltIn) -> Result<Self, Failure> {
        Ok(Self { spec: parse(&model.task(), model.name)?, place: Place::BuiltIn(model), head: None })
    }

    /// The same task for the outputs of an integer graph, which may have a detector's head.
    #[must_use]
    pub fn reading(&self, integer: &Graph) -> Self {
        Self { head: Head::of(integer), ..self.clone() }
    }

    /// The model that the task names, if it is a file.
    pub fn model_path(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Directory(directory) => self.spec.model.as_ref().map(|model| directory.join(model)),
            Place::BuiltIn(_) => None,
        }
    }

    /// How outputs are judged, if the task says it.
    pub fn metric(&self) -> Option<Metric> {
        self.spec.metric
    }

    /// How outputs are judged.
    ///
    /// # Errors
    /// If the task does not say it.
    pub fn required_metric(&self) -> Result<Metric, Failure> {
        self.spec.metric.ok_or_else(|| {
            Diagnostic::error("no-metric", "the task does not say how outputs are judged")
                .help("give a task file with a metric")
                .into()
        })
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
        self.select(self.archive(window)?, window, ty, limit)
    }

    /// The file that a window is of.
    fn archive(&self, window: &Window) -> Result<Archive, Failure> {
        match &self.place {
            Place::Directory(directory) => Archive::open_file(&directory.join(&window.file)),
            Place::BuiltIn(model) => Archive::open(Cursor::new(model.samples()), model.samples_file()),
        }
    }

    /// How a detector's outputs are read.
    ///
    /// # Errors
    /// If the task does not say it.
    pub fn decode(&self) -> Result<&Decode, Failure> {
        self.spec.decode.as_ref().ok_or_else(|| {
            Diagnostic::error("no-decode", "the task does not say how a detector's outputs are read")
                .help("give a task file with a table [decode]")
                .into()
        })
    }

    /// Detections of one image, best first. `names` are the model's outputs.
    ///
    /// # Errors
    /// If the task does not say how outputs are read, or they are not what it says.
    pub fn detections(&self, names: &[String], values: &[Tensor]) -> Result<Vec<Detection>, Failure> {
        let decode = self.decode()?;
        Ok(match &self.head {
            Some(head) => decode.detections_of(&head.winners(values)?)?,
            None => decode.detections(&Outputs { names, values })?,
        })
    }

    /// The name of a class of objects.
    pub fn class_name(&self, class: usize) -> String {
        let named = self.spec.labels.as_ref().and_then(|labels| labels.classes.get(class));
        named.cloned().unwrap_or_else(|| class.to_string())
    }

    /// What one sample's outputs are worth. `names` are the model's outputs.
    ///
    /// # Errors
    /// If the outputs are not what the task says.
    pub fn judge(
        &self,
        samples: &Samples,
        index: usize,
        names: &[String],
        outputs: &[Tensor],
    ) -> Result<Verdict, Failure> {
        let metric = self.required_metric()?;
        if let Some(rules) = metric.rules() {
            let found = self.detections(names, outputs)?;
            return Ok(Verdict::Matches(Matches::new(rules, &found, &samples.objects[index])));
        }
        if metric == Metric::Mse {
            return Ok(Verdict::Number(self.squared_error(&samples.inputs[index], &outputs[0])?));
        }
        let (label, classes) = (samples.labels[index], outputs[0].count());
        // A model that ends in an argmax has one output and does not say how many classes there are.
        if classes > 1 && label >= classes {
            let name = self.spec.labels.as_ref().and_then(|labels| labels.array.as_deref()).unwrap_or_default();
            return Err(fault(name, format!("there is a label {label}, and the model has {classes} classes, from 0")));
        }
        Ok(Verdict::Number(f64::from(u8::from(label == class(&outputs[0])))))
    }

    /// A model's input in the units of the data.
    pub fn in_units(&self, input: &Tensor) -> Vec<f64> {
        let Input { mean, std, .. } = &self.spec.input;
        let values = input.reals().into_iter().enumerate();
        values.map(|(at, value)| value * constant(std, at) + constant(mean, at)).collect()
    }

    /// The mean squared difference of an autoencoder's output and its input, in the data's units.
    fn squared_error(&self, input: &Tensor, output: &Tensor) -> Result<f64, Failure> {
        if input.count() != output.count() {
            let message = format!(
                "metric mse compares an autoencoder's output with its input, and the output {:?} has another size than \
                 the input {:?}",
                output.shape, input.shape
            );
            return Err(Diagnostic::error("bad-task", message)
                .help("metrics are top1 (classes), ap50 and map (boxes); without one, outputs are not judged")
                .into());
        }
        let outputs = output.reals().into_iter().enumerate().map(|(at, value)| {
            self.spec
                .output
                .as_ref()
                .map_or(value, |output| constant(&output.std, at) * value + constant(&output.mean, at))
        });
        let squares = self.in_units(input).into_iter().zip(outputs).map(|(x, y)| (y - x).powi(2));
        Ok(squares.sum::<f64>() / input.count().max(1) as f64)
    }

    /// The image that a model's input was made from.
    ///
    /// # Errors
    /// If it is no image.
    pub fn picture(&self, input: &Tensor) -> Result<RgbImage, Failure> {
        let spec = &self.spec.input;
        let first = spec.model_layout == Layout::Nchw;
        let (height, width, channels) = match input.shape[..] {
            [1, c, h, w] if first => (h, w, c),
            [1, h, w, c] if spec.model_layout == Layout::Nhwc => (h, w, c),
            _ => return Err(fault(&spec.array, format!("shape {:?} is no image", input.shape))),
        };
        if channels != 1 && channels != 3 {
            return Err(fault(&spec.array, format!("an image of {channels} channels cannot be drawn")));
        }
        let values = input.reals();
        let constant = |values: &[f64], channel: usize| values[if values.len() == 1 { 0 } else { channel }];
        let pixel = |position: usize, colour: usize| {
            let channel = match (channels, spec.channels) {
                (1, _) => 0,
                (_, Some(Channels::Bgr)) => 2 - colour,
                _ => colour,
            };
            let value = values[if first { channel * height * width + position } else { position * channels + channel }];
            (value * constant(&spec.std, channel) + constant(&spec.mean, channel)).round().clamp(0.0, 255.0) as u8
        };
        let pixels = (0..height * width).map(|position| std::array::from_fn(|colour| pixel(position, colour)));
        Ok(RgbImage { height, width, pixels: pixels.collect() })
    }

    fn select(&self, mut archive: Archive, window: &Window, ty: &TensorType, limit: usize) -> Result<Samples, Failure> {
        let input = &self.spec.input;
        let header = archive.header(&input.array)?;
        let total = header.shape.first().copied().unwrap_or(0);
        let reader = Reader::new(input, &header.shape, ty)?;
        let (chosen, available) = window.choose(&mut archive, total, limit)?;
        let mut samples = Samples { inputs: Vec::new(), labels: Vec::new(), objects: Vec::new(), available };
        if let Some(labels) = self.spec.labels.as_ref().and_then(|labels| labels.array.as_ref()) {
            let labels = ground_truth::labels(&mut archive, labels, total)?;
            samples.labels = chosen.iter().map(|&index| labels[index]).collect();
        }
        let boxes = self.spec.labels.as_ref().and_then(Labels::of_boxes);
        if let (Some(_), Some(names)) = (self.spec.metric.and_then(Metric::rules), boxes) {
            let all = ground_truth::objects(&mut archive, names, total)?;
            samples.objects = chosen.iter().map(|&index| all[index].clone()).collect();
            if let Some([vertical, horizontal]) = reader.enlargement() {
                for object in samples.objects.iter_mut().flatten() {
                    object.bounds = object.bounds.scaled(horizontal, vertical);
                }
            }
        }
        let mut positions = chosen.iter();
        archive.rows(&input.array, &chosen, |row| {
            let position = positions.next().copied().unwrap_or_default();
            samples.inputs.push(reader.read(row, position)?);
            Ok(())
        })?;
        Ok(samples)
    }
}

/// The constant of an element of features: one for all, or one per channel, which varies fastest.
fn constant(constants: &[f64], at: usize) -> f64 {
    constants[at % constants.len()]
}

/// Checks the text of a task file.
///
/// # Errors
/// All that keeps it from being a task.
pub fn check(text: &str) -> Result<(), Failure> {
    parse(text, "task").map(|_| ())
}

/// The class that a classifier's output names: the first of the largest, or the output itself of a
/// model that ends in an argmax.
pub fn class(output: &Tensor) -> usize {
    let values = output.reals();
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
    let values = output.reals();
    let distribution = values.iter().all(|&value| value >= 0.0) && (values.iter().sum::<f64>() - 1.0).abs() < ROUNDING;
    if values.len() < 2 || distribution {
        return (values.len() >= 2).then_some(values);
    }
    Some(softmax(&values))
}
