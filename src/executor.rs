//! The executors of a compiled core: the reference interpreter, CPU code, and the circuit in
//! WebAssembly, Verilator and Icarus.

use crate::failure::Failure;
use crate::observer::Context;
use crate::options::Choices;
use lutweave_cpu::Jit;
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Graph, NodeId, Tensor};
use lutweave_wasm::SimulationError;
use rayon::prelude::*;
use std::path::Path;
use tempfile::TempDir;

/// What can run a compiled model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The reference interpreter: the oracle.
    Interpreter,
    /// Machine code from Cranelift.
    Cpu,
    /// The circuit, simulated cycle by cycle in WebAssembly.
    Wasm,
    /// The Verilog, simulated by Verilator.
    Verilator,
    /// The Verilog, simulated by Icarus Verilog.
    Icarus,
}

impl Choices for Kind {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Interpreter, "interpreter", "The reference interpreter: the oracle"),
        (Self::Cpu, "cpu", "Machine code from Cranelift"),
        (Self::Wasm, "wasm", "The circuit, simulated cycle by cycle in WebAssembly"),
        (Self::Verilator, "verilator", "The Verilog, simulated by Verilator"),
        (Self::Icarus, "icarus", "The Verilog, simulated by Icarus Verilog"),
    ];
}

impl Kind {
    /// True if it runs the circuit, and counts cycles.
    pub fn is_circuit(self) -> bool {
        match self {
            Self::Interpreter | Self::Cpu => false,
            Self::Wasm | Self::Verilator | Self::Icarus => true,
        }
    }
}

/// Something that runs a core on samples.
pub trait Executor {
    /// Which it is.
    fn kind(&self) -> Kind;

    /// Runs samples; each is a list of the core's inputs, integers of their types. Interpreter and CPU code
    /// take no notice of `drive`.
    ///
    /// # Errors
    /// If a sample does not fit the core, or a circuit stands still.
    fn run(&mut self, samples: &[Vec<Tensor>], drive: Drive) -> Result<Answer, Failure>;
}

/// How a circuit is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drive {
    /// Seed of random source bubbles and sink back-pressure; 0 for none.
    pub stall_seed: u32,
    /// Reset after so many cycles, then start again.
    pub reset_after: Option<u64>,
    /// Each frame by itself after a reset, instead of back to back.
    pub one_by_one: bool,
}

/// What an executor answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// For each sample, the core's outputs.
    pub outputs: Vec<Vec<Tensor>>,
    /// Cycles from one frame to the next; circuits only, from two frames on.
    pub cycles_per_inference: Option<u64>,
    /// Cycles from the first beat in to the last beat of the first frame out; circuits only.
    pub latency_cycles: Option<u64>,
}

/// The reference interpreter of a core.
pub fn interpreter(core: &Graph) -> Box<dyn Executor + '_> {
    let interpreter = Interpreter::new(core);
    Box::new(Software { kind: Kind::Interpreter, run: move |inputs: &[Tensor]| interpreter.run(inputs) })
}

/// CPU code of a core, compiled for this machine.
///
/// # Errors
/// If the core cannot be compiled.
pub fn cpu(core: &Graph) -> Result<Box<dyn Executor>, Failure> {
    let jit: Jit = lutweave_cpu::compile_jit(core)?;
    Ok(Box::new(Software { kind: Kind::Cpu, run: move |inputs: &[Tensor]| jit.run(inputs) }))
}

/// What runs one sample by itself, without a circuit.
struct Software<F> {
    kind: Kind,
    run: F,
}

impl<F: Fn(&[Tensor]) -> Result<Vec<Tensor>, Diagnostic> + Sync> Executor for Software<F> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn run(&mut self, samples: &[Vec<Tensor>], _drive: Drive) -> Result<Answer, Failure> {
        let outputs = samples.par_iter().map(|inputs| (self.run)(inputs)).collect::<Result<_, _>>()?;
        Ok(Answer { outputs, cycles_per_inference: None, latency_cycles: None })
    }
}

/// A simulated circuit of a core. `simulate` runs one stimulus.
struct Circuit<'a, F> {
    kind: Kind,
    core: &'a Graph,
    context: &'a Context<'a>,
    simulate: F,
}

impl<F: FnMut(&Stimulus) -> Result<Trace, Failure>> Executor for Circuit<'_, F> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn run(&mut self, samples: &[Vec<Tensor>], drive: Drive) -> Result<Answer, Failure> {
        let frames: Vec<Vec<Vec<i32>>> =
            samples.iter().map(|inputs| inputs.iter().map(|tensor| tensor.ints().to_vec()).collect()).collect();
        let groups: Vec<Vec<_>> =
            if drive.one_by_one { frames.into_iter().map(|frame| vec![frame]).collect() } else { vec![frames] };
        let mut outputs = Vec::new();
        let mut cycles = None;
        let mut latency = None;
        for frames in groups {
            self.context.check()?;
            let expected = frames.len();
            let stimulus = Stimulus { frames, stall_seed: drive.stall_seed, reset_after: drive.reset_after };
            let trace = (self.simulate)(&stimulus)?;
            if trace.frames.len() != expected {
                let message = format!("{} of {expected} frames came out", trace.frames.len());
                return Err(Diagnostic::error("simulation", message).into());
            }
            cycles = trace.cycles_per_inference();
            latency = latency.or(trace.latency());
            for frame in trace.frames {
                outputs.push(tensors(self.core, frame).map_err(simulation(self.kind))?);
            }
        }
        Ok(Answer { outputs, cycles_per_inference: cycles, latency_cycles: latency })
    }
}

/// A frame as the core's outputs. A simulator that was read from a file may say that it has others.
fn tensors(core: &Graph, frame: Vec<Vec<i32>>) -> Result<Vec<Tensor>, String> {
    if frame.len() != core.outputs().len() {
        return Err(format!("it has {} outputs, but the model has {}", frame.len(), core.outputs().len()));
    }
    let tensor = |(&output, values): (&NodeId, Vec<i32>)| {
        let (node, given) = (core.node(output), values.len());
        if given != node.ty.count() {
            let expected = node.ty.count();
            return Err(format!("it gives {given} elements of `{}`, but the model has {expected}", node.name));
        }
        Ok(Tensor::int(node.ty.shape.clone(), values))
    };
    core.outputs().iter().zip(frame).map(tensor).collect()
}

/// Simulated cycles after which the observer hears of it, and is asked whether to go on.
const TOLD_EVERY: u64 = 1 << 14;

/// The WebAssembly simulator of a circuit beside a memory on the board.
pub fn simulator(design: &Design, memory: MemoryTiming) -> Vec<u8> {
    lutweave_wasm::emit_with(design, lutweave_wasm::Options { memory, ..lutweave_wasm::Options::default() })
}

/// The WebAssembly simulator of a core.
///
/// # Errors
/// If the module is damaged.
pub fn wasm<'a>(module: &[u8], core: &'a Graph, context: &'a Context<'a>) -> Result<Box<dyn Executor + 'a>, Failure> {
    let mut simulator = lutweave_wasm::Simulator::from_wasm(module).map_err(simulation(Kind::Wasm))?;
    let simulate = move |stimulus: &Stimulus| {
        let work = context.work("simulate", None);
        let mut told = 0;
        let watch = &mut |cycles: u64| {
            // Telling takes longer than the cycles of a small circuit.
            if cycles < told + TOLD_EVERY {
                return true;
            }
            told = cycles;
            work.at(cycles as usize).is_ok()
        };
        match simulator.run_watched(stimulus, watch) {
            Err(SimulationError::Interrupted { .. }) => Err(Diagnostic::cancelled().into()),
            result => result.map_err(simulation(Kind::Wasm)),
        }
    };
    Ok(Box::new(Circuit { kind: Kind::Wasm, core, context, simulate }))
}

/// A Verilog simulator of a core beside a memory on the board. The Verilog is what the design emits; files of the
/// directory `rtl` that differ from it are a failure.
///
/// # Errors
/// If the simulator is not installed or does not take the Verilog.
pub fn verilog<'a>(
    simulator: lutweave_verilog::Simulator,
    design: &Design,
    memory: MemoryTiming,
    rtl: &Path,
    core: &'a Graph,
    context: &'a Context<'a>,
) -> Result<Box<dyn Executor + 'a>, Failure> {
    let kind = match simulator {
        lutweave_verilog::Simulator::Verilator => Kind::Verilator,
        lutweave_verilog::Simulator::Icarus => Kind::Icarus,
    };
    for (file, content) in lutweave_verilog::emit(design).files {
        let path = rtl.join(&file);
        let found = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, "read", error))?;
        if found != content {
            return Err(changed(&path));
        }
    }
    let work: TempDir =
        tempfile::tempdir().map_err(|error| Failure::file(&std::env::temp_dir(), "make a directory", error))?;
    let options = lutweave_verilog::Options { memory, ..lutweave_verilog::Options::default() };
    let build = lutweave_verilog::Build::with_options(design, simulator, work.path(), &options);
    let build = build.map_err(simulation(kind))?;
    let simulate = move |stimulus: &Stimulus| {
        // The program lies there.
        let _ = &work;
        build.run(stimulus).map(|run| run.trace).map_err(simulation(kind))
    };
    Ok(Box::new(Circuit { kind, core, context, simulate }))
}

/// A file of a compiled model that differs from what its graph gives.
pub fn changed(path: &Path) -> Failure {
    Diagnostic::error("changed-file", "it is not what this compiler emits for the graph")
        .at(path.display().to_string())
        .help("compile the model again; to simulate your own changes use the test bench in rtl/")
        .into()
}

fn simulation<E: std::fmt::Display>(executor: Kind) -> impl Fn(E) -> Failure {
    move |error| Diagnostic::error("simulation", error.to_string()).at(executor.name()).into()
}

/// Elements in which two answers differ, over all samples and outputs.
pub fn mismatches(expected: &Answer, actual: &Answer) -> u64 {
    let mut count = 0;
    for (expected, actual) in expected.outputs.iter().zip(&actual.outputs) {
        for (expected, actual) in expected.iter().zip(actual) {
            let (expected, actual) = (expected.ints(), actual.ints());
            count += expected.iter().zip(actual).filter(|(a, b)| a != b).count() as u64;
            count += expected.len().abs_diff(actual.len()) as u64;
        }
        count += expected.len().abs_diff(actual.len()) as u64;
    }
    count + expected.outputs.len().abs_diff(actual.outputs.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::{Element, TensorType};

    #[test]
    fn a_simulator_of_another_model_is_refused() {
        let mut core = Graph::new("core");
        let x = core.input("x", TensorType::int([1, 2, 2, 1], Element::I8));
        core.set_outputs(vec![x]);
        let expected = vec![Tensor::int([1, 2, 2, 1], vec![1, 2, 3, 4])];
        assert_eq!(tensors(&core, vec![vec![1, 2, 3, 4]]), Ok(expected));
        assert!(tensors(&core, vec![vec![1, 2, 3]]).is_err_and(|message| message.contains("3 elements of `x`")));
        assert!(tensors(&core, vec![vec![0; 4]; 2]).is_err_and(|message| message.contains("2 outputs")));
    }
}
