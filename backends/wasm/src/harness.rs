//! Sources, sinks, the clock and the reset, as [`lutweave_hw::rtl::harness`] defines them.

use crate::code::{Code, Place, at, copy};
use crate::layout::{ChannelLayout, Image, Layout, lane_image, value_bytes};
use crate::map::{ControlMap, DEADLOCK, DONE, PortMap, RUNNING, TypeMap};
use lutweave_hw::rtl::{Channel, Design, Endpoint, SignalKind, TopPort};
use wasm_encoder::{BlockType, Function, ValType};

/// The control block.
pub struct Harness {
    /// Run state.
    pub control: ControlMap,
    /// Stream inputs.
    pub sources: Vec<PortMap>,
    /// Stream outputs.
    pub sinks: Vec<PortMap>,
}

/// Locals of `run`.
const LIMIT: u32 = 0;

struct Locals {
    count: u32,
    cycle: u32,
    last_transfer: u32,
    moved: u32,
    address: u32,
    state: u32,
}

impl Harness {
    /// Reserves the control block.
    pub fn new(design: &Design, layout: &Layout, image: &mut Image) -> Self {
        let control = ControlMap {
            status: image.reserve(4),
            cycle: image.reserve(8),
            remaining: image.reserve(8),
            patience: image.reserve(8),
            last_transfer: image.reserve(8),
            first_transfer: image.reserve(8),
        };
        let mut ports = |ports: &[TopPort], channels: &[usize]| -> Vec<PortMap> {
            ports
                .iter()
                .zip(channels)
                .map(|(port, &channel)| PortMap {
                    name: port.name.clone(),
                    ty: TypeMap::new(port.ty),
                    beats: port.beats,
                    buffer: image.reserve(4),
                    total: image.reserve(4),
                    seed: image.reserve(4),
                    count: image.reserve(4),
                    stall: image.reserve(4),
                    completions: image.reserve(4),
                    frames: image.reserve(4),
                    within: image.reserve(4),
                    channel,
                })
                .collect()
        };
        let sources = ports(&design.inputs, &layout.sources);
        let sinks = ports(&design.outputs, &layout.sinks);
        Self { control, sources, sinks }
    }

    /// `reset()`.
    pub fn reset(&self, design: &Design, layout: &Layout) -> Function {
        let mut code = Code::new(0);
        for (module, state) in design.modules.iter().zip(&layout.modules) {
            for (signal, &address) in module.signals.iter().zip(&state.signals) {
                if let SignalKind::Register { reset: Some(value) } = signal.kind {
                    for (byte, value) in lane_image(signal.ty, value).enumerate() {
                        code.op().i32_const(0).i32_const(i32::from(value)).i32_store8(at(address + byte as u32));
                    }
                }
            }
            for word in 0..state.flight.keep.len() as u32 {
                code.op().i32_const(0).i64_const(0).i64_store(at(state.flight.address + 8 * word));
            }
            for continues in state.windows.iter().filter_map(|window| window.continues) {
                code.op().i32_const(0).i32_const(0).i32_store(at(continues));
            }
            for check in state.windows.iter().filter_map(|window| window.check) {
                check.reset(code.op());
            }
            code.op().i32_const(0).i32_const(1).i32_store8(at(state.awake));
        }
        for channel in &layout.channels {
            if let Some([valid, _]) = channel.seen {
                code.op().i32_const(0).i32_const(0).i32_store8(at(valid));
                code.op().i32_const(0).i32_const(1).i32_store8(at(channel.ready));
            }
            if let Some(counters) = channel.counters {
                for counter in 0..3 {
                    code.op().i32_const(0).i64_const(0).i64_store(at(counters + 8 * counter));
                }
            }
        }
        for port in self.sources.iter().chain(&self.sinks) {
            for word in [port.count, port.frames, port.within] {
                code.op().i32_const(0).i32_const(0).i32_store(at(word));
            }
            code.op().i32_const(0).i32_const(0).i32_load(at(port.seed)).i32_store(at(port.stall));
        }
        for source in &self.sources {
            code.op().i32_const(0).i32_const(0).i32_store8(at(layout.channels[source.channel].valid));
        }
        for sink in &self.sinks {
            code.op().i32_const(0).i32_const(0).i32_store8(at(layout.channels[sink.channel].ready));
        }
        code.op().i32_const(0).i64_const(0);
        for sink in &self.sinks {
            code.op().i32_const(0).i64_load32_u(at(sink.total)).i64_add();
        }
        code.op().i64_store(at(self.control.remaining));
        code.op().i32_const(0).i64_const(0).i64_store(at(self.control.cycle));
        code.op().i32_const(0).i64_const(0).i64_store(at(self.control.last_transfer));
        code.op().i32_const(0).i64_const(-1).i64_store(at(self.control.first_transfer));
        code.op().i32_const(0).i32_const(RUNNING as i32).i32_store(at(self.control.status));
        code.finish()
    }

    /// `run(limit) -> cycles`. Module `m` is function `m`.
    pub fn run(&self, design: &Design, layout: &Layout, sleep: bool) -> Function {
        let mut code = Code::new(1);
        let locals = Locals {
            count: code.local(ValType::I32),
            cycle: code.local(ValType::I64),
            last_transfer: code.local(ValType::I64),
            moved: code.local(ValType::I32),
            address: code.local(ValType::I32),
            state: code.local(ValType::I32),
        };
        let control = &self.control;
        let mut op = code.op();
        op.i32_const(0).i64_load(at(control.cycle)).local_set(locals.cycle);
        op.i32_const(0).i64_load(at(control.last_transfer)).local_set(locals.last_transfer);
        op.i32_const(0).i32_const(RUNNING as i32).i32_store(at(control.status));
        op.block(BlockType::Empty).loop_(BlockType::Empty);
        op.i32_const(0).i64_load(at(control.remaining)).i64_eqz().if_(BlockType::Empty);
        op.i32_const(0).i32_const(DONE as i32).i32_store(at(control.status)).br(2).end();
        op.local_get(locals.count).local_get(LIMIT).i32_ge_u().br_if(1);
        op.i32_const(0).local_set(locals.moved);
        for sink in &self.sinks {
            self.receive(&mut code, &locals, sink, &layout.channels[sink.channel]);
        }
        for (number, module) in layout.modules.iter().enumerate().rev() {
            let mut op = code.op();
            if sleep {
                op.i32_const(0).i32_load8_u(at(module.awake)).if_(BlockType::Empty);
            }
            op.local_get(locals.cycle).i32_wrap_i64().call(number as u32);
            if sleep {
                op.end();
            }
        }
        for (channel, place) in design.channels.iter().zip(&layout.channels) {
            feed_back(&mut code, design, layout, channel, place);
        }
        for source in &self.sources {
            let reader = match design.channels[source.channel].to {
                Endpoint::Port(module, _) => Some(layout.modules[module.0 as usize].awake),
                Endpoint::Top(_) | Endpoint::Supply(_) => None,
            };
            self.offer(&mut code, &locals, source, &layout.channels[source.channel], reader);
        }
        for sink in &self.sinks {
            let writer = match design.channels[sink.channel].from {
                Endpoint::Port(module, _) => Some(layout.modules[module.0 as usize].awake),
                Endpoint::Top(_) | Endpoint::Supply(_) => None,
            };
            let ready = layout.channels[sink.channel].ready;
            step_stall(&mut code, &locals, sink.stall);
            let mut op = code.op();
            op.i32_eqz().local_tee(locals.state).i32_const(0).i32_load8_u(at(ready)).i32_ne().if_(BlockType::Empty);
            op.i32_const(0).local_get(locals.state).i32_store8(at(ready));
            if let Some(awake) = writer {
                op.i32_const(0).i32_const(1).i32_store8(at(awake));
            }
            op.end();
        }
        let mut op = code.op();
        op.local_get(locals.count).i32_const(1).i32_add().local_set(locals.count);
        op.local_get(locals.moved).if_(BlockType::Empty);
        op.local_get(locals.cycle).local_set(locals.last_transfer).else_();
        op.local_get(locals.cycle).local_get(locals.last_transfer).i64_sub();
        op.i32_const(0).i64_load(at(control.patience)).i64_ge_u().if_(BlockType::Empty);
        op.i32_const(0).i32_const(DEADLOCK as i32).i32_store(at(control.status));
        op.local_get(locals.cycle).i64_const(1).i64_add().local_set(locals.cycle).br(3).end().end();
        op.local_get(locals.cycle).i64_const(1).i64_add().local_set(locals.cycle);
        op.br(0).end().end();
        op.i32_const(0).local_get(locals.cycle).i64_store(at(control.cycle));
        op.i32_const(0).local_get(locals.last_transfer).i64_store(at(control.last_transfer));
        op.local_get(locals.count);
        code.finish()
    }

    /// A sink's transfer.
    fn receive(&self, code: &mut Code, locals: &Locals, sink: &PortMap, channel: &ChannelLayout) {
        count_stall(code, channel);
        let mut op = code.op();
        op.i32_const(0).i32_load8_u(at(channel.valid)).i32_const(0).i32_load8_u(at(channel.ready)).i32_and();
        op.if_(BlockType::Empty).i32_const(1).local_set(locals.moved);
        op.i32_const(0).i32_load(at(sink.count)).i32_const(0).i32_load(at(sink.total)).i32_lt_u();
        op.if_(BlockType::Empty);
        op.i32_const(0).i32_load(at(sink.buffer)).i32_const(0).i32_load(at(sink.count));
        op.i32_const(sink.ty.bytes() as i32).i32_mul().i32_add().local_set(locals.address);
        copy(code, Place::fixed(channel.data), Place { base: Some(locals.address), offset: 0 }, sink.ty.bytes() as u32);
        increment(code, sink.count);
        let mut op = code.op();
        op.i32_const(0).i32_const(0).i64_load(at(self.control.remaining)).i64_const(1).i64_sub();
        op.i64_store(at(self.control.remaining));
        increment(code, sink.within);
        let mut op = code.op();
        op.i32_const(0).i64_load32_u(at(sink.within)).i64_const(sink.beats as i64).i64_eq().if_(BlockType::Empty);
        op.i32_const(0).i32_const(0).i32_store(at(sink.within));
        op.i32_const(0).i32_load(at(sink.completions)).i32_const(0).i32_load(at(sink.frames));
        op.i32_const(8).i32_mul().i32_add().local_get(locals.cycle).i64_store(at(0));
        increment(code, sink.frames);
        code.op().end().end().end();
    }

    /// A source's transfer and next offer.
    fn offer(&self, code: &mut Code, locals: &Locals, source: &PortMap, channel: &ChannelLayout, reader: Option<u32>) {
        let first = self.control.first_transfer;
        step_stall(code, locals, source.stall);
        let stall = code.keep(ValType::I32);
        let mut op = code.op();
        op.i32_const(0).i32_load8_u(at(channel.valid)).if_(BlockType::Result(ValType::I32));
        op.i32_const(0).i32_load8_u(at(channel.ready)).if_(BlockType::Result(ValType::I32));
        op.i32_const(1).local_tee(locals.moved);
        op.i32_const(0).i64_load(at(first)).i64_const(0).i64_lt_s().if_(BlockType::Empty);
        op.i32_const(0).local_get(locals.cycle).i64_store(at(first)).end();
        op.else_().i32_const(0).end();
        op.else_().i32_const(2).end();
        // 1: transferred, 2: no offer, 0: the offer stays.
        op.local_tee(locals.state).if_(BlockType::Empty);
        op.i32_const(0).i32_load(at(source.count)).i32_const(0).i32_load(at(source.total)).i32_lt_u();
        op.local_get(stall).i32_eqz().i32_and().if_(BlockType::Empty);
        op.i32_const(0).i32_load(at(source.buffer)).i32_const(0).i32_load(at(source.count));
        op.i32_const(source.ty.bytes() as i32).i32_mul().i32_add().local_set(locals.address);
        copy(
            code,
            Place { base: Some(locals.address), offset: 0 },
            Place::fixed(channel.data),
            source.ty.bytes() as u32,
        );
        increment(code, source.count);
        let wake = |code: &mut Code, valid: i32| {
            let mut op = code.op();
            op.i32_const(0).i32_const(valid).i32_store8(at(channel.valid));
            if let Some(awake) = reader {
                op.i32_const(0).i32_const(1).i32_store8(at(awake));
            }
        };
        wake(code, 1);
        code.op().else_().local_get(locals.state).i32_const(1).i32_eq().if_(BlockType::Empty);
        wake(code, 0);
        code.op().end().end().end();
    }
}

/// Shows the reader of a channel against the order of the modules what it will see in the next cycle.
fn feed_back(code: &mut Code, design: &Design, layout: &Layout, channel: &Channel, place: &ChannelLayout) {
    let (Some([valid, data]), Endpoint::Port(reader, _)) = (place.seen, channel.to) else { return };
    debug_assert!(design.is_feedback(channel));
    let awake = layout.modules[reader.0 as usize].awake;
    code.op().i32_const(0).i32_const(0).i32_load8_u(at(place.valid)).i32_store8(at(valid));
    code.op().i32_const(0).i32_load8_u(at(place.valid)).if_(BlockType::Empty);
    code.op().i32_const(0).i32_const(1).i32_store8(at(awake));
    copy(code, Place::fixed(place.data), Place::fixed(data), value_bytes(channel.ty));
    code.op().end();
}

/// Pushes whether a port stalls, after a step of its generator.
fn step_stall(code: &mut Code, locals: &Locals, state: u32) {
    let mut op = code.op();
    op.i32_const(0).i32_load(at(state)).local_tee(locals.state).if_(BlockType::Result(ValType::I32));
    for (left, by) in [(true, 13), (false, 17), (true, 5)] {
        op.local_get(locals.state).local_get(locals.state).i32_const(by);
        if left {
            op.i32_shl();
        } else {
            op.i32_shr_u();
        }
        op.i32_xor().local_set(locals.state);
    }
    op.i32_const(0).local_get(locals.state).i32_store(at(state));
    op.local_get(locals.state).i32_const(7).i32_and().i32_const(3).i32_lt_u();
    op.else_().i32_const(0).end();
}

fn increment(code: &mut Code, address: u32) {
    code.op().i32_const(0).i32_const(0).i32_load(at(address)).i32_const(1).i32_add().i32_store(at(address));
}

/// Counts a cycle of a channel whose `ready` is up to date.
pub fn count_stall(code: &mut Code, channel: &ChannelLayout) {
    let Some(counters) = channel.counters else { return };
    let count = |code: &mut Code, number: u32| {
        let address = counters + 8 * number;
        code.op().i32_const(0).i32_const(0).i64_load(at(address)).i64_const(1).i64_add().i64_store(at(address));
    };
    code.op().i32_const(0).i32_load8_u(at(channel.valid)).if_(BlockType::Empty);
    code.op().i32_const(0).i32_load8_u(at(channel.ready)).if_(BlockType::Empty);
    count(code, 0);
    code.op().else_();
    count(code, 1);
    code.op().end().else_();
    code.op().i32_const(0).i32_load8_u(at(channel.ready)).if_(BlockType::Empty);
    count(code, 2);
    code.op().end().end();
}
