//! Tensor types and tensor values.

use crate::quant::Quantization;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE 754 binary32.
    F32,
    /// Two's complement (signed) or plain binary integer of 1 to 32 bits.
    Int {
        /// Width in bits, 1 to 32.
        bits: u8,
        /// Two's complement if true.
        signed: bool,
    },
}

impl Element {
    /// Signed 8-bit integer.
    pub const I8: Self = Self::Int { bits: 8, signed: true };
    /// Unsigned 8-bit integer.
    pub const U8: Self = Self::Int { bits: 8, signed: false };
    /// Signed 4-bit integer.
    pub const I4: Self = Self::Int { bits: 4, signed: true };
    /// Signed 32-bit integer.
    pub const I32: Self = Self::Int { bits: 32, signed: true };

    /// True for integer elements.
    pub fn is_int(self) -> bool {
        matches!(self, Self::Int { .. })
    }

    /// Smallest and largest value of an integer element; `None` for floats.
    pub fn range(self) -> Option<(i64, i64)> {
        match self {
            Self::F32 => None,
            Self::Int { bits, signed: true } => Some((-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1)),
            Self::Int { bits, signed: false } => Some((0, (1i64 << bits) - 1)),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => write!(f, "f32"),
            Self::Int { bits, signed: true } => write!(f, "i{bits}"),
            Self::Int { bits, signed: false } => write!(f, "u{bits}"),
        }
    }
}

/// The inverse of printing.
impl FromStr for Element {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "f32" {
            return Ok(Self::F32);
        }
        let int = |signed: bool, bits: &str| {
            let bits = bits.parse().ok().filter(|bits| (1..=32).contains(bits))?;
            Some(Self::Int { bits, signed })
        };
        let element = match word.split_at_checked(1) {
            Some(("i", bits)) => int(true, bits),
            Some(("u", bits)) => int(false, bits),
            _ => None,
        };
        element.ok_or_else(|| format!("`{word}` is not an element type"))
    }
}

/// Shape and element of a value; for quantized activations also what the integers stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorType {
    /// Extents, outermost first; images are `[1, height, width, channels]`. No extent is 0.
    pub shape: Vec<usize>,
    /// Element type.
    pub element: Element,
    /// For integer activations: `real = scale * (q - zero_point)`.
    pub quantization: Option<Quantization>,
}

impl TensorType {
    /// A float tensor type.
    pub fn f32(shape: impl Into<Vec<usize>>) -> Self {
        Self { shape: shape.into(), element: Element::F32, quantization: None }
    }

    /// An integer tensor type without quantization parameters.
    pub fn int(shape: impl Into<Vec<usize>>, element: Element) -> Self {
        Self { shape: shape.into(), element, quantization: None }
    }

    /// The same type with quantization parameters.
    #[must_use]
    pub fn quantized(mut self, quantization: Quantization) -> Self {
        self.quantization = Some(quantization);
        self
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The shape as an image `(height, width, channels)`, in stream order (row-major, channels
    /// innermost), where the batch extent is 1: `[1,h,w,c]`, `[1,w,c]`, `[1,c]` or `[c]`.
    pub fn image(&self) -> Option<(usize, usize, usize)> {
        match self.shape[..] {
            [] => Some((1, 1, 1)),
            [c] => Some((1, 1, c)),
            [1, c] => Some((1, 1, c)),
            [1, w, c] => Some((1, w, c)),
            [1, h, w, c] => Some((h, w, c)),
            _ => None,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.element)?;
        for (index, extent) in self.shape.iter().enumerate() {
            if index > 0 {
                write!(f, ",")?;
            }
            write!(f, "{extent}")?;
        }
        write!(f, "]")?;
        if let Some(q) = self.quantization {
            write!(f, "@{q}")?;
        }
        Ok(())
    }
}

/// The elements of a tensor in row-major order. Integers of any width are held as `i32`.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Floats.
    F32(Arc<Vec<f32>>),
    /// Integers.
    Int(Arc<Vec<i32>>),
}

/// A tensor value. Cloning shares the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Elements, as many as the product of the extents.
    pub data: Data,
}

impl Tensor {
    /// A float tensor. The number of elements must match the shape.
    pub fn f32(shape: impl Into<Vec<usize>>, data: impl Into<Vec<f32>>) -> Self {
        let tensor = Self { shape: shape.into(), data: Data::F32(Arc::new(data.into())) };
        assert_eq!(tensor.count(), tensor.f32s().len(), "element count must match the shape");
        tensor
    }

    /// An integer tensor. The number of elements must match the shape.
    pub fn int(shape: impl Into<Vec<usize>>, data: impl Into<Vec<i32>>) -> Self {
        let tensor = Self { shape: shape.into(), data: Data::Int(Arc::new(data.into())) };
        assert_eq!(tensor.count(), tensor.ints().len(), "element count must match the shape");
        tensor
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements of a float tensor.
    ///
    /// # Panics
    /// If the tensor is an integer tensor: types are checked when a graph is built.
    pub fn f32s(&self) -> &[f32] {
        match &self.data {
            Data::F32(data) => data,
            Data::Int(_) => panic!("float tensor expected"),
        }
    }

    /// The elements of an integer tensor.
    ///
    /// # Panics
    /// If the tensor is a float tensor: types are checked when a graph is built.
    pub fn ints(&self) -> &[i32] {
        match &self.data {
            Data::Int(data) => data,
            Data::F32(_) => panic!("integer tensor expected"),
        }
    }

    /// Elements as real numbers: integers count as they are, whatever scale they have.
    pub fn reals(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Data::Int(values) => values.iter().map(|&value| f64::from(value)).collect(),
        }
    }

    /// The same elements with another shape of equal count.
    #[must_use]
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Self {
        let tensor = Self { shape: shape.into(), data: self.data.clone() };
        assert_eq!(tensor.count(), self.count(), "element count must match the shape");
        tensor
    }
}
