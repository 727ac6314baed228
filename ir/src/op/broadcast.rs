//! numpy broadcasting of two operands.

use super::{gather, shape};

/// The broadcast shape of two shapes.
pub(crate) fn shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let extents = (0..rank).map(|axis| match (extent(a, axis), extent(b, axis)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        (x, y) => Err(format!("shapes {a:?} and {b:?} do not broadcast: {x} against {y}")),
    });
    shape::checked(extents.collect::<Result<_, _>>()?)
}

/// `f` of the elements of two tensors, broadcast to a shape.
pub(crate) fn zip<T: Copy, U>(
    result: &[usize],
    (a, a_shape): (&[T], &[usize]),
    (b, b_shape): (&[T], &[usize]),
    f: impl Fn(T, T) -> U,
) -> Vec<U> {
    if a_shape == b_shape {
        return a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
    }
    let a_strides = strides(a_shape, result.len());
    let b_strides = strides(b_shape, result.len());
    let step = |strides: &[usize]| strides.last().copied().unwrap_or(0);
    let (a_step, b_step) = (step(&a_strides), step(&b_strides));
    let mut y = Vec::with_capacity(result.iter().product());
    gather::walk(result, |rows, inner| {
        let base = |strides: &[usize]| rows.iter().zip(strides).map(|(index, stride)| index * stride).sum::<usize>();
        let (a_base, b_base) = (base(&a_strides), base(&b_strides));
        y.extend((0..inner).map(|index| f(a[a_base + index * a_step], b[b_base + index * b_step])));
    });
    y
}

/// Strides of a shape seen as one of `rank` axes, 0 where it is broadcast.
fn strides(shape: &[usize], rank: usize) -> Vec<usize> {
    let own =
        shape::strides(shape).into_iter().zip(shape).map(|(stride, &extent)| if extent == 1 { 0 } else { stride });
    std::iter::repeat_n(0, rank - shape.len()).chain(own).collect()
}
