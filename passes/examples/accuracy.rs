//! Quantizes the models of task files and prints their metric before and after.
//!
//! usage: accuracy [--bits 8|4] [--range minmax|mse|SHARE] [--samples N] [--no-correction] [--no-compensation]
//!        [--no-simplify] [--layers] TASK.toml...
//!
//! Without task files it takes all in `../shared/data/tasks`, and says so if there are none.

use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Graph, Tensor};
use lutweave_passes::cleanup::simplify;
use lutweave_passes::quantize::{LayerReport, QuantizeOptions, RangeMethod, quantize};
use ndarray::{ArrayD, Axis, IxDyn};
use ndarray_npy::NpzReader;
use rayon::prelude::*;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Fallible<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    options: QuantizeOptions<'static>,
    simplify: bool,
    layers: bool,
    tasks: Vec<PathBuf>,
}

fn main() -> Fallible<()> {
    let mut arguments = arguments()?;
    if arguments.tasks.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/tasks");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            println!("skipped: there are no tasks in {}", folder.display());
            return Ok(());
        };
        arguments.tasks = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        arguments.tasks.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        arguments.tasks.sort();
    }
    println!("task                 metric  reference  quantized   change  agree  largest step  seconds");
    for path in &arguments.tasks {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Err(error) = run_task(path, &name, &arguments) {
            println!("{name:20} failed: {error}");
        }
    }
    Ok(())
}

fn arguments() -> Fallible<Arguments> {
    let mut result =
        Arguments { options: QuantizeOptions::default(), simplify: true, layers: false, tasks: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bits" => result.options.weight_bits = value()?.parse()?,
            "--samples" => result.options.samples = value()?.parse()?,
            "--range" => {
                result.options.activation_range = match value()?.as_str() {
                    "minmax" => RangeMethod::MinMax,
                    "mse" => RangeMethod::Mse,
                    share => RangeMethod::Percentile(share.parse()?),
                }
            }
            "--no-correction" => result.options.bias_correction = false,
            "--no-compensation" => result.options.error_compensation = false,
            "--no-simplify" => result.simplify = false,
            "--layers" => result.layers = true,
            path => result.tasks.push(path.into()),
        }
    }
    Ok(result)
}

fn run_task(path: &Path, name: &str, arguments: &Arguments) -> Fallible<()> {
    let task: toml::Table = std::fs::read_to_string(path)?.parse()?;
    let folder = path.parent().ok_or("a task file lies in a folder")?;
    let model = folder.join(text(&task, "model")?);
    let imported = lutweave_onnx::import(std::fs::read(model)?, &lutweave_onnx::ImportOptions::default())?;
    let source = imported.graph;
    let (calibration, _, _) = load(&task, folder, "calibration", &source)?;
    let (inputs, raw, labels) = load(&task, folder, "evaluation", &source)?;
    let start = Instant::now();
    let graph = if arguments.simplify { simplify(&source)?.graph } else { source.clone() };
    let simplified = start.elapsed();
    let quantized = quantize(&graph, &calibration, &arguments.options)?;
    let elapsed = start.elapsed();
    lutweave_ir::split::split(&quantized.graph)?;
    let reference = outputs(&source, &inputs)?;
    let results = outputs(&quantized.graph, &inputs)?;
    let metric = text(&task, "metric")?;
    let score = |outputs: &[Vec<f64>]| -> Fallible<f64> {
        match metric {
            "top1" => Ok(top1(outputs, &labels)),
            "mse" => mean_squared_error(&task, outputs, &raw),
            other => Err(format!("metric {other} is not known here").into()),
        }
    };
    let agree = (0..results.len()).filter(|&i| argmax(&results[i]) == argmax(&reference[i])).count();
    let step = reference.iter().flatten().zip(results.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let (before, after) = (score(&reference)?, score(&results)?);
    println!(
        "{name:20} {metric:6} {before:10.4} {after:10.4} {:8.4} {:6.3} {step:13.4} {:.2} + {:.2}",
        after - before,
        agree as f64 / results.len() as f64,
        simplified.as_secs_f64(),
        (elapsed - simplified).as_secs_f64(),
    );
    if arguments.layers {
        quantized.layers.iter().for_each(print_layer);
    }
    Ok(())
}

fn print_layer(layer: &LayerReport) {
    let bits = layer.weight_bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string());
    let sqnr = layer.sqnr_db.map_or_else(|| "-".to_owned(), |db| format!("{db:.1} dB"));
    let scales = &layer.scales;
    println!(
        "    {:14} {bits:>2} bits {sqnr:>9}  given {} abs-max {} mse {} inert {}  {}",
        layer.operator, scales.given, scales.abs_max, scales.mse, scales.inert, layer.name
    );
}

fn outputs(graph: &Graph, inputs: &[Vec<Tensor>]) -> Fallible<Vec<Vec<f64>>> {
    let interpreter = Interpreter::new(graph);
    let results: Result<Vec<Vec<f64>>, _> = inputs
        .par_iter()
        .map(|inputs| {
            interpreter.run(inputs).map(|outputs| match &outputs[0].data {
                lutweave_ir::Data::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
                lutweave_ir::Data::Int(values) => values.iter().map(|&value| f64::from(value)).collect(),
            })
        })
        .collect();
    Ok(results?)
}

fn argmax(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

fn top1(outputs: &[Vec<f64>], labels: &[usize]) -> f64 {
    let right = outputs.iter().zip(labels).filter(|(output, label)| argmax(output) == **label).count();
    right as f64 / outputs.len() as f64
}

fn mean_squared_error(task: &toml::Table, outputs: &[Vec<f64>], raw: &[Vec<f64>]) -> Fallible<f64> {
    let (mean, std) = (numbers(task, "output", "mean")?[0], numbers(task, "output", "std")?[0]);
    let errors = outputs.iter().zip(raw).map(|(output, raw)| {
        let sum: f64 = output.iter().zip(raw).map(|(y, x)| (y * std + mean - x).powi(2)).sum();
        sum / raw.len() as f64
    });
    Ok(errors.sum::<f64>() / outputs.len() as f64)
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
        raw.push(match &tensor.data {
            lutweave_ir::Data::F32(values) => values.iter().map(|&v| f64::from(v) * std[0] + mean[0]).collect(),
            lutweave_ir::Data::Int(values) => values.iter().map(|&v| f64::from(v) * std[0] + mean[0]).collect(),
        });
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
