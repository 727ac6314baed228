//! `compile`: the whole flow, from a model file to a directory.

use super::arguments::Compile;
use super::bars::Bars;
use super::passes;
use super::render::Ending;
use super::table::table;
use lutweave::artefact;
use lutweave::compiler::{Compiled, Compiler};
use lutweave::model::Model;
use lutweave::report::{COLUMNS, choice_figures, figures, row};
use serde_json::json;
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// What the compiler refuses, or [`Ending::Disagreement`].
pub fn command(arguments: &Compile, bars: &Bars) -> Result<(), Ending> {
    let source = &arguments.source;
    let options = arguments.options();
    if passes::stopped(source, &options, bars, arguments.format.json)? {
        return Ok(());
    }
    let Some(output) = &arguments.output else { unreachable!("invariant: it is required without --stop-after") };
    artefact::check_target(output)?;
    // Options that make no sense are told before a model is looked for.
    options.check()?;
    let model = Model::load(source.model.as_deref(), source.task.as_deref())?;
    let compiler = Compiler::watched(options, bars);
    let compiled = compiler.compile(&model)?;
    let timings = source.passes.timings;
    compiled.write(output, timings, compiler.context())?;
    if arguments.format.json {
        let mut value = serde_json::to_value(&compiled.summary).expect("invariant: a summary is plain data");
        if timings {
            value["timings"] = json!(compiled.timings);
        }
        outln!("{value}");
    } else {
        print(&compiled, output);
        if timings {
            passes::print_timings(&compiled.timings);
        }
    }
    if compiled.agrees() { Ok(()) } else { Err(Ending::Disagreement) }
}

/// Prints what was made.
fn print(compiled: &Compiled, directory: &Path) {
    let Compiled { summary, record, device, .. } = compiled;
    let mut layers = table(&COLUMNS, &[3, 5, 6, 7, 8]);
    for layer in &summary.layers {
        layers.add_row(row(layer));
    }
    outln!("{layers}");
    outln!();
    for (name, value) in figures(summary, device) {
        outln!("{name:>22}  {value}");
    }
    for (name, value) in record.as_ref().map(choice_figures).unwrap_or_default() {
        outln!("{name:>22}  {value}");
    }
    if let Some(agreement) = &summary.verify {
        let verdict = if agreement.agree { "interpreter = cpu = wasm" } else { "interpreter, cpu, wasm DISAGREE" };
        outln!("{:>22}  {verdict} on {} samples", "compared", agreement.samples);
    }
    outln!("{:>22}  {} ({:.1} s)", "written", directory.display(), summary.compile_seconds);
}
