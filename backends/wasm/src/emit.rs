//! A design as a WebAssembly module.

use crate::code::at;
use crate::emitter::Emitter;
use crate::harness::{Harness, count_stall};
use crate::layout::{Image, Layout};
use crate::map::{ChannelMap, Map, SECTION, SignalMap, TypeMap, VERSION, WindowMap};
use lutweave_hw::rtl::{Design, Endpoint, SignalKind, harness};
use lutweave_hw::supply::{MemoryTiming, closed};
use std::borrow::Cow;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataSection, ExportKind, ExportSection, Function,
    FunctionSection, MemorySection, MemoryType, Module, NameMap, NameSection, TypeSection, ValType,
};

/// What to build into the simulator beside the design.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Count transfers and stalls of every channel. Costs speed: no module may then be skipped
    /// while it is idle.
    pub count_stalls: bool,
    /// Check that no window reads a pixel that was overwritten or is still to come; a run that
    /// finds one fails with [`crate::SimulationError::WrongRow`].
    pub check_windows: bool,
    /// How the memory outside answers, if the design has one: it is a part of the simulator.
    pub memory: MemoryTiming,
}

/// Types of the module's functions.
const TICK: u32 = 0;
const RUN: u32 = 1;
const RESET: u32 = 2;

/// The design as a self-contained WebAssembly module (SIMD, no imports). Exports `memory`,
/// `reset()` and `run(cycles: i32) -> i32`, which simulates up to so many cycles and says how
/// many it did; the custom section [`SECTION`] holds the [`Map`] that tells a host how to drive
/// it.
///
/// The design must be one that [`lutweave_hw::rtl::validate`] accepts.
pub fn emit(design: &Design) -> Vec<u8> {
    emit_with(design, Options::default())
}

/// [`emit`] with options.
pub fn emit_with(design: &Design, options: Options) -> Vec<u8> {
    let patience = harness::patience(design, &options.memory);
    let design = &*closed(design, &options.memory);
    let mut image = Image::new();
    let layout = Layout::new(design, &mut image, options);
    let harness = Harness::new(design, &layout, &mut image);
    let sleep = !options.count_stalls;
    let mut code = CodeSection::new();
    for number in 0..design.modules.len() {
        code.function(&tick(design, &layout, number, &mut image, sleep));
    }
    code.function(&harness.run(design, &layout, sleep));
    code.function(&harness.reset(design, &layout));
    let map = map(design, patience, &layout, harness, &image);
    assemble(design, &code, &image, &map)
}

/// One cycle of one module.
fn tick(design: &Design, layout: &Layout, number: usize, image: &mut Image, sleep: bool) -> Function {
    let module = &design.modules[number];
    let state = &layout.modules[number];
    let mut emitter = Emitter::new(module, state, image);
    let awake = |endpoint: Endpoint| match endpoint {
        Endpoint::Port(module, _) => Some(layout.modules[module.0 as usize].awake),
        Endpoint::Top(_) | Endpoint::Supply(_) => None,
    };
    emitter.begin_flight();
    for (input, &channel) in module.inputs.iter().zip(&state.inputs) {
        let address = layout.channels[channel].ready;
        emitter.read_lane(input.ready, 0);
        let ready = emitter.code.keep(ValType::I32);
        let mut op = emitter.code.op();
        if sleep {
            op.i32_const(0).i32_load8_u(at(address)).local_get(ready).i32_ne().if_(BlockType::Empty);
        }
        op.i32_const(0).local_get(ready).i32_store8(at(address));
        if sleep {
            if let Some(awake) = awake(design.channels[channel].from) {
                op.i32_const(0).i32_const(1).i32_store8(at(awake));
            }
            op.end();
        }
        count_stall(&mut emitter.code, &layout.channels[channel]);
    }
    if sleep {
        emitter.active = Some(emitter.code.local(ValType::I32));
        emitter.readers = state.outputs.iter().map(|&channel| awake(design.channels[channel].to)).collect();
    } else {
        emitter.readers = vec![None; module.outputs.len()];
    }
    emitter.block(&module.statements, false);
    emitter.end_flight();
    if let Some(active) = emitter.active {
        emitter.code.op().i32_const(0).local_get(active).i32_eqz().i32_eqz();
        for (old, next) in emitter.flight.clone() {
            emitter.code.op().local_get(old).local_get(next).i64_or().i64_eqz().i32_eqz().i32_or();
        }
        emitter.code.op().i32_store8(at(state.awake));
    }
    emitter.code.finish()
}

fn map(design: &Design, patience: u64, layout: &Layout, harness: Harness, image: &Image) -> Map {
    let channels = design
        .channels
        .iter()
        .zip(&layout.channels)
        .map(|(channel, place)| ChannelMap {
            name: channel.name.clone(),
            ty: TypeMap::new(channel.ty),
            valid: place.valid,
            ready: place.ready,
            data: place.data,
            counters: place.counters,
        })
        .collect();
    let signals = design
        .modules
        .iter()
        .zip(&layout.modules)
        .flat_map(|(module, state)| {
            module.signals.iter().zip(&state.signals).filter_map(|(signal, &address)| match signal.kind {
                SignalKind::Register { .. } => Some(SignalMap {
                    module: module.name.clone(),
                    name: signal.name.clone(),
                    address,
                    ty: TypeMap::new(signal.ty),
                }),
                _ => None,
            })
        })
        .collect();
    let windows = design
        .modules
        .iter()
        .zip(&layout.modules)
        .flat_map(|(module, state)| {
            let checks = state.windows.iter().filter_map(|window| window.check);
            checks.map(|check| WindowMap { module: module.name.clone(), wrong: check.wrong })
        })
        .collect();
    Map {
        version: VERSION,
        name: design.name.clone(),
        memory_end: image.end(),
        patience,
        control: harness.control,
        sources: harness.sources,
        sinks: harness.sinks,
        channels,
        signals,
        windows,
    }
}

fn assemble(design: &Design, code: &CodeSection, image: &Image, map: &Map) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([], []);
    let count = design.modules.len() as u32;
    let mut functions = FunctionSection::new();
    for _ in 0..count {
        functions.function(TICK);
    }
    functions.function(RUN).function(RESET);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: u64::from(image.end().div_ceil(1 << 16)),
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("run", ExportKind::Func, count);
    exports.export("reset", ExportKind::Func, count + 1);
    let mut data = DataSection::new();
    for (address, bytes) in &image.data {
        data.active(0, &ConstExpr::i32_const(*address as i32), bytes.iter().copied());
    }
    let mut names = NameMap::new();
    for (number, module) in design.modules.iter().enumerate() {
        names.append(number as u32, &module.name);
    }
    names.append(count, "run");
    names.append(count + 1, "reset");
    let mut name_section = NameSection::new();
    name_section.functions(&names);
    let json = serde_json::to_vec(map).expect("invariant: the map holds only numbers and strings");
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(code)
        .section(&data)
        .section(&name_section)
        .section(&CustomSection { name: Cow::Borrowed(SECTION), data: Cow::Owned(json) });
    module.finish()
}
