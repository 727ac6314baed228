//! The ladder of deformable convolution, from free offsets to 4-bit weights.

use crate::compiler;
use crate::eval;
use crate::executor::{self, Drive};
use crate::failure::Failure;
use crate::inputs::single_input;
use crate::metric::Metric;
use crate::model::Model;
use crate::observer::Context;
use crate::options::Options;
use crate::pipeline::{self, Cleaned, Stage, State, gives_weights};
use crate::reshape::variant_name;
use crate::task::{Samples, Section, Task};
use lutweave_codesign::deform::{Request, ReshapedLayer, Variant, is_deformable};
use lutweave_hw::dataflow::KernelNode;
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::{Diagnostic, Graph, Tensor};
use serde::Serialize;

/// Samples that are simulated: cycles between frames need two.
const SIMULATED_SAMPLES: usize = 2;

/// One variant of a model.
#[derive(Debug, Serialize)]
pub struct Row {
    /// `full`, `bounded`, `square`, or `plain` for a model without deformable layers.
    pub variant: &'static str,
    /// Every channel of the deformable layers has a filter of its own.
    pub depthwise: bool,
    /// The metric of the float network.
    pub float: f64,
    /// The same with offsets in whole pixels.
    pub whole: Option<f64>,
    /// As integers, by width of weights.
    pub integer: Vec<Built>,
    /// Rows of the line buffer of each deformable layer.
    pub line_buffer_rows: Vec<u32>,
}

/// A variant as a circuit.
#[derive(Debug, Serialize)]
pub struct Built {
    /// 8 or 4; absent if the model gives its weights as integers.
    pub weight_bits: Option<u8>,
    /// The metric.
    pub value: f64,
    /// The circuit's cycles and multipliers; absent if it was refused.
    pub circuit: Option<Circuit>,
}

/// Figures of a circuit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Circuit {
    /// Frames back to back, measured in the simulator.
    pub cycles_per_inference: u64,
    /// Hardware multipliers.
    pub multipliers: u64,
}

/// The variants of a model, freest first. A step that changes nothing has no row.
///
/// # Errors
/// What the compiler refuses; without a task that has a metric.
pub fn variants(model: &Model, options: &Options, limit: usize, context: &Context) -> Result<Vec<Row>, Failure> {
    options.check()?;
    let Some(task) = &model.task else {
        return Err(Failure::Usage(
            Diagnostic::error("no-task", "variants are compared by a metric, which needs a task")
                .help("give --task FILE.toml; built-in models have their own task"),
        ));
    };
    let metric = task.required_metric()?;
    let ty = single_input(&model.graph)?;
    let samples = task.samples(Section::Evaluation, ty, limit)?;
    let start = compiler::start(model, options, context, true)?;
    Ladder { start, task, metric, samples }.rows()
}

/// What all variants have in common.
struct Ladder<'a> {
    start: State<'a>,
    task: &'a Task,
    metric: Metric,
    samples: Samples,
}

impl Ladder<'_> {
    fn rows(&self) -> Result<Vec<Row>, Failure> {
        let (full, bounded, square) = (Variant::Full, Variant::Bounded, Variant::Square);
        let deformable = is_deformable(&self.start.model.graph);
        let mut rows = Vec::new();
        let mut last: Option<Graph> = None;
        for (variant, depthwise) in [(full, false), (full, true), (bounded, true), (square, true)] {
            let reach = if variant == full { None } else { self.start.options.deform_reach };
            let mut state = State { deform: Request { variant, reach, depthwise }, ..self.start.clone() };
            pipeline::run(&mut state, |pass| pass.stage == Stage::Float && pass.name != "choose-deformable")?;
            let cleaned = &state.cleaned;
            if last.as_ref() == Some(cleaned.graph()) {
                continue;
            }
            let layers = cleaned.reshaping.iter().flat_map(|reshaping| &reshaping.report.layers);
            let layers: Vec<&ReshapedLayer> = layers.collect();
            let name = if layers.is_empty() {
                "plain"
            } else if layers.iter().all(|layer| layer.sampling == "square") {
                variant_name(square)
            } else {
                variant_name(variant)
            };
            let split = !layers.is_empty() && layers.iter().all(|layer| layer.depthwise);
            rows.push(self.row(name, split, &state)?);
            last = Some(state.cleaned.graph().clone());
            if !deformable {
                break;
            }
        }
        Ok(rows)
    }

    fn row(&self, variant: &'static str, depthwise: bool, state: &State) -> Result<Row, Failure> {
        let cleaned: &Cleaned = &state.cleaned;
        let whole = self.float(cleaned.graph())?;
        let float = cleaned.unrounded.as_ref().map_or(Ok(whole), |graph| self.float(graph))?;
        let widths = if gives_weights(cleaned.graph()) { vec![None] } else { vec![Some(8), Some(4)] };
        let mut row = Row {
            variant,
            depthwise,
            float,
            whole: cleaned.unrounded.is_some().then_some(whole),
            integer: Vec::new(),
            line_buffer_rows: Vec::new(),
        };
        for bits in widths {
            let built = self.built(state, bits, &mut row.line_buffer_rows)?;
            row.integer.push(built);
        }
        Ok(row)
    }

    fn float(&self, graph: &Graph) -> Result<f64, Failure> {
        let names = &self.start.model.outputs;
        let verdicts = eval::verdicts_in(graph, names, self.task, &self.samples, self.start.context)?;
        Ok(self.metric.value(&verdicts))
    }

    fn built(&self, state: &State, bits: Option<u8>, rows: &mut Vec<u32>) -> Result<Built, Failure> {
        let mut state = State { weight_bits: bits.unwrap_or(8), ..state.clone() };
        pipeline::run(&mut state, |pass| pass.stage == Stage::Lower)?;
        let lowered = state.lowered.as_ref().expect("invariant: the passes of that stage lower");
        let (split, names, context) = (&lowered.split, &state.model.outputs, state.context);
        let verdicts = eval::verdicts_on_cpu(split, &lowered.integer, names, self.task, &self.samples, context)?;
        let value = self.metric.value(&verdicts);
        let mut folded = state.clone();
        match pipeline::run(&mut folded, |pass| pass.stage == Stage::Circuit) {
            Ok(()) => {}
            Err(Failure::Refused(causes)) => {
                causes.0.into_iter().for_each(|cause| context.warn(cause));
                return Ok(Built { weight_bits: bits, value, circuit: None });
            }
            Err(failure) => return Err(failure),
        }
        let fitted = folded.fitted.as_ref().expect("invariant: the passes of that stage fold");
        *rows = fitted.network.kernels.iter().filter_map(line_buffer_rows).collect();
        let inputs = &self.samples.inputs[..SIMULATED_SAMPLES.min(self.samples.inputs.len())];
        let inputs = eval::core_inputs(split, inputs)?;
        let inputs: Vec<Vec<Tensor>> = inputs.iter().cycle().take(SIMULATED_SAMPLES).cloned().collect();
        let wasm = executor::simulator(&fitted.design, MemoryTiming::of(&folded.device));
        let answer = executor::wasm(&wasm, &split.core, context)?.run(&inputs, Drive::default())?;
        let multipliers = fitted.network.multipliers();
        let circuit =
            answer.cycles_per_inference.map(|cycles_per_inference| Circuit { cycles_per_inference, multipliers });
        Ok(Built { weight_bits: bits, value, circuit })
    }
}

/// Rows of the line buffer of a layer whose taps are moved.
fn line_buffer_rows(kernel: &KernelNode) -> Option<u32> {
    kernel.kernel.offset_lanes()?;
    kernel.rows()
}
