//! Index of the largest element.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::shape;
use crate::range::Operands;
use crate::tensor::{Data, Element, Tensor, TensorType};

/// Index of the largest element along an axis as i32; the first (or last) of equals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgMax {
    /// The axis.
    pub axis: usize,
    /// Keep the axis with extent 1.
    pub keep: bool,
    /// The last of equals instead of the first.
    pub last: bool,
}
attributes!(ArgMax, "argmax", axis, keep, last);

impl Operator for ArgMax {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Self { axis, keep, .. } = *self;
        let [x] = shape::exactly(operands)?;
        shape::axis(axis, x)?;
        let mut shape = x.shape.clone();
        if keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        Ok(TensorType::int(shape, Element::I32))
    }

    /// A NaN counts as larger than any number.
    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let Self { axis, last, .. } = *self;
        let x = operands[0];
        let indices = match &x.data {
            Data::F32(data) => indices(data, &x.shape, axis, |new, best| {
                if new.is_nan() { last || !best.is_nan() } else { new > best || (last && new == best) }
            }),
            Data::Int(data) => indices(data, &x.shape, axis, |new, best| new > best || (last && new == best)),
        };
        Tensor::int(ty.shape.clone(), indices)
    }

    fn values(&self, operands: &Operands) -> Values {
        Values::Between(0, operands.ty(0).shape[self.axis] as i64 - 1)
    }
}

fn indices<T: Copy>(x: &[T], shape: &[usize], axis: usize, replaces: impl Fn(T, T) -> bool) -> Vec<i32> {
    let (outer, extent, inner) = shape::around(shape, axis);
    let mut result = Vec::with_capacity(outer * inner);
    for block in 0..outer {
        for offset in 0..inner {
            let at = |index: usize| x[(block * extent + index) * inner + offset];
            let best = (1..extent).fold(0, |best, index| if replaces(at(index), at(best)) { index } else { best });
            result.push(best as i32);
        }
    }
    result
}
