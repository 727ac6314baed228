//! The backends: each turns a compiled core or its circuit into files.

use crate::executor;
use crate::failure::Failure;
use lutweave_cpu::{ObjectOptions, compile_object};
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::Graph;

/// What backends read.
pub struct Circuit<'a> {
    /// The integer core.
    pub core: &'a Graph,
    /// Its circuit.
    pub design: &'a Design,
    /// What the shipped test bench feeds the circuit.
    pub stimulus: &'a Stimulus,
    /// What the circuit must answer.
    pub expected: &'a Trace,
    /// How the memory on the board answers.
    pub memory: MemoryTiming,
}

/// Files by their paths in the output directory.
pub type Written = Vec<(String, Vec<u8>)>;

/// Turns a circuit into files.
pub trait Backend: Sync {
    /// The files.
    ///
    /// # Errors
    /// What the backend has no code for, with the node.
    fn emit(&self, circuit: &Circuit) -> Result<Written, Failure>;
}

/// All backends, in the order of their files.
pub static BACKENDS: [&dyn Backend; 3] = [&Verilog, &Cpu, &Wasm];

/// The module of the simulator in the output directory.
pub const SIMULATOR: &str = "sim/model.wasm";

/// Verilog-2005 with memory files and a self-checking test bench, in `rtl/`.
struct Verilog;

impl Backend for Verilog {
    fn emit(&self, circuit: &Circuit) -> Result<Written, Failure> {
        let modules = lutweave_verilog::emit(circuit.design).files.into_iter();
        let bench =
            lutweave_verilog::emit_testbench(circuit.design, circuit.stimulus, Some(circuit.expected), &circuit.memory);
        Ok(modules.chain(bench).map(|(name, content)| (format!("rtl/{name}"), content.into())).collect())
    }
}

/// An object file for this kind of machine with a C header and an example, in `cpu/`.
struct Cpu;

impl Backend for Cpu {
    fn emit(&self, circuit: &Circuit) -> Result<Written, Failure> {
        let object = compile_object(circuit.core, &ObjectOptions::default())?;
        let path = |suffix: &str| format!("cpu/{}{suffix}", object.name);
        Ok(vec![
            (path(".o"), object.object),
            (path(".h"), object.header.into()),
            (path("_example.c"), object.example_c.into()),
        ])
    }
}

/// The cycle-exact simulator, in `sim/`.
struct Wasm;

impl Backend for Wasm {
    fn emit(&self, circuit: &Circuit) -> Result<Written, Failure> {
        Ok(vec![(SIMULATOR.to_owned(), executor::simulator(circuit.design, circuit.memory))])
    }
}
