//! The memories of an engine.

use crate::Files;
use crate::memory::{address_bits, hex_word, ram_attributes, rom_attributes, style};
use crate::syntax::{self, Declaration, Direction, Expr, Item, Kind, Statement, assign, integer, when};
use lutweave_hw::rtl::{Engine, Reduce};

/// A bank of a window memory: one write port, one read port with a registered word. Equal banks
/// share one module; its name.
pub fn bank(width: u32, depth: u32, files: &mut Files) -> String {
    let module_name = format!("window_bank_{depth}x{width}");
    let mut body = syntax::Module { name: module_name.clone(), ..Default::default() };
    body.comment.push(format!("{module_name}: {depth} words of {width} bits, one write and one read port."));
    body.comment.push("A word is never read in the cycle in which it is written.".to_owned());
    body.input("clk", 1);
    let bits = address_bits(depth);
    let write = body.input("write", 1);
    let write_address = if depth > 1 { body.input("write_address", bits) } else { integer(0) };
    let write_data = body.input("write_data", width);
    let read = body.input("read", 1);
    let read_address = if depth > 1 { body.input("read_address", bits) } else { integer(0) };
    let read_data = Declaration { kind: Kind::Reg, ..Declaration::wire("read_data", width) };
    let read_data = body.port(Direction::Output, read_data);
    // One word is a register: some tools warn of a memory with one.
    let (written, word) = if depth == 1 {
        let word = body.reg("word", width);
        (word.clone(), word)
    } else {
        let attributes = ram_attributes(style(width, depth));
        body.items.push(Item::Memory { attributes, width, depth, name: "words".to_owned() });
        (Expr::word("words", write_address, width), Expr::word("words", read_address, width))
    };
    body.clocked(vec![when(write, vec![assign(written, write_data)])]);
    body.clocked(vec![when(read, vec![assign(read_data, word)])]);
    files.share(body)
}

/// The module of a weight memory.
pub struct WeightMemory {
    /// Its name.
    pub module: String,
    /// Bits of a word.
    pub width: u32,
}

/// The weights of an engine that has some.
pub fn weights(engine: &Engine, owner: &str, files: &mut Files) -> Option<WeightMemory> {
    let (values, weight_bits) = match &engine.reduce {
        Reduce::Dense { weights, weight_bits, .. } | Reduce::Depthwise { weights, weight_bits } => {
            (weights, *weight_bits)
        }
        Reduce::Max | Reduce::Sum => return None,
    };
    let (outputs, terms, depth) = (engine.outputs(), engine.terms(), engine.weight_depth());
    let lanes = outputs * terms;
    let width = lanes * weight_bits;
    let lane_major = matches!(engine.reduce, Reduce::Depthwise { .. });
    let mut text = String::new();
    for word in values.chunks(lanes as usize) {
        // An accumulator's weights lie together; depthwise weights come tap by tap.
        let position = |lane: u32| if lane_major { (lane % terms) * outputs + lane / terms } else { lane };
        text.push_str(&hex_word((0..lanes).map(|lane| i64::from(word[position(lane) as usize])), weight_bits));
        text.push('\n');
    }
    let module = files.modules.unique(&format!("{owner}_{}_weights", engine.name));
    let file = files.hex(&module, text);
    let mut body = syntax::Module { name: module.clone(), ..Default::default() };
    body.comment.push(format!(
        "{module}: {depth} words of {outputs} x {terms} weights of {weight_bits} bits, readable two cycles after the address."
    ));
    body.input("clk", 1);
    let read = body.input("read", 1);
    let address = if depth > 1 { body.input("address", address_bits(depth)) } else { integer(0) };
    let advance = body.input("advance", 1);
    let output = Declaration { kind: Kind::Reg, ..Declaration::wire("weights", width) };
    let output = body.port(Direction::Output, output);
    body.items.push(Item::Memory {
        attributes: rom_attributes(style(width, depth)),
        width,
        depth,
        name: "words".to_owned(),
    });
    body.items.push(Item::Initial(vec![Statement::ReadMemory(file, "words".to_owned())]));
    let word = body.reg("word", width);
    body.clocked(vec![when(read, vec![assign(word.clone(), Expr::word("words", address, width))])]);
    body.clocked(vec![when(advance, vec![assign(output, word)])]);
    files.push(body);
    Some(WeightMemory { module, width })
}
