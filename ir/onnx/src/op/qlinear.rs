//! Operators on integers that carry their scales as operands. Each becomes dequantization, the
//! float operator and quantization; the integer pass fuses them again with the same scales.

use super::conv::convolve;
use super::matmul::product;
use super::pool;
use super::quantize::Affine;
use super::{Imported, one};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Value, Weights};
use lutweave_ir::op::{Binary, Quantize, ReduceMean, Unary};
use lutweave_ir::{Diagnostic, NodeId, Op, Quantization};

/// The reals behind an operand whose scale and zero point follow it.
fn real(importer: &mut Importer, node: &Node, operand: usize) -> Result<NodeId, Diagnostic> {
    real_at(importer, node, operand, operand + 1)
}

fn real_at(importer: &mut Importer, node: &Node, operand: usize, scale: usize) -> Result<NodeId, Diagnostic> {
    let affine = Affine::read(node, scale, scale + 1)?;
    let quantization = affine.single(node)?;
    match node.operand(operand)? {
        Value::Runtime(x) => importer.as_real(*x, quantization),
        constant => {
            let scales = vec![quantization.scale];
            let weights = node.weights(operand, "the operand", 0, scales, vec![quantization.zero_point])?;
            debug_assert!(constant.constant_shape().is_some());
            importer.node(&Value::Weights(weights))
        }
    }
}

/// The result as integers of the scale and zero point at some operands.
fn integers(importer: &mut Importer, node: &Node, y: NodeId, scale: usize) -> Result<NodeId, Diagnostic> {
    let affine = Affine::read(node, scale, scale + 1)?;
    let quantization = affine.single(node)?;
    let element = affine.kind.and_then(crate::literal::Kind::element).unwrap_or(lutweave_ir::Element::U8);
    importer.pointwise(Op::Quantize(Quantize { element, quantization }), y)
}

/// Constant weights of a convolution or product, one scale for all or one per index of `axis`.
fn weights(node: &Node, operand: usize, scale: usize, axis: usize) -> Result<Weights, Diagnostic> {
    let affine = Affine::read(node, scale, scale + 1)?;
    let axis = if affine.scales.len() == 1 { 0 } else { axis };
    let weights = node.weights(operand, "the weights", axis, affine.scales, affine.zero_points)?;
    let fits = weights.scales.len() == 1 || weights.integers.shape.get(axis) == Some(&weights.scales.len());
    if fits { Ok(weights) } else { Err(node.invalid("the weights' scales do not fit their shape")) }
}

/// `QLinearConv`.
pub fn conv(importer: &mut Importer, node: &Node) -> Imported {
    let weights = weights(node, 3, 4, 0)?;
    let bias = match node.optional(8) {
        None => None,
        Some(_) => {
            let x_scale = Affine::read(node, 1, 2)?.single(node)?.scale;
            let scales: Vec<f32> = weights.scales.iter().map(|scale| scale * x_scale).collect();
            let zeros = vec![0; scales.len()];
            Some(Value::Weights(node.weights(8, "the bias", 0, scales, zeros)?))
        }
    };
    one(importer, |importer| {
        let x = real(importer, node, 0)?;
        let y = convolve(importer, node, x, &Value::Weights(weights), bias.as_ref())?;
        integers(importer, node, y, 6)
    })
}

/// `QLinearMatMul`.
pub fn matmul(importer: &mut Importer, node: &Node) -> Imported {
    one(importer, |importer| {
        let a = factor(importer, node, 0)?;
        let b = factor(importer, node, 3)?;
        let y = product(importer, node, &a, &b)?;
        integers(importer, node, y, 6)
    })
}

fn factor(importer: &mut Importer, node: &Node, operand: usize) -> Result<Value, Diagnostic> {
    if let Value::Runtime(_) = node.operand(operand)? {
        return real(importer, node, operand).map(Value::Runtime);
    }
    let rank = importer.shape_of(node.operand(operand)?).len();
    weights(node, operand, operand + 1, rank.saturating_sub(1)).map(Value::Weights)
}

/// Integers minus a zero point that may be left out, as reals of scale 1.
fn unscaled(
    importer: &mut Importer,
    node: &Node,
    operand: usize,
    zero: usize,
    axis: usize,
) -> Result<Value, Diagnostic> {
    let zeros = match node.optional_ints(zero, "the zero point")? {
        None => vec![0],
        Some(zeros) => {
            let zeros: Result<Vec<i32>, _> = zeros.iter().map(|&zero| i32::try_from(zero)).collect();
            zeros.map_err(|_| node.invalid("a zero point does not fit 32 bits"))?
        }
    };
    match node.operand(operand)? {
        Value::Runtime(x) => match zeros[..] {
            [zero_point] => importer.as_real(*x, Quantization { scale: 1.0, zero_point }).map(Value::Runtime),
            _ => Err(node.unsupported("an activation has several zero points", "use one zero point per tensor")),
        },
        constant => {
            let shape = constant.constant_shape().unwrap_or_default();
            let axis = if zeros.len() == 1 { 0 } else { axis };
            if zeros.is_empty() || zeros.len() > 1 && shape.get(axis) != Some(&zeros.len()) {
                return Err(node.invalid("the zero points do not fit the operand's shape"));
            }
            node.weights(operand, "the operand", axis, vec![1.0; zeros.len()], zeros).map(Value::Weights)
        }
    }
}

/// `ConvInteger`: the result is reals that happen to be integers.
pub fn conv_integer(importer: &mut Importer, node: &Node) -> Imported {
    one(importer, |importer| {
        let weights = unscaled(importer, node, 1, 3, 0)?;
        let x = unscaled(importer, node, 0, 2, 0)?;
        let x = importer.node(&x)?;
        convolve(importer, node, x, &weights, None)
    })
}

/// `MatMulInteger`: the result is reals that happen to be integers.
pub fn matmul_integer(importer: &mut Importer, node: &Node) -> Imported {
    one(importer, |importer| {
        let rank = importer.shape_of(node.operand(1)?).len();
        let a = unscaled(importer, node, 0, 2, 0)?;
        let b = unscaled(importer, node, 1, 3, rank.saturating_sub(1))?;
        product(importer, node, &a, &b)
    })
}

/// `QLinearAdd` and `QLinearMul`.
pub fn binary(importer: &mut Importer, node: &Node, function: Binary) -> Imported {
    one(importer, |importer| {
        let a = real(importer, node, 0)?;
        let b = real(importer, node, 3)?;
        let y = importer.broadcast(Op::Binary(function), a, b)?;
        integers(importer, node, y, 6)
    })
}

/// `QLinearSigmoid` and `QLinearLeakyRelu`.
pub fn unary(importer: &mut Importer, node: &Node, function: Unary) -> Imported {
    one(importer, |importer| {
        let x = real(importer, node, 0)?;
        let y = importer.pointwise(Op::Unary(function), x)?;
        integers(importer, node, y, 3)
    })
}

/// `QLinearGlobalAveragePool`.
pub fn global_average_pool(importer: &mut Importer, node: &Node) -> Imported {
    one(importer, |importer| {
        let x = real(importer, node, 0)?;
        let y = if node.flag("channels_last") {
            let rank = importer.shape(x).len();
            if rank < 3 {
                return Err(node.invalid("the operand is no image"));
            }
            importer.per_axis(x, |order| {
                let mut axes: Vec<usize> = (1..rank - 1).map(|axis| order.place(axis)).collect();
                axes.sort_unstable();
                Op::ReduceMean(ReduceMean { axes, keep: true })
            })?
        } else {
            pool::global_mean(importer, node, x)?
        };
        integers(importer, node, y, 3)
    })
}

/// `QLinearConcat`: the result's scale and zero point, then each operand with its own.
pub fn concat(importer: &mut Importer, node: &Node) -> Imported {
    one(importer, |importer| {
        let mut parts = Vec::new();
        for operand in (2..node.operand_count()).step_by(3) {
            parts.push(real(importer, node, operand)?);
        }
        let &first = parts.first().ok_or_else(|| node.invalid("there is nothing to join"))?;
        let axis = node.int("axis").ok_or_else(|| node.invalid("`axis` is missing"))?;
        let axis = node.axis(axis, importer.shape(first).len())?;
        let y = importer.concat(&parts, axis)?;
        integers(importer, node, y, 0)
    })
}
