//! The AXI4 master that is the memory outside: bursts of one length, one ID, addresses that count up. Or the AXI4-Stream
//! that brings weights.

use super::Wires;
use crate::namer::Namer;
use crate::syntax::{Declaration, Direction, Item, Module, Statement, assign, concat, name, number, when};
use lutweave_hw::block::window::Bus;
use lutweave_hw::rtl::Ty;
use lutweave_hw::supply::{READ, Supply, WRITE};

/// The input with the address of the memory.
pub const BASE: &str = "memory_base";

/// Bits of an address.
const ADDRESS: u32 = 32;

/// All ports without their prefix; those of writes follow those of reads.
pub const PORTS: [&str; 22] = [
    "araddr", "arlen", "arsize", "arburst", "arvalid", "arready", "rdata", "rvalid", "rready", "awaddr", "awlen",
    "awsize", "awburst", "awvalid", "awready", "wdata", "wstrb", "wlast", "wvalid", "wready", "bvalid", "bready",
];

/// The ports of the stream that brings weights.
pub const LOAD: [&str; 3] = ["load_tdata", "load_tvalid", "load_tready"];

/// The name of a port.
pub fn axi(port: &str) -> String {
    format!("m_axi_{port}")
}

/// Declares the ports, and gives those that are constant.
pub fn ports(supply: &Supply, namer: &mut Namer, top: &mut Module) {
    let Bus { bytes, burst, .. } = supply.bus;
    if supply.is_stream() {
        let beats = supply.bursts;
        let [data, valid, ready] = LOAD;
        top.comment.push(format!("{data}: {beats} beats of {bytes} bytes, the weights, once after each reset."));
        top.input(data, 8 * bytes);
        top.input(valid, 1);
        top.port(Direction::Output, Declaration::wire(ready, 1));
        return;
    }
    let writes = supply.is_written();
    let what = if writes { "reads and writes" } else { "reads" };
    top.comment.push(format!(
        "m_axi: AXI4 {what} of {} bytes from {BASE} on, in bursts of {burst} beats of {bytes} bytes.",
        supply.bytes()
    ));
    top.comment.push(format!("{BASE} is a multiple of 4096."));
    top.input(BASE, ADDRESS);
    address_ports("ar", supply.bus, top);
    top.input(&axi("rdata"), 8 * bytes);
    top.input(&axi("rvalid"), 1);
    output(top, "rready", 1);
    if !writes {
        return;
    }
    address_ports("aw", supply.bus, top);
    for (port, width) in [("wdata", 8 * bytes), ("wstrb", bytes), ("wlast", 1), ("wvalid", 1)] {
        output(top, port, width);
    }
    top.input(&axi("wready"), 1);
    top.input(&axi("bvalid"), 1);
    output(top, "bready", 1);
    let ones = concat((0..bytes).map(|_| number(1, 1)).collect());
    top.items.push(Item::Assign(name(axi("wstrb"), bytes), ones));
    let last = name(axi("wlast"), 1);
    if burst == 1 {
        top.items.push(Item::Assign(last, number(1, 1)));
        return;
    }
    top.comment("Beats of a burst that is written.");
    let bits = Ty::holding(u64::from(burst) - 1).bits;
    let beat = top.reg(&namer.unique("m_axi_beat"), bits);
    top.items.push(Item::Assign(last, beat.clone().equals(number(i64::from(burst) - 1, bits))));
    let transfer = name(axi("wvalid"), 1).and(name(axi("wready"), 1));
    let reset = vec![assign(beat.clone(), number(0, bits))];
    let step = vec![when(transfer, vec![assign(beat.clone(), beat.plus(number(1, bits)))])];
    top.clocked(vec![Statement::If(name("rst", 1), reset, step)]);
}

fn output(top: &mut Module, port: &str, width: u32) {
    top.port(Direction::Output, Declaration::wire(axi(port), width));
}

/// The channel of read or write addresses.
fn address_ports(channel: &str, Bus { bytes, burst, .. }: Bus, top: &mut Module) {
    for (port, width) in [("addr", ADDRESS), ("len", 8), ("size", 3), ("burst", 2), ("valid", 1)] {
        output(top, &format!("{channel}{port}"), width);
    }
    top.input(&axi(&format!("{channel}ready")), 1);
    // Incrementing bursts.
    let constants = [("len", i64::from(burst) - 1, 8), ("size", i64::from(bytes.trailing_zeros()), 3), ("burst", 1, 2)];
    for (port, value, width) in constants {
        top.items.push(Item::Assign(name(axi(&format!("{channel}{port}")), width), number(value, width)));
    }
}

/// What comes from a port of the memory.
pub(super) fn source(supply: &Supply, port: u32, width: u32) -> Wires {
    if supply.is_stream() {
        let [data, valid, ready] = LOAD;
        return Wires { data: name(data, width), valid: name(valid, 1), ready: name(ready, 1) };
    }
    if port == READ {
        return Wires { data: name(axi("rdata"), width), valid: name(axi("rvalid"), 1), ready: name(axi("rready"), 1) };
    }
    Wires { data: number(1, 1), valid: name(axi("bvalid"), 1), ready: name(axi("bready"), 1) }
}

/// Gives a channel to a port of the memory.
pub(super) fn sink(supply: &Supply, port: u32, wires: &Wires, width: u32, top: &mut Module) {
    let channel = match port {
        READ => "ar",
        WRITE => "aw",
        _ => "w",
    };
    if channel == "w" {
        top.items.push(Item::Assign(name(axi("wdata"), width), wires.data.clone()));
    } else {
        let zeros = supply.bus.burst_bytes().trailing_zeros();
        let place = concat(vec![number(0, ADDRESS - width - zeros), wires.data.clone(), number(0, zeros)]);
        let sum = name(BASE, ADDRESS).plus(place);
        top.items.push(Item::Assign(name(axi(&format!("{channel}addr")), ADDRESS), sum));
    }
    top.items.push(Item::Assign(name(axi(&format!("{channel}valid")), 1), wires.valid.clone()));
    top.items.push(Item::Assign(wires.ready.clone(), name(axi(&format!("{channel}ready")), 1)));
}
