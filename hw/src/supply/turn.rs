//! Whose turn it is: one after the other.

use crate::rtl::build::{Builder, add_modulo, set, when};
use crate::rtl::expr::{Expr, and, eq, mux, or};
use crate::rtl::{SignalId, Statement, Ty};

/// Whose turn it is; that of a single one always.
#[derive(Clone, Copy)]
pub struct Turn {
    of: u32,
    /// The number; none of a single one.
    pub number: Option<SignalId>,
}

impl Turn {
    /// Among so many.
    pub fn new(b: &mut Builder, of: usize) -> Self {
        let of = of as u32;
        let turn = Self { of, number: None };
        Self { number: (of > 1).then(|| b.register("turn", turn.ty(), 0)), ..turn }
    }

    /// Type of a number.
    pub fn ty(&self) -> Ty {
        Ty::holding(u64::from(self.of - 1))
    }

    /// 1 if it is the turn of that one.
    pub fn is(&self, index: usize) -> Expr {
        self.number.map_or(Expr::Const(1), |turn| eq(turn, index as i64))
    }

    /// The value of the one whose turn it is, of at least one.
    pub fn choose(&self, values: impl IntoIterator<Item = Expr>) -> Expr {
        let values = values.into_iter().enumerate();
        let chosen = values.reduce(|(_, others), (index, value)| (index, mux(self.is(index), value, others)));
        chosen.map_or(Expr::Const(0), |(_, value)| value)
    }

    /// 1 if the bit of the one whose turn it is is.
    pub fn has(&self, bits: impl IntoIterator<Item = Expr>) -> Expr {
        let own = bits.into_iter().enumerate().map(|(index, bit)| and(self.is(index), bit));
        own.reduce(or).unwrap_or(Expr::Const(0))
    }

    /// A statement that gives the turn to the next where `go` is 1.
    pub fn serve(&self, go: Expr) -> Option<Statement> {
        self.number.map(|turn| when(go, vec![set(turn, add_modulo(turn, 1, self.of))]))
    }
}
