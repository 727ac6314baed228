//! `explain`: why a layer was built as it was, and what each other setting would have done.

use super::arguments::Explain;
use super::bars::Bars;
use super::render::Ending;
use super::table::table;
use lutweave::artefact::Build;
use lutweave::codesign::record::{Record, choice_text, setting_text};
use lutweave::explain::{self, Explanation};
use lutweave::observer::Context;
use lutweave::report::short;
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// If the directory is not a co-designed one, or has no such layer.
pub fn command(arguments: &Explain, bars: &Bars) -> Result<(), Ending> {
    let context = Context::new(bars);
    let build = Build::read(&arguments.directory)?;
    let record = explain::record(&build)?;
    match &arguments.layer {
        None => list(&record, arguments.format.json),
        Some(layer) => {
            let decision = explain::find(&record, layer)?;
            let explanation = explain::explain(&build, &record, decision, &context)?;
            print(&record, &explanation, arguments.format.json);
        }
    }
    Ok(())
}

fn list(record: &Record, as_json: bool) {
    if as_json {
        outln!("{}", json!({ "cycles": record.cycles, "decisions": record.decisions }));
        return;
    }
    let mut rows = table(&["layer", "setting", "folding", "cycles", "slack", "distortion", "runner-up"], &[3, 4, 5]);
    for decision in &record.decisions {
        rows.add_row([
            short(&decision.layer),
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

fn print(record: &Record, explanation: &Explanation, json: bool) {
    let Explanation { decision, limit, settings: answers } = explanation;
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
