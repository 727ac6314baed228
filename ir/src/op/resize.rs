//! Nearest-neighbour upsampling by integer factors.

use super::shape;
use crate::tensor::{Data, Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(factors: [usize; 2], operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    let [n, h, w, c] = shape::rank4("the operand", x)?;
    let [fy, fx] = factors;
    if factors.contains(&0) || factors.iter().any(|&factor| factor > shape::MAX_WINDOW) {
        return Err(format!("factors {factors:?} are not in 1 to {}", shape::MAX_WINDOW));
    }
    Ok(TensorType { shape: shape::checked(vec![n, h * fy, w * fx, c])?, ..x.clone() })
}

/// Value of the result.
pub(crate) fn eval(factors: [usize; 2], ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let x = operands[0];
    let data = match &x.data {
        Data::F32(data) => Data::F32(repeat(data, &x.shape, factors, ty).into()),
        Data::Int(data) => Data::Int(repeat(data, &x.shape, factors, ty).into()),
    };
    Tensor { shape: ty.shape.clone(), data }
}

fn repeat<T: Copy>(x: &[T], shape: &[usize], [fy, fx]: [usize; 2], ty: &TensorType) -> Vec<T> {
    let (w, c) = (shape[2], shape[3]);
    let mut y = Vec::with_capacity(ty.count());
    for row in x.chunks_exact(w * c) {
        let start = y.len();
        for pixel in row.chunks_exact(c) {
            for _ in 0..fx {
                y.extend_from_slice(pixel);
            }
        }
        let end = y.len();
        for _ in 1..fy {
            y.extend_from_within(start..end);
        }
    }
    y
}
