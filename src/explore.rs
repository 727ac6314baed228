//! `explore`: the Pareto front of cycles, resources, bytes and accuracy, each point with a proof.

mod plot;

use crate::artefact::{self, Files};
use crate::cli::Explore;
use crate::codesign::record::{BudgetUse, Decision, budgets, decisions};
use crate::codesign::{Answer, Judge, Judged, Measured, Session, does_not_fit, fold, front};
use crate::deform;
use crate::executor::{self, Drive};
use crate::failure::Failure;
use crate::flow;
use crate::listing::table;
use crate::model;
use crate::progress;
use crate::summary;
use crate::task::Section;
use crate::verify::random_samples;
use lutweave_codesign;
use lutweave_codesign::sensitivity::real;
use lutweave_hw::cost::Resources;
use lutweave_ir::Diagnostic;
use plot::Mark;
use serde::Serialize;
use std::fmt::Write;
use std::time::Instant;

/// Frames that are simulated to count the cycles between them.
const FRAMES: usize = 3;

/// One circuit.
#[derive(Clone, Debug, Serialize)]
struct Point {
    /// Frames back to back, measured in the simulator.
    cycles_per_inference: u64,
    /// No choice within the budgets needs fewer cycles.
    lower_bound: u64,
    /// `cycles / lower_bound - 1` of the slowest stage.
    gap: f64,
    /// The bound is reached.
    optimal: bool,
    /// Sum of distortions that was allowed.
    allowed_distortion: f64,
    /// Sum of the layers' own distortions.
    predicted_distortion: f64,
    /// Measured distortion over the predicted: above 1 where distortions do not add up.
    kappa: Option<f64>,
    /// What was measured on the calibration data.
    calibration: Measured,
    /// The metric on the evaluation data.
    value: f64,
    /// Points lost on the evaluation data.
    drop: f64,
    /// Standard error of the points lost.
    drop_standard_error: f64,
    /// Cycles of "compress first, then fold" within the same budgets.
    compress_first_cycles: Option<u64>,
    multipliers: u64,
    resources: Resources,
    weight_bytes: u64,
    sparsity: f64,
    /// No other point is both faster and at least as accurate.
    on_front: bool,
    budgets: Vec<BudgetUse>,
    decisions: Vec<Decision>,
}

#[derive(Debug, Serialize)]
struct Front {
    model: String,
    device: String,
    multipliers: Option<u32>,
    metric: &'static str,
    float_value: f64,
    samples: usize,
    mean_gap: f64,
    points: Vec<Point>,
}

/// Runs the command.
///
/// # Errors
/// What the compiler refuses.
pub fn command(arguments: &Explore) -> Result<(), Failure> {
    artefact::check_front(&arguments.output)?;
    let (source, quiet) = (&arguments.source, arguments.format.json);
    let device = flow::device(&source.device)?;
    let model = model::load(source.model.as_deref(), source.task.as_deref())?;
    let calibration = flow::calibration(&model, source)?;
    let cleaned = deform::clean(&model, &calibration, source, None, quiet)?;
    let session = Session::new(&model, &cleaned, &calibration, &device, source, quiet)?;
    let Some(task) = &model.task else { return Err(Diagnostic::error("no-task", "there is no task").into()) };
    let limit = arguments.samples.map_or(usize::MAX, |samples| samples as usize);
    let judge = Judge::new(&model, task, Section::Evaluation, limit)?;

    let solving = Instant::now();
    let answers = front(&session, &session.budgets(0), arguments.points as usize)?;
    let seconds = solving.elapsed().as_secs_f64() / f64::from(arguments.points);
    if answers.is_empty() {
        return Err(does_not_fit(&session).into());
    }
    let bar = progress::bar("explore", answers.len(), quiet);
    let mut points = Vec::new();
    for answer in &answers {
        progress::check_interrupt()?;
        points.push(point(&session, &judge, answer)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let metric = task.required_metric()?;
    let larger = metric.larger_is_better();
    mark_front(&mut points, larger);
    let front = Front {
        model: model.name.clone(),
        device: device.name.clone(),
        multipliers: source.multipliers,
        metric: metric.name(),
        float_value: judge.float_value(),
        samples: judge.samples(),
        mean_gap: points.iter().map(|point| point.gap).sum::<f64>() / points.len() as f64,
        points,
    };
    let mut files = Files::default();
    files.add_json(artefact::FRONT, &front);
    files.add("front.csv", csv(&front));
    files.add("front.svg", drawing(&front));
    files.write_front(&arguments.output)?;
    if arguments.format.json {
        let mut value = serde_json::to_value(&front).expect("invariant: a front is plain data");
        value["solve_seconds_per_point"] = seconds.into();
        outln!("{value}");
    } else {
        print(&front, seconds);
        outln!("written to {}", arguments.output.display());
    }
    Ok(())
}

fn point(session: &Session, judge: &Judge, answer: &Answer) -> Result<Point, Failure> {
    let Answer { space, problem, solution, design } = answer;
    let lowered = session.lower(&design.settings)?;
    let measured = session.measure_lowered(&design.settings, &lowered)?;
    let fitted = session.realize(design, &lowered)?;
    let core = &lowered.split.core;
    let samples = random_samples(core, FRAMES);
    let circuit = executor::run_wasm(&lutweave_wasm::emit(&fitted.design), core, &samples, Drive::default())?;
    let Judged { value, drop: (drop, drop_standard_error), .. } = judge.judge(&lowered)?;
    let (weight_bytes, sparsity) = summary::weights(core, &fitted.plan);
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
        multipliers: fitted.plan.multipliers(),
        resources: fitted.resources.shown(session.device),
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
        let Resources { lut, ff, dsp, bram } = point.resources;
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
    plot::svg(&title, front.metric, front.float_value, &front.points.iter().map(mark).collect::<Vec<_>>())
}

fn print(front: &Front, seconds: f64) {
    let mut rows = table(
        &[
            "cycles",
            "proven",
            "gap",
            front.metric,
            "drop",
            "distortion",
            "kappa",
            "compress first",
            "mult",
            "LUT",
            "BRAM",
            "bytes",
            "zeros",
            "front",
        ],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    );
    for point in &front.points {
        rows.add_row([
            point.cycles_per_inference.to_string(),
            point.lower_bound.to_string(),
            format!("{:.1} %", 100.0 * point.gap),
            format!("{:.4}", point.value),
            format!("{:.2} ± {:.2}", point.drop, point.drop_standard_error),
            format!("{:.5}", point.predicted_distortion),
            point.kappa.map_or_else(|| "-".to_owned(), |kappa| format!("{kappa:.2}")),
            point.compress_first_cycles.map_or_else(|| "-".to_owned(), |cycles| cycles.to_string()),
            point.multipliers.to_string(),
            point.resources.lut.to_string(),
            point.resources.bram.to_string(),
            point.weight_bytes.to_string(),
            format!("{:.0} %", 100.0 * point.sparsity),
            if point.on_front { "*".to_owned() } else { String::new() },
        ]);
    }
    outln!("{rows}");
    outln!(
        "float {} {:.4} on {} samples; mean gap {:.2} %; {seconds:.2} s to solve a point",
        front.metric,
        front.float_value,
        front.samples,
        100.0 * front.mean_gap
    );
}
