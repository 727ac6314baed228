//! `explain`: why a layer was built as it was, and what each other setting would have done; what limits the circuit.

use super::arguments::Explain;
use super::bars::Bars;
use super::render::Ending;
use super::table::table;
use lutweave::artefact::Build;
use lutweave::codesign::record::{Record, choice_text, setting_text};
use lutweave::explain::{self, Binding, Explanation, Limits};
use lutweave::observer::Context;
use lutweave::report::short;
use lutweave_hw::fit::MORE;
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// If the directory is not a co-designed one, or has no such layer.
pub fn command(arguments: &Explain, bars: &Bars) -> Result<(), Ending> {
    let context = Context::new(bars);
    let build = Build::read(&arguments.directory)?;
    if arguments.layer.is_none() && !explain::is_chosen(&build) {
        print_limits(&explain::limited(&build)?, arguments.format.json);
        return Ok(());
    }
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

fn print_limits(limits: &Limits, as_json: bool) {
    if as_json {
        outln!("{}", json!(limits));
        return;
    }
    let Limits { cycles, lower_bound, .. } = *limits;
    outln!("cycles           {cycles} planned; fewer than {lower_bound} are refuted");
    let more = format!("with {MORE} % more");
    let mut rows = table(&["", "used", "limit", "share", &more], &[1, 2, 3, 4]);
    for limit in &limits.limits {
        let share = 100.0 * limit.used as f64 / limit.limit.max(1) as f64;
        let worth = if limit.cycles_with_more < lower_bound {
            format!("{} cycles", limit.cycles_with_more)
        } else {
            "no fewer cycles".to_owned()
        };
        rows.add_row([
            limit.name.to_owned(),
            limit.used.to_string(),
            limit.limit.to_string(),
            format!("{share:.0} %"),
            worth,
        ]);
    }
    outln!("{rows}");
    let by = match limits.binding {
        Binding::Asked(multipliers) => format!("--multipliers {multipliers}"),
        Binding::Hardware(multipliers) => format!(
            "multipliers: a circuit that fits without the memory on the board has at most the device's {multipliers}; \
             --multipliers asks for more, in logic"
        ),
        Binding::Limit(name) => name.to_owned(),
        Binding::Nothing => format!("its foldings: {MORE} % more of one thing alone are worth nothing"),
    };
    outln!("limited by       {by}");
    if limits.cycles_per_megabyte_per_second > 0.0 {
        outln!("bandwidth        one more MB/s is worth {:.1} cycles", limits.cycles_per_megabyte_per_second);
    }
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
