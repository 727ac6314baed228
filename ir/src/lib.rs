//! The tensor graph and its meaning.
//!
//! A [`Graph`] is an append-only list of single-output [`Node`]s in which operands come before
//! their users. Every node is typed when it is added: shape and element inference run inside
//! [`Graph::add`], so a half-typed graph does not exist.
//!
//! One graph type carries a model through the whole compiler. After import all values are
//! floating point (or the integers of a quantized model between `Quantize` and `Dequantize`);
//! after quantization the region between the prologue and the epilogue is integer only, and
//! [`split`] cuts it out for the backends.
//!
//! Image tensors are `[1, height, width, channels]`. Integer arithmetic is defined in
//! [`quant`], once; the [`interpret`] module is the oracle that every backend equals.
//!
//! This crate knows no file format, no device and no e-graph.

mod convolve;
pub mod diagnostic;
pub mod graph;
pub mod interpret;
pub mod op;
pub mod quant;
pub mod random;
pub mod range;
pub mod split;
pub mod tensor;
pub mod text;
pub mod validate;

pub use diagnostic::{Diagnostic, Diagnostics, OnProgress, OnStep, Severity};
pub use graph::{Graph, Node, NodeId};
pub use op::Op;
pub use quant::{Quantization, Requantize};
pub use tensor::{Data, Element, Tensor, TensorType};
