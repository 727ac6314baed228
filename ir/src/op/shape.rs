//! Checked shape arithmetic and operand checks that inference shares.

use crate::tensor::{Element, TensorType};

/// No value of a graph has more elements.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// No kernel extent, stride, dilation or padding is larger.
pub const MAX_WINDOW: usize = 65_535;

/// The operands as an array, if there are as many as the operator takes.
pub(crate) fn exactly<'a, const N: usize>(operands: &[&'a TensorType]) -> Result<[&'a TensorType; N], String> {
    operands.try_into().map_err(|_| format!("{N} operands are required, but there are {}", operands.len()))
}

/// The first two operands and the optional third.
pub(crate) fn two_and_bias<'a>(
    operands: &[&'a TensorType],
) -> Result<(&'a TensorType, &'a TensorType, Option<&'a TensorType>), String> {
    match *operands {
        [x, w] => Ok((x, w, None)),
        [x, w, b] => Ok((x, w, Some(b))),
        _ => Err(format!("two or three operands are required, but there are {}", operands.len())),
    }
}

/// A shape with positive extents and at most [`MAX_ELEMENTS`] elements.
pub(crate) fn checked(shape: Vec<usize>) -> Result<Vec<usize>, String> {
    check(&shape)?;
    Ok(shape)
}

/// Checks that extents are positive and the element count is at most [`MAX_ELEMENTS`].
pub(crate) fn check(shape: &[usize]) -> Result<(), String> {
    if shape.contains(&0) {
        return Err(format!("shape {shape:?} has an extent of 0"));
    }
    shape
        .iter()
        .try_fold(1usize, |count, &extent| count.checked_mul(extent).filter(|&count| count <= MAX_ELEMENTS))
        .map(|_| ())
        .ok_or_else(|| format!("shape {shape:?} has more than 2^31 elements"))
}

/// Checks that an integer element has 1 to 32 bits and that every value fits an `i32`.
pub(crate) fn check_element(element: Element) -> Result<(), String> {
    match element {
        Element::F32 | Element::Int { bits: 1..=31, .. } | Element::Int { bits: 32, signed: true } => Ok(()),
        Element::Int { bits, .. } => Err(format!("element {element} has {bits} bits, which an i32 cannot hold")),
    }
}

/// Checks shape, element and quantization parameters of a type.
pub(crate) fn check_type(ty: &TensorType) -> Result<(), String> {
    check(&ty.shape)?;
    check_element(ty.element)?;
    match (ty.quantization, ty.element.range()) {
        (None, _) => Ok(()),
        (Some(_), None) => Err("a float value has quantization parameters".to_owned()),
        (Some(quantization), Some((lo, hi))) => {
            if !(quantization.scale.is_finite() && quantization.scale > 0.0) {
                return Err(format!("scale {:?} is not positive and finite", quantization.scale));
            }
            if !(lo..=hi).contains(&i64::from(quantization.zero_point)) {
                return Err(format!("zero point {} is outside {}", quantization.zero_point, ty.element));
            }
            Ok(())
        }
    }
}

/// Checks that a value is float.
pub(crate) fn float(what: &str, ty: &TensorType) -> Result<(), String> {
    if ty.element == Element::F32 { Ok(()) } else { Err(format!("{what} must be f32, but is {ty}")) }
}

/// Smallest and largest value of an integer element.
pub(crate) fn integer(what: &str, ty: &TensorType) -> Result<(i64, i64), String> {
    ty.element.range().ok_or_else(|| format!("{what} must be an integer tensor, but is {ty}"))
}

/// Checks that a value is an integer of at most 8 bits.
pub(crate) fn activation(what: &str, ty: &TensorType) -> Result<(i64, i64), String> {
    let range = integer(what, ty)?;
    narrow(what, ty.element)?;
    Ok(range)
}

/// Checks that an element is an integer of 1 to 8 bits and returns its range.
pub(crate) fn narrow(what: &str, element: Element) -> Result<(i64, i64), String> {
    match element {
        Element::Int { bits: 1..=8, .. } => Ok(element.range().expect("invariant: an integer element has a range")),
        Element::Int { .. } | Element::F32 => {
            Err(format!("{what} must be an integer of at most 8 bits, but is {element}"))
        }
    }
}

/// The four extents of an image batch.
pub(crate) fn rank4(what: &str, ty: &TensorType) -> Result<[usize; 4], String> {
    ty.shape[..].try_into().map_err(|_| format!("{what} must have 4 axes, but is {ty}"))
}

/// Checks that an axis exists.
pub(crate) fn axis(axis: usize, ty: &TensorType) -> Result<(), String> {
    if axis < ty.shape.len() { Ok(()) } else { Err(format!("axis {axis} is not an axis of {ty}")) }
}

/// Checks that a vector has the given length.
pub(crate) fn vector(what: &str, ty: &TensorType, length: usize) -> Result<(), String> {
    if ty.shape == [length] { Ok(()) } else { Err(format!("{what} must have shape [{length}], but is {ty}")) }
}

/// One spatial axis of a sliding window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    pub extent: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub before: usize,
    pub after: usize,
}

impl Sweep {
    /// Vertical and horizontal sweep of a kernel over an image.
    pub fn pair(
        image: [usize; 2],
        kernel: [usize; 2],
        strides: [usize; 2],
        dilations: [usize; 2],
        pads: [usize; 4],
    ) -> [Self; 2] {
        [0, 1].map(|axis| Self {
            extent: image[axis],
            kernel: kernel[axis],
            stride: strides[axis],
            dilation: dilations[axis],
            before: pads[axis],
            after: pads[axis + 2],
        })
    }

    /// Number of window positions.
    pub fn positions(&self) -> Result<usize, String> {
        let Self { extent, kernel, stride, dilation, before, after } = *self;
        for (what, value, least) in [
            ("kernel extent", kernel, 1),
            ("stride", stride, 1),
            ("dilation", dilation, 1),
            ("padding", before, 0),
            ("padding", after, 0),
        ] {
            if value < least || value > MAX_WINDOW {
                return Err(format!("{what} {value} is not in {least} to {MAX_WINDOW}"));
            }
        }
        let span = (kernel - 1) * dilation + 1;
        let padded = extent + before + after;
        if span > padded {
            return Err(format!("a window of extent {span} does not fit the padded image's extent {padded}"));
        }
        Ok((padded - span) / stride + 1)
    }

    /// The tap indices of window `position` that fall on the image.
    pub fn taps(&self, position: usize) -> std::ops::Range<usize> {
        self.taps_within(position, 0, 0)
    }

    /// The tap indices of window `position` that fall on the image or on `before` and `after`
    /// elements around it.
    pub fn taps_within(&self, position: usize, before: usize, after: usize) -> std::ops::Range<usize> {
        let start = self.start(position) + before as isize;
        let extent = (self.extent + before + after) as isize;
        let dilation = self.dilation as isize;
        let first = if start >= 0 { 0 } else { (-start + dilation - 1) / dilation };
        let end = if start >= extent { 0 } else { (extent - 1 - start) / dilation + 1 };
        let end = end.min(self.kernel as isize);
        first.min(end) as usize..end as usize
    }

    /// Coordinate of the first tap of window `position`; negative in the padding.
    pub fn start(&self, position: usize) -> isize {
        (position * self.stride) as isize - self.before as isize
    }

    /// Coordinate of a tap that falls on the image.
    pub fn coordinate(&self, position: usize, tap: usize) -> usize {
        position * self.stride + tap * self.dilation - self.before
    }

    /// Checks that every window has a tap on the image.
    pub fn overlaps(&self) -> Result<(), String> {
        let positions = self.positions()?;
        let inside = |position: &usize| {
            let start = self.start(*position);
            start >= 0 && (start + ((self.kernel - 1) * self.dilation) as isize) < self.extent as isize
        };
        // Windows wholly inside are contiguous: only the ones before and after need a look.
        let before = (0..positions).take_while(|position| !inside(position));
        let after = (0..positions).rev().take_while(|position| !inside(position));
        match before.chain(after).find(|&position| self.taps(position).is_empty()) {
            None => Ok(()),
            Some(position) => Err(format!("window {position} lies wholly in the padding")),
        }
    }
}

/// Row-major strides of a shape.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Extents `(outer, axis, inner)` around an axis.
pub(crate) fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

/// Refuses a batch of several.
pub(crate) fn one_image(x: &TensorType) -> Result<(), String> {
    if x.shape.first() == Some(&1) {
        Ok(())
    } else {
        Err(format!("the operand's batch extent must be 1, but it is {x}"))
    }
}

/// Refuses padding with what is no value of the operand.
pub(crate) fn padding(value: i32, x: &TensorType) -> Result<(), String> {
    match x.element.range() {
        Some((lo, hi)) if (lo..=hi).contains(&i64::from(value)) => Ok(()),
        Some(_) | None => Err(format!("padding value {value} is outside {}", x.element)),
    }
}

/// Refuses an attribute that is not a number.
pub(crate) fn number(attribute: f32) -> Result<(), String> {
    if attribute.is_nan() { Err("an attribute is not a number".to_owned()) } else { Ok(()) }
}

/// Products that a layer sums: for each element of the result, as many as there are weights of a channel.
pub(crate) fn products(ty: &TensorType, types: &[&TensorType]) -> u64 {
    let weights = types[1];
    ty.count() as u64 * (weights.count() / weights.shape[0]) as u64
}
