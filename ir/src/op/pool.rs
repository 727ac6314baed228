//! Max and average pooling over windows.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::shape::{self, Sweep};
use crate::range::Operands;
use crate::tensor::{Data, Tensor, TensorType};

/// A pooling window. Vertical before horizontal. Each window overlaps the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Extent, at least 1.
    pub kernel: [usize; 2],
    /// Distance between windows, at least 1.
    pub strides: [usize; 2],
    /// Distance between taps, at least 1.
    pub dilations: [usize; 2],
    /// Padding at top, left, bottom, right. A `ceil_mode` of the model is in the bottom and
    /// right padding.
    pub pads: [usize; 4],
}

/// Largest element of each window; padding never wins: `x [n,h,w,c] -> [n,h',w',c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaxPool {
    /// The window.
    pub window: Window,
}
attributes!(MaxPool, "max_pool", window);

/// Float average pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AveragePool {
    /// The window.
    pub window: Window,
    /// The padding (top, left, bottom, right) that counts as zeros in the mean: the model's own,
    /// without what a `ceil_mode` added to [`Window::pads`]. `None` if padding does not count:
    /// the mean is over the part of the window inside the image.
    pub counted_pads: Option<[usize; 4]>,
}
attributes!(AveragePool, "average_pool", window, counted_pads);

impl Window {
    /// A window that covers a whole image.
    pub fn whole(height: usize, width: usize) -> Self {
        Self { kernel: [height, width], strides: [1, 1], dilations: [1, 1], pads: [0; 4] }
    }

    /// Shape `[n,h',w',c]` of the result for `x [n,h,w,c]`; every window overlaps the image.
    pub(crate) fn infer(&self, x: &TensorType) -> Result<Vec<usize>, String> {
        let [batch, height, width, channels] = shape::rank4("the operand", x)?;
        let sweeps = self.sweeps([height, width]);
        let [rows, columns] = [sweeps[0].positions()?, sweeps[1].positions()?];
        let shape = shape::checked(vec![batch, rows, columns, channels])?;
        for sweep in sweeps {
            sweep.overlaps()?;
        }
        Ok(shape)
    }

    pub(crate) fn sweeps(&self, image: [usize; 2]) -> [Sweep; 2] {
        Sweep::pair(image, self.kernel, self.strides, self.dilations, self.pads)
    }

    /// Folds the taps of every window that fall on the image, channel by channel, and finishes
    /// each window with its output row and column.
    pub(crate) fn fold<T: Copy, A: Copy>(
        &self,
        x: &[T],
        x_shape: &[usize],
        ty: &TensorType,
        initial: A,
        step: impl Fn(A, T) -> A,
        mut finish: impl FnMut(usize, usize, &[A]),
    ) {
        let (batch, height, width, channels) = (x_shape[0], x_shape[1], x_shape[2], x_shape[3]);
        let [vertical, horizontal] = self.sweeps([height, width]);
        let mut accumulators = vec![initial; channels];
        for image in x.chunks_exact(height * width * channels).take(batch) {
            for row in 0..ty.shape[1] {
                for column in 0..ty.shape[2] {
                    accumulators.fill(initial);
                    for ky in vertical.taps(row) {
                        let line = vertical.coordinate(row, ky) * width;
                        for kx in horizontal.taps(column) {
                            let start = (line + horizontal.coordinate(column, kx)) * channels;
                            let pixel = &image[start..start + channels];
                            for (accumulator, &value) in accumulators.iter_mut().zip(pixel) {
                                *accumulator = step(*accumulator, value);
                            }
                        }
                    }
                    finish(row, column, &accumulators);
                }
            }
        }
    }
}

impl Operator for MaxPool {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        Ok(TensorType { shape: self.window.infer(x)?, ..x.clone() })
    }

    /// A NaN in a window makes the result NaN.
    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let x = operands[0];
        let data = match &x.data {
            Data::F32(data) => {
                let mut y = Vec::with_capacity(ty.count());
                let larger = |best: f32, value: f32| if best > value || best.is_nan() { best } else { value };
                self.window.fold(data, &x.shape, ty, f32::NEG_INFINITY, larger, |_, _, best| y.extend_from_slice(best));
                Data::F32(y.into())
            }
            Data::Int(data) => {
                let mut y = Vec::with_capacity(ty.count());
                self.window.fold(data, &x.shape, ty, i32::MIN, i32::max, |_, _, best| y.extend_from_slice(best));
                Data::Int(y.into())
            }
        };
        Tensor { shape: ty.shape.clone(), data }
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
}

impl Operator for AveragePool {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        shape::float("the operand", x)?;
        if let Some(counted) = self.counted_pads
            && counted.iter().zip(&self.window.pads).any(|(counted, pad)| counted > pad)
        {
            return Err(format!("counted padding {counted:?} exceeds the padding {:?}", self.window.pads));
        }
        Ok(TensorType::f32(self.window.infer(x)?))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let x = operands[0];
        let [vertical, horizontal] = self.window.sweeps([x.shape[1], x.shape[2]]);
        let [top, left, bottom, right] = self.counted_pads.unwrap_or([0; 4]);
        let mut y = Vec::with_capacity(ty.count());
        self.window.fold(
            x.f32s(),
            &x.shape,
            ty,
            0.0f64,
            |sum, value| sum + f64::from(value),
            |row, column, sums| {
                let rows = vertical.taps_within(row, top, bottom).len();
                let divisor = (rows * horizontal.taps_within(column, left, right).len()) as f64;
                y.extend(sums.iter().map(|sum| (sum / divisor) as f32));
            },
        );
        Tensor::f32(ty.shape.clone(), y)
    }
}
