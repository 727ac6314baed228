//! ONNX to [`Graph`], and ONNX from parts.
//!
//! In goes the content of a model file, out comes a graph with channels-last images, constants
//! folded and the batch fixed, or a list of everything in the file that cannot be compiled.
//! [`mod@write`] is the way back for networks that a program builds. Nothing outside this crate knows
//! protobuf.
//!
//! Guarantees: no input makes [`import`] panic, and none makes it allocate much more than it
//! holds. Values keep the shapes and the order of elements that they have in the model.

pub mod decode;
mod faults;
mod fold;
mod import;
mod layout;
pub mod literal;
mod model;
mod node;
mod op;
mod order;
pub mod proto;
mod regroup;
mod value;
pub mod write;

use bytes::Bytes;
use lutweave_ir::{Diagnostic, Diagnostics, Graph};
use prost::Message;
use std::path::PathBuf;

/// Oldest operator set that is read.
pub const OLDEST_OPSET: i64 = 7;

/// Newest operator set that is read.
pub const NEWEST_OPSET: i64 = 22;

/// What the file alone does not say.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Name of the graph; that of the file's graph if empty.
    pub name: String,
    /// Directory that tensors kept outside the file are read from; without it they are refused.
    pub base: Option<PathBuf>,
}

/// An imported model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The graph.
    pub graph: Graph,
    /// Names of its outputs, in order. An output's node has its name, unless the output is an
    /// input of the model, or the same value as an output before it.
    pub outputs: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
}

/// Imports a model.
///
/// # Errors
/// All faults of the file.
pub fn import(bytes: impl Into<Bytes>, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    let model = proto::ModelProto::decode(bytes.into()).map_err(|error| {
        Diagnostic::error("malformed-file", format!("the file is not an ONNX model: {error}"))
            .at(options.name.clone())
            .help("check that the file is complete and was written by an ONNX exporter")
    })?;
    model::import(&model, options)
}

/// Every supported operator, as `(domain, name)`.
pub fn supported_operators() -> impl Iterator<Item = (&'static str, &'static str)> {
    op::OPERATORS.iter().map(|operator| (operator.domain, operator.name))
}
