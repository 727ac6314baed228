//! One importer per operator, one line per operator in one table.

mod batch_norm;
mod constant;
mod conv;
mod conv_transpose;
mod deform_conv;
mod interpolate;
mod matmul;
mod pointwise;
mod pool;
mod qlinear;
mod quantize;
mod reduce;
mod resize;
pub(crate) mod select;
pub(crate) mod shape;
mod window;

use crate::fold;
use crate::import::Importer;
use crate::node::Node;
use crate::value::Value;
use lutweave_ir::op::{Binary, Unary};
use lutweave_ir::{Diagnostic, NodeId};

/// The results of a node, in order.
pub type Imported = Result<Vec<Value>, Diagnostic>;

/// Puts a node into the graph, or finds its value.
pub type Import = fn(&mut Importer, &Node) -> Imported;

/// The value of a node whose operands are constants; `None` if the graph's operators are to
/// compute it.
pub type Fold = fn(&Node) -> Result<Option<Value>, Diagnostic>;

/// A result that is one graph node.
fn one(importer: &mut Importer, build: impl FnOnce(&mut Importer) -> Result<NodeId, Diagnostic>) -> Imported {
    let id = build(importer)?;
    Ok(vec![importer.value(id)])
}

/// How an operator is imported.
pub struct Operator {
    /// Domain; empty for ONNX's own.
    pub domain: &'static str,
    /// Name.
    pub name: &'static str,
    /// What to do if all operands are constants.
    pub fold: Option<Fold>,
    /// What to do otherwise; `None` if only constants are supported.
    pub import: Option<Import>,
    /// True if quantized constants keep their integers.
    pub moves: bool,
}

/// An operator of the graph.
const fn graph(name: &'static str, import: Import) -> Operator {
    Operator { domain: "", name, fold: None, import: Some(import), moves: false }
}

/// An operator that only moves or names elements.
const fn moving(name: &'static str, import: Import) -> Operator {
    Operator { domain: "", name, fold: None, import: Some(import), moves: true }
}

/// An operator of the graph that is also computed on integer constants.
const fn both(name: &'static str, import: Import, fold: Fold) -> Operator {
    Operator { domain: "", name, fold: Some(fold), import: Some(import), moves: false }
}

/// An operator of constants.
const fn constants(name: &'static str, fold: Fold) -> Operator {
    Operator { domain: "", name, fold: Some(fold), import: None, moves: false }
}

/// An operator of onnxruntime's own domain.
const fn microsoft(name: &'static str, import: Import) -> Operator {
    Operator { domain: "com.microsoft", name, fold: None, import: Some(import), moves: false }
}

/// Every operator, by domain and name.
pub const OPERATORS: &[Operator] = &[
    both("Abs", |i, n| pointwise::unary(i, n, Unary::Abs), fold::absolute),
    both("Add", |i, n| pointwise::binary(i, n, Binary::Add), fold::add),
    constants("And", fold::and),
    graph("ArgMax", reduce::argmax),
    graph("AveragePool", pool::average_pool),
    graph("BatchNormalization", batch_norm::batch_normalization),
    both("Cast", shape::cast, fold::cast),
    graph("Ceil", |i, n| pointwise::unary(i, n, Unary::Ceil)),
    graph("Clip", pointwise::clip),
    both("Concat", select::concat, fold::concat),
    graph("Constant", constant::constant),
    constants("ConstantOfShape", constant::constant_of_shape),
    graph("Conv", conv::conv),
    graph("ConvInteger", qlinear::conv_integer),
    graph("ConvTranspose", conv_transpose::conv_transpose),
    graph("DeformConv", deform_conv::deform_conv),
    graph("DepthToSpace", shape::depth_to_space),
    moving("DequantizeLinear", quantize::dequantize),
    both("Div", |i, n| pointwise::binary(i, n, Binary::Div), fold::div),
    moving("Dropout", shape::dropout),
    graph("Elu", pointwise::elu),
    constants("Equal", fold::equal),
    graph("Erf", |i, n| pointwise::unary(i, n, Unary::Erf)),
    graph("Exp", |i, n| pointwise::unary(i, n, Unary::Exp)),
    constants("Expand", fold::expand),
    moving("Flatten", shape::flatten),
    graph("Floor", |i, n| pointwise::unary(i, n, Unary::Floor)),
    both("Gather", select::gather, fold::gather),
    graph("Gelu", pointwise::gelu),
    graph("Gemm", matmul::gemm),
    graph("GlobalAveragePool", pool::global_average_pool),
    graph("GlobalMaxPool", pool::global_max_pool),
    constants("Greater", fold::greater),
    constants("GreaterOrEqual", fold::greater_or_equal),
    graph("HardSigmoid", pointwise::hard_sigmoid),
    graph("HardSwish", |i, n| pointwise::unary(i, n, Unary::HardSwish)),
    moving("Identity", shape::identity),
    graph("LeakyRelu", pointwise::leaky_relu),
    constants("Less", fold::less),
    constants("LessOrEqual", fold::less_or_equal),
    graph("Log", |i, n| pointwise::unary(i, n, Unary::Log)),
    graph("MatMul", matmul::matmul),
    graph("MatMulInteger", qlinear::matmul_integer),
    both("Max", |i, n| pointwise::variadic(i, n, Binary::Max), fold::max),
    graph("MaxPool", pool::max_pool),
    graph("Mean", pointwise::mean),
    both("Min", |i, n| pointwise::variadic(i, n, Binary::Min), fold::min),
    graph("Mish", |i, n| pointwise::unary(i, n, Unary::Mish)),
    constants("Mod", fold::modulo),
    both("Mul", |i, n| pointwise::binary(i, n, Binary::Mul), fold::mul),
    both("Neg", |i, n| pointwise::unary(i, n, Unary::Neg), fold::negate),
    constants("Not", fold::not),
    constants("Or", fold::or),
    graph("PRelu", pointwise::prelu),
    graph("Pad", select::pad),
    both("Pow", pointwise::power, fold::power),
    graph("QLinearConv", qlinear::conv),
    graph("QLinearMatMul", qlinear::matmul),
    graph("QuantizeLinear", quantize::quantize),
    constants("Range", constant::range),
    graph("Reciprocal", |i, n| pointwise::unary(i, n, Unary::Reciprocal)),
    constants("ReduceMax", fold::reduce_max),
    graph("ReduceMean", reduce::reduce_mean),
    constants("ReduceMin", fold::reduce_min),
    constants("ReduceProd", fold::reduce_product),
    constants("ReduceSum", fold::reduce_sum),
    graph("Relu", |i, n| pointwise::unary(i, n, Unary::Relu)),
    moving("Reshape", shape::reshape),
    graph("Resize", resize::resize),
    graph("Round", |i, n| pointwise::unary(i, n, Unary::Round)),
    moving("Shape", constant::shape),
    graph("Sigmoid", |i, n| pointwise::unary(i, n, Unary::Sigmoid)),
    moving("Size", constant::size),
    both("Slice", select::slice, fold::slice),
    graph("Softmax", reduce::softmax),
    graph("Softplus", |i, n| pointwise::unary(i, n, Unary::Softplus)),
    graph("SpaceToDepth", shape::space_to_depth),
    graph("Split", select::split),
    graph("Sqrt", |i, n| pointwise::unary(i, n, Unary::Sqrt)),
    moving("Squeeze", shape::squeeze),
    both("Sub", |i, n| pointwise::binary(i, n, Binary::Sub), fold::sub),
    graph("Sum", |i, n| pointwise::variadic(i, n, Binary::Add)),
    graph("Tanh", |i, n| pointwise::unary(i, n, Unary::Tanh)),
    constants("Tile", fold::tile),
    moving("Transpose", shape::transpose),
    moving("Unsqueeze", shape::unsqueeze),
    graph("Upsample", resize::resize),
    constants("Where", fold::choose),
    microsoft("DequantizeLinear", quantize::dequantize),
    microsoft("Gelu", pointwise::gelu),
    microsoft("QLinearAdd", |i, n| qlinear::binary(i, n, Binary::Add)),
    microsoft("QLinearConcat", qlinear::concat),
    microsoft("QLinearGlobalAveragePool", qlinear::global_average_pool),
    microsoft("QLinearLeakyRelu", |i, n| {
        let alpha = n.float("alpha", 0.01);
        qlinear::unary(i, n, Unary::LeakyRelu { alpha })
    }),
    microsoft("QLinearMul", |i, n| qlinear::binary(i, n, Binary::Mul)),
    microsoft("QLinearSigmoid", |i, n| qlinear::unary(i, n, Unary::Sigmoid)),
    microsoft("QuantizeLinear", quantize::quantize),
];

/// The table's line for an operator, or why there is none.
pub fn find(node: &Node, domain: &str) -> Result<&'static Operator, Diagnostic> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    let name = node.operator();
    if let Some(operator) = OPERATORS.iter().find(|operator| operator.domain == domain && operator.name == name) {
        return Ok(operator);
    }
    let refuse = |message: String, help: &str| node.error("unsupported-operator", message).help(help);
    Err(match (domain, name) {
        ("qonnx.custom_op.general" | "onnx.brevitas" | "finn.custom_op.general", _) => refuse(
            format!("`{domain}.{name}` is a QONNX operator"),
            "convert the model to QuantizeLinear and DequantizeLinear with `qonnx-convert --output-style qcdq`, or \
             export it from Brevitas with `export_onnx_qcdq`",
        ),
        ("", "If" | "Loop" | "Scan" | "SequenceMap") => refuse(
            format!("`{name}` has subgraphs that run under a condition"),
            "export with fixed shapes and constant folding, so that control flow disappears",
        ),
        ("", "LSTM" | "GRU" | "RNN") => refuse(
            format!("`{name}` is recurrent"),
            "only feed-forward networks can be compiled; replace it by one-dimensional convolutions",
        ),
        ("", "NonMaxSuppression" | "TopK" | "NonZero") => refuse(
            format!("`{name}` is post-processing whose result has no fixed shape or order"),
            "cut the model before it (`onnx.utils.extract_model`) and run it on the host",
        ),
        ("", "DynamicQuantizeLinear") => {
            refuse("scales are computed at run time".to_owned(), "quantize statically, with calibration data")
        }
        ("", _) => refuse(
            format!("`{name}` is not supported"),
            "replace it by supported operators, or cut the model before it (`onnx.utils.extract_model`)",
        ),
        _ => refuse(
            format!("`{name}` belongs to the domain `{domain}`, of which it is not supported"),
            "export with ONNX's own operators",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::OPERATORS;

    #[test]
    fn the_table_is_sorted_without_repetition() {
        assert!(OPERATORS.is_sorted_by(|a, b| (a.domain, a.name) < (b.domain, b.name)));
    }
}
