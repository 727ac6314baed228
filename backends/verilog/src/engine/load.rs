//! Weights that are loaded: a bank of the weight memory for each load of an address.

use super::memory::{WeightMemory, bank_of};
use super::{Interface, address_bits};
use crate::Files;
use crate::syntax::{
    self, Connection, Declaration, Direction, Expr, Item, Kind, assign, concat, driven, drives, name, number, variable,
    when,
};
use lutweave_hw::rtl::engine::WeightBanks;
use lutweave_hw::rtl::{Engine, MemoryStyle};

/// The connections of a weight memory that bring what is loaded.
pub struct Loaded {
    /// To the ports that write.
    pub connections: Vec<Connection>,
}

/// Registers of the weights that enter, as they are stored; the enable of each bank.
pub fn stage(engine: &Engine, interface: &Interface, body: &mut syntax::Module, rst: &Expr) -> Loaded {
    body.comment("The weights that enter: registered, then written.");
    let loads = engine.loads_per_address();
    let enable = body.reg("load_bank", loads);
    let port = |wanted: &str| interface.port(wanted).map(|ty| name(wanted, ty.width()));
    let load = name("load", 1);
    let bits = (0..loads).rev().map(|bank| match port("load_part") {
        Some(part) => load.clone().and(part.clone().equals(number(i64::from(bank), part.width))),
        None => load.clone(),
    });
    let enables = concat(bits.collect());
    let word = body.reg("load_word", engine.weight_banks().width);
    let mut kept = vec![assign(word.clone(), stored(engine, interface, body, word.width))];
    let mut connections = vec![drives("write", enable.clone()), drives("write_data", word)];
    if let Some(address) = port("load_address") {
        let register = body.reg("load_place", address.width);
        kept.push(assign(register.clone(), address));
        connections.push(drives("write_address", register));
    }
    body.clocked(vec![
        assign(enable.clone(), enables),
        when(load, kept),
        when(rst.clone(), vec![assign(enable, number(0, loads))]),
    ]);
    Loaded { connections }
}

/// What a load brings, as it is stored: of a pair, the upper weight is less one where the lower is negative.
fn stored(engine: &Engine, interface: &Interface, body: &mut syntax::Module, width: u32) -> Expr {
    let data_width = interface.port("load_data").map_or(0, |ty| ty.width());
    let data = name("load_data", data_width);
    let weight_bits = engine.products().map_or(0, |products| products.weight_bits);
    if engine.outputs_per_element() == 1 {
        return data.bits(0, width);
    }
    let field = engine.weight_field_bits();
    let pairs = width / field;
    let fields = body.declare(Declaration::wire("load_fields", width), None);
    let index = variable("p");
    let (step, all) = if pairs == 1 { (None, 1) } else { (Some(&index), pairs) };
    let part = |bus: &Expr, stride: u32, low: u32, width: u32| match step {
        Some(index) => bus.element(index, stride, low, width),
        None => bus.bits(low, width),
    };
    let pair = 2 * weight_bits;
    let high = concat(vec![part(&data, pair, pair - 1, 1), part(&data, pair, weight_bits, weight_bits)]);
    let borrow = concat(vec![number(0, weight_bits), part(&data, pair, weight_bits - 1, 1)]);
    let assigns = vec![
        Item::Assign(part(&fields, field, 0, weight_bits), part(&data, pair, 0, weight_bits)),
        Item::Assign(part(&fields, field, weight_bits, field - weight_bits), high.minus(borrow)),
    ];
    body.items.extend(match step {
        None => assigns,
        Some(_) => {
            vec![Item::Generate { variable: "p".into(), count: all, label: "fields_p".into(), items: assigns }]
        }
    });
    fields
}

/// The weight memory of an engine whose weights are loaded.
pub fn weights(engine: &Engine, owner: &str, files: &mut Files) -> WeightMemory {
    let (all, width) = (engine.weight_depth(), engine.weight_word_bits());
    let WeightBanks { width: each, last, count: loads, depth } = engine.weight_banks();
    // Neighbouring addresses share a word.
    let side_by_side = engine.addresses_per_load();
    let module = files.modules.unique(&format!("{owner}_{}_weights", engine.name));
    let mut body = syntax::Module { name: module.clone(), ..Default::default() };
    body.comment.push(format!(
        "{module}: {all} words of {width} bits, {side_by_side} side by side, loaded in {loads} parts, readable two cycles \
         after the address."
    ));
    let clk = body.input("clk", 1);
    let read = body.input("read", 1);
    let bits = address_bits(depth);
    let address = (all > 1).then(|| body.input("address", address_bits(all)));
    let advance = body.input("advance", 1);
    let write = body.input("write", loads);
    let write_address = (depth > 1).then(|| body.input("write_address", bits));
    let data = body.input("write_data", each);
    let output = Declaration { kind: Kind::Reg, ..Declaration::wire("weights", width) };
    let output = body.port(Direction::Output, output);
    let word = body.declare(Declaration::wire("word", width * side_by_side), None);
    let style = engine.products().map_or(MemoryStyle::Distributed, |products| products.memory);
    let bank = |width: u32, files: &mut Files| bank_of("weight_bank", width, depth, style, files);
    let instance = |memory: String, label: &str, write: Expr, data: Expr, read_data: Expr| {
        let mut connections = vec![
            drives("clk", clk.clone()),
            drives("write", write),
            drives("write_data", data),
            drives("read", read.clone()),
            driven("read_data", read_data),
        ];
        if let (Some(address), Some(write_address)) = (&address, &write_address) {
            connections.push(drives("write_address", write_address.clone()));
            connections.push(drives("read_address", address.bits(side_by_side.trailing_zeros(), bits)));
        }
        Item::Instance { module: memory, name: label.to_owned(), connections }
    };
    // The last one may be narrower.
    let whole = if last == each { loads } else { loads - 1 };
    let index = variable("b");
    match whole {
        0 => {}
        1 => {
            let memory = bank(each, files);
            let item = instance(memory, "bank", write.bits(0, 1), data.clone(), word.bits(0, each));
            body.items.push(item);
        }
        count => {
            let memory = bank(each, files);
            let write = write.element(&index, 1, 0, 1);
            let item = instance(memory, "bank", write, data.clone(), word.element(&index, each, 0, each));
            let items = vec![item];
            body.items.push(Item::Generate { variable: "b".into(), count, label: "banks_b".into(), items });
        }
    }
    if whole < loads {
        let memory = bank(last, files);
        let item =
            instance(memory, "last_bank", write.bits(loads - 1, 1), data.bits(0, last), word.bits(whole * each, last));
        body.items.push(item);
    }
    let selected = match (&address, side_by_side) {
        (Some(address), 2..) => {
            let low = side_by_side.trailing_zeros().min(address.width);
            let which = body.reg("which", low);
            body.clocked(vec![when(read, vec![assign(which.clone(), address.bits(0, low))])]);
            chosen(&word, width, &which, low, 0)
        }
        _ => word.bits(0, width),
    };
    body.clocked(vec![when(advance, vec![assign(output, selected)])]);
    files.push(body);
    WeightMemory { module, width }
}

/// The field of `width` bits of a word whose number is `base` and the lowest `bits` bits of `which`: as a tree, which takes
/// a fourth of the look-up tables of a chain of comparisons.
fn chosen(word: &Expr, width: u32, which: &Expr, bits: u32, base: u32) -> Expr {
    match bits.checked_sub(1) {
        None => word.bits(base * width, width),
        Some(top) => which
            .bits(top, 1)
            .choose(chosen(word, width, which, top, base + (1 << top)), chosen(word, width, which, top, base)),
    }
}
