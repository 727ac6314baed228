//! Copying elements by strides: the evaluation that the movement operators share.

use super::shape;
use crate::tensor::{Data, Tensor};

/// The tensor `y` of a shape with `y[i0,i1,..] = x[offset + i0*strides[0] + i1*strides[1] + ..]`.
pub(crate) fn gather(x: &Tensor, shape: &[usize], offset: usize, strides: &[usize]) -> Tensor {
    let data = match &x.data {
        Data::F32(x) => Data::F32(collect(x, shape, offset, strides).into()),
        Data::Int(x) => Data::Int(collect(x, shape, offset, strides).into()),
    };
    Tensor { shape: shape.to_vec(), data }
}

fn collect<T: Copy>(x: &[T], shape: &[usize], offset: usize, strides: &[usize]) -> Vec<T> {
    let mut y = Vec::with_capacity(shape.iter().product());
    walk(shape, |rows, inner| {
        let base = offset + dot(rows, strides);
        let step = strides.last().copied().unwrap_or(1);
        if step == 1 {
            y.extend_from_slice(&x[base..base + inner]);
        } else {
            y.extend((0..inner).map(|index| x[base + index * step]));
        }
    });
    y
}

/// Writes `x` into `y` (row-major, of shape `y_shape`) at the box that starts at `offset`.
pub(crate) fn scatter<T: Copy>(x: &[T], x_shape: &[usize], y: &mut [T], y_shape: &[usize], offset: usize) {
    let strides = shape::strides(y_shape);
    let mut rest = x;
    walk(x_shape, |rows, inner| {
        let base = offset + dot(rows, &strides);
        let (row, tail) = rest.split_at(inner);
        y[base..base + inner].copy_from_slice(row);
        rest = tail;
    });
}

/// Visits the index of every row of a shape (all axes but the last) in row-major order, with
/// the extent of the last axis.
pub(crate) fn walk(shape: &[usize], mut visit: impl FnMut(&[usize], usize)) {
    let (&inner, outer) = shape.split_last().unwrap_or((&1, &[]));
    let mut index = vec![0; outer.len()];
    for _ in 0..outer.iter().product() {
        visit(&index, inner);
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            if index[axis] < outer[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

fn dot(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(index, stride)| index * stride).sum()
}
