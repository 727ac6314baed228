//! The executors of a compiled core: the reference interpreter, CPU code, and the circuit in
//! WebAssembly, Verilator and Icarus.

use crate::failure::Failure;
use crate::observer::Context;
use crate::options::Choices;
use lutweave_cpu::Jit;
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Graph, Tensor};
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
            outputs.extend(trace.frames.into_iter().map(|frame| tensors(self.core, frame)));
        }
        Ok(Answer { outputs, cycles_per_inference: cycles, latency_cycles: latency })
    }
}

fn tensors(core: &Graph, frame: Vec<Vec<i32>>) -> Vec<Tensor> {
    core.outputs()
        .iter()
        .zip(frame)
        .map(|(&output, values)| Tensor::int(core.node(output).ty.shape.clone(), values))
        .collect()
}

/// The WebAssembly simulator of a core.
///
/// # Errors
/// If the module is damaged.
pub fn wasm<'a>(module: &[u8], core: &'a Graph, context: &'a Context<'a>) -> Result<Box<dyn Executor + 'a>, Failure> {
    let mut simulator = lutweave_wasm::Simulator::from_wasm(module).map_err(simulation(Kind::Wasm))?;
    let simulate = move |stimulus: &Stimulus| simulator.run(stimulus).map_err(simulation(Kind::Wasm));
    Ok(Box::new(Circuit { kind: Kind::Wasm, core, context, simulate }))
}

/// A Verilog simulator of a core. The Verilog is what the design emits; files of the directory `rtl` that
/// differ from it are a failure.
///
/// # Errors
/// If the simulator is not installed or does not take the Verilog.
pub fn verilog<'a>(
    simulator: lutweave_verilog::Simulator,
    design: &Design,
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
    let build = lutweave_verilog::Build::new(design, simulator, work.path()).map_err(simulation(kind))?;
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
