//! Design to a cycle-exact WebAssembly simulator, run in wasmtime and in browsers.
//!
//! [`emit`] translates a [`lutweave_hw::rtl::Design`] into a module without imports; each module
//! of the design becomes one function that performs one clock cycle on state in linear memory.
//! The functions run from sinks to sources, so that every module still sees its producers as
//! they were, and `tready` wires are saved before a module changes. [`Simulator`] drives the
//! module in wasmtime.

mod check;
mod code;
mod emit;
mod emitter;
mod expression;
mod harness;
mod hazard;
mod kernel;
mod layout;
pub mod map;
mod simulator;
mod statement;
mod window;

pub use emit::{Options, emit, emit_with};
pub use simulator::{ChannelState, SimulationError, Simulator, Stalls};
