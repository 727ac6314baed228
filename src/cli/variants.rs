//! `variants`: the ladder of deformable convolution, as a table.

use super::arguments::Variants;
use super::bars::Bars;
use super::passes;
use super::render::Ending;
use lutweave::device;
use lutweave::model::Model;
use lutweave::observer::Context;
use lutweave::variants::{Circuit, Row, variants};
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// What the compiler refuses; without a task that has a metric.
pub fn command(arguments: &Variants, bars: &Bars) -> Result<(), Ending> {
    let source = &arguments.source;
    let options = source.options();
    if passes::stopped(source, &options, bars, arguments.format.json)? {
        return Ok(());
    }
    let device = device::find(&source.device)?;
    let model = Model::load(source.model.as_deref(), source.task.as_deref())?;
    let limit = arguments.samples.map_or(usize::MAX, |samples| samples as usize);
    let context = Context::new(bars);
    let rows = variants(&model, &options, limit, &context)?;
    let metric = model.task.as_ref().and_then(|task| task.metric());
    if arguments.format.json {
        let mut object = json!({
            "model": model.name, "metric": metric.map(|metric| metric.name()), "device": device.name,
            "multipliers": source.multipliers, "variants": rows,
        });
        if source.passes.timings {
            object["timings"] = json!(context.timings());
        }
        outln!("{object}");
        return Ok(());
    }
    outln!(
        "| {} | float | whole pixels | 8-bit weights | cycles | multipliers | 4-bit weights | cycles | multipliers | rows |",
        model.name
    );
    outln!("|---|---|---|---|---|---|---|---|---|---|");
    for row in &rows {
        outln!("{}", line(row, |value| metric.map_or_else(|| value.to_string(), |metric| metric.show(value))));
    }
    if source.passes.timings {
        passes::print_timings(&context.timings());
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
