//! The top module: instances, channels, AXI4-Stream ports and the check of frames.

pub mod memory;

use crate::module::{StreamPorts, stream_ports};
use crate::namer::Namer;
use crate::syntax::{
    self, Connection, Declaration, Direction, Expr, Item, Kind, Module, Statement, assign, concat, driven, drives,
    name, number, when,
};
use lutweave_hw::rtl::{Design, Endpoint, ModuleId, TopPort, Ty};

/// Port names of one stream of the top module.
pub struct TopStream {
    /// `tdata`; whole bytes wide, elements in the low bits.
    pub data: String,
    /// `tvalid`.
    pub valid: String,
    /// `tready`.
    pub ready: String,
    /// `tlast`.
    pub last: String,
    /// Width of `tdata`.
    pub width: u32,
}

/// The streams of the top module, inputs and outputs, with the names they take.
pub fn top_streams(design: &Design) -> (Vec<TopStream>, Vec<TopStream>, Namer) {
    let mut namer = Namer::default();
    for fixed in ["clk", "rst", "frame_error", "unused", memory::BASE] {
        namer.unique(fixed);
    }
    memory::PORTS.iter().for_each(|port| drop(namer.unique(&memory::axi(port))));
    memory::LOAD.iter().for_each(|port| drop(namer.unique(port)));
    let mut stream = |port: &TopPort| {
        let mut part = |suffix: &str| namer.unique(&format!("{}_{suffix}", port.name));
        let width = port.ty.width().next_multiple_of(8);
        TopStream { data: part("tdata"), valid: part("tvalid"), ready: part("tready"), last: part("tlast"), width }
    };
    let inputs = design.inputs.iter().map(&mut stream).collect();
    let outputs = design.outputs.iter().map(&mut stream).collect();
    (inputs, outputs, namer)
}

type Connect = fn(&str, Expr) -> Connection;

/// The three signals of a channel.
struct Wires {
    data: Expr,
    valid: Expr,
    ready: Expr,
}

/// Emits the top module; `modules`: the Verilog module of each module of the design.
pub fn emit(design: &Design, top_name: &str, modules: &[String]) -> Module {
    let (inputs, outputs, mut namer) = top_streams(design);
    let mut top = Module { name: top_name.to_owned(), ..Module::default() };
    top.comment = vec![
        format!("{top_name}: {} modules; AXI4-Stream ports, one frame an inference.", design.modules.len()),
        "frame_error stays 1 once tlast of an input did not mark the last beat of a frame.".to_owned(),
    ];
    for (port, stream) in design.inputs.iter().zip(&inputs) {
        top.comment.push(format!("{}: frames of {} beats of {}.", stream.data, port.beats, port.ty));
    }
    for (port, stream) in design.outputs.iter().zip(&outputs) {
        top.comment.push(format!("{}: frames of {} beats of {}.", stream.data, port.beats, port.ty));
    }
    top.input("clk", 1);
    let rst = top.input("rst", 1);
    for stream in &inputs {
        top.input(&stream.data, stream.width);
        top.input(&stream.valid, 1);
        top.input(&stream.last, 1);
        top.port(Direction::Output, Declaration::wire(&stream.ready, 1));
    }
    for stream in &outputs {
        top.port(Direction::Output, Declaration::wire(&stream.data, stream.width));
        top.port(Direction::Output, Declaration::wire(&stream.valid, 1));
        top.port(Direction::Output, Declaration::wire(&stream.last, 1));
        top.input(&stream.ready, 1);
    }
    if let Some(supply) = &design.supply {
        memory::ports(supply, &mut namer, &mut top);
    }
    let frame_error =
        top.port(Direction::Output, Declaration { kind: Kind::Reg, ..Declaration::wire("frame_error", 1) });

    let channels = channels(design, &inputs, &outputs, &mut namer, &mut top);
    top.comment("Modules in the order of the data.");
    for (position, module) in design.modules.iter().enumerate() {
        let (module_inputs, module_outputs, _) = stream_ports(module);
        let mut connections = vec![drives("clk", name("clk", 1)), drives("rst", rst.clone())];
        let mut connect = |ports: &StreamPorts, endpoint: Endpoint, sink: bool| {
            let found = design.channels.iter().position(|c| if sink { c.to == endpoint } else { c.from == endpoint });
            if let Some(found) = found {
                let wires = &channels[found];
                let (forward, back): (Connect, Connect) = if sink { (drives, driven) } else { (driven, drives) };
                connections.push(forward(&ports.data, wires.data.clone()));
                connections.push(forward(&ports.valid, wires.valid.clone()));
                connections.push(back(&ports.ready, wires.ready.clone()));
            }
        };
        let id = ModuleId(position as u32);
        for (port, names) in module_inputs.iter().enumerate() {
            connect(names, Endpoint::Port(id, port as u32), true);
        }
        for (port, names) in module_outputs.iter().enumerate() {
            connect(names, Endpoint::Port(id, port as u32), false);
        }
        let instance = namer.unique(&module.name);
        top.items.push(Item::Instance { module: modules[position].clone(), name: instance, connections });
    }
    frames(design, &inputs, &outputs, &mut namer, &mut top, &frame_error);
    top
}

fn channels(
    design: &Design,
    inputs: &[TopStream],
    outputs: &[TopStream],
    namer: &mut Namer,
    top: &mut Module,
) -> Vec<Wires> {
    top.comment("Channels.");
    let mut all = Vec::new();
    for channel in &design.channels {
        let Ty { .. } = channel.ty;
        let width = channel.ty.width();
        let wires = match channel.from {
            Endpoint::Top(input) => {
                let stream = &inputs[input as usize];
                let data = name(&stream.data, stream.width).bits(0, width);
                Wires { data, valid: name(&stream.valid, 1), ready: name(&stream.ready, 1) }
            }
            Endpoint::Supply(port) => {
                let supply = design.supply.as_ref().expect("invariant: a validated design has what it reads from");
                memory::source(supply, port, width)
            }
            Endpoint::Port(..) => {
                let mut wire = |suffix: &str, width: u32| {
                    let declaration = Declaration::wire(namer.unique(&format!("{}_{suffix}", channel.name)), width);
                    top.declare(declaration, None)
                };
                Wires { data: wire("tdata", width), valid: wire("tvalid", 1), ready: wire("tready", 1) }
            }
        };
        if let Endpoint::Top(output) = channel.to {
            let stream = &outputs[output as usize];
            let data = concat(vec![number(0, stream.width - width), wires.data.clone()]);
            top.items.push(Item::Assign(name(&stream.data, stream.width), data));
            top.items.push(Item::Assign(name(&stream.valid, 1), wires.valid.clone()));
            top.items.push(Item::Assign(wires.ready.clone(), name(&stream.ready, 1)));
        }
        if let (Endpoint::Supply(port), Some(supply)) = (channel.to, &design.supply) {
            memory::sink(supply, port, &wires, width, top);
        }
        all.push(wires);
    }
    all
}

/// Beat counters: `tlast` of outputs, and the check of `tlast` of inputs.
fn frames(
    design: &Design,
    inputs: &[TopStream],
    outputs: &[TopStream],
    namer: &mut Namer,
    top: &mut Module,
    frame_error: &Expr,
) {
    let mut errors = Vec::new();
    let mut counter = |top: &mut Module, port: &TopPort, stream: &TopStream, output: bool| -> Expr {
        let beats = port.beats as i64;
        if beats == 1 {
            return number(1, 1);
        }
        top.comment(format!("Beats of {}.", port.name));
        let bits = Ty::holding(port.beats - 1).bits;
        let count = top.reg(&namer.unique(&format!("{}_beat", port.name)), bits);
        let last = top.reg(&namer.unique(&format!("{}_last", port.name)), 1);
        let transfer = name(&stream.valid, 1).and(name(&stream.ready, 1));
        let next = last.clone().choose(number(0, bits), count.clone().plus(number(1, bits)));
        let step =
            vec![assign(count.clone(), next), assign(last.clone(), count.clone().equals(number(beats - 2, bits)))];
        let reset = vec![assign(count.clone(), number(0, bits)), assign(last.clone(), number(0, 1))];
        top.clocked(vec![Statement::If(name("rst", 1), reset, vec![when(transfer, step)])]);
        if output {
            top.items.push(Item::Assign(name(&stream.last, 1), last.clone()));
        }
        last
    };
    for (port, stream) in design.inputs.iter().zip(inputs) {
        let last = counter(top, port, stream, false);
        let transfer = name(&stream.valid, 1).and(name(&stream.ready, 1));
        let wrong = if port.beats == 1 { name(&stream.last, 1).not() } else { name(&stream.last, 1).differs(last) };
        errors.push(when(transfer.and(wrong), vec![assign(frame_error.clone(), number(1, 1))]));
    }
    for (port, stream) in design.outputs.iter().zip(outputs) {
        if port.beats == 1 {
            top.items.push(Item::Assign(name(&stream.last, 1), number(1, 1)));
        } else {
            counter(top, port, stream, true);
        }
    }
    top.comment("Frames of the wrong length.");
    errors.push(when(name("rst", 1), vec![assign(frame_error.clone(), number(0, 1))]));
    let errors: Vec<syntax::Statement> = errors;
    top.clocked(errors);
}
