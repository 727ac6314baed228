//! Float convolution, and the geometry it shares with the integer one.

use super::attributes::attributes;
use super::operator::Operator;
use super::shape::{self, Sweep};
use crate::convolve::{self, Packed, Weights};
use crate::tensor::{Tensor, TensorType};

/// How a window of weights moves over an image. Vertical before horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Geometry {
    /// Distance between windows, at least 1.
    pub strides: [usize; 2],
    /// Distance between taps, at least 1.
    pub dilations: [usize; 2],
    /// Padding at top, left, bottom, right.
    pub pads: [usize; 4],
    /// Channel groups; divides input and output channels.
    pub groups: usize,
}

/// 2-D convolution (cross-correlation, as ONNX has it), zero padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conv {
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
}
attributes!(Conv, "conv", geometry);

impl Geometry {
    /// Stride and dilation 1, no padding, one group.
    pub const PLAIN: Self = Self { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };

    /// Shape `[n,h',w',o]` of the result for `x [n,h,w,i]` and `w [o,kh,kw,i/groups]`.
    pub(crate) fn infer(&self, x: &TensorType, w: &TensorType, b: Option<&TensorType>) -> Result<Vec<usize>, String> {
        let [batch, height, width, inputs] = shape::rank4("the operand", x)?;
        let [outputs, kernel_height, kernel_width, depth] = shape::rank4("the weights", w)?;
        if self.groups == 0 || outputs % self.groups != 0 || depth.checked_mul(self.groups) != Some(inputs) {
            return Err(format!("{} groups do not match the operand {x} and the weights {w}", self.groups));
        }
        if let Some(b) = b {
            shape::vector("the bias", b, outputs)?;
        }
        let [vertical, horizontal] = self.sweeps([height, width], [kernel_height, kernel_width]);
        shape::checked(vec![batch, vertical.positions()?, horizontal.positions()?, outputs])
    }

    pub(crate) fn sweeps(&self, image: [usize; 2], kernel: [usize; 2]) -> [Sweep; 2] {
        Sweep::pair(image, kernel, self.strides, self.dilations, self.pads)
    }
}

impl Conv {
    /// The weights in the order in which the evaluation reads them.
    fn packed(&self, weights: &Tensor) -> Packed<f32> {
        Packed::new(weights.f32s(), convolve::extents(&weights.shape), self.geometry.groups)
    }

    fn convolve(&self, packed: &Packed<f32>, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        let x = operands[0];
        let bias = operands.get(2).map(|bias| bias.f32s());
        let y = convolve::convolve(x.f32s(), convolve::extents(&x.shape), packed, &self.geometry, bias, 0.0);
        Tensor::f32(ty.shape.clone(), y)
    }
}

impl Operator for Conv {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let (x, w, b) = shape::two_and_bias(operands)?;
        shape::float("the operand", x)?;
        shape::float("the weights", w)?;
        if let Some(b) = b {
            shape::float("the bias", b)?;
        }
        Ok(TensorType::f32(self.geometry.infer(x, w, b)?))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        self.convolve(&self.packed(operands[1]), ty, operands)
    }

    fn macs(&self, ty: &TensorType, types: &[&TensorType]) -> u64 {
        shape::products(ty, types)
    }

    fn pack(&self, weights: &Tensor) -> Option<Weights> {
        Some(Weights::Reals(self.packed(weights)))
    }

    fn eval_packed(&self, weights: &Weights, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        self.convolve(weights.reals(), ty, operands)
    }
}
