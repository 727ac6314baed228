//! `explain`: why a layer was built as it was, and what each other setting would have done.

use crate::artefact::Compiled;
use crate::cli::Explain;
use crate::codesign::record::{Decision, Record, choice_text, setting_text};
use crate::failure::Failure;
use crate::flow;
use crate::listing::table;
use crate::progress;
use lutweave_codesign::sensitivity::{DISTORTION_ONE, real};
use lutweave_codesign::{Budgets, DISTORTION, EFFORT, Space};
use lutweave_ir::Diagnostic;
use lutweave_solve::{Problem, why_not_any};
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// If the directory is not a co-designed one, or has no such layer.
pub fn command(arguments: &Explain) -> Result<(), Failure> {
    let compiled = Compiled::read(&arguments.directory)?;
    let record = read(&compiled)?;
    match &arguments.layer {
        None => list(&record, arguments.format.json),
        Some(layer) => {
            let decision = find(&record, layer)?;
            explain(&compiled, &record, decision, arguments.format.json)?;
        }
    }
    Ok(())
}

fn read(compiled: &Compiled) -> Result<Record, Failure> {
    let path = compiled.directory.join("codesign.json");
    let bytes = std::fs::read(&path).map_err(|_| {
        Diagnostic::error("not-co-designed", "its settings were given, not chosen")
            .at(compiled.directory.display().to_string())
            .help("compile with --weights auto")
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::file(&path, "understand", error))
}

/// The decision about a layer of that name, or whose name ends so.
fn find<'r>(record: &'r Record, layer: &str) -> Result<&'r Decision, Failure> {
    if let Some(decision) = record.decisions.iter().find(|decision| decision.layer == layer) {
        return Ok(decision);
    }
    let ends: Vec<&Decision> = record.decisions.iter().filter(|decision| decision.layer.ends_with(layer)).collect();
    if let [decision] = ends[..] {
        return Ok(decision);
    }
    let message = if ends.is_empty() { "there is no such layer" } else { "several layers end so" };
    let shown = if ends.is_empty() { record.decisions.iter().collect() } else { ends };
    let names: Vec<&str> = shown.iter().map(|decision| decision.layer.as_str()).collect();
    Err(Diagnostic::error("no-layer", message).at(layer).help(format!("layers: {}", names.join(", "))).into())
}

fn list(record: &Record, as_json: bool) {
    if as_json {
        outln!("{}", json!({ "cycles": record.cycles, "decisions": record.decisions }));
        return;
    }
    let mut rows = table(&["layer", "setting", "folding", "cycles", "slack", "distortion", "runner-up"], &[3, 4, 5]);
    for decision in &record.decisions {
        rows.add_row([
            crate::report::short(&decision.layer),
            setting_text(decision.setting),
            choice_text(&decision.choice),
            decision.choice.cycles().to_string(),
            decision.slack.to_string(),
            format!("{:.5}", decision.distortion),
            decision.runner_up.clone().unwrap_or_default(),
        ]);
    }
    outln!("{rows}");
}

fn explain(compiled: &Compiled, record: &Record, decision: &Decision, quiet: bool) -> Result<(), Failure> {
    let device = flow::device(&compiled.manifest.device)?;
    let space = Space::new(&compiled.split.core, &record.tables, &device)?;
    let problem = space.problem(&limits(record, &device));
    let Some(position) = space.stages.iter().position(|stage| stage.name == decision.layer) else {
        return Err(Diagnostic::error("not-compiled", "the graph does not have the layer that was decided about")
            .at(&decision.layer)
            .help("compile the model again")
            .into());
    };
    let members = &space.stages[position].members;
    let mut settings: Vec<_> = record
        .tables
        .iter()
        .filter(|table| table.layer == decision.layer)
        .flat_map(|table| table.prices.iter().map(|price| (price.setting, price.distortion)))
        .collect();
    settings.sort_by_key(|(_, distortion)| *distortion);
    let bar = progress::bar("solve", settings.len(), quiet);
    let mut answers = Vec::new();
    for (setting, distortion) in settings {
        progress::check_interrupt()?;
        let options: Vec<usize> = (0..members.len()).filter(|&index| members[index].setting == Some(setting)).collect();
        let reason = if decision.setting == Some(setting) {
            "it is the choice".to_owned()
        } else if options.is_empty() {
            "the hardware has no engine for it".to_owned()
        } else {
            why_not_any(&problem, record.cycles, position, &options, &EFFORT)?.reason
        };
        bar.inc(1);
        answers.push((setting, real(distortion), reason));
    }
    bar.finish_and_clear();
    print(record, decision, &problem, &answers, quiet);
    Ok(())
}

/// The budgets that the choice was made within.
fn limits(record: &Record, device: &lutweave_hw::device::Device) -> Budgets {
    let limit = |name: &str| record.budgets.iter().find(|budget| budget.name == name).and_then(|budget| budget.limit);
    let distortion = limit("distortion").map_or(u64::MAX >> 16, |limit| (limit * DISTORTION_ONE as f64).round() as u64);
    let mut budgets = Budgets::of(device, distortion, record.multipliers);
    let parts = &mut budgets.parts;
    for (name, part) in
        [("LUT", &mut parts.lut), ("FF", &mut parts.ff), ("DSP", &mut parts.dsp), ("BRAM", &mut parts.bram)]
    {
        if let Some(limit) = limit(name) {
            *part = limit as u64;
        }
    }
    budgets
}

fn print(
    record: &Record,
    decision: &Decision,
    problem: &Problem,
    answers: &[(lutweave_quantize::compress::Setting, f64, String)],
    json: bool,
) {
    if json {
        let others: Vec<_> = answers
            .iter()
            .map(|(setting, distortion, reason)| json!({ "setting": setting, "distortion": distortion, "reason": reason }))
            .collect();
        outln!("{}", json!({ "decision": decision, "cycles": record.cycles, "settings": others }));
        return;
    }
    outln!("{}", decision.layer);
    outln!("  is built with {}: {}", setting_text(decision.setting), choice_text(&decision.choice));
    outln!(
        "  takes {} of {} cycles{}",
        decision.choice.cycles(),
        record.cycles,
        if decision.slack == 0 { ": no stage is slower" } else { "" }
    );
    let limit = real(problem.budgets[DISTORTION].limit);
    outln!("  costs {:.5} of the {limit:.5} that the errors of all layers may add up to", decision.distortion);
    if let Some(runner_up) = &decision.runner_up {
        outln!("  runner-up while the others stay: {runner_up}");
    }
    if answers.is_empty() {
        outln!("  its weights are given by the model: only its folding was chosen");
        return;
    }
    let mut rows = table(&["setting", "distortion", "why (not)"], &[1]);
    for (setting, distortion, reason) in answers {
        rows.add_row([setting_text(Some(*setting)), format!("{distortion:.5}"), reason.clone()]);
    }
    outln!("{rows}");
}
