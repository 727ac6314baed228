//! The expansion of an engine: window memory, tap selection, weights, processing elements.
//!
//! A step issued in cycle `t` has its addresses registered in `t + 1`, the words of the window
//! memory in `t + 2`, the selected taps in `t + 3`, the products in `t + 4` and again in `t + 5`
//! (where there are no multipliers, the elements in `t + 4`), then one cycle a level of the tree,
//! and the accumulator a cycle later. Where weights keep to a pattern, one more cycle before the
//! products gathers the elements that kept weights meet.

mod chain;
mod element;
mod load;
pub mod memory;
mod step;

use crate::Files;
use crate::memory::address_bits;
use crate::syntax::{
    self, Declaration, Direction, Expr, Item, Kind, Statement, assign, concat, driven, drives, integer, name, number,
};
use crate::syntax::{variable, when};
use lutweave_hw::rtl::engine::Step;
use lutweave_hw::rtl::{self, Engine, Multiplier, ParallelTaps, Products, Reduce, Ty};

/// The ports of an engine beside clock, reset and result. What a geometry makes constant (the
/// group of an engine with one group) has no port.
pub struct Interface {
    ports: Vec<(&'static str, Ty)>,
}

impl Interface {
    /// For the engine of a module that issues this step.
    pub fn new(engine: &Engine, module: &rtl::Module, step: &Step) -> Self {
        let mut ports = vec![("fill", Ty::BIT)];
        let mut optional = |name, count: u32| {
            if count > 1 {
                ports.push((name, Ty::holding(u64::from(count - 1))));
            }
        };
        optional("fill_row", engine.rows);
        optional("fill_column", engine.columns);
        optional("fill_group", engine.groups);
        ports.push(("fill_data", engine.word));
        ports.push(("issue", Ty::BIT));
        let mut optional = |name, count: u32| {
            if count > 1 {
                ports.push((name, Ty::holding(u64::from(count - 1))));
            }
        };
        optional("ring", engine.rows);
        optional("group", engine.groups);
        optional("tap", engine.tap_steps());
        optional("address", engine.weight_depth());
        let (row, column) = (step.row.ty(module), step.column.ty(module));
        if may_leave(row, (engine.kernel[0] - 1) * engine.dilations[0], engine.image_rows) {
            ports.push(("row", row));
        }
        if engine.columns > 1 || may_leave(column, (engine.kernel[1] - 1) * engine.dilations[1], engine.columns) {
            ports.push(("column", column));
        }
        ports.push(("last", Ty::BIT));
        if let Some(bytes) = engine.products().and_then(|products| products.loaded) {
            ports.push(("load", Ty::BIT));
            for (name, count) in
                [("load_address", engine.weight_banks().depth), ("load_part", engine.loads_per_address())]
            {
                if count > 1 {
                    ports.push((name, Ty::holding(u64::from(count - 1))));
                }
            }
            ports.push(("load_data", Ty::unsigned(8).by(bytes)));
        }
        Self { ports }
    }

    /// Type of a port, if there is such.
    pub fn port(&self, name: &str) -> Option<Ty> {
        self.ports.iter().find(|(port, _)| *port == name).map(|(_, ty)| *ty)
    }
}

/// Whether a tap at most `reach` beyond a base of that type can lie outside `0..limit`.
fn may_leave(base: Ty, reach: u32, limit: u32) -> bool {
    let (lo, hi) = base.bounds();
    lo < 0 || hi.saturating_add(i64::from(reach)) >= i64::from(limit)
}

/// Derived sizes of an engine.
struct Geometry<'a> {
    engine: &'a Engine,
    /// Taps of a step, vertically and horizontally.
    rows: u32,
    columns: u32,
    row_banks: u32,
    column_banks: u32,
    /// Image columns in one bank.
    bank_columns: u32,
    /// Words in one bank.
    depth: u32,
    address_bits: u32,
    /// Bits from one bank's word to the next on the bus of read words.
    stride: u32,
}

impl<'a> Geometry<'a> {
    fn new(engine: &'a Engine) -> Self {
        let (rows, columns) = match engine.parallel {
            ParallelTaps::One => (1, 1),
            ParallelTaps::Row => (1, engine.kernel[1]),
            ParallelTaps::All => (engine.kernel[0], engine.kernel[1]),
        };
        let (row_banks, column_banks) = (engine.row_banks(), engine.column_banks());
        let bank_columns = engine.columns.div_ceil(column_banks);
        let bank_rows = if row_banks > 1 { 1 } else { engine.rows };
        let depth = bank_rows * bank_columns * engine.groups;
        let stride =
            if row_banks * column_banks > 1 { engine.word.width().next_power_of_two() } else { engine.word.width() };
        let address_bits = address_bits(depth);
        Self { engine, rows, columns, row_banks, column_banks, bank_columns, depth, address_bits, stride }
    }

    fn banks(&self) -> u32 {
        self.row_banks * self.column_banks
    }

    /// Bits of a column number that tell the bank.
    fn bank_bits(&self) -> u32 {
        self.column_banks.trailing_zeros()
    }
}

/// Emits an engine and its parts; the name of its module.
pub fn emit(engine: &Engine, interface: &Interface, module: &rtl::Module, owner: &str, files: &mut Files) -> String {
    let geometry = Geometry::new(engine);
    let module_name = files.modules.unique(&format!("{owner}_{}", engine.name));
    let mut body =
        syntax::Module { name: module_name.clone(), comment: head(engine, &module_name), ..Default::default() };
    let (clk, rst) = (body.input("clk", 1), body.input("rst", 1));
    for (port, ty) in &interface.ports {
        let declaration = Declaration::wire(*port, ty.width()).sign(ty.signed && ty.lanes == 1);
        body.port(Direction::Input, declaration);
    }
    let result_ty = module.signal(engine.result).ty;
    let result = Declaration::wire("result", result_ty.width()).sign(result_ty.signed && result_ty.lanes == 1);
    let result = body.port(Direction::Output, result);
    let result_valid =
        body.port(Direction::Output, Declaration { kind: Kind::Reg, ..Declaration::wire("result_valid", 1) });

    let levels = engine.tree_levels();
    let length = 3 + engine.gather_stages() + engine.product_stages() + levels;
    body.comment("Steps in flight: bit 0 is the step whose addresses are registered.");
    let valid = body.reg("valid_steps", length);
    let last = body.reg("last_steps", length);
    let shifted = |register: &Expr, input: &str| concat(vec![register.bits(0, length - 1), name(input, 1)]);
    body.clocked(vec![
        assign(valid.clone(), shifted(&valid, "issue")),
        assign(last.clone(), shifted(&last, "last")),
        assign(result_valid.clone(), valid.bits(length - 1, 1).and(last.bits(length - 1, 1))),
        when(rst.clone(), vec![assign(valid.clone(), number(0, length)), assign(result_valid, number(0, 1))]),
    ]);

    let fill_banks = fill_stage(&geometry, interface, &mut body, &rst);
    let addresses = step::address_stage(&geometry, interface, &mut body);
    let data = banks(&geometry, &mut body, &clk, &fill_banks, &addresses.read, &valid, files);
    let lane_major = !matches!(engine.reduce, Reduce::Dense { .. });
    let taps = step::selection_stage(&geometry, &mut body, &addresses, &data, &valid, lane_major);
    let loaded = engine.is_loaded().then(|| load::stage(engine, interface, &mut body, &rst));
    let weights = weights(engine, &mut body, &clk, &valid, loaded, owner, files);

    let shared = engine.outputs_per_element();
    body.comment(match shared {
        1 => "Processing elements, one an accumulator.".to_owned(),
        _ => format!("Processing elements, one for {shared} accumulators."),
    });
    let element = element::emit(engine, result_ty, files);
    let elements = engine.outputs() / shared;
    let index = variable("n");
    // Part of an element's share of a bus.
    let part = |bus: &Expr, low: u32, width: u32| {
        if elements == 1 { bus.bits(low, width) } else { bus.element(&index, bus.width / elements, low, width) }
    };
    let share = |bus: &Expr| part(bus, 0, bus.width / elements);
    let mut connections = vec![
        drives("clk", clk),
        drives("enable", valid.bits(2, length - 2)),
        drives("elements", if lane_major { share(&taps) } else { taps }),
    ];
    if engine.steps > 1 {
        let end = valid.bits(length - 1, 1).and(last.bits(length - 1, 1));
        connections.push(drives("restart", body.wire("restart", rst.or(end))));
    }
    if let Some(words) = weights {
        let bits = engine.terms() * engine.weight_field_bits();
        connections.push(drives("weights", part(&words, 0, bits)));
        if engine.pattern().is_some() {
            connections.push(drives("positions", part(&words, bits, words.width / elements - bits)));
        }
    }
    connections.push(driven("total", share(&result)));
    let instance = |instance: &str| Item::Instance { module: element, name: instance.to_owned(), connections };
    body.items.push(if elements == 1 {
        instance("element")
    } else {
        Item::Generate {
            variable: "n".into(),
            count: elements,
            label: "elements_n".into(),
            items: vec![instance("element")],
        }
    });
    files.push(body);
    module_name
}

fn head(engine: &Engine, module_name: &str) -> Vec<String> {
    let [height, width] = engine.kernel;
    let products = |products: &Products| {
        let by = match products.multiplier {
            Multiplier::Single => "",
            Multiplier::Paired => ", two products a multiplier",
            Multiplier::Logic => ", multipliers in logic",
        };
        format!("weights of {} bits{by}", products.weight_bits)
    };
    let what = match &engine.reduce {
        Reduce::Dense { outputs, pattern, products: formed } => {
            let pattern = pattern.map_or(String::new(), |pattern| format!(" in the pattern {pattern}"));
            format!("{outputs} dot products, {}{pattern}", products(formed))
        }
        Reduce::Depthwise { products: formed } => format!("depthwise dot products, {}", products(formed)),
        Reduce::Max => "maxima".to_owned(),
        Reduce::Sum => "sums".to_owned(),
    };
    vec![
        format!(
            "{module_name}: {what} over {height}x{width} windows, {} of {} taps a step.",
            engine.taps(),
            height * width
        ),
        format!(
            "Ring of {} rows, {} columns, {} words of {} a pixel; dilation {}x{}; latency {} cycles.",
            engine.rows,
            engine.columns,
            engine.groups,
            engine.word,
            engine.dilations[0],
            engine.dilations[1],
            engine.latency()
        ),
    ]
}

/// Registers of the word that enters; the enable of each bank.
fn fill_stage(geometry: &Geometry<'_>, interface: &Interface, body: &mut syntax::Module, rst: &Expr) -> Expr {
    let engine = geometry.engine;
    body.comment("The word that enters: registered, then written.");
    let banks = geometry.banks();
    let enable = body.reg("fill_bank", banks);
    let word = body.reg("fill_word", engine.word.width());
    let address = (geometry.depth > 1).then(|| body.reg("fill_address", geometry.address_bits));
    let port = |wanted: &str| interface.port(wanted).map(|ty| name(wanted, ty.width()));
    let bank_bits = geometry.bank_bits();
    let bits = (0..banks).rev().map(|bank| {
        let (row, column) = (bank / geometry.column_banks, bank % geometry.column_banks);
        let mut bit = name("fill", 1);
        if geometry.row_banks > 1 {
            let port = name("fill_row", address_bits(engine.rows));
            bit = bit.and(port.equals(number(i64::from(row), address_bits(engine.rows))));
        }
        if bank_bits > 0 {
            match port("fill_column") {
                Some(port) if column < engine.columns => {
                    let bits = port.width.min(bank_bits);
                    bit = bit.and(port.bits(0, bits).equals(number(i64::from(column), bits)));
                }
                None if column == 0 => {}
                _ => return number(0, 1),
            }
        }
        bit
    });
    let mut statements = vec![assign(enable.clone(), concat(bits.collect()))];
    let mut kept = vec![assign(word, name("fill_data", engine.word.width()))];
    if let Some(address) = address {
        let row = if geometry.row_banks > 1 { None } else { port("fill_row") };
        let column = port("fill_column").and_then(|port| step::within_bank(geometry, &port, false));
        let column = column.map(|value| body.wire("fill_bank_column", value));
        kept.push(assign(address, step::address(geometry, row, column, port("fill_group"))));
    }
    statements.push(when(name("fill", 1), kept));
    statements.push(when(rst.clone(), vec![assign(enable.clone(), number(0, banks))]));
    body.clocked(statements);
    enable
}

/// The window memory; the bus of read words.
fn banks(
    geometry: &Geometry<'_>,
    body: &mut syntax::Module,
    clk: &Expr,
    fill: &Expr,
    read: &Option<Expr>,
    valid: &Expr,
    files: &mut Files,
) -> Expr {
    let width = geometry.engine.word.width();
    let (count, stride) = (geometry.banks(), geometry.stride);
    body.comment(format!("Window memory: {count} banks of {} words.", geometry.depth));
    let data = body.declare(Declaration::wire("bank_words", count * stride), None);
    let memory = memory::bank(width, geometry.depth, geometry.engine.large_from, files);
    let index = variable("b");
    let of =
        |bus: &Expr, step: u32, width: u32| if count == 1 { bus.clone() } else { bus.element(&index, step, 0, width) };
    let mut connections = vec![
        drives("clk", clk.clone()),
        drives("write", of(fill, 1, 1)),
        drives("write_data", name("fill_word", width)),
        drives("read", valid.bits(0, 1)),
        driven("read_data", of(&data, stride, width)),
    ];
    if let Some(read) = read {
        let bits = geometry.address_bits;
        let address = if read.width == bits {
            read.clone()
        } else {
            let column =
                if geometry.row_banks > 1 { index.clone().remainder(geometry.column_banks) } else { index.clone() };
            read.element(&column, bits, 0, bits)
        };
        connections.push(drives("write_address", name("fill_address", bits)));
        connections.push(drives("read_address", address));
    }
    let instance = Item::Instance { module: memory, name: "bank".to_owned(), connections };
    if count == 1 {
        body.items.push(instance);
        return data;
    }
    let mut items = vec![instance];
    if stride > width {
        items.push(Item::Assign(data.element(&index, stride, width, stride - width), number(0, stride - width)));
    }
    body.items.push(Item::Generate { variable: "b".into(), count, label: "banks_b".into(), items });
    data
}

/// The weight memory; the weights that meet the selected taps.
fn weights(
    engine: &Engine,
    body: &mut syntax::Module,
    clk: &Expr,
    valid: &Expr,
    loaded: Option<load::Loaded>,
    owner: &str,
    files: &mut Files,
) -> Option<Expr> {
    let (rom, writes) = match loaded {
        Some(loaded) => (load::weights(engine, owner, files), loaded.connections),
        None => (memory::weights(engine, owner, files)?, Vec::new()),
    };
    body.comment("Weights.");
    let words = body.declare(Declaration::wire("weights", rom.width), None);
    let mut connections = vec![
        drives("clk", clk.clone()),
        drives("read", valid.bits(0, 1)),
        drives("advance", valid.bits(1, 1)),
        driven("weights", words.clone()),
    ];
    connections.extend(writes);
    if engine.weight_depth() > 1 {
        let bits = address_bits(engine.weight_depth());
        let address = body.reg("weight_address", bits);
        body.clocked(vec![when(name("issue", 1), vec![assign(address.clone(), name("address", bits))])]);
        connections.push(drives("address", address));
    }
    body.items.push(Item::Instance { module: rom.module, name: "weight_memory".to_owned(), connections });
    Some(words)
}

/// A `for` loop over `count` lanes, or its body once.
fn repeated(
    body: &mut syntax::Module,
    loop_name: &str,
    count: u32,
    statement: impl Fn(&Expr) -> Statement,
) -> Vec<Statement> {
    match count {
        0 => Vec::new(),
        1 => vec![statement(&integer(0))],
        _ => {
            body.items.push(Item::Integer(loop_name.to_owned()));
            vec![Statement::For(loop_name.to_owned(), count, vec![statement(&variable(loop_name))])]
        }
    }
}
