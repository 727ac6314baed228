//! From RTL expressions to Verilog expressions of explicit width.
//!
//! Additions, subtractions and choices are computed directly in the width in which they are
//! needed: wider is exact, narrower is exact modulo the width. Everything of which single bits
//! are needed gets a wire of its own first, because Verilog selects bits of names only.

use crate::memory::address_bits;
use crate::namer::Namer;
use crate::syntax::{Declaration, Expr, Item, Node, any, concat, number};
use lutweave_hw::rtl::{self, SignalId, Ty, expr::union};
use std::collections::HashMap;

/// Lowers the expressions of one module; the wires that this needs are appended to the body.
pub struct Lower<'a> {
    module: &'a rtl::Module,
    /// The Verilog name of each signal.
    pub signals: Vec<Expr>,
    /// Names of the module.
    pub namer: Namer,
    /// Body so far.
    pub items: Vec<Item>,
    shared: HashMap<String, Expr>,
}

/// One lane of a declared name.
struct Atom {
    whole: Expr,
    low: u32,
    ty: Ty,
}

impl<'a> Lower<'a> {
    /// For a module; the caller fills in `signals`.
    pub fn new(module: &'a rtl::Module, namer: Namer) -> Self {
        Self { module, signals: Vec::new(), namer, items: Vec::new(), shared: HashMap::new() }
    }

    /// A signal.
    pub fn signal(&self, id: SignalId) -> Expr {
        self.signals[id.0 as usize].clone()
    }

    /// A condition.
    pub fn bit(&mut self, expr: &rtl::Expr, hint: &str) -> Expr {
        self.value(expr, 1, hint)
    }

    /// A value of a type, scalar or vector; scalars wrap.
    pub fn typed(&mut self, expr: &rtl::Expr, ty: Ty, hint: &str) -> Expr {
        match expr {
            _ if ty.lanes == 1 => self.value(expr, ty.bits, hint),
            rtl::Expr::Pack(packed, lanes) if packed.lane() != ty.lane() => {
                let lane = |lane: &rtl::Expr| {
                    let exact = union(lane.ty(self.module), packed.lane()) == packed.lane();
                    let wrapped = if exact { lane.clone() } else { rtl::Expr::Pack(packed.lane(), vec![lane.clone()]) };
                    self.value(&wrapped, ty.bits, hint)
                };
                concat(lanes.iter().rev().map(lane).collect())
            }
            _ => self.vector(expr, hint),
        }
    }

    /// The same, to be assigned directly: the target gives a product its width, which it lacks
    /// inside other expressions.
    pub fn assigned(&mut self, expr: &rtl::Expr, ty: Ty, hint: &str) -> Expr {
        match expr {
            rtl::Expr::Mul(a, b) if expr.ty(self.module).bits == ty.bits => {
                let product = expr.ty(self.module);
                self.product(a, b, product, hint)
            }
            _ => self.typed(expr, ty, hint),
        }
    }

    /// A wire with a value of a type.
    pub fn wire(&mut self, wanted: &str, ty: Ty, expr: &rtl::Expr) -> Expr {
        let value = self.assigned(expr, ty, wanted);
        self.declare(wanted, ty.signed && ty.lanes == 1, value)
    }

    /// A wire with a value.
    pub fn declare(&mut self, wanted: &str, signed: bool, value: Expr) -> Expr {
        let declaration = Declaration::wire(self.namer.unique(wanted), value.width).sign(signed);
        let declared = declaration.expr();
        self.items.push(Item::Declare(declaration, Some(value)));
        declared
    }

    /// All lanes of an expression, in its own type.
    fn vector(&mut self, expr: &rtl::Expr, hint: &str) -> Expr {
        match expr {
            rtl::Expr::Signal(id) => self.signal(*id),
            rtl::Expr::Mux(condition, yes, no) if expr.ty(self.module).lanes > 1 => {
                let condition = self.bit(condition, hint);
                let (yes, no) = (self.vector(yes, hint), self.vector(no, hint));
                condition.choose(yes, no)
            }
            rtl::Expr::Pack(ty, lanes) => {
                let lanes: Vec<Expr> = lanes.iter().rev().map(|lane| self.value(lane, ty.bits, hint)).collect();
                concat(lanes)
            }
            rtl::Expr::Join(parts) => {
                let parts: Vec<Expr> = parts.iter().rev().map(|part| self.vector(part, hint)).collect();
                concat(parts)
            }
            rtl::Expr::Slice { signal, start, lanes } => {
                let bits = self.module.signal(*signal).ty.bits;
                let declared = self.signals[signal.0 as usize].clone();
                declared.bits(start * bits, lanes * bits)
            }
            rtl::Expr::SliceAt { signal, index, lanes } => {
                let bits = self.module.signal(*signal).ty.bits * lanes;
                self.field(*signal, index, bits, hint)
            }
            _ => {
                let bits = expr.ty(self.module).bits;
                self.value(expr, bits, hint)
            }
        }
    }

    /// Field number `index` of `bits` bits of a signal. The fields are first spread to powers of
    /// two, so that the choice is one of whole fields and not a shift by bits.
    fn field(&mut self, signal: SignalId, index: &rtl::Expr, bits: u32, hint: &str) -> Expr {
        let declared = self.signal(signal);
        let count = declared.width / bits;
        if count <= 1 {
            return declared;
        }
        let stride = bits.next_power_of_two();
        let spread = if stride == bits {
            declared
        } else {
            let key = format!("{}/{bits}", signal.0);
            if let Some(spread) = self.shared.get(&key) {
                spread.clone()
            } else {
                let fields =
                    (0..count).rev().flat_map(|field| [number(0, stride - bits), declared.bits(field * bits, bits)]);
                let value = concat(fields.collect());
                let spread = self.declare(&format!("{}_spread", declared.identifier()), false, value);
                self.shared.insert(key, spread.clone());
                spread
            }
        };
        let index = self.value(index, address_bits(count), hint).into_unsigned();
        spread.part(concat(vec![index, number(0, stride.trailing_zeros())]), bits)
    }

    /// A scalar, modulo `2^width`; wider than its type it is extended by its sign.
    pub fn value(&mut self, expr: &rtl::Expr, width: u32, hint: &str) -> Expr {
        let ty = expr.ty(self.module);
        match expr {
            rtl::Expr::Const(value) => Expr { signed: *value < 0, ..number(*value, width) },
            rtl::Expr::Signal(_) | rtl::Expr::Lane(..) => {
                let atom = self.atom(expr, hint);
                self.resize(&atom, width)
            }
            rtl::Expr::Add(a, b) => {
                let (a, b) = (self.value(a, width, hint), self.value(b, width, hint));
                a.plus(b)
            }
            rtl::Expr::Sub(a, b) => {
                let (a, b) = (self.value(a, width, hint), self.value(b, width, hint));
                a.minus(b)
            }
            rtl::Expr::Shl(a, by) => {
                if width <= *by {
                    return number(0, width);
                }
                let a = self.value(a, width - by, hint);
                concat(vec![a, number(0, *by)])
            }
            rtl::Expr::Shr(a, by) => {
                let a = self.atom(a, hint);
                let by = (*by).min(a.ty.bits - 1 + u32::from(!a.ty.signed));
                if by == a.ty.bits {
                    return number(0, width);
                }
                let shifted = Atom { low: a.low + by, ty: Ty { bits: a.ty.bits - by, ..a.ty }, ..a };
                self.resize(&shifted, width)
            }
            rtl::Expr::ShrBy(a, by) if width >= ty.bits => {
                let a = self.atom(a, hint);
                let a = self.resize(&a, width);
                let by = self.vector(by, hint);
                let shifted = if ty.signed { a.into_signed().shifted_right(by) } else { a.shifted_right(by) };
                // The bracket of `$signed` keeps the sign of the context away from the shift.
                let node = if ty.signed { Node::Signed(Box::new(shifted)) } else { Node::Unsigned(Box::new(shifted)) };
                Expr { node, width, signed: ty.signed }
            }
            rtl::Expr::Low(a, bits) => self.value(a, width.min(*bits), hint).zero_extended(width),
            rtl::Expr::Mux(condition, yes, no) if ty.lanes == 1 => {
                let condition = self.bit(condition, hint);
                let (yes, no) = (self.value(yes, width, hint), self.value(no, width, hint));
                condition.choose(yes, no)
            }
            rtl::Expr::Clamp(a, lo, hi) => self.clamp(a, *lo, *hi, width, hint),
            rtl::Expr::And(a, b) => {
                let bit = match (&**a, &**b) {
                    (rtl::Expr::Const(1), other) | (other, rtl::Expr::Const(1)) => self.bit(other, hint),
                    _ => self.bit(a, hint).and(self.bit(b, hint)),
                };
                bit.zero_extended(width)
            }
            rtl::Expr::Or(a, b) => self.bit(a, hint).or(self.bit(b, hint)).zero_extended(width),
            rtl::Expr::Not(a) => self.bit(a, hint).not().zero_extended(width),
            rtl::Expr::Eq(a, b) => {
                let (ta, tb) = (a.ty(self.module), b.ty(self.module));
                let shared = union(ta, tb);
                let ((a_lo, a_hi), (b_lo, b_hi)) = (bounds(a, ta), bounds(b, tb));
                if a_hi < b_lo || b_hi < a_lo {
                    return number(0, width);
                }
                let (a, b) = (self.value(a, shared.bits, hint), self.value(b, shared.bits, hint));
                a.equals(b).zero_extended(width)
            }
            rtl::Expr::Lt(a, b) => {
                let (ta, tb) = (a.ty(self.module), b.ty(self.module));
                let shared = union(ta, tb);
                let ((a_lo, a_hi), (b_lo, b_hi)) = (bounds(a, ta), bounds(b, tb));
                if a_hi < b_lo || a_lo >= b_hi {
                    return number(i64::from(a_hi < b_lo), width);
                }
                let (a, b) = (self.value(a, shared.bits, hint), self.value(b, shared.bits, hint));
                let less = if shared.signed { a.into_signed().less(b.into_signed()) } else { a.less(b) };
                less.zero_extended(width)
            }
            _ if width == ty.bits => match expr {
                rtl::Expr::LaneAt(signal, index) => {
                    let bits = self.module.signal(*signal).ty.bits;
                    self.field(*signal, index, bits, hint)
                }
                rtl::Expr::Mul(a, b) if constant_factor(a, b).is_some() => self.product(a, b, ty, hint),
                rtl::Expr::Pack(..) | rtl::Expr::Join(_) | rtl::Expr::Slice { .. } | rtl::Expr::SliceAt { .. } => {
                    self.vector(expr, hint)
                }
                _ => {
                    let atom = self.atom(expr, hint);
                    self.resize(&atom, width)
                }
            },
            _ => {
                let atom = self.atom(expr, hint);
                self.resize(&atom, width)
            }
        }
    }

    fn clamp(&mut self, a: &rtl::Expr, lo: i64, hi: i64, width: u32, hint: &str) -> Expr {
        let a = self.atom(a, hint);
        let (least, most) = a.ty.bounds();
        if lo > most || hi < least {
            return number(if lo > most { lo } else { hi }, width);
        }
        let literal = |value: i64, width: u32| Expr { signed: value < 0, ..number(value, width) };
        let mut value = self.resize(&a, width);
        if hi < most {
            let over = self.compared(&a).greater(Expr { signed: a.ty.signed, ..number(hi, a.ty.bits) });
            value = over.choose(literal(hi, width), value);
        }
        if lo > least {
            let under = self.compared(&a).less(Expr { signed: a.ty.signed, ..number(lo, a.ty.bits) });
            value = under.choose(literal(lo, width), value);
        }
        value
    }

    fn compared(&mut self, atom: &Atom) -> Expr {
        let value = self.resize(atom, atom.ty.bits);
        if atom.ty.signed { value.into_signed() } else { value }
    }

    /// A product in its full width: a multiplier, or shifts and additions by a constant.
    fn product(&mut self, a: &rtl::Expr, b: &rtl::Expr, ty: Ty, hint: &str) -> Expr {
        if let Some((other, factor)) = constant_factor(a, b) {
            let other = self.atom(other, hint);
            let terms = signed_digits(factor).into_iter().filter(|(shift, _)| *shift < ty.bits);
            let terms: Vec<(Expr, bool)> = terms
                .map(|(shift, negative)| {
                    (concat(vec![self.resize(&other, ty.bits - shift), number(0, shift)]), negative)
                })
                .collect();
            return sum(terms, ty.bits);
        }
        let mut factor = |expr: &rtl::Expr| {
            let atom = self.atom(expr, hint);
            let value = self.resize(&atom, atom.ty.bits + u32::from(ty.signed && !atom.ty.signed));
            if ty.signed { value.into_signed() } else { value }
        };
        let (a, b) = (factor(a), factor(b));
        a.times(b, ty.bits)
    }

    /// One lane of a declared name that has this value.
    fn atom(&mut self, expr: &rtl::Expr, hint: &str) -> Atom {
        let ty = expr.ty(self.module);
        match expr {
            rtl::Expr::Signal(id) => return Atom { whole: self.signals[id.0 as usize].clone(), low: 0, ty },
            rtl::Expr::Lane(id, lane) => {
                return Atom { whole: self.signals[id.0 as usize].clone(), low: lane * ty.bits, ty };
            }
            rtl::Expr::Slice { signal, start, lanes: 1 } => {
                return Atom { whole: self.signals[signal.0 as usize].clone(), low: start * ty.bits, ty };
            }
            _ => {}
        }
        let key = format!("{expr:?}");
        if let Some(whole) = self.shared.get(&key) {
            return Atom { whole: whole.clone(), low: 0, ty };
        }
        let value = self.assigned(expr, ty, hint);
        let whole = self.declare(&format!("{hint}_{}", operation(expr)), ty.signed, value);
        self.shared.insert(key, whole.clone());
        Atom { whole, low: 0, ty }
    }

    fn resize(&mut self, atom: &Atom, width: u32) -> Expr {
        let bits = atom.ty.bits;
        if width <= bits {
            return atom.whole.bits(atom.low, width);
        }
        let value = atom.whole.bits(atom.low, bits);
        let above = if atom.ty.signed {
            atom.whole.bits(atom.low + bits - 1, 1).repeat(width - bits)
        } else {
            number(0, width - bits)
        };
        concat(vec![above, value])
    }
}

/// The other factor and the constant one, if one is.
fn constant_factor<'e>(a: &'e rtl::Expr, b: &'e rtl::Expr) -> Option<(&'e rtl::Expr, i64)> {
    match (a, b) {
        (other, rtl::Expr::Const(factor)) | (rtl::Expr::Const(factor), other) => Some((other, *factor)),
        _ => None,
    }
}

fn bounds(expr: &rtl::Expr, ty: Ty) -> (i64, i64) {
    if let rtl::Expr::Const(value) = expr { (*value, *value) } else { ty.bounds() }
}

/// What a wire for an intermediate value is called.
fn operation(expr: &rtl::Expr) -> &'static str {
    match expr {
        rtl::Expr::Const(_) => "constant",
        rtl::Expr::Signal(_) | rtl::Expr::Lane(..) | rtl::Expr::LaneAt(..) => "lane",
        rtl::Expr::Add(..) => "sum",
        rtl::Expr::Sub(..) => "difference",
        rtl::Expr::Mul(..) => "product",
        rtl::Expr::Shl(..) | rtl::Expr::Shr(..) | rtl::Expr::ShrBy(..) => "shifted",
        rtl::Expr::Low(..) => "low",
        rtl::Expr::And(..) | rtl::Expr::Or(..) | rtl::Expr::Not(_) | rtl::Expr::Eq(..) | rtl::Expr::Lt(..) => "test",
        rtl::Expr::Mux(..) => "choice",
        rtl::Expr::Clamp(..) => "clamped",
        rtl::Expr::Pack(..) | rtl::Expr::Join(_) => "packed",
        rtl::Expr::Slice { .. } | rtl::Expr::SliceAt { .. } => "slice",
        rtl::Expr::Rom(..) => "word",
    }
}

/// A constant as a sum of signed powers of two with the fewest terms: `(shift, negative)`.
pub fn signed_digits(constant: i64) -> Vec<(u32, bool)> {
    let mut rest = i128::from(constant);
    let mut digits = Vec::new();
    let mut shift = 0;
    while rest != 0 {
        if rest & 1 == 1 {
            let negative = rest & 3 == 3;
            digits.push((shift, negative));
            rest += if negative { 1 } else { -1 };
        }
        rest >>= 1;
        shift += 1;
    }
    digits
}

/// Terms added, or subtracted where marked.
pub fn sum(terms: Vec<(Expr, bool)>, width: u32) -> Expr {
    let (minus, plus): (Vec<_>, Vec<_>) = terms.into_iter().partition(|(_, negative)| *negative);
    let first = plus.into_iter().map(|(term, _)| term).reduce(Expr::plus).unwrap_or_else(|| number(0, width));
    minus.into_iter().fold(first, |total, (term, _)| total.minus(term))
}

/// `value * constant` in `width` bits, `value` a declared name, unsigned.
pub fn times_constant(value: &Expr, constant: u32, width: u32) -> Expr {
    let terms =
        signed_digits(i64::from(constant)).into_iter().filter(|(shift, _)| *shift < width).map(|(shift, negative)| {
            let kept = value.width.min(width - shift);
            (concat(vec![value.bits(0, kept).zero_extended(width - shift), number(0, shift)]), negative)
        });
    sum(terms.collect(), width)
}

/// The value of the first condition that holds, the last value if none does.
pub fn first_of(choices: Vec<(Expr, Expr)>) -> Option<(Expr, Expr)> {
    let enable = any(choices.iter().map(|(condition, _)| condition.clone()));
    let value = choices.into_iter().rev().reduce(|rest, (condition, value)| {
        let chosen = condition.clone().choose(value, rest.1);
        (condition, chosen)
    })?;
    Some((enable, value.1))
}
