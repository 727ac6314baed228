//! What a choice really costs: the metric's drop and the outputs' distortion, on calibration data.

use super::tables::Key;
use crate::eval;
use crate::failure::Failure;
use crate::inputs::single_input;
use crate::metric::{Metric, Verdict, mean};
use crate::model::Model;
use crate::pipeline::Lowered;
use crate::task::{Samples, Section, Task, class, probabilities};
use lutweave_codesign::sensitivity::Study;
use lutweave_cpu::Jit;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The measured cost of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Points of the metric lost against the float model (percent for errors).
    pub drop: f64,
    /// Standard error of the drop, in points: samples are paired, so only those whose verdict
    /// changes count.
    pub standard_error: f64,
    /// Points that the drop is expected to be on unseen samples, and its standard error; absent
    /// where verdicts are not classes. See [`Judge`].
    pub expected: Option<(f64, f64)>,
    /// Samples that were judged.
    pub samples: usize,
    /// Mean loss of the circuit's outputs against the float outputs, see
    /// [`lutweave_codesign::sensitivity::Loss`]; absent if they cannot be compared one to one.
    pub distortion: Option<f64>,
}

/// Judges integer graphs against the float model.
///
/// A classifier's drop is also estimated without labels: where the integer graph names another
/// class, it loses the difference of the float model's probabilities of the two. What a label
/// adds to that is chance; the mean over the samples is the same as far as the float model is
/// calibrated, and too large if it is overconfident.
pub struct Judge<'a> {
    task: &'a Task,
    metric: Metric,
    samples: Samples,
    /// Names of the model's outputs.
    names: Vec<String>,
    /// What the float model's outputs for each sample are worth.
    float: Vec<Verdict>,
    /// The float model's probabilities of the classes of each sample; empty if it has no classes.
    probabilities: Vec<Vec<f64>>,
}

/// What a graph's outputs are worth.
pub struct Judged {
    /// The metric.
    pub value: f64,
    /// Points of it that are lost against the float model, with the paired standard error.
    pub drop: (f64, f64),
    /// The drop that is expected of unseen samples, see [`Judge`].
    pub expected: Option<(f64, f64)>,
}

impl<'a> Judge<'a> {
    /// A judge on samples of a task.
    ///
    /// # Errors
    /// If the data does not fit the model.
    pub fn new(model: &Model, task: &'a Task, section: Section, limit: usize) -> Result<Self, Failure> {
        let samples = task.samples(section, single_input(&model.graph)?, limit)?;
        let interpreter = Interpreter::new(&model.graph);
        let outputs = samples
            .inputs
            .par_iter()
            .map(|input| interpreter.run(std::slice::from_ref(input)))
            .collect::<Result<Vec<_>, Diagnostic>>()?;
        let names = model.outputs.clone();
        let float = eval::verdicts(task, &samples, &names, &outputs)?;
        let metric = task.required_metric()?;
        let probabilities = match metric {
            Metric::Top1 => outputs.iter().map_while(|outputs| probabilities(&outputs[0])).collect(),
            Metric::Mse | Metric::Ap50 | Metric::Map => Vec::new(),
        };
        Ok(Self { task, metric, samples, names, float, probabilities })
    }

    /// The float model's metric.
    pub fn float_value(&self) -> f64 {
        self.metric.value(&self.float)
    }

    /// Judges an integer graph.
    ///
    /// # Errors
    /// If the core cannot be compiled for this machine.
    pub fn judge(&self, lowered: &Lowered) -> Result<Judged, Failure> {
        self.judge_by(&lutweave_cpu::compile_jit(&lowered.split.core)?, lowered)
    }

    fn judge_by(&self, jit: &Jit, lowered: &Lowered) -> Result<Judged, Failure> {
        let run = |input: &Tensor| lowered.split.run(std::slice::from_ref(input), |core| jit.run(core));
        let outputs = self.samples.inputs.par_iter().map(run).collect::<Result<Vec<_>, Diagnostic>>()?;
        let integer = eval::verdicts(&self.task.reading(&lowered.integer), &self.samples, &self.names, &outputs)?;
        let metric = self.metric;
        let expected = self.probabilities.iter().zip(&outputs).map(|(probabilities, outputs)| {
            let likeliest = probabilities.iter().copied().fold(0.0, f64::max);
            100.0 * (likeliest - probabilities.get(class(&outputs[0])).copied().unwrap_or(0.0))
        });
        Ok(Judged {
            value: metric.value(&integer),
            drop: metric.drop(&self.float, &integer),
            expected: (!self.probabilities.is_empty()).then(|| mean(&expected.collect::<Vec<f64>>())),
        })
    }

    /// Samples that are judged.
    pub fn samples(&self) -> usize {
        self.float.len()
    }

    /// Adds what the judge judges by to a key.
    pub fn add_to(&self, key: &mut Key) {
        self.samples.inputs.iter().for_each(|input| key.tensor(input));
        self.float.iter().for_each(|verdict| key.numbers(&verdict.numbers()));
    }

    /// Everything that is measured of a choice. `study` holds the float outputs for the
    /// inputs `judging`.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub fn measure(&self, lowered: &Lowered, study: &Study, judging: &[Tensor]) -> Result<Measured, Failure> {
        let jit = lutweave_cpu::compile_jit(&lowered.split.core)?;
        let Judged { drop: (drop, standard_error), expected, .. } = self.judge_by(&jit, lowered)?;
        let distortion = distortion(&jit, lowered, study, judging)?;
        Ok(Measured { drop, standard_error, expected, samples: self.samples(), distortion })
    }
}

/// The distortion of the core's outputs against the network's, where these are the same values.
fn distortion(jit: &Jit, lowered: &Lowered, study: &Study, judging: &[Tensor]) -> Result<Option<f64>, Failure> {
    let core = &lowered.split.core;
    let shapes = |graph: &lutweave_ir::Graph| -> Vec<usize> {
        graph.outputs().iter().map(|&id| graph.node(id).ty.count()).collect()
    };
    if shapes(core) != shapes(study.graph()) {
        return Ok(None);
    }
    let inputs = eval::core_inputs(&lowered.split, judging)?;
    let outputs = inputs
        .par_iter()
        .map(|inputs| {
            let outputs = jit.run(inputs)?;
            let real = outputs.iter().zip(core.outputs()).flat_map(|(tensor, &id)| {
                let quantization = core.node(id).ty.quantization;
                tensor.ints().iter().map(move |&q| quantization.as_ref().map_or(q as f32, |grid| grid.dequantize(q)))
            });
            Ok(real.collect::<Vec<f32>>())
        })
        .collect::<Result<Vec<_>, Diagnostic>>()?;
    Ok(Some(study.distortion_of(&outputs)))
}
