//! Evaluation of a single operator.
#![allow(dead_code)]

use lutweave_ir::op::{Geometry, Window};
use lutweave_ir::{Data, Element, Op, Requantize, Tensor, TensorType};

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
