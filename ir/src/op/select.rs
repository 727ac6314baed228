//! Channels of a tensor, in any order.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::shape;
use crate::range::Operands;
use crate::tensor::{Data, Tensor, TensorType};

/// Channels in any order, left out or repeated: `x [..,c] -> y [..,k]` with
/// `y[.., i] = x[.., channels[i]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// The operand's channel for each of the result, at least one.
    pub channels: Vec<usize>,
}
attributes!(Select, "select", channels);

impl Operator for Select {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let channels = &self.channels[..];
        let [x] = shape::exactly(operands)?;
        let Some((&extent, outer)) = x.shape.split_last() else {
            return Err(format!("{x} has no axis to select along"));
        };
        if let Some(outside) = channels.iter().find(|&&channel| channel >= extent) {
            return Err(format!("channel {outside} is not inside the last axis of {x}"));
        }
        let mut shape = outer.to_vec();
        shape.push(channels.len());
        Ok(TensorType { shape: shape::checked(shape)?, ..x.clone() })
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let channels = &self.channels[..];
        let x = operands[0];
        let extent = x.shape.last().copied().unwrap_or(1);
        let data = match &x.data {
            Data::F32(x) => Data::F32(selected(x, extent, channels).into()),
            Data::Int(x) => Data::Int(selected(x, extent, channels).into()),
        };
        Tensor { shape: ty.shape.clone(), data }
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
}

fn selected<T: Copy>(x: &[T], extent: usize, channels: &[usize]) -> Vec<T> {
    x.chunks_exact(extent).flat_map(|row| channels.iter().map(|&channel| row[channel])).collect()
}
