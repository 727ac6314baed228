//! Nearest-neighbour upsampling by integer factors.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::shape;
use crate::range::Operands;
use crate::tensor::{Data, Tensor, TensorType};

/// Nearest-neighbour upsampling by integer factors: `x [n,h,w,c] -> [n,h*fy,w*fx,c]`,
/// `y[i] = x[i / factor]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Vertical and horizontal factor.
    pub factors: [usize; 2],
}
attributes!(Resize, "resize", factors);

impl Operator for Resize {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let factors = self.factors;
        let [x] = shape::exactly(operands)?;
        let [n, h, w, c] = shape::rank4("the operand", x)?;
        let [fy, fx] = factors;
        if factors.contains(&0) || factors.iter().any(|&factor| factor > shape::MAX_WINDOW) {
            return Err(format!("factors {factors:?} are not in 1 to {}", shape::MAX_WINDOW));
        }
        Ok(TensorType { shape: shape::checked(vec![n, h * fy, w * fx, c])?, ..x.clone() })
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let factors = self.factors;
        let x = operands[0];
        let data = match &x.data {
            Data::F32(data) => Data::F32(repeat(data, &x.shape, factors, ty).into()),
            Data::Int(data) => Data::Int(repeat(data, &x.shape, factors, ty).into()),
        };
        Tensor { shape: ty.shape.clone(), data }
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
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
