//! Constant tensors of a model, with ONNX's element types and in ONNX's layout.

use lutweave_ir::{Data, Element, Tensor, TensorType};
use std::borrow::Cow;
use std::sync::Arc;

/// Largest number of elements of any tensor.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// Largest number of elements of a constant that the importer computes itself.
pub const MAX_FOLDED: usize = 1 << 24;

/// An element type. Floats of all widths are held as binary32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A float.
    Float,
    /// An integer.
    Int {
        /// Width, 4 to 64.
        bits: u8,
        /// Two's complement if true.
        signed: bool,
    },
    /// A boolean, held as 0 or 1.
    Bool,
}

impl Kind {
    /// Signed 64-bit integer.
    pub const I64: Self = Self::Int { bits: 64, signed: true };

    /// The kind of an ONNX data type, if it is one that the importer reads.
    pub fn of(data_type: i32) -> Option<Self> {
        use crate::proto::data_type as t;
        Some(match data_type {
            t::FLOAT | t::FLOAT16 | t::BFLOAT16 | t::DOUBLE => Self::Float,
            t::UINT8 => Self::Int { bits: 8, signed: false },
            t::INT8 => Self::Int { bits: 8, signed: true },
            t::UINT16 => Self::Int { bits: 16, signed: false },
            t::INT16 => Self::Int { bits: 16, signed: true },
            t::INT32 => Self::Int { bits: 32, signed: true },
            t::UINT32 => Self::Int { bits: 32, signed: false },
            t::INT64 => Self::I64,
            t::UINT64 => Self::Int { bits: 64, signed: false },
            t::UINT4 => Self::Int { bits: 4, signed: false },
            t::INT4 => Self::Int { bits: 4, signed: true },
            t::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// The graph's element type, if the kind has one.
    pub fn element(self) -> Option<Element> {
        match self {
            Self::Float => Some(Element::F32),
            Self::Int { bits, signed } if bits < 32 || bits == 32 && signed => Some(Element::Int { bits, signed }),
            Self::Int { .. } | Self::Bool => None,
        }
    }

    /// Smallest and largest value of an integer or boolean.
    pub fn range(self) -> Option<(i64, i64)> {
        match self {
            Self::Float => None,
            Self::Int { bits: 64, signed: true } => Some((i64::MIN, i64::MAX)),
            Self::Int { bits: 64, signed: false } => Some((0, i64::MAX)),
            Self::Int { bits, signed: true } => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
            Self::Int { bits, signed: false } => Some((0, (1 << bits) - 1)),
            Self::Bool => Some((0, 1)),
        }
    }
}

/// The name of an ONNX data type, for messages.
pub fn data_type_name(data_type: i32) -> Cow<'static, str> {
    const NAMES: [&str; 24] = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
    ];
    match usize::try_from(data_type).ok().and_then(|index| NAMES.get(index)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("number {data_type}")),
    }
}

/// The elements of a literal in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Floats.
    Float(Arc<Vec<f32>>),
    /// Integers and booleans.
    Int(Arc<[i64]>),
}

impl Numbers {
    /// Floats.
    pub(crate) fn floats(data: impl IntoIterator<Item = f32>) -> Self {
        Self::Float(Arc::new(data.into_iter().collect()))
    }
}

/// A constant tensor. Cloning shares the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    /// Extents, outermost first; may be 0.
    pub shape: Vec<usize>,
    /// Element type; [`Kind::Float`] exactly if the numbers are floats.
    pub kind: Kind,
    /// As many elements as the product of the extents.
    pub numbers: Numbers,
}

impl Literal {
    /// A float literal, or an explanation if the shape does not fit the data.
    pub fn floats(shape: Vec<usize>, data: Vec<f32>) -> Result<Self, String> {
        Self { shape, kind: Kind::Float, numbers: Numbers::floats(data) }.checked()
    }

    /// An integer literal, or an explanation if the shape does not fit the data.
    pub fn ints(shape: Vec<usize>, kind: Kind, data: Vec<i64>) -> Result<Self, String> {
        Self { shape, kind, numbers: Numbers::Int(data.into()) }.checked()
    }

    /// A one-dimensional 64-bit integer literal.
    pub fn indices(data: Vec<i64>) -> Self {
        Self { shape: vec![data.len()], kind: Kind::I64, numbers: Numbers::Int(data.into()) }
    }

    fn checked(self) -> Result<Self, String> {
        let found = match &self.numbers {
            Numbers::Float(data) => data.len(),
            Numbers::Int(data) => data.len(),
        };
        match count(&self.shape) {
            Some(expected) if expected == found => Ok(self),
            _ => Err(format!("{found} elements do not fill the shape {:?}", self.shape)),
        }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        match &self.numbers {
            Numbers::Float(data) => data.len(),
            Numbers::Int(data) => data.len(),
        }
    }

    /// The elements if they are integers or booleans.
    pub fn as_ints(&self) -> Option<&[i64]> {
        match &self.numbers {
            Numbers::Int(data) => Some(data),
            Numbers::Float(_) => None,
        }
    }

    /// The elements if they are floats.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match &self.numbers {
            Numbers::Float(data) => Some(data),
            Numbers::Int(_) => None,
        }
    }

    /// The elements as floats, whatever they are.
    pub fn to_floats(&self) -> Vec<f32> {
        match &self.numbers {
            Numbers::Float(data) => data.to_vec(),
            Numbers::Int(data) => data.iter().map(|&v| v as f32).collect(),
        }
    }

    /// The same elements with another shape.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self, String> {
        Self { shape, kind: self.kind, numbers: self.numbers.clone() }.checked()
    }

    /// A literal of the elements at row-major positions of this one. Every position must exist.
    pub fn taken(&self, shape: Vec<usize>, positions: &[usize]) -> Result<Self, String> {
        let numbers = match &self.numbers {
            Numbers::Float(data) => Numbers::floats(positions.iter().map(|&p| data[p])),
            Numbers::Int(data) => Numbers::Int(positions.iter().map(|&p| data[p]).collect()),
        };
        Self { shape, kind: self.kind, numbers }.checked()
    }

    /// Axis `i` of the result is axis `permutation[i]`. The permutation must be one.
    pub fn transposed(&self, permutation: &[usize]) -> Self {
        let shape: Vec<usize> = permutation.iter().map(|&axis| self.shape[axis]).collect();
        let strides = strides(&self.shape);
        let strides: Vec<usize> = permutation.iter().map(|&axis| strides[axis]).collect();
        self.taken(shape.clone(), &positions(&shape, &strides)).expect("invariant: a permutation keeps the count")
    }

    /// Value and type in the graph, or why the graph cannot hold it.
    pub fn to_tensor(&self) -> Result<(Tensor, TensorType), String> {
        if self.count() == 0 {
            return Err(format!("a tensor of shape {:?} has no elements", self.shape));
        }
        match &self.numbers {
            Numbers::Float(data) => {
                let tensor = Tensor { shape: self.shape.clone(), data: Data::F32(Arc::clone(data)) };
                Ok((tensor, TensorType::f32(self.shape.clone())))
            }
            Numbers::Int(data) => {
                let element =
                    self.kind.element().ok_or("uint32, 64-bit integers and booleans exist at compile time only")?;
                let narrow: Option<Vec<i32>> = data.iter().map(|&v| i32::try_from(v).ok()).collect();
                let narrow = narrow.ok_or("an integer does not fit 32 bits")?;
                Ok((Tensor::int(self.shape.clone(), narrow), TensorType::int(self.shape.clone(), element)))
            }
        }
    }
}

/// Product of extents, if it does not exceed [`MAX_ELEMENTS`].
pub fn count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent).filter(|&p| p <= MAX_ELEMENTS))
}

/// Row-major strides.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The positions that strides visit over a shape, in row-major order. The shape's count must be
/// bounded by the caller.
pub fn positions(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut result = vec![0];
    for (&extent, &stride) in shape.iter().zip(strides) {
        result = result.iter().flat_map(|&base| (0..extent).map(move |index| base + index * stride)).collect();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_row_major() {
        let literal = Literal::ints(vec![2, 3], Kind::I64, vec![0, 1, 2, 3, 4, 5]).unwrap();
        let transposed = literal.transposed(&[1, 0]);
        assert_eq!(transposed.shape, [3, 2]);
        assert_eq!(transposed.as_ints().unwrap(), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn counts_do_not_overflow() {
        assert_eq!(count(&[usize::MAX, usize::MAX]), None);
        assert_eq!(count(&[usize::MAX, 0]), Some(0));
        assert_eq!(count(&[]), Some(1));
    }
}
