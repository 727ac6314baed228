//! Compilation to an object file with a C interface.

use crate::assemble::{self, Entry, Interface};
use crate::header::{self, Interface as CInterface};
use crate::target::{self, Features, Options};
use crate::{arena, lower};
use cranelift_module::default_libcall_names;
use cranelift_object::{ObjectBuilder, ObjectModule};
use lutweave_ir::{Diagnostic, Diagnostics, Graph};

/// Settings of an object file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectOptions {
    /// Prefix of the C symbols; the graph's name if empty. Characters that C does not allow
    /// become underscores.
    pub name: String,
    /// Instructions of the target. Code for [`Features::Native`] runs on machines like this one
    /// only.
    pub features: Features,
    /// Run Cranelift's verifier on the generated code: slow, for tests of this crate.
    pub verify: bool,
}

impl Default for ObjectOptions {
    fn default() -> Self {
        Self { name: String::new(), features: Features::Baseline, verify: cfg!(debug_assertions) }
    }
}

/// A model as an object file and what a C program needs to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The base name that the example expects: files `NAME.o` and `NAME.h`.
    pub name: String,
    /// Position-independent object file in the host's format, constants inside.
    pub object: Vec<u8>,
    /// C header.
    pub header: String,
    /// A C program that runs the model on frames from its standard input.
    pub example_c: String,
    /// Bytes of the arena that the caller provides.
    pub arena_size: usize,
}

/// Compiles an integer graph to an object file for the host's architecture.
///
/// # Errors
/// One diagnostic for every node that this backend does not express; see [`crate`].
pub fn compile_object(graph: &Graph, options: &ObjectOptions) -> Result<Object, Diagnostics> {
    let graph = &graph.without_dead_nodes();
    let target = target::host(Options { features: options.features, verify: options.verify }, true)?;
    let program = lower::lower(graph, target.capabilities)?;
    let arena = arena::plan(&program);
    let interface = CInterface::new(graph, &options.name, options.features, arena.size);
    let function = interface.function();
    let builder = ObjectBuilder::new(target.isa, interface.name(), default_libcall_names());
    let mut module = ObjectModule::new(builder.map_err(assemble::failed)?);
    let entry = Entry {
        name: &function,
        inputs: graph.inputs().len(),
        outputs: graph.outputs().len(),
        interface: Interface::Arguments,
    };
    assemble::define(&mut module, target.capabilities, &program, &arena, &entry)?;
    let object = module.finish().emit().map_err(|error| {
        Diagnostic::error("code-generation-failed", format!("the object file could not be written: {error}"))
            .help("this is a defect of the CPU backend; report the model")
    })?;
    Ok(Object {
        name: interface.name().to_owned(),
        object,
        header: header::header(&interface),
        example_c: header::example(&interface),
        arena_size: arena.size,
    })
}
