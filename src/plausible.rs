//! What makes data implausible: inputs that never change, inputs outside the calibrated range, a
//! float model that does no better than guessing.

use crate::failure::Failure;
use crate::metric::{Metric, Verdict};
use crate::model::Model;
use crate::observer::Context;
use crate::task::{Samples, Task};
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::op::Quantize;
use lutweave_ir::split::Split;
use lutweave_ir::{Diagnostic, Op, Tensor};
use std::collections::BTreeMap;

/// Evaluation samples whose elements are compared with the calibrated range.
const COMPARED: usize = 64;

/// Share of elements outside the calibrated range from which it is worth a warning.
const OUTSIDE: f64 = 0.01;

/// Samples from which a score tells chance from skill.
const TELLING: usize = 16;

/// Warns about calibration inputs that never change.
pub fn calibration(model: &Model, samples: &[Vec<Tensor>], context: &Context) {
    for (position, &input) in model.graph.inputs().iter().enumerate() {
        let node = model.graph.node(input);
        let warn = |message: String| {
            let help = "check the array that the task or --calibration names";
            context.warn(Diagnostic::warning("constant-input", message).at(&node.name).help(help));
        };
        let Some(first) = samples.first().map(|inputs| inputs[position].reals()) else { return };
        let Some(&value) = first.first() else { continue };
        if samples.iter().all(|inputs| inputs[position].reals().iter().all(|&other| other == value)) {
            if first.len() * samples.len() > 1 {
                warn(format!("every element of every calibration sample is {value}"));
            }
        } else if samples.len() > 1 && samples.iter().all(|inputs| inputs[position] == samples[0][position]) {
            warn(format!("all {} calibration samples are the same", samples.len()));
        }
    }
}

/// Warns where the float model is not better than an answer that does not look at the input.
pub fn verdicts(model: &Model, task: &Task, samples: &Samples, verdicts: &[Verdict], context: &Context) {
    let Some(metric) = task.metric() else { return };
    if verdicts.len() < TELLING {
        return;
    }
    let value = metric.value(verdicts);
    let guess = match metric {
        Metric::Top1 => {
            let classes = model.graph.outputs().first().map_or(0, |&id| model.graph.node(id).ty.count());
            let guess = guessed(&samples.labels, classes);
            let error = (guess * (1.0 - guess) / verdicts.len() as f64).sqrt();
            (value <= guess + error).then_some(guess)
        }
        Metric::Ap50 | Metric::Map => {
            let objects = samples.objects.iter().any(|objects| !objects.is_empty());
            (objects && value < 0.005).then_some(0.0)
        }
        Metric::Mse => {
            let spread = spread(samples, task);
            (value >= spread).then_some(spread)
        }
    };
    if let Some(guess) = guess {
        let (value, guess) = (metric.show(value), metric.show(guess));
        let count = verdicts.len();
        let message = format!(
            "the float model does no better than guessing on these {count} samples: {} {value}, by guessing {guess}",
            metric.name()
        );
        context.warn(
            Diagnostic::warning("no-better-than-guessing", message)
                .at(&model.name)
                .help("check mean, std, channels, layout and labels of the task"),
        );
    }
}

/// How often an answer is right that is always the most frequent label, or drawn among the classes.
fn guessed(labels: &[usize], classes: usize) -> f64 {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
    // A model that ends in an argmax does not say how many classes there are.
    let classes = if classes > 1 { classes } else { counts.len() };
    let drawn = 1.0 / classes.max(2) as f64;
    let most = counts.values().copied().max().unwrap_or(0) as f64 / labels.len().max(1) as f64;
    if counts.len() > 1 { drawn.max(most) } else { drawn }
}

/// The squared error of an autoencoder whose output is always the mean of its input.
fn spread(samples: &Samples, task: &Task) -> f64 {
    let each = samples.inputs.iter().map(|input| {
        let values = task.in_units(input);
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len().max(1) as f64
    });
    each.sum::<f64>() / samples.inputs.len().max(1) as f64
}

/// Warns where inputs lie outside the range of the integers that the host makes of them.
///
/// # Errors
/// If the inputs do not fit.
pub fn saturation(split: &Split, samples: &[Vec<Tensor>], context: &Context) -> Result<(), Failure> {
    let prologue = &split.prologue;
    let interpreter = Interpreter::new(prologue);
    // By node: elements outside, all elements, smallest and largest.
    let mut seen: BTreeMap<usize, (usize, usize, f64, f64)> = BTreeMap::new();
    for inputs in samples.iter().take(COMPARED) {
        let values = interpreter.run_all(inputs)?;
        for id in prologue.ids() {
            let node = prologue.node(id);
            let Op::Quantize(Quantize { element, quantization }) = &node.op else { continue };
            let Some((lo, hi)) = element.range() else { continue };
            let [lo, hi] = [lo, hi].map(|bound| f64::from(quantization.dequantize(bound as i32)));
            let half = 0.5 * f64::from(quantization.scale);
            let entry = seen.entry(id.index()).or_insert((0, 0, f64::INFINITY, f64::NEG_INFINITY));
            for value in values[node.operands[0].index()].reals() {
                entry.0 += usize::from(value < lo - half || value > hi + half);
                entry.1 += 1;
                entry.2 = entry.2.min(value);
                entry.3 = entry.3.max(value);
            }
        }
    }
    for id in prologue.ids() {
        let Some(&(outside, all, least, most)) = seen.get(&id.index()) else { continue };
        let Op::Quantize(Quantize { element, quantization }) = &prologue.node(id).op else { continue };
        let share = outside as f64 / all.max(1) as f64;
        let Some((lo, hi)) = element.range().filter(|_| share > OUTSIDE) else { continue };
        let [lo, hi] = [lo, hi].map(|bound| quantization.dequantize(bound as i32));
        let message = format!(
            "{:.1} % of the input's elements lie outside the calibrated range, {lo:.4} to {hi:.4}: they go from \
             {least:.4} to {most:.4}",
            100.0 * share
        );
        context.warn(
            Diagnostic::warning("outside-calibration", message)
                .at(&prologue.node(prologue.node(id).operands[0]).name)
                .help("give inputs as the model was calibrated (mean, std, layout), or calibrate with such samples"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_takes_the_most_frequent_label_or_any() {
        assert_eq!(guessed(&[0, 1, 2, 0], 3), 0.5);
        assert_eq!(guessed(&[0, 1, 2, 1, 0, 2], 10), 1.0 / 3.0);
        // One label only says nothing about how hard the task is.
        assert_eq!(guessed(&[4; 20], 10), 0.1);
        assert_eq!(guessed(&[0, 1], 1), 0.5);
    }
}
