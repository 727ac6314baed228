//! `verify`: every executor against the first, element by element, and the circuits' cycles.

use crate::artefact::Compiled;
use crate::cli::Verify;
use crate::eval;
use crate::executor::{self, Answer, Drive, Executor, mismatches};
use crate::failure::Failure;
use crate::flow;
use crate::listing::table;
use crate::progress;
use crate::task::Section;
use lutweave_cpu::{ObjectOptions, compile_object};
use lutweave_ir::{Diagnostic, Graph, Tensor};
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// If something cannot run, or [`Failure::Disagreement`].
pub fn command(arguments: &Verify) -> Result<(), Failure> {
    let compiled = Compiled::read(&arguments.directory)?;
    let count = arguments.samples as usize;
    let built_in = lutweave_models::find(&compiled.manifest.model).is_some();
    let samples = if arguments.task.is_some() || built_in {
        let task = eval::task_of(&compiled, arguments.task.as_deref())?;
        let samples = task.samples(Section::Evaluation, flow::single_input(&compiled.graph)?, count)?;
        eval::core_inputs(&compiled.split, &samples.inputs)?
    } else {
        random_samples(&compiled.split.core, count)
    };
    if samples.len() < count && !arguments.format.json {
        errln!("the task has only {} evaluation samples", samples.len());
    }
    let stalled = arguments.stall_seed.is_some() || arguments.reset_after.is_some() || arguments.one_by_one;
    if stalled && !arguments.executors.iter().any(|executor| executor.is_circuit()) {
        return Err(Failure::Usage(
            Diagnostic::error("invalid-option", "--stall-seed, --reset-after and --one-by-one are for circuits")
                .help("add wasm, verilator or icarus to --executors"),
        ));
    }
    let drive = Drive {
        stall_seed: arguments.stall_seed.unwrap_or(0),
        reset_after: arguments.reset_after,
        one_by_one: arguments.one_by_one,
    };
    let bar = progress::bar("verify", arguments.executors.len(), arguments.format.json);
    let mut answers: Vec<(Executor, Answer)> = Vec::new();
    for &executor in &arguments.executors {
        if answers.iter().any(|(known, _)| *known == executor) {
            continue;
        }
        answers.push((executor, execute(&compiled, executor, &samples, drive)?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Some((_, reference)) = answers.first() else {
        return Err(Failure::Usage(Diagnostic::error("no-executor", "there is no executor to run")));
    };
    let counts: Vec<u64> = answers.iter().map(|(_, answer)| mismatches(reference, answer)).collect();
    let mut cycles = answers.iter().filter_map(|(_, answer)| answer.cycles_per_inference);
    let first_cycles = cycles.next();
    let cycles_agree = cycles.all(|cycles| Some(cycles) == first_cycles);
    let agree = cycles_agree && counts.iter().all(|&count| count == 0);
    if arguments.format.json {
        let executors: Vec<_> = answers
            .iter()
            .zip(&counts)
            .map(|((executor, answer), mismatches)| {
                json!({
                    "name": executor.name(), "mismatches": mismatches,
                    "cycles_per_inference": answer.cycles_per_inference, "latency_cycles": answer.latency_cycles,
                })
            })
            .collect();
        outln!("{}", json!({ "samples": samples.len(), "agree": agree, "executors": executors }));
    } else {
        let mut table = table(&["executor", "mismatches", "cycles per inference", "latency"], &[1, 2, 3]);
        let show = |cycles: Option<u64>| cycles.map_or_else(|| "-".to_owned(), |cycles| cycles.to_string());
        for ((executor, answer), mismatches) in answers.iter().zip(&counts) {
            table.add_row([
                executor.name().to_owned(),
                mismatches.to_string(),
                show(answer.cycles_per_inference),
                show(answer.latency_cycles),
            ]);
        }
        outln!("{table}");
        let names: Vec<&str> = answers.iter().map(|(executor, _)| executor.name()).collect();
        let verdict = if agree { names.join(" = ") } else { format!("{} DISAGREE", names.join(", ")) };
        outln!("{verdict} on {} samples", samples.len());
    }
    if agree { Ok(()) } else { Err(Failure::Disagreement) }
}

/// Runs core inputs through an executor of a compiled model.
///
/// # Errors
/// If the executor cannot run.
pub fn execute(
    compiled: &Compiled,
    executor: Executor,
    samples: &[Vec<Tensor>],
    drive: Drive,
) -> Result<Answer, Failure> {
    progress::check_interrupt()?;
    let core = &compiled.split.core;
    let simulator = match executor {
        Executor::Interpreter => return executor::interpret(core, samples),
        Executor::Cpu => {
            check_object(compiled)?;
            return executor::run_cpu(core, samples);
        }
        Executor::Wasm => return executor::run_wasm(&compiled.bytes("sim/model.wasm")?, core, samples, drive),
        Executor::Verilator => lutweave_verilog::Simulator::Verilator,
        Executor::Icarus => lutweave_verilog::Simulator::Icarus,
    };
    let device = flow::device(&compiled.manifest.device)?;
    let fitted = compiled.plan.build(core, &device)?;
    executor::run_verilog(simulator, &fitted.design, &compiled.directory.join("rtl"), core, samples, drive)
}

/// Checks that the object file of a compiled model is what its graph gives: the machine code that
/// runs here is then the same.
fn check_object(compiled: &Compiled) -> Result<(), Failure> {
    let object = compile_object(&compiled.split.core, &ObjectOptions::default())?;
    let file = format!("cpu/{}.o", object.name);
    if compiled.bytes(&file)? == object.object {
        return Ok(());
    }
    Err(executor::changed(&compiled.directory.join(file)))
}

/// Random inputs of a core, extreme values among them; the same at each call.
pub fn random_samples(core: &Graph, count: usize) -> Vec<Vec<Tensor>> {
    (0..count as u64).map(|seed| lutweave_ir::random::random_inputs(core, seed)).collect()
}
