//! Compilation to memory.

use crate::assemble::{self, Entry, Interface};
use crate::invoke::{Code, Extents, Lines};
use crate::target::{self, Options};
use crate::{arena, lower};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;
use lutweave_ir::tensor::Data;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, Tensor, TensorType};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A graph as executable code. Threads may share it and run at the same time.
pub struct Jit {
    name: String,
    inputs: Vec<(String, TensorType)>,
    outputs: Vec<(String, TensorType)>,
    code: Code,
    /// Arenas of finished runs, for later ones.
    spare: Mutex<Vec<Workspace>>,
}

/// Memory for the intermediate values of one run at a time.
#[derive(Clone, Debug)]
pub struct Workspace {
    arena: Lines,
}

/// Compiles an integer graph for this machine, with all its instructions.
///
/// # Errors
/// One diagnostic for every node that this backend does not express; see [`crate`].
pub fn compile_jit(graph: &Graph) -> Result<Jit, Diagnostics> {
    compile_jit_with(graph, Options::default())
}

/// Compiles an integer graph for this machine, with chosen instructions.
///
/// # Errors
/// As [`compile_jit`], and if this machine lacks the instructions.
pub fn compile_jit_with(graph: &Graph, options: Options) -> Result<Jit, Diagnostics> {
    if !target::host_runs(options.features) {
        return Err(Diagnostic::error("unsupported-host", "this machine does not have AVX2 and FMA")
            .help("choose the baseline or the native features")
            .into());
    }
    let graph = &graph.without_dead_nodes();
    let target = target::host(options, false)?;
    let program = lower::lower(graph, target.capabilities)?;
    let arena = arena::plan(&program);
    let mut module = JITModule::new(JITBuilder::with_isa(target.isa, default_libcall_names()));
    let entry = Entry {
        name: "run",
        inputs: graph.inputs().len(),
        outputs: graph.outputs().len(),
        interface: Interface::Tables,
    };
    let id = assemble::define(&mut module, target.capabilities, &program, &arena, &entry)?;
    module.finalize_definitions().map_err(assemble::failed)?;
    let described = |ids: &[lutweave_ir::NodeId]| -> Vec<(String, TensorType)> {
        ids.iter().map(|&id| (graph.node(id).name.clone(), graph.node(id).ty.clone())).collect()
    };
    let (inputs, outputs) = (described(graph.inputs()), described(graph.outputs()));
    let sizes = |values: &[(String, TensorType)]| values.iter().map(|(_, ty)| ty.count()).collect();
    let extents = Extents { inputs: sizes(&inputs), outputs: sizes(&outputs), arena: arena.size };
    let code = Code::new(module, id, &program.rom, extents);
    Ok(Jit { name: graph.name.clone(), inputs, outputs, code, spare: Mutex::default() })
}

impl Jit {
    /// Types of the inputs, in the graph's order.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = &TensorType> {
        self.inputs.iter().map(|(_, ty)| ty)
    }

    /// Types of the outputs, in the graph's order.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = &TensorType> {
        self.outputs.iter().map(|(_, ty)| ty)
    }

    /// Bytes that the intermediate values of one run take.
    pub fn arena_size(&self) -> usize {
        self.code.extents().arena
    }

    /// Memory for runs with [`Jit::run_bytes`].
    pub fn workspace(&self) -> Workspace {
        Workspace { arena: Lines::zeros(self.arena_size()) }
    }

    /// Runs the graph once and returns its outputs.
    ///
    /// # Errors
    /// If the inputs do not match the graph's.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        self.check_count(inputs.len(), self.inputs.len(), "inputs")?;
        let bytes: Vec<Vec<u8>> = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|((name, ty), input)| to_bytes(name, ty, input))
            .collect::<Result<_, _>>()?;
        let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let mut results: Vec<Vec<u8>> = self.outputs.iter().map(|(_, ty)| vec![0; ty.count()]).collect();
        let mut slices: Vec<&mut [u8]> = results.iter_mut().map(Vec::as_mut_slice).collect();
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = spare.unwrap_or_else(|| self.workspace());
        let outcome = self.run_bytes(&bytes, &mut slices, &mut workspace);
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        outcome?;
        Ok(self.outputs.iter().zip(results).map(|((_, ty), bytes)| from_bytes(ty, &bytes)).collect())
    }

    /// Runs the graph once on arrays of one byte per element, in two's complement where the
    /// element type is signed. Values outside the element type give unspecified outputs.
    ///
    /// # Errors
    /// If number or length of the arrays is not the graph's, or the workspace is another's.
    pub fn run_bytes(
        &self,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        workspace: &mut Workspace,
    ) -> Result<(), Diagnostic> {
        self.check_count(inputs.len(), self.inputs.len(), "inputs")?;
        self.check_count(outputs.len(), self.outputs.len(), "outputs")?;
        let lengths = inputs.iter().map(|input| input.len()).chain(outputs.iter().map(|output| output.len()));
        for ((name, ty), length) in self.inputs.iter().chain(&self.outputs).zip(lengths) {
            if length != ty.count() {
                let message = format!("an array of {length} bytes was given for {ty}");
                return Err(Diagnostic::error("invalid-input", message).at(name));
            }
        }
        if workspace.arena.size() < self.arena_size() {
            let message = format!("the workspace has {} bytes, not {}", workspace.arena.size(), self.arena_size());
            return Err(Diagnostic::error("invalid-input", message)
                .at(&self.name)
                .help("make the workspace with `Jit::workspace` of the same object"));
        }
        self.code.call(inputs, outputs, &mut workspace.arena);
        Ok(())
    }

    fn check_count(&self, given: usize, expected: usize, what: &str) -> Result<(), Diagnostic> {
        if given == expected {
            return Ok(());
        }
        let message = format!("the graph has {expected} {what}, but {given} were given");
        Err(Diagnostic::error("invalid-input", message).at(&self.name))
    }
}

impl fmt::Debug for Jit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jit")
            .field("name", &self.name)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("arena_size", &self.arena_size())
            .finish_non_exhaustive()
    }
}

fn to_bytes(name: &str, ty: &TensorType, value: &Tensor) -> Result<Vec<u8>, Diagnostic> {
    let refuse = |message: String| Err(Diagnostic::error("invalid-input", message).at(name));
    if value.shape != ty.shape {
        return refuse(format!("a value of shape {:?} was given for {ty}", value.shape));
    }
    let Data::Int(elements) = &value.data else {
        return refuse(format!("a float value was given for {ty}"));
    };
    if elements.len() != ty.count() {
        return refuse(format!("a value of {} elements was given for {ty}", elements.len()));
    }
    let (lo, hi) = ty.element.range().expect("invariant: compiled inputs are integers");
    if let Some(element) = elements.iter().find(|&&element| !(lo..=hi).contains(&i64::from(element))) {
        return refuse(format!("the value holds {element}, which is outside {}", ty.element));
    }
    Ok(elements.iter().map(|&element| element as u8).collect())
}

fn from_bytes(ty: &TensorType, bytes: &[u8]) -> Tensor {
    let signed = ty.element.range().is_some_and(|(lo, _)| lo < 0);
    let element = |&byte: &u8| if signed { i32::from(byte.cast_signed()) } else { i32::from(byte) };
    Tensor::int(ty.shape.clone(), bytes.iter().map(element).collect::<Vec<_>>())
}
