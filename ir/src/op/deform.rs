//! Deformable convolution, in floats and in integers: a third operand says where taps read.
//!
//! Sources: Dai et al., "Deformable Convolutional Networks" (2017), with the modulation of
//! version 2 (2018), as ONNX's `DeformConv` has it; the square form and integer offsets: Huang
//! et al., "CoDeNet" (2021).

use super::Geometry;
use super::attributes::attributes;
use super::operator::Operator;
use super::shape::{self, MAX_WINDOW, Sweep};
use crate::convolve::{self, Number, Packed, Weights};
use crate::quant::Requantize;
use crate::range::{self, Operands};
use crate::tensor::{Element, Tensor, TensorType};

/// How the offsets operand moves the taps of a window.
///
/// A window at output position `p` starts at `s = p * stride - pad`, per axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sampling {
    /// Every tap has its own offset: offsets `[n,h',w',2*kh*kw*offset_groups]`, tap `k` of offset
    /// group `g` moving by `dy` at channel `2*(g*kh*kw + k)` and by `dx` at the next. It reads
    /// `s + dilation * tap + offset`. Each group of input channels has its own offsets.
    Free {
        /// Groups of input channels; divides them.
        offset_groups: usize,
    },
    /// One distance `d` a pixel, `[n,h',w',1]`, for a square kernel of odd extent `k = 2 * c + 1`
    /// and dilation 1: tap `(i, j)` reads `s + (c, c) + (i - c, j - c) * d`. A distance of 1 is
    /// the ordinary convolution.
    Square,
}

/// Deformable convolution of reals: `x [n,h,w,i], w [o,kh,kw,i/groups], b [o], offsets, [mask]`.
///
/// Taps that fall between pixels read by bilinear interpolation; each pixel outside the image
/// counts 0. A tap that is not a number reads 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeformConv {
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
    /// What the offsets mean.
    pub sampling: Sampling,
    /// There is a mask `[n,h',w',kh*kw*offset_groups]`, and it scales what the taps read.
    pub modulated: bool,
}
attributes!(DeformConv, "deform_conv", geometry, sampling, modulated);

/// Deformable convolution of integers:
/// `x [1,h,w,i], w [o,kh,kw,i/groups], b [o], offsets -> [1,h',w',o]`.
///
/// As [`QConv`](super::QConv), with the taps where the offsets say. Offsets are whole pixels, scale 1 and
/// zero point 0: from 0 to `reach` if they are distances ([`Sampling::Square`]), else from
/// `-reach` to `reach` with one offset group. [`crate::validate`] proves that they are.
#[derive(Clone, Debug, PartialEq)]
pub struct QDeformConv {
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
    /// What the offsets mean.
    pub sampling: Sampling,
    /// Bound of the offsets: what hardware keeps rows for.
    pub reach: u32,
    /// What positions outside the image read; the zero point of `x`.
    pub pad_value: i32,
    /// Accumulator to output, per output channel.
    pub requantize: Requantize,
    /// Element type of the result, at most 8 bits.
    pub element: Element,
}
attributes!(QDeformConv, "qdeform_conv", geometry, sampling, reach, pad_value, requantize, element);

impl Sampling {
    /// Number of offset groups.
    pub fn offset_groups(self) -> usize {
        match self {
            Self::Free { offset_groups } => offset_groups,
            Self::Square => 1,
        }
    }

    /// Channels of the offsets operand for a kernel of a given height and width.
    pub fn channels(self, kernel: [usize; 2]) -> usize {
        match self {
            Self::Free { offset_groups } => 2 * kernel[0] * kernel[1] * offset_groups,
            Self::Square => 1,
        }
    }

    /// Shape of the result, and the kernel.
    fn infer(
        self,
        geometry: &Geometry,
        [x, w, b]: [&TensorType; 3],
        offsets: &TensorType,
    ) -> Result<(Vec<usize>, [usize; 2]), String> {
        let result = geometry.infer(x, w, Some(b))?;
        let kernel = [w.shape[1], w.shape[2]];
        match self {
            Self::Free { offset_groups } => {
                if offset_groups == 0 || x.shape[3] % offset_groups != 0 {
                    return Err(format!("{offset_groups} offset groups do not divide the channels of {x}"));
                }
            }
            Self::Square => {
                if kernel[0] != kernel[1] || kernel[0] % 2 == 0 {
                    return Err(format!("a kernel of {} x {} is not square and odd", kernel[0], kernel[1]));
                }
                if geometry.dilations != [1, 1] {
                    return Err(format!(
                        "dilations {:?} are not 1, but distances take their place",
                        geometry.dilations
                    ));
                }
            }
        }
        let expected = [result[0], result[1], result[2], self.channels(kernel)];
        if offsets.shape != expected {
            return Err(format!("the offsets must have shape {expected:?}, but are {offsets}"));
        }
        Ok((result, kernel))
    }
}

impl DeformConv {
    /// The weights in the order in which the evaluation reads them.
    fn packed(&self, weights: &Tensor) -> Packed<f32> {
        Packed::new(weights.f32s(), convolve::extents(&weights.shape), self.geometry.groups)
    }

    fn convolve(&self, packed: &Packed<f32>, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        let windows = Windows::new(&self.geometry, operands[0], operands[1], ty);
        let read = |at: At, tap: [usize; 2], pixel: &mut [f32]| self.read(&windows, operands, at, tap, pixel);
        let y = windows.convolve(packed, operands[2].f32s(), 0.0, read);
        Tensor::f32(ty.shape.clone(), y)
    }

    /// What the taps of all windows read, side by side: `[n*h'*kh,w'*kw,i]`, scaled by the mask
    /// if there is one. `ty` is the type of the result. The convolution of that with the kernel's
    /// extents as strides, and no padding, is the result.
    pub fn taps(&self, ty: &TensorType, operands: &[&Tensor]) -> Vec<f32> {
        let windows = Windows::new(&self.geometry, operands[0], operands[1], ty);
        let [images, height, _] = windows.result;
        let mut taps = vec![0.0; images * height * windows.row_of_taps()];
        for (index, row) in taps.chunks_exact_mut(windows.row_of_taps()).enumerate() {
            let read = |at: At, tap: [usize; 2], pixel: &mut [f32]| self.read(&windows, operands, at, tap, pixel);
            windows.gather(index / height, index % height, row, read);
        }
        taps
    }

    /// Stores what a tap reads.
    fn read(&self, windows: &Windows, operands: &[&Tensor], at: At, tap: [usize; 2], pixel: &mut [f32]) {
        let groups = self.sampling.offset_groups();
        let depth = windows.channels / groups;
        let image = windows.image_of(operands[0].f32s(), at);
        let offsets = windows.at(operands[3].f32s(), at);
        let scales = self.modulated.then(|| windows.at(operands[4].f32s(), at));
        for (group, pixel) in pixel.chunks_exact_mut(depth).enumerate() {
            let number = group * windows.kernel[0] * windows.kernel[1] + tap[0] * windows.kernel[1] + tap[1];
            let position = [0, 1].map(|axis| match self.sampling {
                Sampling::Free { .. } => windows.coordinate(axis, at, tap[axis]) as f32 + offsets[2 * number + axis],
                Sampling::Square => {
                    let (centre, steps) = windows.about_centre(axis, at, tap[axis]);
                    centre as f32 + steps as f32 * offsets[0]
                }
            });
            windows.bilinear(image, position, group * depth, pixel);
            if let Some(scales) = scales {
                pixel.iter_mut().for_each(|value| *value *= scales[number]);
            }
        }
    }
}

impl Operator for DeformConv {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let (first, mask) = if self.modulated {
            let [x, w, b, offsets, mask] = shape::exactly(operands)?;
            ([x, w, b, offsets], Some(mask))
        } else {
            (shape::exactly(operands)?, None)
        };
        for (what, ty) in ["the operand", "the weights", "the bias", "the offsets"].into_iter().zip(first) {
            shape::float(what, ty)?;
        }
        let [x, w, b, offsets] = first;
        let (result, kernel) = self.sampling.infer(&self.geometry, [x, w, b], offsets)?;
        if let Some(mask) = mask {
            shape::float("the mask", mask)?;
            let taps = kernel[0] * kernel[1] * self.sampling.offset_groups();
            let expected = [result[0], result[1], result[2], taps];
            if mask.shape != expected {
                return Err(format!("the mask must have shape {expected:?}, but is {mask}"));
            }
        }
        Ok(TensorType::f32(result))
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

impl QDeformConv {
    /// Smallest and largest value that the offsets may take.
    pub fn offset_range(&self) -> (i64, i64) {
        let reach = i64::from(self.reach);
        match self.sampling {
            Sampling::Free { .. } => (-reach, reach),
            Sampling::Square => (0, reach),
        }
    }

    /// First and last coordinate that taps can read along an axis (0 is vertical), relative to
    /// the start of their window, for a kernel of given extent along it.
    pub fn span(&self, axis: usize, kernel: usize) -> (i64, i64) {
        let reach = i64::from(self.reach);
        let last = kernel as i64 - 1;
        match self.sampling {
            Sampling::Free { .. } => (-reach, last * self.geometry.dilations[axis] as i64 + reach),
            Sampling::Square => (last / 2 * (1 - reach), last / 2 * (1 + reach)),
        }
    }

    /// The weights in the order in which the evaluation reads them.
    fn packed(&self, weights: &Tensor) -> Packed<i32> {
        Packed::new(weights.ints(), convolve::extents(&weights.shape), self.geometry.groups)
    }

    fn convolve(&self, packed: &Packed<i32>, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        let mut y = self.accumulate_packed(packed, ty, operands);
        self.requantize.apply_all(ty.shape[3], &mut y);
        Tensor::int(ty.shape.clone(), y)
    }

    /// The accumulators before requantization, in the order of the elements of the result, whose
    /// type is `ty`.
    pub fn accumulate(&self, ty: &TensorType, operands: &[&Tensor]) -> Vec<i32> {
        self.accumulate_packed(&self.packed(operands[1]), ty, operands)
    }

    fn accumulate_packed(&self, packed: &Packed<i32>, ty: &TensorType, operands: &[&Tensor]) -> Vec<i32> {
        let [x, weights, bias, offsets] = [operands[0], operands[1], operands[2], operands[3]];
        let windows = Windows::new(&self.geometry, x, weights, ty);
        windows.convolve(packed, bias.ints(), self.pad_value, |at, tap, pixel| {
            let offsets = windows.at(offsets.ints(), at);
            let number = tap[0] * windows.kernel[1] + tap[1];
            let position = [0, 1].map(|axis| match self.sampling {
                Sampling::Free { .. } => {
                    windows.coordinate(axis, at, tap[axis]) + i64::from(offsets[2 * number + axis])
                }
                Sampling::Square => {
                    let (centre, steps) = windows.about_centre(axis, at, tap[axis]);
                    centre + steps * i64::from(offsets[0])
                }
            });
            match windows.pixel(position) {
                Some(start) => pixel.copy_from_slice(&windows.image_of(x.ints(), at)[start..start + windows.channels]),
                None => pixel.fill(self.pad_value),
            }
        })
    }
}

impl Operator for QDeformConv {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x, w, b, offsets] = shape::exactly(operands)?;
        shape::activation("the operand", x)?;
        shape::integer("the weights", w)?;
        shape::integer("the bias", b)?;
        shape::activation("the offsets", offsets)?;
        shape::one_image(x)?;
        shape::padding(self.pad_value, x)?;
        if offsets.quantization.is_some_and(|stated| stated.scale != 1.0 || stated.zero_point != 0) {
            return Err(format!("the offsets must be whole pixels, of scale 1 and zero point 0, but are {offsets}"));
        }
        if self.reach as usize > MAX_WINDOW {
            return Err(format!("reach {} exceeds {MAX_WINDOW}", self.reach));
        }
        if self.sampling.offset_groups() != 1 {
            return Err(format!("{} offset groups are not 1", self.sampling.offset_groups()));
        }
        let (result, _) = self.sampling.infer(&self.geometry, [x, w, b], offsets)?;
        self.requantize.check(result[3], self.element)?;
        Ok(TensorType::int(result, self.element))
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        self.convolve(&self.packed(operands[1]), ty, operands)
    }

    fn macs(&self, ty: &TensorType, types: &[&TensorType]) -> u64 {
        shape::products(ty, types)
    }

    fn requantize(&self) -> Option<&Requantize> {
        Some(&self.requantize)
    }

    fn accumulator(&self, operands: &Operands) -> Option<(i64, i64)> {
        Some(range::of_convolution(operands, self.pad_value))
    }

    fn pack(&self, weights: &Tensor) -> Option<Weights> {
        Some(Weights::Integers(self.packed(weights)))
    }

    fn eval_packed(&self, weights: &Weights, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        self.convolve(weights.integers(), ty, operands)
    }
}

/// An output position: image, row, column.
type At = [usize; 3];

/// The windows of one evaluation, whose types inference has checked.
struct Windows {
    sweeps: [Sweep; 2],
    /// Extents of the result.
    result: At,
    /// Height and width of the image.
    image: [usize; 2],
    channels: usize,
    kernel: [usize; 2],
    /// Groups of the convolution.
    groups: usize,
}

impl Windows {
    fn new(geometry: &Geometry, x: &Tensor, weights: &Tensor, ty: &TensorType) -> Self {
        let [_, height, width, channels] = convolve::extents(&x.shape);
        let [_, kernel_height, kernel_width, _] = convolve::extents(&weights.shape);
        let (image, kernel) = ([height, width], [kernel_height, kernel_width]);
        Self {
            sweeps: geometry.sweeps(image, kernel),
            result: [ty.shape[0], ty.shape[1], ty.shape[2]],
            image,
            channels,
            kernel,
            groups: geometry.groups,
        }
    }

    /// Sums of weights times what `read` stores for each tap of each window: a convolution of
    /// the taps laid side by side, a row of windows at a time.
    fn convolve<T: Number>(
        &self,
        packed: &Packed<T>,
        bias: &[T],
        pad: T,
        read: impl Fn(At, [usize; 2], &mut [T]),
    ) -> Vec<T> {
        let [images, height, width] = self.result;
        let side_by_side = Geometry { strides: self.kernel, groups: self.groups, ..Geometry::PLAIN };
        let extents = [1, self.kernel[0], width * self.kernel[1], self.channels];
        let mut taps = vec![T::default(); self.row_of_taps()];
        let mut y = Vec::new();
        for image in 0..images {
            for row in 0..height {
                self.gather(image, row, &mut taps, &read);
                y.extend(convolve::convolve(&taps, extents, packed, &side_by_side, Some(bias), pad));
            }
        }
        y
    }

    /// Number of values that the taps of a row of windows read.
    fn row_of_taps(&self) -> usize {
        self.kernel[0] * self.result[2] * self.kernel[1] * self.channels
    }

    /// Lays the taps of a row of windows side by side, `[kh,w'*kw,i]`.
    fn gather<T>(&self, image: usize, row: usize, taps: &mut [T], read: impl Fn(At, [usize; 2], &mut [T])) {
        let line = self.result[2] * self.kernel[1];
        for (index, pixel) in taps.chunks_exact_mut(self.channels).enumerate() {
            let (tap_row, place) = (index / line, index % line);
            read([image, row, place / self.kernel[1]], [tap_row, place % self.kernel[1]], pixel);
        }
    }

    /// What a tensor with the extents of the result holds for one position.
    fn at<'t, T>(&self, values: &'t [T], [image, row, column]: At) -> &'t [T] {
        let [images, height, width] = self.result;
        let channels = values.len() / (images * height * width);
        &values[((image * height + row) * width + column) * channels..][..channels]
    }

    /// The image that a position's window lies on.
    fn image_of<'t, T>(&self, x: &'t [T], at: At) -> &'t [T] {
        let count = self.image[0] * self.image[1] * self.channels;
        &x[at[0] * count..][..count]
    }

    /// Where a tap reads along an axis before any offset is added.
    fn coordinate(&self, axis: usize, at: At, tap: usize) -> i64 {
        self.sweeps[axis].start(at[axis + 1]) as i64 + (tap * self.sweeps[axis].dilation) as i64
    }

    /// The centre of a window along an axis, and how many distances from it a tap reads.
    fn about_centre(&self, axis: usize, at: At, tap: usize) -> (i64, i64) {
        let half = (self.kernel[axis] / 2) as i64;
        (self.sweeps[axis].start(at[axis + 1]) as i64 + half, tap as i64 - half)
    }

    /// Where the pixel at a position starts, if it is one of the image's.
    fn pixel(&self, position: [i64; 2]) -> Option<usize> {
        let inside = |axis: usize| (0..self.image[axis] as i64).contains(&position[axis]);
        let [row, column] = position;
        (inside(0) && inside(1)).then(|| (row as usize * self.image[1] + column as usize) * self.channels)
    }

    /// Channels from `first` on at a position between pixels.
    fn bilinear(&self, image: &[f32], position: [f32; 2], first: usize, out: &mut [f32]) {
        out.fill(0.0);
        let near = |axis: usize| position[axis] > -1.0 && position[axis] < self.image[axis] as f32;
        if !(near(0) && near(1)) {
            return;
        }
        let neighbours = position.map(|at| {
            let (before, fraction) = (at.floor() as i64, at - at.floor());
            [(before, 1.0 - fraction), (before + 1, fraction)]
        });
        for (row, vertical) in neighbours[0] {
            for (column, horizontal) in neighbours[1] {
                let share = vertical * horizontal;
                // A neighbour that counts nothing may be infinite.
                let Some(start) = self.pixel([row, column]).filter(|_| share != 0.0) else { continue };
                for (out, x) in out.iter_mut().zip(&image[start + first..]) {
                    *out += share * x;
                }
            }
        }
    }
}
