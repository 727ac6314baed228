//! Graph to machine code through Cranelift: in memory ([`compile_jit`]), or as an object file
//! with a C header ([`compile_object`]).
//!
//! It takes the integer core of a model: inputs, integer constants, `QConv`, `QAveragePool`,
//! `QAdd`, `QMul`, `Table`, `MaxPool`, `Concat`, `Slice`, `Pad`, `Resize`, `Reshape` and
//! `Transpose` on activations of at most 8 bits. Results equal those of
//! [`lutweave_ir::interpret`] bit for bit, whatever the [`Features`].
//!
//! The way of a graph: `lower` picks loop kernels and packs constants, `arena` places the
//! intermediate values, `emit` writes the kernels as Cranelift functions, one per node, and
//! `assemble` the function that calls them in order.

mod arena;
mod assemble;
mod emit;
mod header;
mod invoke;
mod jit;
mod lower;
mod object;
mod program;
mod target;

pub use jit::{Jit, Workspace, compile_jit, compile_jit_with};
pub use object::{Object, ObjectOptions, compile_object};
pub use target::{Features, Options};
