//! From a program to functions of a Cranelift module.

use crate::arena::Arena;
use crate::emit::{self, Parameters};
use crate::program::{ALIGNMENT, Location, Program, Space, Step};
use crate::target::Capabilities;
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, MemFlagsData, Signature, Type, UserFuncName, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, ModuleError};
use lutweave_ir::Diagnostic;

/// How the entry point gets its arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// `(inputs: *const *const u8, outputs: *const *mut u8, arena: *mut u8, rom: *const u8)`.
    Tables,
    /// One argument per input and output, then the arena; the ROM is in the module.
    Arguments,
}

/// What the entry point needs to know.
pub(crate) struct Entry<'a> {
    pub name: &'a str,
    pub inputs: usize,
    pub outputs: usize,
    pub interface: Interface,
}

/// Sizes above this need other addressing modes than the kernels use.
const LARGEST: usize = (1 << 31) - 65_536;

/// Defines all functions and returns the entry point.
pub(crate) fn define<M: Module>(
    module: &mut M,
    capabilities: Capabilities,
    program: &Program,
    arena: &Arena,
    entry: &Entry,
) -> Result<FuncId, Diagnostic> {
    for (what, size) in [("activations", arena.size), ("constants", program.rom.len())] {
        if size > LARGEST {
            return Err(Diagnostic::error("model-too-large", format!("the {what} take {size} bytes"))
                .help("the CPU backend handles up to 2 GiB each; use smaller images or a smaller model"));
        }
    }
    let mut context = module.make_context();
    let mut shared = FunctionBuilderContext::new();
    let pointer = module.target_config().pointer_type();
    let mut signature = module.make_signature();
    signature.params = vec![AbiParam::new(pointer); 3];
    let mut steps = Vec::with_capacity(program.steps.len());
    for (index, step) in program.steps.iter().enumerate() {
        let name = format!("{}.step{index}", entry.name);
        let id = module.declare_function(&name, Linkage::Local, &signature).map_err(failed)?;
        context.func.signature = signature.clone();
        context.func.name = UserFuncName::user(0, id.as_u32());
        let mut builder = FunctionBuilder::new(&mut context.func, &mut shared);
        let block = start(&mut builder);
        let parameters = Parameters { arena: block[0], rom: block[1], external: block[2] };
        emit::emit(&mut builder, capabilities, pointer, parameters, &arena.offsets, step);
        builder.ins().return_(&[]);
        builder.seal_all_blocks();
        builder.finalize(module.target_config());
        finish(module, id, &mut context)?;
        steps.push((id, external(step)));
    }
    let rom = match entry.interface {
        Interface::Tables => None,
        Interface::Arguments => Some(define_rom(module, program, entry)?),
    };
    let id = module
        .declare_function(entry.name, Linkage::Export, &driver_signature(module, pointer, entry))
        .map_err(failed)?;
    context.func.signature = driver_signature(module, pointer, entry);
    context.func.name = UserFuncName::user(0, id.as_u32());
    let calls: Vec<(FuncRef, Option<Space>)> =
        steps.iter().map(|&(id, space)| (module.declare_func_in_func(id, &mut context.func), space)).collect();
    let rom = rom.map(|rom| module.declare_data_in_func(rom, &mut context.func));
    let mut builder = FunctionBuilder::new(&mut context.func, &mut shared);
    let block = start(&mut builder);
    let (arena, rom) = match (entry.interface, rom) {
        (Interface::Arguments, Some(rom)) => {
            (block[entry.inputs + entry.outputs], builder.ins().symbol_value(pointer, rom))
        }
        (Interface::Tables, _) | (Interface::Arguments, None) => (block[2], block[3]),
    };
    let table = |builder: &mut FunctionBuilder, table: Value, index: usize| {
        let at = index as i32 * pointer.bytes() as i32;
        builder.ins().load(pointer, MemFlagsData::new().with_notrap(), table, at)
    };
    for (function, space) in calls {
        let external = match (space, entry.interface) {
            (Some(Space::Input(index)), Interface::Tables) => table(&mut builder, block[0], index),
            (Some(Space::Output(index)), Interface::Tables) => table(&mut builder, block[1], index),
            (Some(Space::Input(index)), Interface::Arguments) => block[index],
            (Some(Space::Output(index)), Interface::Arguments) => block[entry.inputs + index],
            (Some(Space::Buffer(_) | Space::Rom) | None, _) => arena,
        };
        builder.ins().call(function, &[arena, rom, external]);
    }
    builder.ins().return_(&[]);
    builder.seal_all_blocks();
    builder.finalize(module.target_config());
    finish(module, id, &mut context)?;
    Ok(id)
}

fn driver_signature<M: Module>(module: &M, pointer: Type, entry: &Entry) -> Signature {
    let mut signature = module.make_signature();
    let parameters = match entry.interface {
        Interface::Tables => 4,
        Interface::Arguments => entry.inputs + entry.outputs + 1,
    };
    signature.params = vec![AbiParam::new(pointer); parameters];
    signature
}

fn start(builder: &mut FunctionBuilder) -> Vec<Value> {
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    builder.block_params(block).to_vec()
}

fn finish<M: Module>(module: &mut M, id: FuncId, context: &mut Context) -> Result<(), Diagnostic> {
    module.define_function(id, context).map_err(failed)?;
    module.clear_context(context);
    Ok(())
}

fn define_rom<M: Module>(module: &mut M, program: &Program, entry: &Entry) -> Result<DataId, Diagnostic> {
    let name = format!("{}.rom", entry.name);
    let id = module.declare_data(&name, Linkage::Local, false, false).map_err(failed)?;
    let mut description = DataDescription::new();
    let contents = if program.rom.is_empty() { vec![0; ALIGNMENT] } else { program.rom.clone() };
    description.define(contents.into_boxed_slice());
    description.set_align(ALIGNMENT as u64);
    module.define_data(id, &description).map_err(failed)?;
    Ok(id)
}

/// The caller's array that a step reads or writes.
fn external(step: &Step) -> Option<Space> {
    let spaces = step.kernels.iter().flat_map(|kernel| kernel.locations()).map(|Location { space, .. }| space);
    spaces.into_iter().find(|space| matches!(space, Space::Input(_) | Space::Output(_)))
}

/// Code generation refused what lowering built, which no model should bring about.
pub(crate) fn failed(error: ModuleError) -> Diagnostic {
    Diagnostic::error("code-generation-failed", format!("Cranelift refused a function: {error}"))
        .help("this is a defect of the CPU backend; use the interpreter and report the model")
}
