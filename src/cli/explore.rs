//! `explore`: the Pareto front of cycles, resources, bytes and accuracy; cycles against bandwidth.

use super::arguments::Explore;
use super::bars::Bars;
use super::passes;
use super::render::Ending;
use super::table::table;
use lutweave::artefact;
use lutweave::explore::bandwidth::{Sweep, sweep};
use lutweave::explore::{Front, explore};
use lutweave::model::Model;
use lutweave::observer::Context;
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// What the compiler refuses.
pub fn command(arguments: &Explore, bars: &Bars) -> Result<(), Ending> {
    let source = &arguments.source;
    let options = source.options();
    if passes::stopped(source, &options, bars, arguments.format.json)? {
        return Ok(());
    }
    let Some(output) = &arguments.output else { unreachable!("invariant: it is required without --stop-after") };
    artefact::check_front(output)?;
    let context = Context::new(bars);
    let model = Model::load(source.model.as_deref(), source.task.as_deref())?;
    if !arguments.bandwidth.is_empty() {
        let sweep = sweep(&model, &options, &arguments.bandwidth, &context)?;
        sweep.files().write_front(output, &context)?;
        if arguments.format.json {
            outln!("{}", json!(sweep));
        } else {
            print_sweep(&sweep);
            outln!("written to {}", output.display());
        }
        return Ok(());
    }
    let limit = arguments.samples.map_or(usize::MAX, |samples| samples as usize);
    let front = explore(&model, &options, arguments.points as usize, limit, &context)?;
    front.files().write_front(output, &context)?;
    if arguments.format.json {
        let mut value = serde_json::to_value(&front).expect("invariant: a front is plain data");
        value["solve_seconds_per_point"] = front.solve_seconds_per_point.into();
        if source.passes.timings {
            value["timings"] = json!(context.timings());
        }
        outln!("{value}");
    } else {
        print(&front);
        outln!("written to {}", output.display());
        if source.passes.timings {
            passes::print_timings(&context.timings());
        }
    }
    Ok(())
}

fn print_sweep(sweep: &Sweep) {
    let headings = ["MB/s", "cycles", "planned", "refuted below", "gap", "bytes per frame", "mult", "LUT", "BRAM"];
    let mut rows = table(&headings, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    for point in &sweep.points {
        rows.add_row([
            point.megabytes_per_second.to_string(),
            point.cycles_per_inference.to_string(),
            point.planned_cycles.to_string(),
            point.lower_bound.to_string(),
            format!("{:.1} %", 100.0 * point.gap),
            point.bytes_per_frame.to_string(),
            point.multipliers.to_string(),
            point.resources.lut.to_string(),
            point.resources.bram.to_string(),
        ]);
    }
    outln!("{rows}");
}

fn print(front: &Front) {
    let seconds = front.solve_seconds_per_point;
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
