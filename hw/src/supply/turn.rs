//! Whose turn it is: one after the other.

use crate::rtl::build::{Builder, add_modulo, set, when};
use crate::rtl::expr::{Expr, and, eq, or};
use crate::rtl::{SignalId, Statement, Ty};

/// Whose turn it is.
#[derive(Clone, Copy)]
pub struct Turn {
    /// How many take turns, at least two: a single one does with none.
    pub of: u32,
    /// The number.
    pub number: SignalId,
}

impl Turn {
    /// Among so many, or with none.
    pub fn new(b: &mut Builder, name: &str, of: usize) -> Self {
        let of = of.max(2) as u32;
        Self { of, number: b.register(name, Ty::holding(u64::from(of - 1)), 0) }
    }

    /// Type of a number.
    pub fn ty(&self) -> Ty {
        Ty::holding(u64::from(self.of - 1))
    }

    /// 1 if it is the turn of that one.
    pub fn is(&self, index: usize) -> Expr {
        eq(self.number, index as i64)
    }

    /// 1 if the bit of the one whose turn it is is.
    pub fn has(&self, bits: impl IntoIterator<Item = Expr>) -> Expr {
        let own = bits.into_iter().enumerate().map(|(index, bit)| and(self.is(index), bit));
        own.reduce(or).unwrap_or(Expr::Const(0))
    }

    /// Gives the turn to the next where `go` is 1.
    pub fn serve(&self, go: Expr) -> Statement {
        when(go, vec![set(self.number, add_modulo(self.number, 1, self.of))])
    }
}
