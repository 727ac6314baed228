//! A processing element: products, the tree that adds (or compares) them, one accumulator.
//!
//! What is accumulated is cleared with the last step of a result, not chosen against zero by the first one of the next:
//! a register's own reset takes no look-up tables.

use super::chain::Chain;
use super::repeated;
use crate::Files;
use crate::syntax::{
    self, Declaration, Direction, Expr, Item, Kind, assign, concat, driven, drives, integer, number, variable, when,
};
use lutweave_hw::rtl::engine::Pairing;
use lutweave_hw::rtl::{Engine, Multiplier, NofM, Products, Reduce, Ty};

/// Emits the processing element of an engine; elements of one shape share a module, whose name
/// this returns.
pub fn emit(engine: &Engine, result: Ty, files: &mut Files) -> String {
    let (terms, levels) = (engine.terms(), engine.tree_levels());
    let term = engine.word.lane();
    let maximum = matches!(engine.reduce, Reduce::Max);
    let products = engine.products();
    let (module_name, what) = described(engine, result);
    let mut body = syntax::Module { name: module_name.clone(), ..Default::default() };
    body.comment.push(format!("{module_name}: {what}"));
    body.comment
        .push("Bit 0 of enable is the step whose elements are here; it moves up one register a cycle.".to_owned());
    body.input("clk", 1);
    let (gather, stages) = (engine.gather_stages(), engine.product_stages());
    let enable = body.input("enable", gather + stages + levels + 1);
    let restart = (engine.steps > 1).then(|| body.input("restart", 1));
    let elements = body.input("elements", engine.elements() * term.bits);
    let weights = products.map(|_| body.input("weights", terms * engine.weight_field_bits()));
    let factors = match (engine.pattern(), weights) {
        (Some(pattern), Some(weights)) => {
            let (elements, weights) = gathered(pattern, &elements, weights, term, &enable.bits(0, 1), &mut body);
            Factors { elements, weights: Some(weights) }
        }
        (_, weights) => Factors { elements, weights },
    };
    let shared = engine.outputs_per_element();
    let total = Declaration { kind: Kind::Reg, ..Declaration::wire("total", shared * result.bits) };
    let total = total.sign(result.signed && shared == 1);
    let total = body.port(Direction::Output, total);

    let ty = match products {
        Some(_) => Ty::signed(engine.product_bits()),
        None => term,
    };
    let enables: Vec<Expr> = (0..stages + levels + 1).map(|stage| enable.bits(gather + stage, 1)).collect();
    let values = match (products, factors.weights) {
        (Some(products), Some(weights)) => {
            let multiply = Multiply { elements: factors.elements, weights, term, terms, products, ty };
            multiply.emit(&enables, &mut body, files)
        }
        (_, _) => {
            body.comment("Elements.");
            let values = body.reg("inputs", terms * ty.bits);
            body.clocked(vec![when(enables[0].clone(), vec![assign(values.clone(), factors.elements)])]);
            vec![values]
        }
    };
    let pairing = products.filter(|_| shared == 2).map(|products| products.pairing);
    let (ty, added) = match pairing {
        Some(pairing) => (Ty::signed(pairing.gap), pairing.levels),
        None => (Ty { bits: ty.bits + carried(engine.chain()), ..ty }, 0),
    };
    for (output, values) in values.into_iter().enumerate() {
        let name = if shared == 1 { String::new() } else { format!("_{output}") };
        let terms = (0..added).fold(engine.sums(), |terms, _| terms.div_ceil(3));
        let tree = Tree { name: &name, ty, terms, maximum, widest: result.bits, level: added };
        let (value, ty) = tree.emit(values, u32::MAX, &enables[(stages + added) as usize..], &mut body);
        let total = total.bits(output as u32 * result.bits, result.bits);
        let value = extended(value, ty, result.bits);
        let enable = enables[(stages + levels) as usize].clone();
        let Some(restart) = restart.clone() else {
            body.comment("Result.");
            body.clocked(vec![when(enable, vec![assign(total, value)])]);
            continue;
        };
        body.comment("Accumulator, and the result after the last step.");
        let partial = body.reg(&format!("partial{name}"), result.bits);
        let (next, start) = if maximum {
            let (new, old) = if ty.signed {
                (value.clone().into_signed(), partial.clone().into_signed())
            } else {
                (value.clone(), partial.clone())
            };
            (new.greater(old).choose(value, partial.clone()), ty.bounds().0)
        } else {
            (partial.clone().plus(value), 0)
        };
        let next = body.wire(&format!("next{name}"), next);
        body.clocked(vec![
            when(enable, vec![assign(total, next.clone()), assign(partial.clone(), next)]),
            when(restart, vec![assign(partial, number(start, result.bits))]),
        ]);
    }
    files.share(body)
}

/// Bits by which the sum of a chain of products is wider than one.
fn carried(chain: u32) -> u32 {
    chain.next_power_of_two().ilog2()
}

/// Name and description of the element's module.
fn described(engine: &Engine, result: Ty) -> (String, String) {
    let (terms, term) = (engine.terms(), engine.word.lane());
    let (kind, what) = match (engine.products(), &engine.reduce) {
        (Some(Products { weight_bits, multiplier, pairing, .. }), _) => {
            let (suffix, how) = match multiplier {
                Multiplier::Single => (String::new(), ""),
                Multiplier::Paired if pairing.levels > 0 => {
                    (format!("_pair{}", pairing.gap), ", two outputs that share multipliers and adders")
                }
                Multiplier::Paired => ("_pair".to_owned(), ", two outputs that share multipliers"),
                Multiplier::Logic => ("_logic".to_owned(), ", multiplied in logic"),
            };
            let (pattern, picked) = match engine.pattern() {
                Some(NofM { kept, of }) => (format!("_{kept}of{of}"), format!(" picked {kept} of {of}")),
                None => (String::new(), String::new()),
            };
            (
                format!("dot_{terms}_{term}_i{weight_bits}{pattern}{suffix}"),
                format!("dot product of {terms} elements of {term}{picked} with {weight_bits}-bit weights{how}"),
            )
        }
        (None, Reduce::Max) => (format!("max_{terms}_{term}"), format!("largest of {terms} elements of {term}")),
        (None, _) => (format!("sum_{terms}_{term}"), format!("sum of {terms} elements of {term}")),
    };
    let (suffix, steps) = if engine.steps > 1 { ("", ", over several steps") } else { ("_once", "") };
    (format!("{kind}_{}{suffix}", result.lane()), format!("{what}{steps}."))
}

/// What is multiplied, or only added: buses of as many elements and weights.
struct Factors {
    elements: Expr,
    weights: Option<Expr>,
}

/// Registers the elements at the positions of the kept weights, and the weights beside them.
fn gathered(
    pattern: NofM,
    elements: &Expr,
    weights: Expr,
    term: Ty,
    enable: &Expr,
    body: &mut syntax::Module,
) -> (Expr, Expr) {
    let (kept, of, bits) = (u32::from(pattern.kept), u32::from(pattern.of), pattern.index_bits());
    let runs = elements.width / term.bits / of;
    let positions = body.input("positions", runs * kept * bits);
    body.comment("The elements that the kept weights meet, and the weights.");
    let gathered = body.reg("gathered", runs * kept * term.bits);
    let beside = body.reg("kept_weights", weights.width);
    let mut statements = vec![assign(beside.clone(), weights)];
    for slot in 0..kept {
        statements.extend(repeated(body, &format!("run_{slot}"), runs, |run| {
            let bit = |bit: u32| member(&positions, run, runs, kept * bits, slot * bits + bit, 1);
            let element = |at: u32| member(elements, run, runs, of * term.bits, at * term.bits, term.bits);
            let target = member(&gathered, run, runs, kept * term.bits, slot * term.bits, term.bits);
            assign(target, selected(&element, &bit, bits, 0))
        }));
    }
    body.clocked(vec![when(enable.clone(), statements)]);
    (gathered, beside)
}

/// The element whose number the bits below `bits` tell, above the bits that tell `base`.
fn selected(element: &impl Fn(u32) -> Expr, bit: &impl Fn(u32) -> Expr, bits: u32, base: u32) -> Expr {
    match bits.checked_sub(1) {
        None => element(base),
        Some(top) => bit(top).choose(selected(element, bit, top, base + (1 << top)), selected(element, bit, top, base)),
    }
}

/// Bits `low .. low + width` of the part of `step` bits that a run owns.
fn member(bus: &Expr, run: &Expr, runs: u32, step: u32, low: u32, width: u32) -> Expr {
    if runs == 1 { bus.bits(low, width) } else { bus.element(run, step, low, width) }
}

/// Products of elements and weights in two registered stages.
struct Multiply {
    elements: Expr,
    weights: Expr,
    term: Ty,
    terms: u32,
    products: Products,
    /// Type of a product.
    ty: Ty,
}

impl Multiply {
    /// The products of each output.
    fn emit(&self, enables: &[Expr], body: &mut syntax::Module, files: &mut Files) -> Vec<Expr> {
        match self.products.multiplier {
            Multiplier::Single if self.products.chain > 1 => {
                vec![self.chained(self.ty.bits + carried(self.products.chain), body, files)]
            }
            Multiplier::Single => vec![self.single(enables, body)],
            Multiplier::Paired => self.paired(enables, body, files),
            Multiplier::Logic => vec![self.logic(enables, body)],
        }
    }

    fn element(&self, i: &Expr) -> Expr {
        lane(&self.elements, i, self.term.bits)
    }

    /// An element as a signed factor.
    fn factor(&self, i: &Expr) -> Expr {
        let element = self.element(i);
        if self.term.signed { element.into_signed() } else { concat(vec![number(0, 1), element]).into_signed() }
    }

    fn single(&self, enables: &[Expr], body: &mut syntax::Module) -> Expr {
        let Self { terms, ty, products: Products { weight_bits, .. }, .. } = self;
        body.comment("Products.");
        let products = body.reg("products", terms * ty.bits);
        let statements = repeated(body, "i", *terms, |i| {
            let product = self.factor(i).times(lane(&self.weights, i, *weight_bits).into_signed(), ty.bits);
            assign(lane(&products, i, ty.bits), product)
        });
        body.clocked(vec![when(enables[0].clone(), statements)]);
        let again = body.reg("products_1", terms * ty.bits);
        body.clocked(vec![when(enables[1].clone(), vec![assign(again.clone(), products)])]);
        again
    }

    fn paired(&self, enables: &[Expr], body: &mut syntax::Module, files: &mut Files) -> Vec<Expr> {
        let Self { terms, ty, products: Products { weight_bits, pairing, chain, .. }, .. } = self;
        let &Pairing { gap, levels } = pairing;
        let bits = (gap + ty.bits + carried(*chain)).min(2 * gap);
        body.comment(format!("Two products at once: the element times w1 * 2^{gap} + w0."));
        let (products, terms, stages) = if *chain > 1 {
            (self.chained(bits, body, files), terms.div_ceil(*chain), chain + 1)
        } else {
            let products = body.reg("products", terms * bits);
            let statements = repeated(body, "i", *terms, |i| {
                let at = |low: u32, width: u32| member(&self.weights, i, *terms, 2 * weight_bits + 1, low, width);
                assign(lane(&products, i, bits), self.factor(i).times(self.pair(at).into_signed(), bits))
            });
            body.clocked(vec![when(enables[0].clone(), statements)]);
            (products, *terms, 1)
        };
        let enables = &enables[stages as usize..];
        let widest = 2 * gap;
        let tree = Tree { name: "", ty: Ty::signed(bits), terms, maximum: false, widest, level: 0 };
        let (products, Ty { bits, .. }) = tree.emit(products, levels, enables, body);
        let terms = &(0..levels).fold(terms, |terms, _| terms.div_ceil(3));
        body.comment("Apart again: the upper one lacks 1 where the lower one is negative.");
        let apart = [body.reg("products_0", terms * gap), body.reg("products_1", terms * gap)];
        let mut statements = Vec::new();
        for (half, target) in apart.iter().enumerate() {
            statements.extend(repeated(body, &format!("i_{half}"), *terms, |i| {
                let at = |low: u32, width: u32| member(&products, i, *terms, bits, low, width);
                let value = match half {
                    0 => at(0, gap),
                    _ => extended(at(gap, bits - gap), Ty::signed(bits - gap), gap)
                        .plus(at(gap - 1, 1).zero_extended(gap)),
                };
                assign(lane(target, i, gap), value)
            }));
        }
        body.clocked(vec![when(enables[levels as usize].clone(), statements)]);
        apart.into()
    }

    /// The factor `w1 * 2^gap + w0` of a pair of weights, of which `at` takes bits.
    fn pair(&self, at: impl Fn(u32, u32) -> Expr) -> Expr {
        let Products { weight_bits, pairing: Pairing { gap, .. }, .. } = self.products;
        let sign = at(weight_bits - 1, 1).repeat(gap - weight_bits);
        concat(vec![at(weight_bits, weight_bits + 1), sign, at(0, weight_bits)])
    }

    /// Sums of chains of products, of so many bits each.
    fn chained(&self, bits: u32, body: &mut syntax::Module, files: &mut Files) -> Expr {
        let Self { terms, term, products: Products { weight_bits, multiplier, pairing, chain, .. }, .. } = *self;
        let cell = files.family.chain.expect("invariant: the family of a chain has the cell");
        let narrow = term.bits + u32::from(!term.signed);
        let (wide, field) = match multiplier {
            Multiplier::Paired => (pairing.gap + weight_bits + 1, 2 * weight_bits + 1),
            Multiplier::Single | Multiplier::Logic => (weight_bits, weight_bits),
        };
        body.comment("Sums of products, added by multipliers in chains.");
        let sums = body.declare(Declaration::wire("chain_sums", terms.div_ceil(chain) * bits), None);
        let number = variable("c");
        // The factors of a chain of so many products; those before it are whole.
        let connections = |length: u32, place: Option<u32>| {
            let bits_at = |bus: &Expr, width: u32, product: u32, low: u32, taken: u32| match place {
                None => bus.element(&number, chain * width, product * width + low, taken),
                Some(first) => bus.bits((first + product) * width + low, taken),
            };
            let pair = |product: u32| {
                let at = |low: u32, taken: u32| bits_at(&self.weights, field, product, low, taken);
                if multiplier == Multiplier::Paired { self.pair(at) } else { at(0, weight_bits) }
            };
            let element = |product: u32| {
                let element = bits_at(&self.elements, term.bits, product, 0, term.bits);
                if term.signed { element } else { concat(vec![syntax::number(0, 1), element]) }
            };
            let sum = match place {
                None => sums.element(&number, bits, 0, bits),
                Some(first) => sums.bits(first / chain * bits, bits),
            };
            vec![
                drives("clk", syntax::name("clk", 1)),
                drives("wide", concat((0..length).rev().map(pair).collect())),
                drives("narrow", concat((0..length).rev().map(element).collect())),
                driven("sum", sum),
            ]
        };
        // The wider factor goes to the wider port.
        let swapped = wide < narrow;
        let mut instance = |length: u32, place: Option<u32>, name: &str| {
            let factors = if swapped { [narrow, wide] } else { [wide, narrow] };
            let module = Chain { length, longest: chain, factors, sum: bits }.emit(cell, files);
            let mut connections = connections(length, place);
            if swapped {
                connections[1].port = "narrow".to_owned();
                connections[2].port = "wide".to_owned();
            }
            Item::Instance { module, name: name.to_owned(), connections }
        };
        let (whole, rest) = (terms / chain, terms % chain);
        match whole {
            0 => {}
            1 => {
                let item = instance(chain, Some(0), "products");
                body.items.push(item);
            }
            count => {
                let items = vec![instance(chain, None, "products")];
                body.items.push(Item::Generate { variable: "c".into(), count, label: "chains_c".into(), items });
            }
        }
        if rest > 0 {
            let item = instance(rest, Some(whole * chain), "last_products");
            body.items.push(item);
        }
        sums
    }

    fn logic(&self, enables: &[Expr], body: &mut syntax::Module) -> Expr {
        let Self { terms, ty, term, products: Products { weight_bits, .. }, .. } = self;
        let weight_bits = *weight_bits;
        let low_rows = weight_bits.div_ceil(2);
        // A row is the element, shifted, where the weight has a one; the weight's sign bit takes
        // its row away.
        let element_bits = term.bits + u32::from(!term.signed);
        let row = |i: &Expr, bit: u32, shift: u32, width: u32| {
            let element = self.element(i);
            let above = if term.signed { sign(&element, term.bits) } else { number(0, 1) };
            let parts = vec![above.repeat(width - shift - term.bits), element, number(0, shift)];
            let weight = member(&self.weights, i, *terms, weight_bits, bit, 1);
            weight.choose(concat(parts), number(0, width))
        };
        let sum = |i: &Expr, rows: std::ops::Range<u32>, width: u32| {
            let start = rows.start;
            let mut sum: Option<Expr> = None;
            for bit in rows {
                let row = row(i, bit, bit - start, width);
                let negative = bit + 1 == weight_bits;
                sum = Some(match (sum, negative) {
                    (None, false) => row,
                    (None, true) => number(0, width).minus(row),
                    (Some(sum), false) => sum.plus(row),
                    (Some(sum), true) => sum.minus(row),
                });
            }
            sum.unwrap_or_else(|| number(0, width))
        };
        body.comment("Products in logic: the element times the low and the high bits of the weight.");
        let (low_bits, high_bits) = (element_bits + low_rows, element_bits + weight_bits - low_rows + 1);
        let low = body.reg("low_products", terms * low_bits);
        let high = body.reg("high_products", terms * high_bits);
        let mut statements =
            repeated(body, "i", *terms, |i| assign(lane(&low, i, low_bits), sum(i, 0..low_rows, low_bits)));
        statements.extend(repeated(body, "i_high", *terms, |i| {
            assign(lane(&high, i, high_bits), sum(i, low_rows..weight_bits, high_bits))
        }));
        body.clocked(vec![when(enables[0].clone(), statements)]);
        body.comment("Their sums.");
        let products = body.reg("products", terms * ty.bits);
        let statements = repeated(body, "i_sum", *terms, |i| {
            let low = extended(lane(&low, i, low_bits), Ty::signed(low_bits), ty.bits);
            let kept = ty.bits - low_rows;
            let high = extended(lane(&high, i, high_bits), Ty::signed(high_bits), kept);
            assign(lane(&products, i, ty.bits), low.plus(concat(vec![high, number(0, low_rows)])))
        });
        body.clocked(vec![when(enables[1].clone(), statements)]);
        products
    }
}

/// Registered levels that each join up to three values.
struct Tree<'a> {
    name: &'a str,
    ty: Ty,
    terms: u32,
    maximum: bool,
    /// Bits that hold what is asked of sums.
    widest: u32,
    /// Levels before it.
    level: u32,
}

impl Tree<'_> {
    /// The root and its type, or what so many levels leave.
    fn emit(&self, mut values: Expr, levels: u32, enables: &[Expr], body: &mut syntax::Module) -> (Expr, Ty) {
        let Self { name, mut ty, terms: mut count, maximum, widest, level: before } = *self;
        let mut level = before;
        while count > 1 && level - before < levels {
            level += 1;
            body.comment(format!("Level {level}: {count} to {}.", count.div_ceil(3)));
            let grown = match (maximum, count) {
                (true, _) => ty.bits,
                (false, 2) => ty.bits + 1,
                (false, _) => ty.bits + 2,
            };
            let next = Ty { bits: if maximum { ty.bits } else { grown.min(widest) }, ..ty };
            let outputs = body.reg(&format!("level_{level}{name}"), count.div_ceil(3) * next.bits);
            let join = |inputs: Vec<Expr>| {
                if maximum {
                    largest(inputs, ty.signed)
                } else {
                    let extended = inputs.into_iter().map(|input| extended(input, ty, next.bits));
                    extended.reduce(Expr::plus).unwrap_or_else(|| number(0, next.bits))
                }
            };
            let mut statements = repeated(body, &format!("i{level}{name}"), count / 3, |i| {
                let inputs = (0..3).map(|k| input(&values, i, count, k, ty.bits)).collect();
                assign(lane(&outputs, i, next.bits), join(inputs))
            });
            if count % 3 > 0 {
                let at = count / 3;
                let inputs = (at * 3..count)
                    .map(|k| Input { bus: values.clone(), variable: None, at: k * ty.bits, bits: ty.bits }.expr());
                statements.push(assign(outputs.bits(at * next.bits, next.bits), join(inputs.collect())));
            }
            body.clocked(vec![when(enables[(level - before) as usize - 1].clone(), statements)]);
            (values, ty, count) = (outputs, next, count.div_ceil(3));
        }
        (values, ty)
    }
}

struct Input {
    bus: Expr,
    variable: Option<Expr>,
    at: u32,
    bits: u32,
}

impl Input {
    fn expr(&self) -> Expr {
        match &self.variable {
            Some(variable) => self.bus.element(variable, self.bits * 3, self.at, self.bits),
            None => self.bus.bits(self.at, self.bits),
        }
    }
}

/// Input `3 * i + k` of a level.
fn input(values: &Expr, i: &Expr, count: u32, k: u32, bits: u32) -> Expr {
    let variable = (count >= 6).then(|| i.clone());
    Input { bus: values.clone(), variable, at: k * bits, bits }.expr()
}

/// Lane number `i` of a bus.
fn lane(bus: &Expr, i: &Expr, bits: u32) -> Expr {
    if *i == integer(0) { bus.bits(0, bits) } else { bus.element(i, bits, 0, bits) }
}

/// A lane or a bus of one lane in another width.
fn extended(value: Expr, ty: Ty, width: u32) -> Expr {
    if width == ty.bits {
        return value;
    }
    if width < ty.bits {
        return low(&value, width);
    }
    if !ty.signed {
        return value.zero_extended(width);
    }
    concat(vec![sign(&value, ty.bits).repeat(width - ty.bits), value])
}

/// The low bits of a lane: sums are right modulo any width.
fn low(value: &Expr, width: u32) -> Expr {
    match &value.node {
        syntax::Node::Part(bus, base) if width == 1 => {
            Expr { node: syntax::Node::Index(bus.clone(), base.clone()), width, signed: false }
        }
        syntax::Node::Part(..) => Expr { width, ..value.clone() },
        syntax::Node::Range(bus, _, at) => syntax::name(bus, at + value.width).bits(*at, width),
        _ => value.bits(0, width),
    }
}

/// The sign bit of a lane.
fn sign(value: &Expr, bits: u32) -> Expr {
    match &value.node {
        syntax::Node::Part(bus, base) => {
            let at = (**base).clone().plus(integer(i64::from(bits) - 1));
            Expr { node: syntax::Node::Index(bus.clone(), Box::new(at)), width: 1, signed: false }
        }
        syntax::Node::Range(bus, high, _) => Expr {
            node: syntax::Node::Index(bus.clone(), Box::new(integer(i64::from(*high)))),
            width: 1,
            signed: false,
        },
        _ if bits == 1 => value.clone(),
        _ => value.bits(bits - 1, 1),
    }
}

fn largest(values: Vec<Expr>, signed: bool) -> Expr {
    let take = |value: &Expr| if signed { value.clone().into_signed() } else { value.clone() };
    let of_two = |a: Expr, b: Expr| take(&a).greater(take(&b)).choose(a, b);
    match &values[..] {
        [a, b, c] => {
            let (with_a, with_b) = (of_two(a.clone(), c.clone()), of_two(b.clone(), c.clone()));
            take(a).greater(take(b)).choose(with_a, with_b)
        }
        [a, b] => of_two(a.clone(), b.clone()),
        [a] => a.clone(),
        _ => panic!("invariant: a level joins one to three values"),
    }
}
