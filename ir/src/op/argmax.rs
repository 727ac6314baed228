//! Index of the largest element.

use super::shape;
use crate::tensor::{Data, Element, Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(axis: usize, keep: bool, operands: &[&TensorType]) -> Result<TensorType, String> {
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

/// Value of the result. A NaN counts as larger than any number.
pub(crate) fn eval(axis: usize, last: bool, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let x = operands[0];
    let indices = match &x.data {
        Data::F32(data) => indices(data, &x.shape, axis, |new, best| {
            if new.is_nan() { last || !best.is_nan() } else { new > best || (last && new == best) }
        }),
        Data::Int(data) => indices(data, &x.shape, axis, |new, best| new > best || (last && new == best)),
    };
    Tensor::int(ty.shape.clone(), indices)
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
