//! The Pareto front of cycles, resources, bytes and accuracy, each point with a proof.

pub mod bandwidth;
mod plot;

use crate::artefact::{self, Files};
use crate::codesign::record::{BudgetUse, Decision, budgets, decisions};
use crate::codesign::{Answer, BudgetLadder, Judge, Judged, Measured, Session, does_not_fit, fold};
use crate::compiler;
use crate::executor::{self, Drive};
use crate::failure::Failure;
use crate::model::Model;
use crate::observer::Context;
use crate::options::{Deform, Options};
use crate::pipeline::{self, Stage};
use crate::summary;
use crate::task::Section;
use crate::verify::random_samples;
use lutweave_codesign::deform::is_deformable;
use lutweave_codesign::sensitivity::real;
use lutweave_hw::cost::Resources;
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::Diagnostic;
use plot::{Mark, Vertical};
use serde::Serialize;
use std::fmt::Write;
use std::time::Instant;

/// Frames that are simulated to count the cycles between them.
const FRAMES: usize = 3;

/// One circuit.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Frames back to back, measured in the simulator.
    pub cycles_per_inference: u64,
    /// No choice within the budgets needs fewer cycles.
    pub lower_bound: u64,
    /// `cycles / lower_bound - 1` of the slowest stage.
    pub gap: f64,
    /// The bound is reached.
    pub optimal: bool,
    /// Sum of distortions that was allowed.
    pub allowed_distortion: f64,
    /// Sum of the layers' own distortions.
    pub predicted_distortion: f64,
    /// Measured distortion over the predicted: above 1 where distortions do not add up.
    pub kappa: Option<f64>,
    /// What was measured on the calibration data.
    pub calibration: Measured,
    /// The metric on the evaluation data.
    pub value: f64,
    /// Points lost on the evaluation data.
    pub drop: f64,
    /// Standard error of the points lost.
    pub drop_standard_error: f64,
    /// Cycles of "compress first, then fold" within the same budgets.
    pub compress_first_cycles: Option<u64>,
    /// Hardware multipliers.
    pub multipliers: u64,
    /// The estimate.
    pub resources: Resources,
    /// Bytes of all weights.
    pub weight_bytes: u64,
    /// Share of weights that are zero.
    pub sparsity: f64,
    /// No other point is both faster and at least as accurate.
    pub on_front: bool,
    /// What each budget allows, and what is used of it.
    pub budgets: Vec<BudgetUse>,
    /// How each stage is built.
    pub decisions: Vec<Decision>,
}

/// All circuits that were built.
#[derive(Debug, Serialize)]
pub struct Front {
    /// Name of the model.
    pub model: String,
    /// Name of the device.
    pub device: String,
    /// Most multipliers, if that was asked.
    pub multipliers: Option<u32>,
    /// Name of the metric.
    pub metric: &'static str,
    /// The metric of the model as it came.
    pub float_value: f64,
    /// Evaluation samples.
    pub samples: usize,
    /// Mean gap of the points.
    pub mean_gap: f64,
    /// From the slowest to the fastest.
    pub points: Vec<Point>,
    /// Time of the solver per point.
    #[serde(skip)]
    pub solve_seconds_per_point: f64,
}

/// The front of a model: the fastest choice for each of `points` error budgets, measured and judged on at
/// most `limit` evaluation samples.
///
/// # Errors
/// What the compiler refuses; without a task that has a metric.
pub fn explore(
    model: &Model,
    options: &Options,
    points: usize,
    limit: usize,
    context: &Context,
) -> Result<Front, Failure> {
    options.check()?;
    if options.deform == Some(Deform::Auto) && is_deformable(&model.graph) {
        return Err(Failure::Usage(
            Diagnostic::error("invalid-option", "--deform auto chooses by the drop that `compile` allows")
                .help("choose --deform full, bounded or square here"),
        ));
    }
    let mut state = compiler::start(model, options, context, true)?;
    pipeline::run(&mut state, |pass| pass.stage == Stage::Float)?;
    let session = Session::new(&state)?;
    let Some(task) = &model.task else { return Err(Diagnostic::error("no-task", "there is no task").into()) };
    let judge = Judge::new(model, task, Section::Evaluation, limit)?;

    let solving = Instant::now();
    let mut ladder = BudgetLadder::new(&session.space, &session.budgets(0), points)?;
    let mut answers = Vec::new();
    while let Some(answer) = ladder.fastest()? {
        answers.push(answer);
    }
    answers.reverse();
    let solve_seconds_per_point = solving.elapsed().as_secs_f64() / points.max(1) as f64;
    if answers.is_empty() {
        return Err(does_not_fit(&session).into());
    }
    let work = context.work("explore", Some(answers.len()));
    let mut points = Vec::new();
    for answer in &answers {
        points.push(point(&session, &judge, answer)?);
        work.step()?;
    }
    let metric = task.required_metric()?;
    mark_front(&mut points, metric.larger_is_better());
    Ok(Front {
        model: model.name.clone(),
        device: state.device.name.clone(),
        multipliers: options.multipliers,
        metric: metric.name(),
        float_value: judge.float_value(),
        samples: judge.samples(),
        mean_gap: points.iter().map(|point| point.gap).sum::<f64>() / points.len() as f64,
        points,
        solve_seconds_per_point,
    })
}

impl Front {
    /// The files of the front: a table for programs, one for spreadsheets, and a drawing.
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        files.add_json(artefact::FRONT, self);
        files.add("front.csv", csv(self));
        files.add("front.svg", drawing(self));
        files
    }
}

fn point(session: &Session, judge: &Judge, answer: &Answer) -> Result<Point, Failure> {
    let Answer { space, problem, solution, design } = answer;
    let lowered = session.lower(&design.settings)?;
    let measured = session.measure_lowered(&design.settings, &lowered)?;
    let fitted = session.realize(design, &lowered)?;
    let core = &lowered.split.core;
    let samples = random_samples(core, FRAMES);
    let simulator = executor::simulator(&fitted.design, MemoryTiming::of(&session.state.device));
    let circuit = executor::wasm(&simulator, core, session.state.context)?.run(&samples, Drive::default())?;
    let Judged { value, drop: (drop, drop_standard_error), .. } = judge.judge(&lowered)?;
    let (weight_bytes, sparsity) = summary::weights(core, &fitted.network);
    let predicted = real(design.distortion);
    Ok(Point {
        cycles_per_inference: circuit.cycles_per_inference.unwrap_or(solution.cycles),
        lower_bound: solution.lower_bound,
        gap: solution.gap,
        optimal: solution.optimal,
        allowed_distortion: real(answer.allowed()),
        predicted_distortion: predicted,
        kappa: measured.distortion.filter(|_| predicted > 0.0).map(|distortion| distortion / predicted),
        calibration: measured,
        value,
        drop,
        drop_standard_error,
        compress_first_cycles: compress_first(session, answer.allowed())?,
        multipliers: fitted.network.multipliers(),
        resources: fitted.resources.shown(&session.state.device),
        weight_bytes,
        sparsity,
        on_front: false,
        budgets: budgets(problem, solution),
        decisions: decisions(space, problem, solution),
    })
}

fn compress_first(session: &Session, distortion: u64) -> Result<Option<u64>, Failure> {
    let Some(settings) = lutweave_codesign::compress_first(&session.tables, &session.weights, distortion)? else {
        return Ok(None);
    };
    let answer = fold(session, &settings, &session.budgets(distortion))?;
    Ok(answer.map(|answer| answer.solution.cycles))
}

fn mark_front(points: &mut [Point], larger_is_better: bool) {
    let quality = |point: &Point| if larger_is_better { point.value } else { -point.value };
    let beaten: Vec<bool> = points
        .iter()
        .map(|point| {
            points.iter().any(|other| {
                let no_worse =
                    other.cycles_per_inference <= point.cycles_per_inference && quality(other) >= quality(point);
                no_worse && (other.cycles_per_inference < point.cycles_per_inference || quality(other) > quality(point))
            })
        })
        .collect();
    for (point, beaten) in points.iter_mut().zip(beaten) {
        point.on_front = !beaten;
    }
}

const COLUMNS: [&str; 17] = [
    "cycles",
    "lower_bound",
    "gap",
    "predicted_distortion",
    "measured_distortion",
    "value",
    "drop",
    "drop_standard_error",
    "compress_first_cycles",
    "multipliers",
    "lut",
    "ff",
    "dsp",
    "bram",
    "weight_bytes",
    "sparsity",
    "on_front",
];

fn csv(front: &Front) -> String {
    let mut text = COLUMNS.join(",") + "\n";
    for point in &front.points {
        let optional = |value: Option<String>| value.unwrap_or_default();
        let Resources { lut, ff, dsp, bram, .. } = point.resources;
        let _ = writeln!(
            text,
            "{},{},{:.6},{:.9},{},{:.6},{:.4},{:.4},{},{},{lut},{ff},{dsp},{bram},{},{:.6},{}",
            point.cycles_per_inference,
            point.lower_bound,
            point.gap,
            point.predicted_distortion,
            optional(point.calibration.distortion.map(|distortion| format!("{distortion:.9}"))),
            point.value,
            point.drop,
            point.drop_standard_error,
            optional(point.compress_first_cycles.map(|cycles| cycles.to_string())),
            point.multipliers,
            point.weight_bytes,
            point.sparsity,
            point.on_front,
        );
    }
    text
}

fn drawing(front: &Front) -> String {
    let mark = |point: &Point| Mark {
        cycles: point.cycles_per_inference,
        bound: point.lower_bound,
        value: point.value,
        on_front: point.on_front,
        label: format!(
            "{} cycles, {} {:.4}, {} multipliers, {} bytes, at least {} cycles proven",
            point.cycles_per_inference,
            front.metric,
            point.value,
            point.multipliers,
            point.weight_bytes,
            point.lower_bound
        ),
    };
    let title = format!("{} on {}", front.model, front.device);
    let reference = Some((front.float_value, "float"));
    let shown = Vertical { name: front.metric, reference, logarithmic: false };
    plot::svg(&title, shown, &front.points.iter().map(mark).collect::<Vec<_>>())
}
