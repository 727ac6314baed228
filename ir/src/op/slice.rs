//! A strided box of a tensor.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::{gather, shape};
use crate::range::Operands;
use crate::tensor::{Tensor, TensorType};

/// A strided box: `x -> y` with `y[i] = x[start + i * step]` per axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// First index per axis.
    pub starts: Vec<usize>,
    /// Extent of the result per axis.
    pub sizes: Vec<usize>,
    /// Step per axis, at least 1.
    pub steps: Vec<usize>,
}
attributes!(Slice, "slice", starts, sizes, steps);

impl Operator for Slice {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Self { starts, sizes, steps } = self;
        let [x] = shape::exactly(operands)?;
        let rank = x.shape.len();
        if [starts.len(), sizes.len(), steps.len()] != [rank; 3] {
            return Err(format!("starts, sizes and steps must have one entry per axis of {x}"));
        }
        for axis in 0..rank {
            let (start, size, step, extent) = (starts[axis], sizes[axis], steps[axis], x.shape[axis]);
            let last =
                size.checked_sub(1).and_then(|count| count.checked_mul(step)).and_then(|run| run.checked_add(start));
            if step == 0 || last.is_none_or(|last| last >= extent) {
                return Err(format!("{size} elements from {start} by {step} are not inside axis {axis} of {x}"));
            }
        }
        Ok(TensorType { shape: shape::checked(sizes.to_vec())?, ..x.clone() })
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let Self { starts, steps, .. } = self;
        let x = operands[0];
        let strides = shape::strides(&x.shape);
        let offset = starts.iter().zip(&strides).map(|(start, stride)| start * stride).sum();
        let strides: Vec<usize> = steps.iter().zip(&strides).map(|(step, stride)| step * stride).collect();
        gather::gather(x, &ty.shape, offset, &strides)
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
}
