//! Channels of a tensor, in any order.

use super::shape;
use crate::tensor::{Data, Tensor, TensorType};

/// Type of the result.
pub(crate) fn infer(channels: &[usize], operands: &[&TensorType]) -> Result<TensorType, String> {
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

/// Value of the result.
pub(crate) fn eval(channels: &[usize], ty: &TensorType, operands: &[&Tensor]) -> Tensor {
    let x = operands[0];
    let extent = x.shape.last().copied().unwrap_or(1);
    let data = match &x.data {
        Data::F32(x) => Data::F32(selected(x, extent, channels).into()),
        Data::Int(x) => Data::Int(selected(x, extent, channels).into()),
    };
    Tensor { shape: ty.shape.clone(), data }
}

fn selected<T: Copy>(x: &[T], extent: usize, channels: &[usize]) -> Vec<T> {
    x.chunks_exact(extent).flat_map(|row| channels.iter().map(|&channel| row[channel])).collect()
}
