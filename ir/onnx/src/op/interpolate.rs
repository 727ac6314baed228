//! Linear interpolation along the axes of an image, by operators that there are: between pixels that
//! are copied at the border, a larger image is a transposed depthwise convolution by a triangle, and
//! a smaller one a mean of neighbours.

use super::conv_transpose::{Axis, MAX_STRIDE, Taps};
use super::select::range;
use crate::import::Importer;
use crate::node::Node;
use lutweave_ir::op::{AveragePool, Concat, Window};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// How far a coordinate may be from where it is meant to be: scales are written as binary32.
pub const ROUNDING: f64 = 1e-4;

/// How one axis is interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// `y[i]` is at `x[i / factor + shift]`, or at the border where that is outside.
    Enlarge {
        /// From 1; 1 with a shift of 0 keeps the axis.
        factor: usize,
        /// More than -1; the last result is less than one element beyond the border.
        shift: f64,
    },
    /// `y[i]` is the mean of `x[start + i * step]` and its successor.
    Halfway {
        /// First index.
        start: usize,
        /// Distance of results; from 1.
        step: usize,
        /// Number of results.
        size: usize,
    },
}

impl Interpolation {
    /// The axis as it is.
    pub const KEEP: Self = Self::Enlarge { factor: 1, shift: 0.0 };

    /// The interpolation of an axis of `extent` whose results are at `positions`.
    pub fn find(positions: &[f64], extent: usize) -> Option<Self> {
        let (size, end) = (positions.len(), (extent - 1) as f64);
        let near = |wanted: f64, found: f64| (wanted - found).abs() < ROUNDING;
        if size.is_multiple_of(extent) {
            let factor = size / extent;
            let middle = size / 2;
            let shift = positions[middle] - middle as f64 / factor as f64;
            let at = |index: usize| index as f64 / factor as f64 + shift;
            let inside = factor <= MAX_STRIDE && shift > -1.0 && at(size - 1) < end + 1.0;
            if inside && (0..size).all(|index| near(at(index).clamp(0.0, end), positions[index])) {
                return Some(Self::Enlarge { factor, shift });
            }
        }
        let first = *positions.first()?;
        let step = positions.get(1).map_or(1.0, |second| second - first).round();
        let regular = (0..size).all(|index| near(first + index as f64 * step, positions[index]));
        (step >= 1.0 && regular && near(first.fract(), 0.5)).then_some(Self::Halfway {
            start: first as usize,
            step: step as usize,
            size,
        })
    }
}

/// An image `[n,h,w,c]` interpolated along both of its axes.
pub fn interpolate(
    importer: &mut Importer,
    node: &Node,
    image: NodeId,
    axes: [Interpolation; 2],
) -> Result<NodeId, Diagnostic> {
    let image = halfway(importer, image, axes)?;
    enlarged(importer, node, image, axes)
}

fn halfway(importer: &mut Importer, image: NodeId, axes: [Interpolation; 2]) -> Result<NodeId, Diagnostic> {
    let mut y = image;
    let (mut kernel, mut strides) = ([1, 1], [1, 1]);
    for (axis, how) in axes.into_iter().enumerate() {
        if let Interpolation::Halfway { start, step, size } = how {
            y = range(importer, y, axis + 1, start, (size - 1) * step + 2, 1)?;
            (kernel[axis], strides[axis]) = (2, step);
        }
    }
    if kernel == [1, 1] {
        return Ok(y);
    }
    let window = Window { kernel, strides, dilations: [1, 1], pads: [0; 4] };
    importer.emit(Op::AveragePool(AveragePool { window, counted_pads: None }), &[y])
}

fn enlarged(
    importer: &mut Importer,
    node: &Node,
    image: NodeId,
    axes: [Interpolation; 2],
) -> Result<NodeId, Diagnostic> {
    let mut y = image;
    let mut triangles = Vec::new();
    for (axis, how) in axes.into_iter().enumerate() {
        let (factor, shift) = match how {
            Interpolation::Enlarge { factor, shift } => (factor, shift),
            Interpolation::Halfway { .. } => (1, 0.0),
        };
        let triangle = Triangle::new(factor, shift, importer.shape(y)[axis + 1]);
        y = triangle.bordered(importer, y, axis + 1)?;
        triangles.push(triangle);
    }
    if triangles.iter().all(Triangle::is_identity) {
        return Ok(y);
    }
    let channels = importer.shape(y)[3];
    let [vertical, horizontal] = [&triangles[0], &triangles[1]];
    let filter: Vec<f32> = vertical
        .weights
        .iter()
        .flat_map(|down| horizontal.weights.iter().map(move |along| (down * along) as f32))
        .collect();
    let taps = Taps {
        weights: filter.repeat(channels),
        outputs: 1,
        groups: channels,
        rows: &vertical.axis,
        columns: &horizontal.axis,
    };
    taps.apply(importer, node, y, &vec![0.0; channels])
}

/// An enlarged axis as a transposed convolution.
struct Triangle {
    axis: Axis,
    weights: Vec<f64>,
    /// Copies of the border's elements before and behind the axis.
    copies: [usize; 2],
}

impl Triangle {
    fn new(factor: usize, shift: f64, extent: usize) -> Self {
        let scale = factor as f64;
        let last = (factor * extent - 1) as f64 / scale + shift;
        let copies = [usize::from(shift < -ROUNDING), usize::from(last > (extent - 1) as f64 + ROUNDING)];
        // Element `i` has a weight in the results `factor * i + distance`.
        let weight = |distance: isize| 1.0 - (distance as f64 / scale + shift).abs();
        let reach = 2 * factor as isize;
        let taps: Vec<isize> = (-reach..=reach).filter(|&distance| weight(distance) > ROUNDING).collect();
        let weights: Vec<f64> = taps.iter().map(|&distance| weight(distance)).collect();
        // One of the taps is at the element itself.
        let before = factor * copies[0] + taps[0].unsigned_abs();
        let axis = Axis {
            extent: extent + copies[0] + copies[1],
            kernel: taps.len(),
            stride: factor,
            dilation: 1,
            before: before as isize,
            output: factor * extent,
        };
        Self { axis, weights, copies }
    }

    fn is_identity(&self) -> bool {
        self.axis.stride == 1 && self.weights == [1.0] && self.copies == [0, 0]
    }

    /// The image with copies of its border.
    fn bordered(&self, importer: &mut Importer, image: NodeId, axis: usize) -> Result<NodeId, Diagnostic> {
        let end = importer.shape(image)[axis] - 1;
        let mut parts = Vec::new();
        if self.copies[0] > 0 {
            parts.push(range(importer, image, axis, 0, 1, 1)?);
        }
        parts.push(image);
        if self.copies[1] > 0 {
            parts.push(range(importer, image, axis, end, 1, 1)?);
        }
        if parts.len() == 1 { Ok(image) } else { importer.emit(Op::Concat(Concat { axis }), &parts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_pixel(extent: usize, size: usize) -> Vec<f64> {
        let scale = size as f64 / extent as f64;
        (0..size).map(|index| ((index as f64 + 0.5) / scale - 0.5).clamp(0.0, (extent - 1) as f64)).collect()
    }

    #[test]
    fn interpolations_are_recognised_by_where_results_are() {
        assert_eq!(
            Interpolation::find(&half_pixel(5, 10), 5),
            Some(Interpolation::Enlarge { factor: 2, shift: -0.25 })
        );
        assert_eq!(
            Interpolation::find(&half_pixel(10, 5), 10),
            Some(Interpolation::Halfway { start: 0, step: 2, size: 5 })
        );
        assert_eq!(
            Interpolation::find(&half_pixel(12, 3), 12),
            Some(Interpolation::Halfway { start: 1, step: 4, size: 3 })
        );
        let asymmetric: Vec<f64> = (0..6).map(|index| (f64::from(index) / 3.0).min(1.0)).collect();
        assert_eq!(Interpolation::find(&asymmetric, 2), Some(Interpolation::Enlarge { factor: 3, shift: 0.0 }));
        assert_eq!(Interpolation::find(&[0.0, 1.0, 2.0], 3), Some(Interpolation::KEEP));
        assert_eq!(Interpolation::find(&half_pixel(4, 6), 4), None);
        let corners: Vec<f64> = (0..6).map(|index| f64::from(index) * 2.0 / 5.0).collect();
        assert_eq!(Interpolation::find(&corners, 3), None);
    }

    #[test]
    fn a_triangle_spreads_an_element_over_its_neighbours() {
        let triangle = Triangle::new(2, -0.25, 5);
        assert_eq!((&triangle.weights[..], triangle.copies), (&[0.25, 0.75, 0.75, 0.25][..], [1, 1]));
        assert_eq!((triangle.axis.before, triangle.axis.output), (3, 10));
        let triangle = Triangle::new(2, 0.0, 5);
        assert_eq!((&triangle.weights[..], triangle.copies), (&[0.5, 1.0, 0.5][..], [0, 1]));
        assert!(Triangle::new(1, 0.0, 5).is_identity());
    }
}
