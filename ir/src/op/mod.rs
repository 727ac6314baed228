//! The operators: one table, and one file per operator or family with attributes, inference and
//! evaluation.
//!
//! Float operators mean what ONNX says, on channels-last images. Integer operators (`Q...`,
//! [`Op::Table`]) mean what [`crate::quant`] says. Movement operators take both.

pub mod argmax;
pub(crate) mod attributes;
pub mod batch_norm;
pub mod binary;
pub(crate) mod broadcast;
pub(crate) mod bytes;
pub mod concat;
pub mod conv;
pub mod deform;
pub mod dense;
pub mod dequantize_weights;
pub(crate) mod gather;
pub(crate) mod operator;
pub mod pad;
pub(crate) mod pointwise;
pub mod pool;
pub mod prelu;
pub mod qadd;
pub mod qargmax;
pub mod qconv;
pub mod qmul;
pub mod qpool;
pub mod quantize;
pub mod reduce;
pub mod reshape;
pub mod resize;
pub mod select;
pub mod shape;
pub mod site;
pub mod slice;
pub mod softmax;
pub mod table;
pub mod top_peaks;
pub mod transpose;
pub mod unary;

use crate::convolve::Weights;
use crate::range::Operands;
use crate::tensor::{Tensor, TensorType};
use attributes::{Given, Named, Written};
use operator::{Operator, Values};

pub use argmax::ArgMax;
pub use batch_norm::BatchNorm;
pub use binary::Binary;
pub use concat::Concat;
pub use conv::{Conv, Geometry};
pub use deform::{DeformConv, QDeformConv, Sampling};
pub use dense::Dense;
pub use dequantize_weights::DequantizeWeights;
pub use operator::Dialect;
pub use pad::Pad;
pub use pool::{AveragePool, MaxPool, Window};
pub use prelu::PRelu;
pub use qadd::QAdd;
pub use qargmax::{JoinBytes, QArgMax};
pub use qconv::QConv;
pub use qmul::QMul;
pub use qpool::QAveragePool;
pub use quantize::{Dequantize, Quantize};
pub use reduce::ReduceMean;
pub use reshape::Reshape;
pub use resize::{Borders, Resize};
pub use select::Select;
pub use site::{Site, SiteKind};
pub use slice::Slice;
pub use softmax::Softmax;
pub use table::Table;
pub use top_peaks::TopPeaks;
pub use transpose::Transpose;
pub use unary::Unary;

/// Makes the enumeration of operators, and what asks each of them, from the table.
macro_rules! operators {
    ($($dialect:ident { $($(#[doc = $doc:literal])* $operator:ident,)* })*) => {
        /// An operator with its attributes. Operands are listed with their types; `b` operands that
        /// stand in brackets may be left out.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            /// A graph input.
            Input,
            /// A constant tensor.
            Constant(Tensor),
            $($($(#[doc = $doc])* $operator($operator),)*)*
        }

        impl Op {
            /// Where the operator belongs.
            pub fn dialect(&self) -> Dialect {
                match self {
                    Self::Input | Self::Constant(_) => Dialect::Leaf,
                    $($(Self::$operator(_) => Dialect::$dialect,)*)*
                }
            }

            /// What the operator says of itself; an input or a constant says nothing.
            fn operator(&self) -> Option<&dyn Operator> {
                match self {
                    Self::Input | Self::Constant(_) => None,
                    $($(Self::$operator(operator) => Some(operator),)*)*
                }
            }

            /// The operator of a name. Every attribute must be one of its own.
            pub(crate) fn read(name: &str, mut given: Given) -> Result<Self, String> {
                $($(if let Some(operator) = $operator::read(name, &mut given) {
                    return match given.0.first() {
                        None => Ok(Self::$operator(operator?)),
                        Some((attribute, _)) => {
                            operator?;
                            Err(format!("`{name}` has no attribute `{attribute}`"))
                        }
                    };
                })*)*
                Err(format!("there is no operator `{name}`"))
            }
        }
    };
}

operators! {
    Float {
        /// 2-D convolution: `x [n,h,w,i], w [o,kh,kw,i/groups], [b [o]] -> [n,h',w',o]`.
        Conv,
        /// 2-D convolution whose taps read where offsets say:
        /// `x [n,h,w,i], w [o,kh,kw,i/groups], b [o], offsets [n,h',w',..], [mask] -> [n,h',w',o]`.
        DeformConv,
        /// Matrix product with a constant matrix: `x [..,k], w [o,k], [b [o]] -> [..,o]`.
        Dense,
        /// Batch normalization over the last axis:
        /// `x [..,c], scale [c], bias [c], mean [c], variance [c] -> [..,c]`.
        BatchNorm,
        /// A function of one real: `x -> x`.
        Unary,
        /// A function of two reals with numpy broadcasting: `x, y -> z`.
        Binary,
        /// `x < 0 ? slope * x : x`, slope broadcast: `x, slope -> x`.
        PRelu,
        /// Mean of each window: `x [n,h,w,c] -> [n,h',w',c]`.
        AveragePool,
        /// Mean over axes: `x -> y`.
        ReduceMean,
        /// Softmax over an axis: `x -> x`.
        Softmax,
        /// Index of the largest element along an axis: `x -> y i32`.
        ArgMax,
        /// A place where a lossy choice will be made: `x -> x`.
        Site,
    }
    Movement {
        /// Largest element of each window; padding never wins: `x [n,h,w,c] -> [n,h',w',c]`.
        MaxPool,
        /// Joins tensors along an axis: `x, y, .. -> z`.
        Concat,
        /// A strided box: `x -> y`.
        Slice,
        /// Channels in any order, left out or repeated: `x [..,c] -> y [..,k]`.
        Select,
        /// Surrounds a tensor with a constant: `x -> y`.
        Pad,
        /// Nearest-neighbour upsampling by integer factors: `x [n,h,w,c] -> [n,h*fy,w*fx,c]`.
        Resize,
        /// Axis permutation: `x -> y`.
        Transpose,
        /// The same elements in row-major order with another shape: `x -> y`.
        Reshape,
    }
    Bridge {
        /// Real to integer: `x f32 -> q`.
        Quantize,
        /// Integer to real by the operand's quantization: `q -> x f32`.
        Dequantize,
        /// Integer constant to real with one scale and zero point per index of an axis (or one of
        /// each for all): the weights and biases of quantized models: `q -> w f32`.
        DequantizeWeights,
        /// One number of the bytes of each pixel: `x [..,b] u8 -> y [..,1] i32`.
        JoinBytes,
    }
    Integer {
        /// Convolution of integers with requantization:
        /// `x [1,h,w,i] int, w [o,kh,kw,i/groups] int, b [o] i32 -> [1,h',w',o]`.
        QConv,
        /// Convolution of integers whose taps read where integer offsets say, with requantization:
        /// `x [1,h,w,i] int, w [o,kh,kw,i/groups] int, b [o] i32, offsets [1,h',w',..] int ->
        /// [1,h',w',o]`.
        QDeformConv,
        /// Mean of each window by sum and requantization: `x [1,h,w,c] int -> [1,h',w',c]`.
        QAveragePool,
        /// Linear combination of two tensors, the second broadcast over height and width.
        QAdd,
        /// Product of two tensors, the second broadcast over height and width.
        QMul,
        /// A function of one integer of at most 8 bits, by table: `x int -> y int`.
        Table,
        /// The place of the largest channel, in bytes: `x [..,c] int -> y [..,b] u8`.
        QArgMax,
        /// Top-k heatmap peaks and the values of other maps at each:
        /// `heatmap [1,h,w,c] int, maps [1,h,w,m] int .. -> records [1,1,count,fields] u8`.
        TopPeaks,
    }
}

impl Op {
    /// The operator's name in the text form: snake case, unique.
    pub fn name(&self) -> &'static str {
        match (self, self.operator()) {
            (_, Some(operator)) => operator.name(),
            (Self::Input, None) => "input",
            (_, None) => "constant",
        }
    }

    /// Names and values of the attributes in the text form, in the order in which they are printed.
    pub(crate) fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut written = Written::default();
        if let Some(operator) = self.operator() {
            operator.write(&mut written);
        }
        written.0
    }

    /// Type of the result.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the operands or attributes.
    pub fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        for operand in operands {
            shape::check_type(operand)?;
        }
        match self.operator() {
            Some(operator) => operator.infer(operands),
            None => Err(format!("`{}` is not added with operands", self.name())),
        }
    }

    /// The value of the result. `ty` is the result's inferred type, `types` the operands'.
    pub fn eval(&self, ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        match (self, self.operator()) {
            (_, Some(operator)) => operator.eval(ty, types, operands),
            (Self::Constant(tensor), None) => tensor.clone(),
            (_, None) => unreachable!("an input has no operands to evaluate"),
        }
    }

    /// Multiply-accumulates of one evaluation; counts products of convolutions and matrix
    /// products only.
    pub fn macs(&self, ty: &TensorType, types: &[&TensorType]) -> u64 {
        self.operator().map_or(0, |operator| operator.macs(ty, types))
    }

    /// Which integers the result can hold, if it holds integers.
    pub(crate) fn values(&self, operands: &Operands) -> Values {
        match (self, self.operator()) {
            (_, Some(operator)) => operator.values(operands),
            (Self::Constant(tensor), None) => Values::among(tensor.ints()),
            (_, None) => Values::OfType,
        }
    }

    /// Smallest and largest partial sum, if there are sums.
    pub(crate) fn accumulator(&self, operands: &Operands) -> Option<(i64, i64)> {
        self.operator()?.accumulator(operands)
    }

    /// The zero point that the arithmetic adds to its result.
    pub(crate) fn zero_point(&self) -> Option<i32> {
        self.operator()?.zero_point()
    }

    /// Constant weights, packed if the operator reads them so.
    pub(crate) fn pack(&self, weights: &Tensor) -> Option<Weights> {
        self.operator()?.pack(weights)
    }

    /// As [`Op::eval`], for weights that [`Op::pack`] gave.
    pub(crate) fn eval_packed(&self, weights: &Weights, ty: &TensorType, operands: &[&Tensor]) -> Tensor {
        let operator = self.operator().expect("invariant: only an operator packs weights");
        operator.eval_packed(weights, ty, operands)
    }
}
