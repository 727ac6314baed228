//! Mean over axes.

use super::attributes::attributes;
use super::operator::Operator;
use super::{gather, shape};
use crate::tensor::{Tensor, TensorType};

/// Mean over axes: `x -> y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReduceMean {
    /// Axes, ascending, without repetition.
    pub axes: Vec<usize>,
    /// Keep the reduced axes with extent 1.
    pub keep: bool,
}
attributes!(ReduceMean, "reduce_mean", axes, keep);

impl Operator for ReduceMean {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let axes = &self.axes[..];
        let [x] = shape::exactly(operands)?;
        shape::float("the operand", x)?;
        if !axes.is_sorted_by(|a, b| a < b) {
            return Err(format!("axes {axes:?} are not ascending"));
        }
        for &axis in axes {
            shape::axis(axis, x)?;
        }
        let extents = x.shape.iter().enumerate();
        let shape: Vec<usize> = if self.keep {
            extents.map(|(axis, &extent)| if axes.contains(&axis) { 1 } else { extent }).collect()
        } else {
            extents.filter(|(axis, _)| !axes.contains(axis)).map(|(_, &extent)| extent).collect()
        };
        Ok(TensorType::f32(shape))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let axes = &self.axes[..];
        let x = operands[0];
        let rank = x.shape.len();
        let kept: Vec<usize> = (0..rank).map(|axis| if axes.contains(&axis) { 1 } else { x.shape[axis] }).collect();
        let mut strides = shape::strides(&kept);
        for &axis in axes {
            strides[axis] = 0;
        }
        let mut sums = vec![0.0f64; ty.count()];
        let mut rest = x.f32s();
        gather::walk(&x.shape, |rows, inner| {
            let base: usize = rows.iter().zip(&strides).map(|(index, stride)| index * stride).sum();
            let step = strides.last().copied().unwrap_or(1);
            let (row, tail) = rest.split_at(inner);
            for (index, &value) in row.iter().enumerate() {
                sums[base + index * step] += f64::from(value);
            }
            rest = tail;
        });
        let divisor = (x.count() / ty.count()) as f64;
        Tensor::f32(ty.shape.clone(), sums.into_iter().map(|sum| (sum / divisor) as f32).collect::<Vec<_>>())
    }
}
