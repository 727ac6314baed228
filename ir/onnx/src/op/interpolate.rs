//! Linear interpolation along the axes of an image, by operators that there are. Between pixels that
//! are repeated, a larger image is a mean over as many as one was repeated; where that has many taps,
//! it is a transposed depthwise convolution by a triangle. A smaller image is a mean of neighbours.

use super::conv_transpose::{Axis, MAX_STRIDE, Taps};
use super::select::range;
use crate::import::Importer;
use crate::literal::Literal;
use crate::node::Node;
use crate::value::Value;
use lutweave_ir::op::{AveragePool, Borders, Conv, Geometry, Resize, Window};
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
    let axes = axes.map(|how| match how {
        Interpolation::Enlarge { factor, shift } => (factor, shift),
        Interpolation::Halfway { .. } => (1, 0.0),
    });
    let filters = axes.map(|(factor, shift)| BoxFilter::new(factor, shift));
    if filters.iter().all(BoxFilter::is_identity) {
        Ok(image)
    } else if filters.iter().map(|filter| filter.taps.len()).product::<usize>() <= MOST_TAPS {
        filtered(importer, node, image, &filters)
    } else {
        transposed(importer, node, image, axes)
    }
}

/// Most taps of a filter over repeated pixels. Above that, a filter for each place between two pixels takes less.
const MOST_TAPS: usize = 9;

/// An axis that is enlarged by repeating its elements and filtering what comes of it.
#[derive(Debug)]
struct BoxFilter {
    factor: usize,
    /// Copies of the border's elements before and behind the axis.
    copies: [usize; 2],
    taps: Vec<f64>,
}

impl BoxFilter {
    /// Result `i` is the mean of the repeated elements from `i + factor * shift` on over the length of a factor.
    fn new(factor: usize, shift: f64) -> Self {
        let (start, length) = (factor as f64 * shift, factor as f64);
        let weight = |at: isize| {
            let (from, to) = (start.max(at as f64), (start + length).min((at + 1) as f64));
            (to - from) / length
        };
        let reach = factor as isize;
        let covered = (-reach..=2 * reach).filter(|&at| weight(at) > ROUNDING);
        let (first, last) = covered.fold((0, 0), |(first, last), at| (at.min(first), at.max(last)));
        let taps = (first..=last).map(|at| weight(at).max(0.0)).collect();
        Self { factor, copies: [first.unsigned_abs(), last.unsigned_abs()], taps }
    }

    fn is_identity(&self) -> bool {
        self.factor == 1 && self.taps == [1.0]
    }

    fn is_mean(&self) -> bool {
        self.taps.iter().all(|tap| (tap * self.taps.len() as f64 - 1.0).abs() < ROUNDING)
    }
}

fn filtered(
    importer: &mut Importer,
    node: &Node,
    image: NodeId,
    [vertical, horizontal]: &[BoxFilter; 2],
) -> Result<NodeId, Diagnostic> {
    let factors = [vertical.factor, horizontal.factor];
    let repeated = bordered(importer, image, factors, [vertical.copies, horizontal.copies])?;
    let kernel = [vertical.taps.len(), horizontal.taps.len()];
    if vertical.is_mean() && horizontal.is_mean() {
        let window = Window { kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4] };
        return importer.emit(Op::AveragePool(AveragePool { window, counted_pads: None }), &[repeated]);
    }
    let channels = importer.shape(image)[3];
    let filter = product(&vertical.taps, &horizontal.taps).repeat(channels);
    let literal = |shape: Vec<usize>, data| Literal::floats(shape, data).map_err(|message| node.invalid(message));
    let weights = Value::Constant(literal(vec![channels, kernel[0], kernel[1], 1], filter)?);
    let bias = Value::Constant(literal(vec![channels], vec![0.0; channels])?);
    let operands = [repeated, importer.node_as(&weights, "weights")?, importer.node_as(&bias, "bias")?];
    let geometry = Geometry { groups: channels, ..Geometry::PLAIN };
    importer.emit(Op::Conv(Conv { geometry }), &operands)
}

/// The image with its rows and columns repeated, and with copies of its border.
fn bordered(
    importer: &mut Importer,
    image: NodeId,
    factors: [usize; 2],
    copies: [[usize; 2]; 2],
) -> Result<NodeId, Diagnostic> {
    let [[top, bottom], [left, right]] = copies;
    let resize = Resize { factors, borders: Borders([top, left, bottom, right]) };
    if resize.is_identity() { Ok(image) } else { importer.emit(Op::Resize(resize), &[image]) }
}

/// The filter of two axes together, in row-major order.
fn product(vertical: &[f64], horizontal: &[f64]) -> Vec<f32> {
    vertical.iter().flat_map(|down| horizontal.iter().map(move |along| (down * along) as f32)).collect()
}

fn transposed(
    importer: &mut Importer,
    node: &Node,
    image: NodeId,
    axes: [(usize, f64); 2],
) -> Result<NodeId, Diagnostic> {
    let shape = importer.shape(image).to_vec();
    let [vertical, horizontal] = [0, 1].map(|axis| Triangle::new(axes[axis].0, axes[axis].1, shape[axis + 1]));
    let y = bordered(importer, image, [1, 1], [vertical.copies, horizontal.copies])?;
    let channels = shape[3];
    let taps = Taps {
        weights: product(&vertical.weights, &horizontal.weights).repeat(channels),
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
    }

    #[test]
    fn repeated_elements_are_averaged_over_their_own_length() {
        let filter = BoxFilter::new(2, -0.25);
        assert_eq!((&filter.taps[..], filter.copies), (&[0.25, 0.5, 0.25][..], [1, 1]));
        assert!(!filter.is_mean());
        let filter = BoxFilter::new(3, -1.0 / 3.0);
        assert_eq!((filter.taps.len(), filter.copies), (3, [1, 1]));
        assert!(filter.is_mean());
        let filter = BoxFilter::new(2, 0.0);
        assert_eq!((&filter.taps[..], filter.copies), (&[0.5, 0.5][..], [0, 1]));
        // All results are beyond the first element, and the first tap reads nothing.
        let filter = BoxFilter::new(2, 0.5);
        assert_eq!((&filter.taps[..], filter.copies), (&[0.0, 0.5, 0.5][..], [0, 2]));
        assert!(BoxFilter::new(1, 0.0).is_identity());
    }
}
