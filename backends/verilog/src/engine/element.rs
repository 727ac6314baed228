//! A processing element: products, the tree that adds (or compares) them, one accumulator.

use super::repeated;
use crate::Files;
use crate::syntax::{self, Declaration, Direction, Expr, Kind, assign, concat, integer, number, when};
use lutweave_hw::rtl::{Engine, Reduce, Ty};

/// Emits the processing element of an engine; elements of one shape share a module, whose name
/// this returns.
pub fn emit(engine: &Engine, result: Ty, files: &mut Files) -> String {
    let (terms, levels) = (engine.terms(), engine.tree_levels());
    let term = engine.word.lane();
    let weight_bits = match engine.reduce {
        Reduce::Dense { weight_bits, .. } | Reduce::Depthwise { weight_bits, .. } => Some(weight_bits),
        Reduce::Max | Reduce::Sum => None,
    };
    let maximum = matches!(engine.reduce, Reduce::Max);
    let kind = match (weight_bits, maximum) {
        (Some(bits), _) => format!("dot_{terms}_{term}_i{bits}"),
        (None, true) => format!("max_{terms}_{term}"),
        (None, false) => format!("sum_{terms}_{term}"),
    };
    let module_name = format!("{kind}_{}", result.lane());
    let mut body = syntax::Module { name: module_name.clone(), ..Default::default() };
    body.comment.push(match (weight_bits, maximum) {
        (Some(bits), _) => {
            format!("{module_name}: dot product of {terms} elements of {term} with {bits}-bit weights, accumulated.")
        }
        (None, true) => format!("{module_name}: largest of {terms} elements of {term}, over several steps."),
        (None, false) => format!("{module_name}: sum of {terms} elements of {term}, accumulated."),
    });
    body.comment
        .push("Bit 0 of enable is the step whose elements are here; it moves up one register a cycle.".to_owned());
    body.input("clk", 1);
    let stages = engine.product_stages();
    let enable = body.input("enable", levels + stages + 1);
    let first = body.input("first", 1);
    let elements = body.input("elements", terms * term.bits);
    let weights = weight_bits.map(|bits| (body.input("weights", terms * bits), bits));
    let total = Declaration { kind: Kind::Reg, ..Declaration::wire("total", result.bits) }.sign(result.signed);
    let total = body.port(Direction::Output, total);

    let mut ty = match weight_bits {
        Some(bits) => Ty::signed(term.bits + bits),
        None => term,
    };
    body.comment(if weights.is_some() { "Products." } else { "Elements." });
    let mut values = body.reg(if weights.is_some() { "products" } else { "inputs" }, terms * ty.bits);
    let statements = match &weights {
        None => vec![assign(values.clone(), elements)],
        Some((weights, bits)) => repeated(&mut body, "i", terms, |i| {
            let element = lane(&elements, i, term.bits);
            let element = if term.signed { element } else { concat(vec![number(0, 1), element]) };
            let product = element.into_signed().times(lane(weights, i, *bits).into_signed(), ty.bits);
            assign(lane(&values, i, ty.bits), product)
        }),
    };
    body.clocked(vec![when(enable.bits(0, 1), statements)]);
    for stage in 1..stages {
        let again = body.reg(&format!("products_{stage}"), terms * ty.bits);
        body.clocked(vec![when(enable.bits(stage, 1), vec![assign(again.clone(), values)])]);
        values = again;
    }

    let mut count = terms;
    for level in 1..=levels {
        body.comment(format!("Level {level}: {count} to {}.", count.div_ceil(3)));
        let grown = match (maximum, count) {
            (true, _) => ty.bits,
            (false, 2) => ty.bits + 1,
            (false, _) => ty.bits + 2,
        };
        let next = Ty { bits: if maximum { ty.bits } else { grown.min(result.bits) }, ..ty };
        let outputs = body.reg(&format!("level_{level}"), count.div_ceil(3) * next.bits);
        let join = |inputs: Vec<Expr>| {
            if maximum {
                largest(inputs, ty.signed)
            } else {
                let extended = inputs.into_iter().map(|input| extended(input, ty, next.bits));
                extended.reduce(Expr::plus).unwrap_or_else(|| number(0, next.bits))
            }
        };
        let mut statements = repeated(&mut body, &format!("i{level}"), count / 3, |i| {
            let inputs = (0..3).map(|k| input(&values, i, count, k, ty.bits)).collect();
            assign(lane(&outputs, i, next.bits), join(inputs))
        });
        if count % 3 > 0 {
            let at = count / 3;
            let inputs = (at * 3..count)
                .map(|k| Input { bus: values.clone(), variable: None, at: k * ty.bits, bits: ty.bits }.expr());
            statements.push(assign(outputs.bits(at * next.bits, next.bits), join(inputs.collect())));
        }
        body.clocked(vec![when(enable.bits(stages - 1 + level, 1), statements)]);
        (values, ty, count) = (outputs, next, count.div_ceil(3));
    }

    let value = extended(values, ty, result.bits);
    let next = if maximum {
        let (new, old) = if ty.signed {
            (value.clone().into_signed(), total.clone().into_signed())
        } else {
            (value.clone(), total.clone())
        };
        first.or(new.greater(old)).choose(value, total.clone())
    } else {
        first.choose(number(0, result.bits), total.clone()).plus(value)
    };
    body.comment("Accumulator.");
    body.clocked(vec![when(enable.bits(stages + levels, 1), vec![assign(total, next)])]);
    files.share(body)
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
