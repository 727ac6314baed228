//! The executors of a compiled core: the reference interpreter, CPU code, and the circuit in
//! WebAssembly, Verilator and Icarus.

use crate::failure::Failure;
use clap::ValueEnum;
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Graph, Tensor};
use rayon::prelude::*;

/// What can run a compiled model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Executor {
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

impl Executor {
    /// True if it runs the circuit, and counts cycles.
    pub fn is_circuit(self) -> bool {
        match self {
            Self::Interpreter | Self::Cpu => false,
            Self::Wasm | Self::Verilator | Self::Icarus => true,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::Cpu => "cpu",
            Self::Wasm => "wasm",
            Self::Verilator => "verilator",
            Self::Icarus => "icarus",
        }
    }
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

/// Runs samples through the interpreter, in parallel.
///
/// # Errors
/// If a sample does not fit the core.
pub fn interpret(core: &Graph, samples: &[Vec<Tensor>]) -> Result<Answer, Failure> {
    let interpreter = Interpreter::new(core);
    let outputs = samples.par_iter().map(|inputs| interpreter.run(inputs)).collect::<Result<_, _>>()?;
    Ok(Answer { outputs, cycles_per_inference: None, latency_cycles: None })
}

/// Runs samples through the CPU code.
///
/// # Errors
/// If the core cannot be compiled or a sample does not fit.
pub fn run_cpu(core: &Graph, samples: &[Vec<Tensor>]) -> Result<Answer, Failure> {
    let jit = lutweave_cpu::compile_jit(core)?;
    let outputs = samples.par_iter().map(|inputs| jit.run(inputs)).collect::<Result<_, _>>()?;
    Ok(Answer { outputs, cycles_per_inference: None, latency_cycles: None })
}

/// Runs samples through a simulated circuit. `simulate` runs one stimulus.
///
/// # Errors
/// What the simulation says.
pub fn run_circuit(
    core: &Graph,
    samples: &[Vec<Tensor>],
    drive: Drive,
    mut simulate: impl FnMut(&Stimulus) -> Result<Trace, Failure>,
) -> Result<Answer, Failure> {
    let frames: Vec<Vec<Vec<i32>>> =
        samples.iter().map(|inputs| inputs.iter().map(|tensor| tensor.ints().to_vec()).collect()).collect();
    let groups: Vec<Vec<_>> =
        if drive.one_by_one { frames.into_iter().map(|frame| vec![frame]).collect() } else { vec![frames] };
    let mut outputs = Vec::new();
    let mut cycles = None;
    let mut latency = None;
    for frames in groups {
        let expected = frames.len();
        let stimulus = Stimulus { frames, stall_seed: drive.stall_seed, reset_after: drive.reset_after };
        let trace = simulate(&stimulus)?;
        if trace.frames.len() != expected {
            let message = format!("{} of {expected} frames came out", trace.frames.len());
            return Err(Diagnostic::error("simulation", message).into());
        }
        cycles = trace.cycles_per_inference();
        latency = latency.or(trace.latency());
        outputs.extend(trace.frames.into_iter().map(|frame| tensors(core, frame)));
    }
    Ok(Answer { outputs, cycles_per_inference: cycles, latency_cycles: latency })
}

fn tensors(core: &Graph, frame: Vec<Vec<i32>>) -> Vec<Tensor> {
    core.outputs()
        .iter()
        .zip(frame)
        .map(|(&output, values)| Tensor::int(core.node(output).ty.shape.clone(), values))
        .collect()
}

/// Runs samples through the WebAssembly simulator.
///
/// # Errors
/// If the module is damaged or the circuit stands still.
pub fn run_wasm(module: &[u8], core: &Graph, samples: &[Vec<Tensor>], drive: Drive) -> Result<Answer, Failure> {
    let mut simulator = lutweave_wasm::Simulator::from_wasm(module).map_err(simulation("wasm"))?;
    run_circuit(core, samples, drive, |stimulus| {
        crate::progress::check_interrupt()?;
        simulator.run(stimulus).map_err(simulation("wasm"))
    })
}

/// Runs samples through a Verilog simulator. The Verilog is what the design emits; files of the
/// directory `rtl` that differ from it are a failure.
///
/// # Errors
/// If the simulator is not installed, does not take the Verilog, or the circuit stands still.
pub fn run_verilog(
    simulator: lutweave_verilog::Simulator,
    design: &Design,
    rtl: &std::path::Path,
    core: &Graph,
    samples: &[Vec<Tensor>],
    drive: Drive,
) -> Result<Answer, Failure> {
    let name = simulator.program();
    for (file, content) in lutweave_verilog::emit(design).files {
        let path = rtl.join(&file);
        let found = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, "read", error))?;
        if found != content {
            return Err(changed(&path));
        }
    }
    let work = tempfile::tempdir().map_err(|error| Failure::file(&std::env::temp_dir(), "make a directory", error))?;
    let build = lutweave_verilog::Build::new(design, simulator, work.path()).map_err(simulation(name))?;
    run_circuit(core, samples, drive, |stimulus| {
        crate::progress::check_interrupt()?;
        build.run(stimulus).map(|run| run.trace).map_err(simulation(name))
    })
}

/// A file of a compiled model that differs from what its graph gives.
pub fn changed(path: &std::path::Path) -> Failure {
    Diagnostic::error("changed-file", "it is not what this compiler emits for the graph")
        .at(path.display().to_string())
        .help("compile the model again; to simulate your own changes use the test bench in rtl/")
        .into()
}

fn simulation<E: std::fmt::Display>(executor: &str) -> impl Fn(E) -> Failure {
    let executor = executor.to_owned();
    move |error| Diagnostic::error("simulation", error.to_string()).at(executor.clone()).into()
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
