//! `variants`: the ladder of deformable convolution, from free offsets to 4-bit weights.

use crate::cli::Variants;
use crate::deform::variant_name;
use crate::eval;
use crate::executor::{self, Drive};
use crate::failure::{Failure, show};
use crate::flow::{self, Cleaned};
use crate::model::{self, Model};
use crate::progress;
use crate::task::{Section, Task};
use lutweave_codesign::deform::{LayerReport, Request, Variant, is_deformable};
use lutweave_hw::device::Device;
use lutweave_hw::plan::Stage;
use lutweave_ir::{Diagnostic, Graph, Tensor};
use serde::Serialize;

/// Samples that are simulated: cycles between frames need two.
const SIMULATED_SAMPLES: usize = 2;

/// One variant of a model.
#[derive(Debug, Serialize)]
struct Row {
    /// `full`, `bounded`, `square`, or `plain` for a model without deformable layers.
    variant: &'static str,
    /// Every channel of the deformable layers has a filter of its own.
    depthwise: bool,
    /// The metric of the float network.
    float: f64,
    /// The same with offsets in whole pixels.
    whole: Option<f64>,
    /// As integers, by width of weights.
    integer: Vec<Built>,
    /// Rows of the line buffer of each deformable layer.
    line_buffer_rows: Vec<u32>,
}

/// A variant as a circuit.
#[derive(Debug, Serialize)]
struct Built {
    /// 8 or 4; absent if the model gives its weights as integers.
    weight_bits: Option<u8>,
    /// The metric.
    value: f64,
    /// The circuit's cycles and multipliers; absent if it was refused.
    circuit: Option<Circuit>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Circuit {
    cycles_per_inference: u64,
    multipliers: u64,
}

/// Runs the command.
///
/// # Errors
/// What the compiler refuses; without a task that has a metric.
pub fn command(arguments: &Variants) -> Result<(), Failure> {
    let (source, quiet) = (&arguments.source, arguments.format.json);
    let device = flow::device(&source.device)?;
    let model = model::load(source.model.as_deref(), source.task.as_deref())?;
    let Some(task) = &model.task else {
        return Err(Failure::Usage(
            Diagnostic::error("no-task", "variants are compared by a metric, which needs a task")
                .help("give --task FILE.toml; built-in models have their own task"),
        ));
    };
    let metric = task.required_metric()?;
    let limit = arguments.samples.map_or(usize::MAX, |samples| samples as usize);
    let calibration = flow::calibration(&model, source)?;
    let ladder = Ladder { model: &model, task, calibration: &calibration, device: &device, arguments, limit };
    let rows = ladder.rows()?;
    if quiet {
        let object = serde_json::json!({
            "model": model.name, "metric": metric.name(), "device": device.name,
            "multipliers": source.multipliers, "variants": rows,
        });
        outln!("{object}");
        return Ok(());
    }
    outln!(
        "| {} | float | whole pixels | 8-bit weights | cycles | multipliers | 4-bit weights | cycles | multipliers | rows |",
        model.name
    );
    outln!("|---|---|---|---|---|---|---|---|---|---|");
    for row in &rows {
        outln!("{}", line(row, |value| metric.show(value)));
    }
    Ok(())
}

/// A row of the printed table.
fn line(row: &Row, show: impl Fn(f64) -> String) -> String {
    let dash = || "-".to_owned();
    let name = if row.depthwise { format!("{}, depthwise", row.variant) } else { row.variant.to_owned() };
    let mut cells = vec![name, show(row.float), row.whole.map_or_else(dash, &show)];
    for bits in [8, 4] {
        match row.integer.iter().find(|built| built.weight_bits.unwrap_or(4) == bits) {
            None => cells.extend([dash(), dash(), dash()]),
            Some(built) => {
                let part =
                    |part: fn(Circuit) -> u64| built.circuit.map_or_else(dash, |circuit| part(circuit).to_string());
                cells.extend([show(built.value), part(|c| c.cycles_per_inference), part(|c| c.multipliers)]);
            }
        }
    }
    let rows: Vec<String> = row.line_buffer_rows.iter().map(u32::to_string).collect();
    cells.push(if rows.is_empty() { dash() } else { rows.join(", ") });
    format!("| {} |", cells.join(" | "))
}

/// What all variants have in common.
struct Ladder<'a> {
    model: &'a Model,
    task: &'a Task,
    calibration: &'a [Vec<Tensor>],
    device: &'a Device,
    arguments: &'a Variants,
    limit: usize,
}

impl Ladder<'_> {
    /// The variants, freest first. A step that changes nothing has no row.
    fn rows(&self) -> Result<Vec<Row>, Failure> {
        let source = &self.arguments.source;
        let (full, bounded, square) = (Variant::Full, Variant::Bounded, Variant::Square);
        let deformable = is_deformable(&self.model.graph);
        let mut rows = Vec::new();
        let mut last: Option<Graph> = None;
        for (variant, depthwise) in [(full, false), (full, true), (bounded, true), (square, true)] {
            let reach = if variant == full { None } else { source.deform_reach };
            let request = Request { variant, reach, depthwise };
            let cleaned = flow::clean(self.model, self.calibration, source, &request)?;
            if last.as_ref() == Some(&cleaned.graph) {
                continue;
            }
            let layers = cleaned.reshaping.iter().flat_map(|reshaping| &reshaping.report.layers);
            let layers: Vec<&LayerReport> = layers.collect();
            let name = if layers.is_empty() {
                "plain"
            } else if layers.iter().all(|layer| layer.sampling == "square") {
                variant_name(square)
            } else {
                variant_name(variant)
            };
            let split = !layers.is_empty() && layers.iter().all(|layer| layer.depthwise);
            rows.push(self.row(name, split, &cleaned)?);
            last = Some(cleaned.graph);
            if !deformable {
                break;
            }
        }
        Ok(rows)
    }

    fn row(&self, variant: &'static str, depthwise: bool, cleaned: &Cleaned) -> Result<Row, Failure> {
        let whole = self.float(&cleaned.graph)?;
        let float = cleaned.unrounded.as_ref().map_or(Ok(whole), |graph| self.float(graph))?;
        let widths = if flow::gives_weights(&cleaned.graph) { vec![None] } else { vec![Some(8), Some(4)] };
        let mut row = Row {
            variant,
            depthwise,
            float,
            whole: cleaned.unrounded.is_some().then_some(whole),
            integer: Vec::new(),
            line_buffer_rows: Vec::new(),
        };
        for bits in widths {
            let built = self.built(cleaned, bits, &mut row.line_buffer_rows)?;
            row.integer.push(built);
        }
        Ok(row)
    }

    fn float(&self, graph: &Graph) -> Result<f64, Failure> {
        let quiet = self.arguments.format.json;
        let verdicts =
            eval::verdicts_in(graph, &self.model.outputs, self.task, Section::Evaluation, self.limit, quiet)?;
        Ok(self.task.required_metric()?.value(&verdicts))
    }

    fn built(&self, cleaned: &Cleaned, bits: Option<u8>, rows: &mut Vec<u32>) -> Result<Built, Failure> {
        let (source, quiet) = (&self.arguments.source, self.arguments.format.json);
        let lowered = flow::lower(cleaned, self.calibration, bits.unwrap_or(8), None, source, quiet)?;
        let (split, names) = (&lowered.split, &self.model.outputs);
        let section = Section::Evaluation;
        let verdicts = eval::verdicts_on_cpu(split, &lowered.integer, names, self.task, section, self.limit)?;
        let value = self.task.required_metric()?.value(&verdicts);
        let fitted = match flow::build(&split.core, self.device, source.multipliers) {
            Ok(fitted) => fitted,
            Err(Failure::Refused(causes)) => {
                causes.0.iter().for_each(show);
                return Ok(Built { weight_bits: bits, value, circuit: None });
            }
            Err(failure) => return Err(failure),
        };
        *rows = fitted.plan.stages.iter().filter_map(line_buffer_rows).collect();
        progress::check_interrupt()?;
        let samples = self.task.samples(section, flow::single_input(&self.model.graph)?, SIMULATED_SAMPLES)?;
        let inputs = eval::core_inputs(split, &samples.inputs)?;
        let inputs: Vec<Vec<Tensor>> = inputs.iter().cycle().take(SIMULATED_SAMPLES).cloned().collect();
        let wasm = lutweave_wasm::emit(&fitted.design);
        let answer = executor::run_wasm(&wasm, &split.core, &inputs, Drive::default())?;
        let multipliers = fitted.plan.multipliers();
        let circuit =
            answer.cycles_per_inference.map(|cycles_per_inference| Circuit { cycles_per_inference, multipliers });
        Ok(Built { weight_bits: bits, value, circuit })
    }
}

/// Rows of the ring of a layer whose taps are moved.
fn line_buffer_rows(stage: &Stage) -> Option<u32> {
    stage.kernel.offset_lanes()?;
    stage.kernel.line_buffer_rows(&stage.folding?)
}
