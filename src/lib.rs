//! Lutweave turns a trained model into three things that agree bit for bit: Verilog for an embedded FPGA,
//! machine code for a CPU, and a cycle-exact simulator of the circuit.
//!
//! ```no_run
//! use lutweave::executor::{Drive, Kind};
//! use lutweave::observer::Context;
//! use lutweave::{Compiler, Failure, Model, Options};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Failure> {
//! // A built-in model; `Some("model.onnx")` reads a file.
//! let model = Model::load(Some("mnist"), None)?;
//! let compiler = Compiler::new(Options { device: "ultra96".into(), ..Options::default() });
//! let compiled = compiler.compile(&model)?;
//! println!("{} cycles per inference", compiled.summary.cycles_per_inference);
//! compiled.write(Path::new("build/mnist"), false, compiler.context())?;
//!
//! // The simulator on random inputs of the circuit.
//! let inputs = lutweave::verify::random_samples(&compiled.lowered.split.core, 2);
//! let answer = compiled.executor(Kind::Wasm, compiler.context())?.run(&inputs, Drive::default())?;
//! println!("{:?}", answer.cycles_per_inference);
//! # Ok(())
//! # }
//! ```
//!
//! # How to find your way
//!
//! * [`Options`] say what is asked, [`Model`] is what came, [`Compiler`] does the work, [`Compiled`] holds what
//!   was made.
//! * [`pipeline::PIPELINE`] lists the passes in order; [`Compiler::stop_after`] stops after one of them.
//! * An [`observer::Observer`] is told of passes, progress and warnings, and can cancel.
//! * [`task`] ties a model to data and a metric; [`eval`] judges by it; [`explore`] gives the front of cycles
//!   against accuracy.
//! * [`executor::Executor`] runs a core: reference interpreter, CPU code, or the circuit in a simulator.
//!   [`verify`] compares them, element by element.
//! * [`backend::Backend`] turns a circuit into files; [`artefact::Build`] reads a written directory back.
//!
//! Everything that can go wrong is a [`Failure`] made of diagnostics: code, node, cause, remedy. The library
//! prints nothing, reads no arguments and ends no process.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod artefact;
pub mod backend;
mod cache;
pub mod codesign;
pub mod compiler;
pub mod device;
mod effect;
pub mod eval;
pub mod executor;
pub mod explain;
pub mod explore;
pub mod inputs;
pub mod memory;
pub mod model;
pub mod observer;
pub mod options;
pub mod outside;
pub mod pipeline;
pub mod plausible;
mod prune;
#[doc(hidden)]
pub mod readers;
pub mod report;
pub mod reshape;
pub mod run;
pub mod summary;
pub mod variants;
pub mod verify;

pub use compiler::{Compiled, Compiler};
pub use lutweave_task::{Failure, detect, failure, metric, samples, task};
pub use model::Model;
pub use observer::Observer;
pub use options::Options;
