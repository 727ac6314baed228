//! Logic of expressions and statements, counted by kind.
//!
//! What is counted is what the generator wrote; what a kind takes is a figure of the family, fitted to synthesis
//! (`scripts/fit-costs`).

use super::Count;
use crate::device::Device;
use crate::rtl::engine::Step;
use crate::rtl::{Expr, Module, SignalId, Statement, Ty};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, Index, IndexMut};

macro_rules! terms {
    ($($(#[$doc:meta])* $term:ident $key:literal,)*) => {
        /// A kind of logic.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Term { $($(#[$doc])* $term,)* }

        impl Term {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$term,)*];

            /// The key in family files.
            pub fn key(self) -> &'static str {
                match self { $(Self::$term => $key,)* }
            }
        }
    };
}

terms! {
    /// A module.
    Module "module",
    /// Bits of a sum or difference of two values.
    Add "add",
    /// Bits of a sum or difference with a constant.
    AddConstant "add_constant",
    /// Bits of a comparison of two values.
    Compare "compare",
    /// Bits of a comparison with a constant.
    CompareConstant "compare_constant",
    /// Bits of a choice between two values.
    Mux "mux",
    /// Bits of a choice between a value and a constant.
    MuxConstant "mux_constant",
    /// Bits of a value that is clamped.
    Clamp "clamp",
    /// Bits of a choice by number, for as many ways as one look-up table has.
    Select "select",
    /// Conjunctions and disjunctions.
    Gate "gate",
    /// Bits and stages of a shift by a value.
    Shift "shift",
    /// Bits of the sums of a product with a constant.
    Multiple "multiple",
    /// Bits of a ROM in logic, of as many words as one look-up table holds.
    Rom "rom",
    /// Block RAMs, the smallest that stand alone.
    Bank "bank",
    /// Branches of statements.
    Branch "branch",
    /// Registers that are set.
    Set "set",
    /// Bits of a register that is set to a constant other than zero.
    SetConstant "set_constant",
    /// Bits of a register for each value beyond the first that it is set to.
    SetAgain "set_again",
    /// Stages of a pipeline or an engine.
    Stage "stage",
    /// Engines.
    Engine "engine",
    /// Bits of the addresses of window memories.
    Address "address",
    /// Taps of a window.
    Tap "tap",
    /// Bits of the taps of a window.
    Padding "padding",
    /// Bits of adder trees.
    Tree "tree",
    /// Bits of accumulators.
    Accumulator "accumulator",
    /// Bits of the upper products of shared multipliers.
    Paired "paired",
    /// Bits of elements that are chosen by the position of a weight, for each position beyond the first.
    Position "position",
    /// Bits of masked rows of products in logic.
    Mask "mask",
    /// Bits of sums of rows of products in logic.
    Rows "rows",
    /// Bytes and banks of weights that are loaded.
    Load "load",
}

/// How much there is of each kind of logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logic([u64; Term::ALL.len()]);

impl Default for Logic {
    fn default() -> Self {
        Self([0; Term::ALL.len()])
    }
}

impl Index<Term> for Logic {
    type Output = u64;

    fn index(&self, term: Term) -> &u64 {
        &self.0[term as usize]
    }
}

impl IndexMut<Term> for Logic {
    fn index_mut(&mut self, term: Term) -> &mut u64 {
        &mut self.0[term as usize]
    }
}

impl AddAssign for Logic {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

/// Thousandths of a look-up table for one of each kind of logic.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>")]
pub struct Prices(Logic);

impl TryFrom<BTreeMap<String, u64>> for Prices {
    type Error = String;

    fn try_from(given: BTreeMap<String, u64>) -> Result<Self, String> {
        if let Some(missing) = Term::ALL.iter().find(|term| !given.contains_key(term.key())) {
            return Err(format!("`{}` has no price", missing.key()));
        }
        let mut prices = Logic::default();
        for (key, price) in given {
            let term = Term::ALL.iter().find(|term| term.key() == key);
            prices[*term.ok_or_else(|| format!("there is no kind of logic `{key}`"))?] = price;
        }
        Ok(Self(prices))
    }
}

impl Prices {
    /// Look-up tables of so much logic.
    pub fn luts(&self, logic: &Logic) -> u64 {
        logic.0.iter().zip(self.0.0).map(|(amount, price)| amount * price).sum::<u64>().div_ceil(1000)
    }
}

fn is_constant(value: &Expr) -> bool {
    matches!(value, Expr::Const(_))
}

/// Whether a sum is of bits side by side.
fn is_side_by_side(module: &Module, a: &Expr, b: &Expr) -> bool {
    let low = b.ty(module);
    matches!(a, Expr::Shl(_, bits) if !low.signed && low.bits <= *bits)
}

/// Counts an expression with all its parts.
pub fn expression(module: &Module, value: &Expr, device: &Device, count: &mut Count) {
    let logic = &mut count.logic;
    let either = |a: &Expr, b: &Expr, plain: Term, constant: Term| {
        if is_constant(a) || is_constant(b) { constant } else { plain }
    };
    match value {
        Expr::Const(_) | Expr::Signal(_) | Expr::Lane(..) | Expr::Slice { .. } => return,
        Expr::Shl(..) | Expr::Shr(..) | Expr::Low(..) | Expr::Pack(..) | Expr::Join(_) | Expr::Rom(..) => {}
        Expr::LaneAt(signal, _) => {
            let Ty { bits, lanes, .. } = module.signal(*signal).ty;
            logic[Term::Select] += select(bits.into(), lanes.into(), device);
        }
        Expr::SliceAt { signal, lanes, .. } => {
            let ty = module.signal(*signal).ty;
            logic[Term::Select] += select((ty.bits * lanes).into(), (ty.lanes / lanes).into(), device);
        }
        Expr::Add(a, b) if is_side_by_side(module, a, b) => {}
        Expr::Add(a, b) | Expr::Sub(a, b) => {
            logic[either(a, b, Term::Add, Term::AddConstant)] += u64::from(value.ty(module).bits);
        }
        Expr::Mul(a, b) => product(module, a, b, device, count),
        Expr::ShrBy(a, amount) => {
            logic[Term::Shift] += u64::from(a.ty(module).bits) * u64::from(amount.ty(module).bits.min(4));
        }
        Expr::And(..) | Expr::Or(..) => logic[Term::Gate] += 1,
        Expr::Not(_) => {}
        Expr::Eq(a, b) | Expr::Lt(a, b) => {
            let bits = a.ty(module).bits.max(b.ty(module).bits);
            logic[either(a, b, Term::Compare, Term::CompareConstant)] += u64::from(bits);
        }
        Expr::Mux(_, a, b) => {
            // Long chains hang on the second; their types are alike.
            let width = |part: &Expr| if matches!(part, Expr::Mux(..)) { 0 } else { part.ty(module).width() };
            logic[either(a, b, Term::Mux, Term::MuxConstant)] += u64::from(width(a).max(width(b)));
        }
        Expr::Clamp(a, ..) => logic[Term::Clamp] += u64::from(a.ty(module).bits),
    }
    value.for_each_operand(|part| expression(module, part, device, count));
}

/// Counts a product.
fn product(module: &Module, a: &Expr, b: &Expr, device: &Device, count: &mut Count) {
    let (a_ty, b_ty) = (a.ty(module), b.ty(module));
    for (constant, other) in [(a, b_ty), (b, a_ty)] {
        if let Expr::Const(value) = constant {
            // One adder for each non-zero digit after the first in canonical signed digits.
            let magnitude = value.unsigned_abs();
            let digits = u64::from((magnitude ^ (3 * magnitude)).count_ones());
            count.logic[Term::Multiple] += digits.saturating_sub(1) * u64::from(other.bits + 8);
            return;
        }
    }
    // Multipliers take unsigned operands of all their bits, if both are unsigned.
    let sign = u32::from(a_ty.signed || b_ty.signed || !device.family.unsigned);
    let signed = |ty: Ty| u64::from(ty.bits + if ty.signed { 0 } else { sign });
    count.parts.dsp += dsps(signed(a_ty), signed(b_ty), device);
}

/// Hardware multipliers of a signed product.
pub fn dsps(a: u64, b: u64, device: &Device) -> u64 {
    let tiles = |a: u64, b: u64| {
        // Parts below the top one are unsigned and lose a bit.
        let parts =
            |bits: u64, wide: u32| if bits <= u64::from(wide) { 1 } else { (bits - 1).div_ceil(u64::from(wide) - 1) };
        parts(a, device.family.multiplier[0]) * parts(b, device.family.multiplier[1])
    };
    tiles(a, b).min(tiles(b, a))
}

/// Bits of a multiplexer of words, for as many of them as one look-up table has ways.
pub fn select(width: u64, words: u64, device: &Device) -> u64 {
    let ways = if device.family.lut_inputs >= 6 { 4 } else { 2 };
    if words > 1 { width * words.div_ceil(ways) } else { 0 }
}

/// Bits of words, for each beyond the first.
pub fn ways(width: u64, words: u64) -> u64 {
    width * words.saturating_sub(1)
}

/// Registers of image rows that engines do not test, because their windows do not leave the image by rows.
pub fn untested_rows(module: &Module) -> BTreeSet<SignalId> {
    fn find(module: &Module, statements: &[Statement], found: &mut BTreeSet<SignalId>) {
        for statement in statements {
            match statement {
                Statement::If { then, otherwise, .. } => {
                    find(module, then, found);
                    find(module, otherwise, found);
                }
                Statement::Issue { engine, step: Step { row: Expr::Signal(row), .. } }
                    if !module.engine(*engine).shape.leaves[0] =>
                {
                    found.insert(*row);
                }
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    find(module, &module.statements, &mut found);
    found
}

/// Counts the logic of a module's statements; a register that is set to several values has a multiplexer.
/// `untested`: registers that synthesis removes.
pub fn statements(module: &Module, untested: &BTreeSet<SignalId>, device: &Device, count: &mut Count) {
    let mut set = vec![None; module.signals.len()];
    let mut scope = Scope { module, untested, device, set: &mut set };
    for part in &module.statements {
        statement(&mut scope, part, count);
    }
    for (signal, values) in module.signals.iter().zip(&set) {
        let Some(values) = *values else { continue };
        count.logic[Term::Set] += 1;
        count.logic[Term::SetAgain] += ways(u64::from(signal.ty.width()), values);
    }
}

/// What statements are counted in.
struct Scope<'a> {
    module: &'a Module,
    untested: &'a BTreeSet<SignalId>,
    device: &'a Device,
    /// For each signal that is set, values that it is set to besides constants.
    set: &'a mut Vec<Option<u64>>,
}

fn statement(scope: &mut Scope, statement: &Statement, count: &mut Count) {
    let &mut Scope { module, device, .. } = scope;
    let mut all = |parts: &[&Expr]| parts.iter().for_each(|part| expression(module, part, device, count));
    match statement {
        Statement::Set(register, _) if scope.untested.contains(register) => {}
        Statement::Set(register, value) => {
            all(&[value]);
            let values = scope.set[register.0 as usize].get_or_insert(0);
            match value {
                Expr::Const(0) => {}
                Expr::Const(_) => count.logic[Term::SetConstant] += u64::from(module.signal(*register).ty.width()),
                _ => *values += 1,
            }
        }
        Statement::If { condition, then, otherwise } => {
            all(&[condition]);
            count.logic[Term::Branch] += 1;
            for inner in then.iter().chain(otherwise) {
                self::statement(scope, inner, count);
            }
        }
        Statement::Read { address, .. } => all(&[address]),
        Statement::Write { address, data, .. } => all(&[address, data]),
        Statement::Launch { arguments, .. } => all(&arguments.iter().collect::<Vec<_>>()),
        Statement::Fill { row, column, group, data, .. } => all(&[row, column, group, data]),
        Statement::Load { address, part, data, .. } => all(&[address, part, data]),
        Statement::Issue { step, .. } => {
            all(&[&step.ring, &step.row, &step.column, &step.group, &step.tap, &step.address, &step.last])
        }
    }
}
