//! The operators: one closed enum, one file per family with attributes, inference and evaluation.
//!
//! Float operators mean what ONNX says, on channels-last images. Integer operators (`Q...`,
//! [`Op::Table`]) mean what [`crate::quant`] says. Movement operators and `MaxPool` take both.

pub mod argmax;
pub mod batch_norm;
pub mod binary;
pub(crate) mod broadcast;
pub mod concat;
pub mod conv;
pub mod deform;
pub mod dense;
pub mod dequantize_weights;
pub(crate) mod gather;
pub mod pad;
pub(crate) mod pointwise;
pub mod pool;
pub mod prelu;
pub mod qadd;
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

use crate::tensor::{Tensor, TensorType};

pub use binary::Binary;
pub use conv::{Conv, Geometry};
pub use deform::{DeformConv, QDeformConv, Sampling};
pub use dequantize_weights::DequantizeWeights;
pub use pool::{AveragePool, Window};
pub use qadd::QAdd;
pub use qconv::QConv;
pub use qmul::QMul;
pub use qpool::QAveragePool;
pub use site::{Site, SiteKind};
pub use table::Table;
pub use top_peaks::TopPeaks;
pub use unary::Unary;

/// An operator with its attributes. Operands are listed with their types; `b` operands that
/// stand in brackets may be left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A graph input.
    Input,
    /// A constant tensor.
    Constant(Tensor),

    // Float, linear.
    /// 2-D convolution: `x [n,h,w,i], w [o,kh,kw,i/groups], [b [o]] -> [n,h',w',o]`.
    Conv(Conv),
    /// 2-D convolution whose taps read where offsets say:
    /// `x [n,h,w,i], w [o,kh,kw,i/groups], b [o], offsets [n,h',w',..], [mask] -> [n,h',w',o]`.
    DeformConv(DeformConv),
    /// Matrix product with a constant matrix: `x [..,k], w [o,k], [b [o]] -> [..,o]`.
    Dense,
    /// Batch normalization over the last axis:
    /// `x [..,c], scale [c], bias [c], mean [c], variance [c] -> [..,c]`.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },

    // Float, pointwise.
    /// A function of one real: `x -> x`.
    Unary(Unary),
    /// A function of two reals with numpy broadcasting: `x, y -> z`.
    Binary(Binary),
    /// `x < 0 ? slope * x : x`, slope broadcast: `x, slope -> x`.
    PRelu,

    // Float or integer windows.
    /// Largest element of each window; padding never wins: `x [n,h,w,c] -> [n,h',w',c]`.
    MaxPool(Window),
    /// Mean of each window: `x [n,h,w,c] -> [n,h',w',c]`.
    AveragePool(AveragePool),
    /// Mean over axes: `x -> y`.
    ReduceMean {
        /// Axes, ascending, without repetition.
        axes: Vec<usize>,
        /// Keep the reduced axes with extent 1.
        keep: bool,
    },

    // Movement, any element type.
    /// Joins tensors along an axis: `x, y, .. -> z`.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// A strided box: `x -> y` with `y[i] = x[start + i * step]` per axis.
    Slice {
        /// First index per axis.
        starts: Vec<usize>,
        /// Extent of the result per axis.
        sizes: Vec<usize>,
        /// Step per axis, at least 1.
        steps: Vec<usize>,
    },
    /// Channels in any order, left out or repeated: `x [..,c] -> y [..,k]` with
    /// `y[.., i] = x[.., channels[i]]`.
    Select {
        /// The operand's channel for each of the result, at least one.
        channels: Vec<usize>,
    },
    /// Surrounds a tensor with a constant: `x -> y`. The value is the real 0 unless stated; in
    /// an integer graph it is an integer.
    Pad {
        /// Elements added before, per axis.
        before: Vec<usize>,
        /// Elements added after, per axis.
        after: Vec<usize>,
        /// The constant (integral in integer graphs).
        value: f32,
    },
    /// Nearest-neighbour upsampling by integer factors: `x [n,h,w,c] -> [n,h*fy,w*fx,c]`,
    /// `y[i] = x[i / factor]`.
    Resize {
        /// Vertical and horizontal factor.
        factors: [usize; 2],
    },
    /// Axis permutation: axis `i` of the result is axis `permutation[i]` of the operand.
    Transpose {
        /// The permutation.
        permutation: Vec<usize>,
    },
    /// The same elements in row-major order with another shape.
    Reshape {
        /// The new shape.
        shape: Vec<usize>,
    },

    // Float, host only.
    /// Softmax over an axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// Index of the largest element along an axis as i32; the first (or last) of equals.
    ArgMax {
        /// The axis.
        axis: usize,
        /// Keep the axis with extent 1.
        keep: bool,
        /// The last of equals instead of the first.
        last: bool,
    },

    // Float, undecided.
    /// A place where a lossy choice will be made, see [`Site`]: `x -> x`.
    Site(Site),

    // Between the domains.
    /// Real to integer, see [`crate::Quantization::quantize`]: `x f32 -> q`.
    Quantize {
        /// Element type of the result.
        element: crate::Element,
        /// Scale and zero point of the result.
        quantization: crate::Quantization,
    },
    /// Integer to real by the operand's quantization: `q -> x f32`.
    Dequantize,
    /// Integer constant to real with one scale and zero point per index of an axis (or one of
    /// each for all): the weights and biases of quantized models: `q -> w f32`.
    DequantizeWeights(DequantizeWeights),

    // Integer.
    /// Convolution of integers with requantization:
    /// `x [1,h,w,i] int, w [o,kh,kw,i/groups] int, b [o] i32 -> [1,h',w',o]`.
    QConv(QConv),
    /// Convolution of integers whose taps read where integer offsets say, with requantization:
    /// `x [1,h,w,i] int, w [o,kh,kw,i/groups] int, b [o] i32, offsets [1,h',w',..] int ->
    /// [1,h',w',o]`.
    QDeformConv(QDeformConv),
    /// Mean of each window by sum and requantization.
    QAveragePool(QAveragePool),
    /// Linear combination of two tensors, the second broadcast over height and width.
    QAdd(QAdd),
    /// Product of two tensors, the second broadcast over height and width.
    QMul(QMul),
    /// A function of one integer of at most 8 bits, by table.
    Table(Table),
    /// Top-k heatmap peaks and the auxiliary map values at each.:
    /// `heatmap [1,h,w,c] int, maps [1,h,w,m] int .. -> records [1,1,count,fields] u8`.
    TopPeaks(TopPeaks),
}

impl Op {
    /// The operator's name in the text form: snake case, unique.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Constant(_) => "constant",
            Self::Conv(_) => "conv",
            Self::DeformConv(_) => "deform_conv",
            Self::Dense => "dense",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Unary(unary) => unary.name(),
            Self::Binary(binary) => binary.name(),
            Self::PRelu => "prelu",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool(_) => "average_pool",
            Self::ReduceMean { .. } => "reduce_mean",
            Self::Concat { .. } => "concat",
            Self::Slice { .. } => "slice",
            Self::Select { .. } => "select",
            Self::Pad { .. } => "pad",
            Self::Resize { .. } => "resize",
            Self::Transpose { .. } => "transpose",
            Self::Reshape { .. } => "reshape",
            Self::Softmax { .. } => "softmax",
            Self::ArgMax { .. } => "argmax",
            Self::Site(site) => site.kind.name(),
            Self::Quantize { .. } => "quantize",
            Self::Dequantize => "dequantize",
            Self::DequantizeWeights(_) => "dequantize_weights",
            Self::QConv(_) => "qconv",
            Self::QDeformConv(_) => "qdeform_conv",
            Self::QAveragePool(_) => "qaverage_pool",
            Self::QAdd(_) => "qadd",
            Self::QMul(_) => "qmul",
            Self::Table(_) => "table",
            Self::TopPeaks(_) => "top_peaks",
        }
    }

    /// Type of the result.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the operands or attributes.
    pub fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        for operand in operands {
            shape::check_type(operand)?;
        }
        match self {
            Self::Input | Self::Constant(_) => Err(format!("`{}` is not added with operands", self.name())),
            Self::Conv(conv) => conv.infer(operands),
            Self::DeformConv(conv) => conv.infer(operands),
            Self::Dense => dense::infer(operands),
            Self::BatchNorm { .. } => batch_norm::infer(operands),
            Self::Unary(_) => unary::infer(operands),
            Self::Binary(_) => binary::infer(operands),
            Self::PRelu => prelu::infer(operands),
            Self::MaxPool(window) => pool::infer_max(window, operands),
            Self::AveragePool(pool) => pool.infer(operands),
            Self::ReduceMean { axes, keep } => reduce::infer(axes, *keep, operands),
            Self::Concat { axis } => concat::infer(*axis, operands),
            Self::Slice { starts, sizes, steps } => slice::infer(starts, sizes, steps, operands),
            Self::Select { channels } => select::infer(channels, operands),
            Self::Pad { before, after, value } => pad::infer(before, after, *value, operands),
            Self::Resize { factors } => resize::infer(*factors, operands),
            Self::Transpose { permutation } => transpose::infer(permutation, operands),
            Self::Reshape { shape } => reshape::infer(shape, operands),
            Self::Softmax { axis } => softmax::infer(*axis, operands),
            Self::ArgMax { axis, keep, .. } => argmax::infer(*axis, *keep, operands),
            Self::Site(_) => site::infer(operands),
            Self::Quantize { element, quantization } => quantize::infer(*element, *quantization, operands),
            Self::Dequantize => quantize::infer_dequantize(operands),
            Self::DequantizeWeights(weights) => weights.infer(operands),
            Self::QConv(conv) => conv.infer(operands),
            Self::QDeformConv(conv) => conv.infer(operands),
            Self::QAveragePool(pool) => pool.infer(operands),
            Self::QAdd(add) => add.infer(operands),
            Self::QMul(mul) => mul.infer(operands),
            Self::Table(table) => table.infer(operands),
            Self::TopPeaks(peaks) => peaks.infer(operands),
        }
    }

    /// The value of the result. `ty` is the result's inferred type, `types` the operands'.
    pub fn eval(&self, ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        match self {
            Self::Input => unreachable!("an input has no operands to evaluate"),
            Self::Constant(tensor) => tensor.clone(),
            Self::Conv(conv) => conv.eval(ty, operands),
            Self::DeformConv(conv) => conv.eval(ty, operands),
            Self::Dense => dense::eval(ty, operands),
            Self::BatchNorm { epsilon } => batch_norm::eval(*epsilon, operands),
            Self::Unary(unary) => unary::eval(*unary, operands),
            Self::Binary(binary) => binary::eval(*binary, ty, operands),
            Self::PRelu => prelu::eval(ty, operands),
            Self::MaxPool(window) => pool::eval_max(window, ty, operands),
            Self::AveragePool(pool) => pool.eval(ty, operands),
            Self::ReduceMean { axes, .. } => reduce::eval(axes, ty, operands),
            Self::Concat { axis } => concat::eval(*axis, ty, operands),
            Self::Slice { starts, steps, .. } => slice::eval(starts, steps, ty, operands),
            Self::Select { channels } => select::eval(channels, ty, operands),
            Self::Pad { before, value, .. } => pad::eval(before, *value, ty, operands),
            Self::Resize { factors } => resize::eval(*factors, ty, operands),
            Self::Transpose { permutation } => transpose::eval(permutation, ty, operands),
            Self::Reshape { .. } => operands[0].reshaped(ty.shape.clone()),
            Self::Softmax { axis } => softmax::eval(*axis, operands),
            Self::ArgMax { axis, last, .. } => argmax::eval(*axis, *last, ty, operands),
            Self::Site(_) => operands[0].clone(),
            Self::Quantize { element, quantization } => quantize::eval(*element, *quantization, operands),
            Self::Dequantize => quantize::eval_dequantize(types, operands),
            Self::DequantizeWeights(weights) => weights.eval(operands),
            Self::QConv(conv) => conv.eval(ty, operands),
            Self::QDeformConv(conv) => conv.eval(ty, operands),
            Self::QAveragePool(pool) => pool.eval(ty, operands),
            Self::QAdd(add) => add.eval(ty, operands),
            Self::QMul(mul) => mul.eval(ty, operands),
            Self::Table(table) => table.eval(types, operands),
            Self::TopPeaks(peaks) => peaks.eval(ty, types, operands),
        }
    }

    /// Multiply-accumulates of one evaluation; counts products of convolutions and matrix
    /// products only.
    pub fn macs(&self, ty: &TensorType, types: &[&TensorType]) -> u64 {
        match self {
            Self::Conv(_) | Self::DeformConv(_) | Self::QConv(_) | Self::QDeformConv(_) | Self::Dense => {
                let weights = types[1];
                ty.count() as u64 * (weights.count() / weights.shape[0]) as u64
            }
            Self::Input
            | Self::Constant(_)
            | Self::BatchNorm { .. }
            | Self::Unary(_)
            | Self::Binary(_)
            | Self::PRelu
            | Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::ReduceMean { .. }
            | Self::Concat { .. }
            | Self::Slice { .. }
            | Self::Select { .. }
            | Self::Pad { .. }
            | Self::Resize { .. }
            | Self::Transpose { .. }
            | Self::Reshape { .. }
            | Self::Softmax { .. }
            | Self::ArgMax { .. }
            | Self::Site(_)
            | Self::Quantize { .. }
            | Self::Dequantize
            | Self::DequantizeWeights(_)
            | Self::QAveragePool(_)
            | Self::QAdd(_)
            | Self::QMul(_)
            | Self::Table(_)
            | Self::TopPeaks(_) => 0,
        }
    }
}
