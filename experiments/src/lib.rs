//! Task files: a model with calibration samples, evaluation samples and a metric.

#![allow(missing_docs, reason = "not an interface: shared by the programs of src/bin")]

use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Graph, Tensor};
use ndarray::{ArrayD, Axis, IxDyn};
use ndarray_npy::NpzReader;
use rayon::prelude::*;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

pub type Fallible<T> = Result<T, Box<dyn Error>>;

/// A task.
pub struct Task {
    /// The file's name without its extension.
    pub name: String,
    /// `top1` or `mse`.
    pub metric: String,
    /// The model as imported.
    pub model: Graph,
    /// Samples for calibration.
    pub calibration: Vec<Vec<Tensor>>,
    /// Samples for evaluation.
    pub evaluation: Vec<Vec<Tensor>>,
    labels: Vec<usize>,
    /// The evaluation samples in real units.
    raw: Vec<Vec<f64>>,
    mean: f64,
    deviation: f64,
}

impl Task {
    /// Reads a task file and what it names.
    pub fn load(path: &Path) -> Fallible<Self> {
        let task: toml::Table = std::fs::read_to_string(path)?.parse()?;
        let folder = path.parent().ok_or("a task file lies in a folder")?;
        let model = folder.join(text(&task, "model")?);
        let model = lutweave_onnx::import(std::fs::read(model)?, &lutweave_onnx::ImportOptions::default())?.graph;
        let (calibration, _, _) = load(&task, folder, "calibration", &model)?;
        let (evaluation, raw, labels) = load(&task, folder, "evaluation", &model)?;
        let metric = text(&task, "metric")?.to_owned();
        let (mean, deviation) = match metric.as_str() {
            "top1" => (0.0, 1.0),
            "mse" => (numbers(&task, "output", "mean")?[0], numbers(&task, "output", "std")?[0]),
            other => return Err(format!("metric {other} is not known here").into()),
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, metric, model, calibration, evaluation, labels, raw, mean, deviation })
    }

    /// The metric of a model's outputs for the evaluation samples.
    pub fn score(&self, outputs: &[Vec<f64>]) -> f64 {
        let total: f64 = if self.metric == "mse" {
            let error = |output: &Vec<f64>, raw: &Vec<f64>| -> f64 {
                let sum: f64 = output.iter().zip(raw).map(|(y, x)| (y * self.deviation + self.mean - x).powi(2)).sum();
                sum / raw.len() as f64
            };
            outputs.iter().zip(&self.raw).map(|(output, raw)| error(output, raw)).sum()
        } else {
            self.right(outputs).iter().filter(|right| **right).count() as f64
        };
        total / outputs.len() as f64
    }

    /// For each evaluation sample whether the largest output is that of its label.
    pub fn right(&self, outputs: &[Vec<f64>]) -> Vec<bool> {
        outputs.iter().zip(&self.labels).map(|(output, label)| argmax(output) == *label).collect()
    }
}

/// The folder of the shared data: the environment variable `LUTWEAVE_DATA`, or beside the
/// project's.
pub fn shared_data() -> PathBuf {
    let named = std::env::var_os("LUTWEAVE_DATA").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"))
}

/// The model that a task file names.
pub fn model_of(path: &Path) -> Fallible<PathBuf> {
    let task: toml::Table = std::fs::read_to_string(path)?.parse()?;
    Ok(path.parent().ok_or("a task file lies in a folder")?.join(text(&task, "model")?))
}

/// The task files in the folder of shared data; none, with a message, if it is absent.
pub fn files() -> Vec<PathBuf> {
    let folder = shared_data().join("tasks");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: there are no tasks in {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// The first output of a graph for each sample.
pub fn outputs(graph: &Graph, inputs: &[Vec<Tensor>]) -> Fallible<Vec<Vec<f64>>> {
    let interpreter = Interpreter::new(graph);
    let results: Result<Vec<Vec<f64>>, _> =
        inputs.par_iter().map(|inputs| interpreter.run(inputs).map(|outputs| outputs[0].reals())).collect();
    Ok(results?)
}

/// The drop in points and its standard error from the samples whose verdict changes.
pub fn paired(before: &[bool], after: &[bool]) -> (f64, f64) {
    let count = before.len() as f64;
    let lost = before.iter().zip(after).filter(|(before, after)| **before && !**after).count() as f64;
    let won = before.iter().zip(after).filter(|(before, after)| !**before && **after).count() as f64;
    let drop = (lost - won) / count;
    let variance = (lost + won) / count - drop * drop;
    (100.0 * drop, 100.0 * (variance / count).sqrt())
}

/// Index of the largest value.
pub fn argmax(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

fn text<'t>(task: &'t toml::Table, key: &str) -> Fallible<&'t str> {
    task.get(key).and_then(toml::Value::as_str).ok_or_else(|| format!("`{key}` is missing").into())
}

fn section<'t>(task: &'t toml::Table, key: &str) -> Fallible<&'t toml::Table> {
    task.get(key).and_then(toml::Value::as_table).ok_or_else(|| format!("[{key}] is missing").into())
}

fn numbers(task: &toml::Table, key: &str, name: &str) -> Fallible<Vec<f64>> {
    let values = section(task, key)?.get(name).and_then(toml::Value::as_array).ok_or(format!("`{name}` is missing"))?;
    Ok(values.iter().filter_map(|value| value.as_float().or(value.as_integer().map(|i| i as f64))).collect())
}

fn window(part: &toml::Table, key: &str) -> Fallible<usize> {
    let value = part.get(key).and_then(toml::Value::as_integer).ok_or(format!("`{key}` is missing"))?;
    Ok(usize::try_from(value)?)
}

type Samples = (Vec<Vec<Tensor>>, Vec<Vec<f64>>, Vec<usize>);

/// Model inputs, the same values in real units, and labels.
fn load(task: &toml::Table, folder: &Path, key: &str, graph: &Graph) -> Fallible<Samples> {
    let (part, input) = (section(task, key)?, section(task, "input")?);
    let mut npz = NpzReader::new(File::open(folder.join(text(part, "file")?))?)?;
    let (start, count) = (window(part, "start")?, window(part, "count")?);
    let array = read(&mut npz, text(input, "array")?)?;
    let (mean, std) = (numbers(task, "input", "mean")?, numbers(task, "input", "std")?);
    let labels = match task.get("labels").and_then(toml::Value::as_table) {
        None => Vec::new(),
        Some(labels) => {
            let labels = read(&mut npz, text(labels, "array")?)?;
            labels.iter().skip(start).take(count).map(|&label| label as usize).collect()
        }
    };
    let channels = input.get("channels").and_then(toml::Value::as_str).unwrap_or("");
    let channels_first = text(input, "model_layout")? == "NCHW" && text(input, "layout")? == "NHWC";
    let ty = &graph.node(graph.inputs()[0]).ty;
    let (mut tensors, mut raw) = (Vec::new(), Vec::new());
    for index in start..start + count {
        let mut sample = array.index_axis(Axis(0), index).to_owned();
        let last = sample.ndim() - 1;
        let depth = sample.shape()[last];
        if channels == "GRAY" && depth == 3 {
            sample = sample
                .map_axis(Axis(last), |rgb| (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]).round_ties_even())
                .insert_axis(Axis(last));
        }
        if channels == "BGR" {
            sample.invert_axis(Axis(last));
        }
        let depth = sample.shape()[last];
        let mut scaled = sample.clone();
        for (at, value) in scaled.iter_mut().enumerate() {
            let channel = at % depth % mean.len();
            *value = (*value - mean[channel]) / std[channel];
        }
        if channels_first {
            scaled = scaled.permuted_axes(IxDyn(&[2, 0, 1]));
        }
        let values = scaled.iter().copied();
        let tensor = match ty.element.range() {
            None => Tensor::f32(ty.shape.clone(), values.map(|v| v as f32).collect::<Vec<_>>()),
            Some((lo, hi)) => {
                let clamped = values.map(|v| v.round_ties_even().clamp(lo as f64, hi as f64) as i32);
                Tensor::int(ty.shape.clone(), clamped.collect::<Vec<_>>())
            }
        };
        // What the model sees, in real units: rounded where its input is an integer.
        raw.push(tensor.reals().iter().map(|value| value * std[0] + mean[0]).collect());
        tensors.push(vec![tensor]);
    }
    Ok((tensors, raw, labels))
}

fn read(npz: &mut NpzReader<File>, name: &str) -> Fallible<ArrayD<f64>> {
    let file = format!("{name}.npy");
    if let Ok(array) = npz.by_name::<ndarray::OwnedRepr<u8>, IxDyn>(&file) {
        return Ok(array.mapv(f64::from));
    }
    if let Ok(array) = npz.by_name::<ndarray::OwnedRepr<i8>, IxDyn>(&file) {
        return Ok(array.mapv(f64::from));
    }
    let array: ArrayD<f32> = npz.by_name(&file)?;
    Ok(array.mapv(f64::from))
}
