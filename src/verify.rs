//! Every executor against the first, element by element, and the circuits' cycles.

use crate::artefact::Build;
use crate::backend::SIMULATOR;
use crate::eval;
use crate::executor::{self, Answer, Drive, Executor, Kind, mismatches};
use crate::failure::Failure;
use crate::inputs::single_input;
use crate::observer::Context;
use crate::task::{Section, Task};
use lutweave_cpu::{ObjectOptions, compile_object};
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::{Diagnostic, Graph, Tensor};

/// What executors answered, beside the first.
pub struct Verification {
    /// Samples that all of them ran.
    pub samples: usize,
    /// Each executor's answer, with the elements in which it differs from the first.
    pub answers: Vec<(Kind, Answer, u64)>,
    /// Every output element of every executor is equal, and so are the cycles of circuits.
    pub agree: bool,
}

/// Runs executors of a compiled model on the same samples: of a task, or random ones. `memory` says how the memory on
/// the board answers, if not as fast as it may.
///
/// # Errors
/// If something cannot run, or there is no executor.
pub fn verify(
    build: &Build,
    executors: &[Kind],
    task: Option<&Task>,
    count: usize,
    drive: Drive,
    memory: Option<&MemoryTiming>,
    context: &Context,
) -> Result<Verification, Failure> {
    let samples = match task {
        Some(task) => {
            let samples = task.samples(Section::Evaluation, single_input(&build.graph)?, count)?;
            eval::core_inputs(&build.split, &samples.inputs)?
        }
        None => random_samples(&build.split.core, count),
    };
    let work = context.work("verify", Some(executors.len()));
    let mut answers: Vec<(Kind, Answer, u64)> = Vec::new();
    for &kind in executors {
        if answers.iter().any(|(known, ..)| *known == kind) {
            continue;
        }
        let answer = executor(build, kind, memory, context)?.run(&samples, drive)?;
        let differs = answers.first().map_or(0, |(_, reference, _)| mismatches(reference, &answer));
        answers.push((kind, answer, differs));
        work.step()?;
    }
    if answers.is_empty() {
        return Err(Failure::Usage(Diagnostic::error("no-executor", "there is no executor to run")));
    }
    let mut cycles = answers.iter().filter_map(|(_, answer, _)| answer.cycles_per_inference);
    let first_cycles = cycles.next();
    let cycles_agree = cycles.all(|cycles| Some(cycles) == first_cycles);
    let agree = cycles_agree && answers.iter().all(|(.., differs)| *differs == 0);
    Ok(Verification { samples: samples.len(), answers, agree })
}

/// An executor of a compiled model, from its files; its circuit beside a memory that answers in a way of its own.
///
/// # Errors
/// If a file is damaged, or the executor cannot be had.
pub fn executor<'a>(
    build: &'a Build,
    kind: Kind,
    memory: Option<&MemoryTiming>,
    context: &'a Context<'a>,
) -> Result<Box<dyn Executor + 'a>, Failure> {
    context.check()?;
    let core = &build.split.core;
    let simulator = match kind {
        Kind::Interpreter => return Ok(executor::interpreter(core)),
        Kind::Cpu => {
            check_object(build)?;
            return executor::cpu(core);
        }
        Kind::Wasm => {
            let module = build.bytes(SIMULATOR)?;
            let Some(&memory) = memory else { return executor::wasm(&module, core, context) };
            // What was written holds the usual memory.
            let device = crate::device::find(&build.manifest.device)?;
            let fitted = build.plan.build(core, &device)?;
            if executor::simulator(&fitted.design, MemoryTiming::of(&device)) != module {
                return Err(executor::changed(&build.directory.join(SIMULATOR)));
            }
            return executor::wasm(&executor::simulator(&fitted.design, memory), core, context);
        }
        Kind::Verilator => lutweave_verilog::Simulator::Verilator,
        Kind::Icarus => lutweave_verilog::Simulator::Icarus,
    };
    let device = crate::device::find(&build.manifest.device)?;
    let fitted = build.plan.build(core, &device)?;
    let memory = memory.copied().unwrap_or_else(|| MemoryTiming::of(&device));
    executor::verilog(simulator, &fitted.design, memory, &build.directory.join("rtl"), core, context)
}

/// Checks that the object file of a compiled model is what its graph gives: the machine code that
/// runs here is then the same.
fn check_object(build: &Build) -> Result<(), Failure> {
    let object = compile_object(&build.split.core, &ObjectOptions::default())?;
    let file = format!("cpu/{}.o", object.name);
    if build.bytes(&file)? == object.object {
        return Ok(());
    }
    Err(executor::changed(&build.directory.join(file)))
}

/// Random inputs of a core, extreme values among them; the same at each call.
pub fn random_samples(core: &Graph, count: usize) -> Vec<Vec<Tensor>> {
    (0..count as u64).map(|seed| lutweave_ir::random::random_inputs(core, seed)).collect()
}
