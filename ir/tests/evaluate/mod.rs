//! Evaluation of a single operator, and random problems for it.
#![allow(dead_code)]

use lutweave_ir::op::{Geometry, Window};
use lutweave_ir::{Data, Element, Op, Requantize, Tensor, TensorType};
use proptest::prelude::*;

/// The result's type and value. Integers are i8 where they fit, else i32.
pub fn try_evaluate(op: &Op, operands: &[Tensor]) -> Result<(TensorType, Tensor), String> {
    let types: Vec<TensorType> = operands.iter().map(type_of).collect();
    let types: Vec<&TensorType> = types.iter().collect();
    let ty = op.infer(&types)?;
    let value = op.eval(&ty, &types, &operands.iter().collect::<Vec<_>>());
    assert_eq!(value.shape, ty.shape);
    Ok((ty, value))
}

/// The result's value.
pub fn evaluate(op: Op, operands: &[Tensor]) -> Tensor {
    try_evaluate(&op, operands).unwrap().1
}

/// Why the operator refuses the operands.
pub fn refusal(op: Op, operands: &[Tensor]) -> String {
    try_evaluate(&op, operands).unwrap_err()
}

fn type_of(tensor: &Tensor) -> TensorType {
    match &tensor.data {
        Data::F32(_) => TensorType::f32(tensor.shape.clone()),
        Data::Int(data) if data.iter().all(|v| (-128..128).contains(v)) => {
            TensorType::int(tensor.shape.clone(), Element::I8)
        }
        Data::Int(_) => TensorType::int(tensor.shape.clone(), Element::I32),
    }
}

/// A float tensor.
pub fn reals<const R: usize>(shape: [usize; R], data: &[f32]) -> Tensor {
    Tensor::f32(shape, data)
}

/// An integer tensor.
pub fn ints<const R: usize>(shape: [usize; R], data: &[i32]) -> Tensor {
    Tensor::int(shape, data)
}

/// A float tensor `0, 1, 2, ..`.
pub fn ramp<const R: usize>(shape: [usize; R]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::f32(shape, (0..count).map(|v| v as f32).collect::<Vec<_>>())
}

/// An integer tensor `0, 1, 2, ..`.
pub fn int_ramp<const R: usize>(shape: [usize; R]) -> Tensor {
    let count: i32 = shape.iter().product::<usize>() as i32;
    Tensor::int(shape, (0..count).collect::<Vec<_>>())
}

/// A pooling window without dilation.
pub fn window(kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4]) -> Window {
    Window { kernel, strides, dilations: [1, 1], pads }
}

/// A geometry without dilation or groups.
pub fn geometry(strides: [usize; 2], pads: [usize; 4]) -> Geometry {
    Geometry { strides, pads, ..Geometry::PLAIN }
}

/// `clamp(acc + zero_point, lo, hi)`.
pub fn identity(zero_point: i32, lo: i32, hi: i32) -> Requantize {
    Requantize { multipliers: vec![1], shifts: vec![0], zero_point, lo, hi }
}

/// Kernels of up to 3 x 3, and geometries of one group.
pub fn geometries() -> impl Strategy<Value = ([usize; 2], Geometry)> {
    let pads = [0usize..3, 0usize..3, 0usize..3, 0usize..3];
    let window = ([1usize..4, 1usize..4], [1usize..4, 1usize..4], [1usize..3, 1usize..3], pads);
    window.prop_map(|(kernel, strides, dilations, pads)| (kernel, Geometry { strides, dilations, pads, groups: 1 }))
}

/// Rows and columns of a convolution's result; `None` if the kernel does not fit the padded image.
pub fn positions(extents: [usize; 2], kernel: [usize; 2], geometry: &Geometry) -> Option<[usize; 2]> {
    let along = |axis: usize| {
        let padded = extents[axis] + geometry.pads[axis] + geometry.pads[axis + 2];
        let room = padded.checked_sub((kernel[axis] - 1) * geometry.dilations[axis] + 1)?;
        Some(room / geometry.strides[axis] + 1)
    };
    Some([along(0)?, along(1)?])
}

/// A small generator of integers in `lo..=hi`.
pub fn integers(seed: u64, count: usize, lo: i32, hi: i32) -> Vec<i32> {
    let mut state = seed | 1;
    let span = (hi - lo + 1) as u64;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            lo + ((state >> 33) % span) as i32
        })
        .collect()
}

/// Elements of a shape.
pub fn count(shape: [usize; 4]) -> usize {
    shape.iter().product()
}
