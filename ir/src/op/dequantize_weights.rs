//! Constant integers to reals, with one scale per index of an axis.

use crate::tensor::{Tensor, TensorType};

/// `w[..,i,..] = scales[i] * (q[..,i,..] - zero_points[i])` along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct DequantizeWeights {
    /// The axis; 0 where there is a single scale.
    pub axis: usize,
    /// One positive scale per index of the axis, or one for all.
    pub scales: Vec<f32>,
    /// As many zero points as scales.
    pub zero_points: Vec<i32>,
}
