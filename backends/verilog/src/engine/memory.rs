//! The memories of an engine.

use crate::Files;
use crate::memory::{address_bits, hex_fields, ram_attributes, rom_attributes};
use crate::syntax::{self, Declaration, Direction, Expr, Item, Kind, Statement, assign, integer, number, when};
use lutweave_hw::family::Family;
use lutweave_hw::rtl::{Engine, MemoryStyle, Multiplier, Reduce};

/// A bank of a window memory: one write port, one read port with a registered word. Equal banks
/// share one module; its name.
pub fn bank(width: u32, depth: u32, large_from: Option<u32>, files: &mut Files) -> String {
    let style = files.family.ram_style(width.into(), depth.into(), large_from);
    bank_of("window_bank", width, depth, style, files)
}

/// A bank of that name, in a kind of memory.
pub fn bank_of(kind: &str, width: u32, depth: u32, style: MemoryStyle, files: &mut Files) -> String {
    let narrow = side_by_side(style, width, &files.family);
    if files
        .family
        .large_ram
        .as_ref()
        .is_some_and(|large| large.single_port && style == MemoryStyle::Large && depth > 1)
    {
        return single_port(kind, width, depth, narrow.unwrap_or([1, width]), files);
    }
    let module_name = format!("{kind}_{depth}x{width}");
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
    if let Some([abreast, lane]) = narrow {
        let output = body.port(Direction::Output, Declaration::wire("read_data", width));
        let attributes = ram_attributes(style, &files.family);
        body.comment.push(format!("{abreast} of them lie side by side."));
        let depth = depth.div_ceil(abreast);
        body.items.push(Item::Memory { attributes, width: abreast * lane, depth, name: "words".to_owned() });
        let (low, high) = (address_bits(abreast), address_bits(depth));
        let at = |address: &Expr| Expr::word("words", address.bits(low, high), abreast * lane);
        for place in 0..abreast {
            let here = write.clone().and(write_address.bits(0, low).equals(number(i64::from(place), low)));
            let target = Expr::word_bits("words", write_address.bits(low, high), place * lane, width);
            body.clocked(vec![when(here, vec![assign(target, write_data.clone())])]);
        }
        let [row, place] = [("row", abreast * lane), ("place", low)].map(|(name, width)| body.reg(name, width));
        let taken = vec![assign(row.clone(), at(&read_address)), assign(place.clone(), read_address.bits(0, low))];
        body.clocked(vec![when(read, taken)]);
        body.items.push(Item::Assign(output, row.element(&place, lane, 0, width)));
        return files.share(body);
    }
    let read_data = Declaration { kind: Kind::Reg, ..Declaration::wire("read_data", width) };
    let read_data = body.port(Direction::Output, read_data);
    // One word is a register: some tools warn of a memory with one.
    let (written, word) = if depth == 1 {
        let word = body.reg("word", width);
        (word.clone(), word)
    } else {
        let attributes = ram_attributes(style, &files.family);
        body.items.push(Item::Memory { attributes, width, depth, name: "words".to_owned() });
        (Expr::word("words", write_address, width), Expr::word("words", read_address, width))
    };
    body.clocked(vec![when(write, vec![assign(written, write_data)])]);
    body.clocked(vec![when(read, vec![assign(read_data, word)])]);
    files.share(body)
}

/// A bank of that name in a large RAM whose one port writes or reads, so many words side by side.
fn single_port(kind: &str, width: u32, depth: u32, [abreast, lane]: [u32; 2], files: &mut Files) -> String {
    let module_name = format!("{kind}_{depth}x{width}");
    let mut body = syntax::Module { name: module_name.clone(), ..Default::default() };
    body.comment.push(format!("{module_name}: {depth} words of {width} bits, one port, {abreast} words side by side."));
    body.comment.push("It is not read while it is written.".to_owned());
    body.input("clk", 1);
    let bits = address_bits(depth);
    let write = body.input("write", 1);
    let write_address = body.input("write_address", bits);
    let write_data = body.input("write_data", width);
    let read = body.input("read", 1);
    let read_address = body.input("read_address", bits);
    let output = body.port(Direction::Output, Declaration::wire("read_data", width));
    let attributes = ram_attributes(MemoryStyle::Large, &files.family);
    let (low, depth) = (abreast.trailing_zeros(), depth.div_ceil(abreast));
    let high = address_bits(depth);
    body.items.push(Item::Memory { attributes, width: abreast * lane, depth, name: "words".to_owned() });
    let of = |address: &Expr| if depth > 1 { address.bits(low, high) } else { integer(0) };
    let address = body.wire("address", write.clone().choose(write_address.clone(), read_address.clone()));
    let row = body.reg("row", abreast * lane);
    let mut statements = Vec::new();
    for place in 0..abreast {
        let target = Expr::word_bits("words", of(&address), place * lane, width);
        let written = assign(target, write_data.clone());
        statements.push(if low == 0 {
            when(write.clone(), vec![written])
        } else {
            let here = write_address.bits(0, low).equals(number(i64::from(place), low));
            when(write.clone().and(here), vec![written])
        });
    }
    let word = Expr::word("words", of(&address), abreast * lane);
    statements.push(when(write.not().and(read.clone()), vec![assign(row.clone(), word)]));
    body.clocked(statements);
    let value = if low == 0 {
        row
    } else {
        let place = body.reg("place", low);
        body.clocked(vec![when(read, vec![assign(place.clone(), read_address.bits(0, low))])]);
        row.element(&place, lane, 0, width)
    };
    body.items.push(Item::Assign(output, value));
    files.share(body)
}

/// How many words of a memory lie side by side, and the bits of each; `None` where each is on its own.
pub fn side_by_side(style: MemoryStyle, width: u32, family: &Family) -> Option<[u32; 2]> {
    let large = family.large_ram.as_ref().filter(|_| style == MemoryStyle::Large)?;
    let abreast = large.words_abreast(width.into()) as u32;
    (abreast > 1).then_some([abreast, large.lane(width.into()) as u32])
}

/// The module of a weight memory.
pub struct WeightMemory {
    /// Its name.
    pub module: String,
    /// Bits of a word.
    pub width: u32,
}

/// The weights of an engine that has some. A word holds what each processing element needs in
/// turn: first its weights, then, where there is a pattern, their positions.
pub fn weights(engine: &Engine, owner: &str, files: &mut Files) -> Option<WeightMemory> {
    let products = engine.products()?;
    let (terms, depth) = (engine.terms(), engine.weight_depth());
    let elements = engine.outputs() / engine.outputs_per_element();
    let width = engine.weight_word_bits();
    let mut text = String::new();
    for address in 0..depth {
        text.push_str(&hex_fields((0..elements).flat_map(|element| fields(engine, address, element))));
        text.push('\n');
    }
    let module = files.modules.unique(&format!("{owner}_{}_weights", engine.name));
    let file = files.hex(&module, text);
    let mut body = syntax::Module { name: module.clone(), ..Default::default() };
    let what = match (products.multiplier, engine.pattern()) {
        (Multiplier::Paired, None) => format!("pairs of weights of {} bits", products.weight_bits),
        (Multiplier::Paired, Some(_)) => {
            format!("pairs of weights of {} bits and their positions", products.weight_bits)
        }
        (_, None) => format!("weights of {} bits", products.weight_bits),
        (_, Some(_)) => format!("weights of {} bits and their positions", products.weight_bits),
    };
    body.comment.push(format!(
        "{module}: {depth} words of {elements} x {terms} {what}, readable two cycles after the address."
    ));
    body.input("clk", 1);
    let read = body.input("read", 1);
    let address = if depth > 1 { body.input("address", address_bits(depth)) } else { integer(0) };
    let advance = body.input("advance", 1);
    let output = Declaration { kind: Kind::Reg, ..Declaration::wire("weights", width) };
    let output = body.port(Direction::Output, output);
    body.items.push(Item::Memory {
        attributes: rom_attributes(products.memory, &files.family),
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

/// What one processing element needs at an address, with the width of each field.
fn fields(engine: &Engine, address: u32, element: u32) -> Vec<(i64, u32)> {
    let outputs = engine.outputs();
    let shared = engine.outputs_per_element();
    let field_bits = engine.weight_field_bits();
    // The element's outputs at a term of the step, whose weights share a multiplier.
    let weights = |at: u32| -> Vec<i64> {
        (0..shared)
            .map(|output| match engine.reduce {
                // Depthwise weights come tap by tap.
                Reduce::Depthwise { .. } => {
                    i64::from(engine.weights[((address * engine.taps() + at) * outputs + element) as usize])
                }
                Reduce::Dense { .. } | Reduce::Max | Reduce::Sum => {
                    i64::from(engine.dense_weight(address, element * shared + output, at))
                }
            })
            .collect()
    };
    let field = |at: u32| match weights(at)[..] {
        [low, high] => {
            let weight_bits = engine.products().map_or(0, |products| products.weight_bits);
            let mask = (1 << weight_bits) - 1;
            (((high - i64::from(low < 0)) << weight_bits) | (low & mask), field_bits)
        }
        ref single => (single.iter().sum(), field_bits),
    };
    let Some(pattern) = engine.pattern() else {
        return (0..engine.elements()).map(field).collect();
    };
    let of = u32::from(pattern.of);
    let (mut kept, mut positions) = (Vec::new(), Vec::new());
    for run in 0..engine.elements() / of {
        let places = engine.kept_positions(address * (outputs / shared) + element, run);
        for place in places.expect("invariant: validated weights keep to their pattern") {
            kept.push(field(run * of + place));
            positions.push((i64::from(place), pattern.index_bits()));
        }
    }
    kept.extend(positions);
    kept
}
