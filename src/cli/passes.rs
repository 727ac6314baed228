//! `--stop-after` and `--timings`, for every command that compiles.

use super::arguments::Source;
use super::bars::Bars;
use super::render::Ending;
use super::table::table;
use lutweave::compiler::Compiler;
use lutweave::model::Model;
use lutweave::observer::Timing;
use lutweave::options::Options;
use lutweave::pipeline::{self, State};
use lutweave_ir::text;
use serde_json::{Value, json};

/// Runs the passes up to `--stop-after`, if that is asked, and prints what they left.
///
/// # Errors
/// What the compiler refuses, or a name that is no pass.
pub fn stopped(source: &Source, options: &Options, bars: &Bars, as_json: bool) -> Result<bool, Ending> {
    for pass in source.passes.named() {
        pipeline::find(pass)?;
    }
    let Some(pass) = &source.passes.stop_after else { return Ok(false) };
    let compiler = Compiler::watched(options.clone(), bars);
    let model = Model::load(source.model.as_deref(), source.task.as_deref())?;
    let state = compiler.stop_after(&model, pass)?;
    let timings = source.passes.timings.then(|| compiler.context().timings());
    print(pass, &state, timings.as_deref(), as_json);
    Ok(true)
}

/// Prints what a pass left.
fn print(pass: &str, state: &State, timings: Option<&[Timing]>, as_json: bool) {
    if as_json {
        let mut value = json!({ "stopped_after": pass, "graph": text::print_summary(state.graph()) });
        if let (Some(network), Value::Object(fields)) = (state.network(), &mut value) {
            fields.insert("network".to_owned(), json!(network));
        }
        if let (Some(timings), Value::Object(fields)) = (timings, &mut value) {
            fields.insert("timings".to_owned(), json!(timings));
        }
        outln!("{value}");
        return;
    }
    out!("{}", state.text());
    if let Some(timings) = timings {
        print_timings(timings);
    }
}

/// Prints the time of each pass.
pub fn print_timings(timings: &[Timing]) {
    let mut rows = table(&["pass", "runs", "seconds"], &[1, 2]);
    for Timing { pass, runs, seconds } in timings {
        rows.add_row([(*pass).to_owned(), runs.to_string(), format!("{seconds:.3}")]);
    }
    outln!("\n{rows}");
}
