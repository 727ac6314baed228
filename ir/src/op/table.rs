//! A pointwise integer function by table.

use crate::tensor::{Element, Tensor, TensorType};
use std::sync::Arc;

/// `y = entries[x - smallest x]`, for an operand of at most 8 bits: `2^bits` entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// One output per input value, from the operand type's smallest value up.
    pub entries: Arc<[i32]>,
    /// Element type of the result, at most 8 bits; holds every entry.
    pub element: Element,
}
