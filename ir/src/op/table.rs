//! A pointwise integer function by table.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::shape;
use crate::range::Operands;
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
attributes!(Table, "table", entries, element);

impl Operator for Table {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        let (lo, hi) = shape::activation("the operand", x)?;
        let length = (hi - lo + 1) as usize;
        if self.entries.len() != length {
            return Err(format!("a table for {} has {length} entries, but this one {}", x.element, self.entries.len()));
        }
        let (lo, hi) = shape::narrow("the result", self.element)?;
        if let Some(entry) = self.entries.iter().find(|&&entry| !(lo..=hi).contains(&i64::from(entry))) {
            return Err(format!("entry {entry} is outside {}", self.element));
        }
        Ok(TensorType::int(x.shape.clone(), self.element))
    }

    fn eval(&self, _ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let (lo, _) = types[0].element.range().expect("invariant: a table's operand is an integer tensor");
        let y: Vec<i32> = operands[0].ints().iter().map(|&x| self.entries[(i64::from(x) - lo) as usize]).collect();
        Tensor::int(operands[0].shape.clone(), y)
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::among(&self.entries)
    }
}
