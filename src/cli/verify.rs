//! `verify`: every executor against the first.

use super::arguments::Verify;
use super::bars::Bars;
use super::render::Ending;
use super::table::table;
use lutweave::artefact::Build;
use lutweave::eval;
use lutweave::executor::Drive;
use lutweave::failure::Failure;
use lutweave::observer::Context;
use lutweave::options::Choices;
use lutweave::verify::{Verification, verify};
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::Diagnostic;
use lutweave_task::file;
use serde_json::json;
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// If something cannot run, or [`Ending::Disagreement`].
pub fn command(arguments: &Verify, bars: &Bars) -> Result<(), Ending> {
    let context = Context::new(bars);
    let build = Build::read(&arguments.directory)?;
    let built_in = lutweave_models::find(&build.manifest.model).is_some();
    let judged = arguments.task.is_some() || built_in;
    let task = judged.then(|| eval::task_of(&build, arguments.task.as_deref())).transpose()?;
    let stalled = arguments.stall_seed.is_some() || arguments.reset_after.is_some() || arguments.one_by_one;
    let stalled = stalled || arguments.memory.is_some();
    if stalled && !arguments.executors.iter().any(|executor| executor.is_circuit()) {
        return Err(Failure::Usage(
            Diagnostic::error(
                "invalid-option",
                "--stall-seed, --reset-after, --one-by-one and --memory are for circuits",
            )
            .help("add wasm, verilator or icarus to --executors"),
        )
        .into());
    }
    let drive = Drive {
        stall_seed: arguments.stall_seed.unwrap_or(0),
        reset_after: arguments.reset_after,
        one_by_one: arguments.one_by_one,
    };
    let memory = arguments.memory.as_deref().map(timing).transpose()?;
    if memory.is_some() && build.manifest.memory.is_none() {
        return Err(Failure::Usage(
            Diagnostic::error("invalid-option", "--memory is for circuits with weights in a memory on the board")
                .help("all weights of this one are on the chip"),
        )
        .into());
    }
    let count = arguments.samples as usize;
    let found = verify(&build, &arguments.executors, task.as_ref(), count, drive, memory.as_ref(), &context)?;
    if found.samples < count && !arguments.format.json {
        errln!("the task has only {} evaluation samples", found.samples);
    }
    print(&found, arguments.format.json);
    if found.agree { Ok(()) } else { Err(Ending::Disagreement) }
}

/// How a memory answers that is called `fast` or `slow`, or that a TOML file describes.
fn timing(named: &str) -> Result<MemoryTiming, Failure> {
    match named {
        "fast" => return Ok(MemoryTiming::FAST),
        "slow" => return Ok(MemoryTiming::SLOW),
        _ => {}
    }
    let path = Path::new(named);
    let text = file::read_text(path, file::DESCRIPTION, "read the description of the memory")?;
    MemoryTiming::parse(&text).map_err(|fault| Failure::file(path, "understand", fault))
}

fn print(found: &Verification, as_json: bool) {
    let Verification { samples, answers, agree } = found;
    if as_json {
        let executors: Vec<_> = answers
            .iter()
            .map(|(executor, answer, mismatches)| {
                json!({
                    "name": executor.name(), "mismatches": mismatches,
                    "cycles_per_inference": answer.cycles_per_inference, "latency_cycles": answer.latency_cycles,
                })
            })
            .collect();
        outln!("{}", json!({ "samples": samples, "agree": agree, "executors": executors }));
        return;
    }
    let mut table = table(&["executor", "mismatches", "cycles per inference", "latency"], &[1, 2, 3]);
    let show = |cycles: Option<u64>| cycles.map_or_else(|| "-".to_owned(), |cycles| cycles.to_string());
    for (executor, answer, mismatches) in answers {
        table.add_row([
            executor.name().to_owned(),
            mismatches.to_string(),
            show(answer.cycles_per_inference),
            show(answer.latency_cycles),
        ]);
    }
    outln!("{table}");
    let names: Vec<&str> = answers.iter().map(|(executor, ..)| executor.name()).collect();
    let verdict = if *agree { names.join(" = ") } else { format!("{} DISAGREE", names.join(", ")) };
    outln!("{verdict} on {samples} samples");
}
