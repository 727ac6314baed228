//! Expressions: exact integer arithmetic over the signals of a module.

use super::{MemoryId, Module, SignalId, Ty};

/// An expression. Scalars compute exactly: [`Expr::ty`] is wide enough for every value.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// An integer.
    Const(i64),
    /// A whole signal, scalar or vector.
    Signal(SignalId),
    /// Lane of a vector signal, by number.
    Lane(SignalId, u32),
    /// Lane of a vector signal, by value (below the number of lanes).
    LaneAt(SignalId, Box<Expr>),
    /// Sum.
    Add(Box<Expr>, Box<Expr>),
    /// Difference.
    Sub(Box<Expr>, Box<Expr>),
    /// Product: a hardware multiplier unless a factor is constant.
    Mul(Box<Expr>, Box<Expr>),
    /// `a << constant`.
    Shl(Box<Expr>, u32),
    /// `a >> constant`, arithmetic.
    Shr(Box<Expr>, u32),
    /// `a >> b`, arithmetic, `b` unsigned and at most 63.
    ShrBy(Box<Expr>, Box<Expr>),
    /// The low `constant` bits of a scalar, as an unsigned number.
    Low(Box<Expr>, u32),
    /// Conjunction of bits.
    And(Box<Expr>, Box<Expr>),
    /// Disjunction of bits.
    Or(Box<Expr>, Box<Expr>),
    /// Negation of a bit.
    Not(Box<Expr>),
    /// 1 if equal.
    Eq(Box<Expr>, Box<Expr>),
    /// 1 if less.
    Lt(Box<Expr>, Box<Expr>),
    /// `bit ? a : b`; scalars, or vectors of one type.
    Mux(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `min(max(a, lo), hi)`.
    Clamp(Box<Expr>, i64, i64),
    /// A vector from scalars, lane 0 first; each wraps to the lane type. Stored into a vector of
    /// another lane type, each lane converts by its value.
    Pack(Ty, Vec<Expr>),
    /// Lanes `start .. start + lanes` of a vector signal.
    Slice {
        /// The vector.
        signal: SignalId,
        /// First lane.
        start: u32,
        /// Lanes of the result.
        lanes: u32,
    },
    /// Lanes `index * lanes .. (index + 1) * lanes` of a vector signal.
    SliceAt {
        /// The vector; its lanes are a multiple of `lanes`.
        signal: SignalId,
        /// Which slice.
        index: Box<Expr>,
        /// Lanes of the result.
        lanes: u32,
    },
    /// Vectors (or scalars) of one lane type joined, first in the low lanes.
    Join(Vec<Expr>),
    /// Word of a ROM, read synchronously; only as the root of a pipeline stage's definition.
    Rom(MemoryId, Box<Expr>),
}

impl Expr {
    /// The type of the value: wide enough to hold it exactly.
    ///
    /// # Panics
    /// If the expression is not well formed; the builders do not make such.
    pub fn ty(&self, module: &Module) -> Ty {
        let of = |expr: &Self| expr.ty(module);
        match self {
            Self::Const(value) => Ty::range((*value).min(0), (*value).max(0)),
            Self::Signal(id) => module.signal(*id).ty,
            Self::Lane(id, _) | Self::LaneAt(id, _) => module.signal(*id).ty.lane(),
            Self::Add(a, b) => {
                let union = union(of(a), of(b));
                Ty { bits: (union.bits + 1).min(64), ..union }
            }
            Self::Sub(a, b) => Ty::signed((union(of(a), of(b)).bits + 1).min(64)),
            Self::Mul(a, b) => {
                let (a, b) = (of(a), of(b));
                let signed = a.signed || b.signed;
                Ty { lanes: 1, bits: (a.bits + b.bits).min(64), signed }
            }
            Self::Shl(a, by) => {
                let a = of(a);
                Ty { bits: (a.bits + by).min(64), ..a }
            }
            Self::Shr(a, by) => {
                let a = of(a);
                Ty { bits: a.bits.saturating_sub(*by).max(1), ..a }
            }
            Self::ShrBy(a, _) => of(a),
            Self::Low(_, bits) => Ty::unsigned(*bits),
            Self::And(..) | Self::Or(..) | Self::Not(_) | Self::Eq(..) | Self::Lt(..) => Ty::BIT,
            Self::Mux(_, a, b) => {
                let (a, b) = (of(a), of(b));
                if a.lanes > 1 { a } else { union(a, b) }
            }
            Self::Clamp(_, lo, hi) => Ty::range((*lo).min(0), (*hi).max(0)),
            Self::Pack(ty, lanes) => ty.by(lanes.len() as u32),
            Self::Slice { signal, lanes, .. } | Self::SliceAt { signal, lanes, .. } => {
                module.signal(*signal).ty.by(*lanes)
            }
            Self::Join(parts) => of(&parts[0]).by(parts.iter().map(|part| of(part).lanes).sum()),
            Self::Rom(memory, _) => module.memory(*memory).word,
        }
    }

    /// The signal that it reads itself; its operands may read others.
    pub fn signal(&self) -> Option<SignalId> {
        match self {
            Self::Signal(id)
            | Self::Lane(id, _)
            | Self::LaneAt(id, _)
            | Self::Slice { signal: id, .. }
            | Self::SliceAt { signal: id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Calls `see` for each expression that it is made of directly, in order.
    pub fn for_each_operand<'a>(&'a self, mut see: impl FnMut(&'a Self)) {
        match self {
            Self::Const(_) | Self::Signal(_) | Self::Lane(..) | Self::Slice { .. } => {}
            Self::LaneAt(_, a) | Self::SliceAt { index: a, .. } | Self::Rom(_, a) => see(a),
            Self::Shl(a, _) | Self::Shr(a, _) | Self::Low(a, _) | Self::Not(a) | Self::Clamp(a, ..) => see(a),
            Self::Add(a, b)
            | Self::Sub(a, b)
            | Self::Mul(a, b)
            | Self::ShrBy(a, b)
            | Self::And(a, b)
            | Self::Or(a, b)
            | Self::Eq(a, b)
            | Self::Lt(a, b) => {
                see(a);
                see(b);
            }
            Self::Mux(condition, a, b) => {
                see(condition);
                see(a);
                see(b);
            }
            Self::Pack(_, parts) | Self::Join(parts) => parts.iter().for_each(see),
        }
    }
}

/// The narrowest scalar type that holds both.
pub fn union(a: Ty, b: Ty) -> Ty {
    if a.signed == b.signed {
        return Ty { lanes: 1, bits: a.bits.max(b.bits), signed: a.signed };
    }
    let (signed, unsigned) = if a.signed { (a, b) } else { (b, a) };
    Ty::signed(signed.bits.max(unsigned.bits + 1).min(64))
}

impl From<SignalId> for Expr {
    fn from(id: SignalId) -> Self {
        Self::Signal(id)
    }
}

impl From<i64> for Expr {
    fn from(value: i64) -> Self {
        Self::Const(value)
    }
}

/// `a + b`.
pub fn add(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::Add(Box::new(a.into()), Box::new(b.into()))
}

/// `a - b`.
pub fn sub(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::Sub(Box::new(a.into()), Box::new(b.into()))
}

/// `a * b`.
pub fn mul(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::Mul(Box::new(a.into()), Box::new(b.into()))
}

/// `a & b` of bits.
pub fn and(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::And(Box::new(a.into()), Box::new(b.into()))
}

/// `a | b` of bits.
pub fn or(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::Or(Box::new(a.into()), Box::new(b.into()))
}

/// Negation of a bit.
pub fn not(a: impl Into<Expr>) -> Expr {
    Expr::Not(Box::new(a.into()))
}

/// `a == b`.
pub fn eq(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::Eq(Box::new(a.into()), Box::new(b.into()))
}

/// `a < b`.
pub fn lt(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::Lt(Box::new(a.into()), Box::new(b.into()))
}

/// `a >= b`.
pub fn ge(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    not(lt(a, b))
}

/// `condition ? a : b`.
pub fn mux(condition: impl Into<Expr>, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    Expr::Mux(Box::new(condition.into()), Box::new(a.into()), Box::new(b.into()))
}

/// All of some bits; 1 for none.
pub fn all(bits: impl IntoIterator<Item = Expr>) -> Expr {
    bits.into_iter().reduce(and).unwrap_or(Expr::Const(1))
}
