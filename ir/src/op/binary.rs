//! Functions of two reals.

use crate::tensor::{Tensor, TensorType};

/// A function of two reals, numpy broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Binary {
    /// `x + y`.
    Add,
    /// `x - y`.
    Sub,
    /// `x * y`.
    Mul,
    /// `x / y`.
    Div,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// `x` to the power of `y`.
    Pow,
}
