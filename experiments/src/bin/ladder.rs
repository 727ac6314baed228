//! What each step of quantization to 4-bit weights and 8-bit activations is worth, without
//! retraining. First, last and depthwise layers keep 8-bit weights.
//!
//! usage: ladder [--bits 4|8] [--held-out] [--samples N] [--csv] [TASK.toml...]
//!
//! Without task files it takes four models of `../shared/data/tasks`, and says so if there are
//! none. With `--held-out` every second calibration sample takes the place of the evaluation
//! samples, and of the labels the float model's answer: to choose between methods without a look
//! at the evaluation samples.
//!
//! `drop` is in points of top-1, `+-` its paired standard error: only samples whose verdict changes
//! count. `agree` is the share of samples for which the largest output is the float model's, `noise`
//! the relative root mean square error of the logits.

use lutweave::metric::{Metric, Verdict};
use lutweave::task::class;
use lutweave_experiments::{Fallible, Task, after_pass, outputs};
use lutweave_ir::Tensor;
use lutweave_quantize::compress::{Rounding, ScaleMethod};
use lutweave_quantize::{QuantizeOptions, quantize};
use std::path::{Path, PathBuf};
use std::time::Instant;

const DEFAULT_TASKS: [&str; 4] = ["ic_resnet8", "kws_dscnn", "vww_mobilenet", "ic_resnet_large"];

struct Arguments {
    bits: u8,
    samples: usize,
    held_out: bool,
    csv: bool,
    tasks: Vec<PathBuf>,
}

fn main() -> Fallible<()> {
    let mut arguments = Arguments {
        bits: 4,
        samples: QuantizeOptions::default().samples,
        held_out: false,
        csv: false,
        tasks: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bits" => arguments.bits = value()?.parse()?,
            "--samples" => arguments.samples = value()?.parse()?,
            "--held-out" => arguments.held_out = true,
            "--csv" => arguments.csv = true,
            path => arguments.tasks.push(path.into()),
        }
    }
    if arguments.tasks.is_empty() {
        let is_default = |path: &PathBuf| path.file_stem().is_some_and(|stem| DEFAULT_TASKS.iter().any(|d| stem == *d));
        arguments.tasks = lutweave_experiments::files().into_iter().filter(is_default).collect();
    }
    if arguments.csv {
        println!("task,step,top1,drop,standard_error,agree,noise,seconds");
    }
    for path in &arguments.tasks {
        if let Err(error) = ladder(path, &arguments) {
            println!("{} failed: {error}", path.display());
        }
    }
    Ok(())
}

/// The steps, each with what it adds to a plain rounding.
fn steps(arguments: &Arguments) -> Vec<(&'static str, QuantizeOptions<'static>)> {
    let plain = QuantizeOptions {
        weight_bits: arguments.bits,
        samples: arguments.samples,
        bias_correction: false,
        statistics_correction: false,
        asymmetric: false,
        rounding: Rounding::Nearest,
        scale: ScaleMethod::AbsMax,
        ..QuantizeOptions::default()
    };
    let by_weights = QuantizeOptions { scale: ScaleMethod::WeightError, ..plain };
    let by_output = QuantizeOptions { scale: ScaleMethod::OutputError, ..plain };
    let bias = QuantizeOptions { bias_correction: true, ..by_output };
    let gptq = QuantizeOptions { rounding: Rounding::Gptq, ..bias };
    let obq = QuantizeOptions { rounding: Rounding::Obq, ..bias };
    let scales = QuantizeOptions { statistics_correction: true, ..gptq };
    let asymmetric = QuantizeOptions { asymmetric: true, ..gptq };
    let asymmetric_scales = QuantizeOptions { asymmetric: true, ..scales };
    let asymmetric_obq = QuantizeOptions { asymmetric: true, ..obq };
    let default =
        QuantizeOptions { weight_bits: arguments.bits, samples: arguments.samples, ..QuantizeOptions::default() };
    vec![
        ("round to nearest, largest weight", plain),
        ("scale by the weights' error", by_weights),
        ("scale by the output's error", by_output),
        ("+ bias correction", bias),
        ("+ GPTQ", gptq),
        ("+ OBQ in place of GPTQ", obq),
        ("GPTQ + statistics correction", scales),
        ("GPTQ + asymmetric", asymmetric),
        ("GPTQ + asymmetric + statistics", asymmetric_scales),
        ("OBQ + asymmetric", asymmetric_obq),
        ("OBQ + statistics correction", QuantizeOptions { statistics_correction: true, ..obq }),
        ("the default", default),
    ]
}

fn ladder(path: &Path, arguments: &Arguments) -> Fallible<()> {
    let task = Task::load(path)?;
    if task.metric()? != Metric::Top1 {
        return Err(format!("the metric is {}, not top1", task.metric()?.name()).into());
    }
    let graph = after_pass(&task.model, &task.calibration, "simplify")?;
    let every_second = |odd: usize| -> Vec<Vec<Tensor>> {
        task.calibration.iter().enumerate().filter(|(index, _)| index % 2 == odd).map(|(_, s)| s.clone()).collect()
    };
    let (calibration, evaluation) =
        if arguments.held_out { (every_second(0), every_second(1)) } else { (task.calibration.clone(), task.inputs()) };
    let reference = outputs(&task.model.graph, &evaluation)?;
    let right_labels: Vec<usize> = if arguments.held_out {
        reference.iter().map(|outputs| class(&outputs[0])).collect()
    } else {
        task.evaluation.labels.clone()
    };
    let verdicts = |outputs: &[Vec<Tensor>]| -> Vec<Verdict> {
        let right = outputs.iter().zip(&right_labels).map(|(outputs, label)| class(&outputs[0]) == *label);
        right.map(|right| Verdict::Number(f64::from(u8::from(right)))).collect()
    };
    let metric = Metric::Top1;
    let right = verdicts(&reference);
    let count = right.len() as f64;
    let share = |right: &[Verdict]| metric.value(right);
    if !arguments.csv {
        let calibrated = calibration.len().min(arguments.samples);
        if arguments.held_out {
            println!("{}: {count} held-out calibration samples, {calibrated} calibrated on", task.name);
        } else {
            println!("{}: float {:.4}, {count} samples, {calibrated} calibrated on", task.name, share(&right));
        }
        println!("  {:34} {:>7} {:>6} {:>5} {:>7} {:>7} {:>6}", "step", "top-1", "drop", "+-", "agree", "noise", "s");
    }
    for (name, options) in steps(arguments) {
        let clock = Instant::now();
        let quantized = quantize(&graph, &calibration, &options)?;
        let seconds = clock.elapsed().as_secs_f64();
        let results = outputs(&quantized.graph, &evaluation)?;
        let got = verdicts(&results);
        let (drop, error) = metric.drop(&right, &got);
        let agree =
            (0..results.len()).filter(|&i| class(&results[i][0]) == class(&reference[i][0])).count() as f64 / count;
        let noise = noise(&reference, &results);
        if arguments.csv {
            println!("{},{name},{:.4},{drop:.3},{error:.3},{agree:.4},{noise:.4},{seconds:.2}", task.name, share(&got));
        } else {
            println!("  {name:34} {:7.4} {drop:6.2} {error:5.2} {agree:7.4} {noise:7.4} {seconds:6.2}", share(&got));
        }
    }
    Ok(())
}

/// The relative root mean square error; of the logits where the outputs are probabilities.
fn noise(reference: &[Vec<Tensor>], results: &[Vec<Tensor>]) -> f64 {
    let mut error = 0.0;
    let mut signal = f64::MIN_POSITIVE;
    for (real, got) in reference.iter().zip(results) {
        let (real, got) = (logits(&real[0].reals()), logits(&got[0].reals()));
        error += real.iter().zip(&got).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        signal += real.iter().map(|a| a * a).sum::<f64>();
    }
    (error / signal).sqrt()
}

/// Logits with a mean of 0 from probabilities; other values as they are.
fn logits(outputs: &[f64]) -> Vec<f64> {
    let probabilities = outputs.iter().all(|p| (0.0..=1.0).contains(p));
    if !probabilities || (outputs.iter().sum::<f64>() - 1.0).abs() > 1e-3 {
        return outputs.to_vec();
    }
    let logarithms: Vec<f64> = outputs.iter().map(|p| p.max(1e-7).ln()).collect();
    let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
    logarithms.iter().map(|l| l - mean).collect()
}
