//! Matrix products, of which one side is a constant.

use super::pointwise::scale;
use super::{Imported, one};
use crate::import::Importer;
use crate::layout::inverse;
use crate::literal::{Literal, strides};
use crate::node::Node;
use crate::value::Value;
use lutweave_ir::op::{Binary, Dense, Slice};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// Most matrices that a stack of constant matrices is taken apart into.
const MAX_MATRICES: usize = 64;

/// `MatMul`.
pub fn matmul(importer: &mut Importer, node: &Node) -> Imported {
    let (a, b) = (node.operand(0)?.clone(), node.operand(1)?.clone());
    one(importer, |importer| product(importer, node, &a, &b))
}

/// `a @ b` with numpy's rules, where one of them is a constant.
pub fn product(importer: &mut Importer, node: &Node, a: &Value, b: &Value) -> Result<NodeId, Diagnostic> {
    match (a, b) {
        (Value::Runtime(_), Value::Runtime(_)) => Err(node
            .unsupported("both factors are computed at run time", "")
            .help("a matrix product needs one constant factor; products of two activations (attention) are refused")),
        (_, Value::Constant(_) | Value::Weights(_)) => {
            let x = importer.node(a)?;
            importer.require_float(node, x)?;
            times_constant(importer, node, x, b)
        }
        (Value::Constant(_) | Value::Weights(_), _) => {
            // (a b) = (b' a')'
            let x = importer.node(b)?;
            importer.require_float(node, x)?;
            let rank = importer.shape(x).len();
            let Some(&[_, _]) = a.constant_shape() else {
                return Err(node.unsupported("the left factor is a constant that is no matrix", "use a matrix"));
            };
            if rank < 2 {
                let weights = a.clone();
                return dense(importer, x, &weights, None);
            }
            let mut swap: Vec<usize> = (0..rank).collect();
            swap.swap(rank - 1, rank - 2);
            let transposed = importer.transpose(x, &swap)?;
            let y = dense(importer, transposed, a, None)?;
            importer.transpose(y, &swap)
        }
        (Value::Poisoned, _) | (_, Value::Poisoned) => Err(node.error("internal", "an operand was refused")),
    }
}

fn times_constant(importer: &mut Importer, node: &Node, x: NodeId, b: &Value) -> Result<NodeId, Diagnostic> {
    let matrix = b.constant_shape().unwrap_or_default().to_vec();
    let shape = importer.shape(x).to_vec();
    let mismatch = || node.invalid(format!("shapes {shape:?} and {matrix:?} cannot be multiplied"));
    if shape.is_empty() || matrix.is_empty() || matrix.contains(&0) {
        return Err(mismatch());
    }
    let constant = |value: Option<Value>| value.ok_or_else(mismatch);
    match matrix[..] {
        [k] => {
            let row = constant(b.reshaped(&[1, k]).and_then(Result::ok))?;
            let y = dense(importer, x, &row, None)?;
            let flat = shape[..shape.len() - 1].to_vec();
            importer.reshape(y, &flat)
        }
        [_, _] => {
            let weights = constant(b.transposed(&[1, 0]))?;
            dense(importer, x, &weights, None)
        }
        [.., k, n] if matrix[..matrix.len() - 2].iter().all(|&extent| extent == 1) => {
            let flat = constant(b.reshaped(&[k, n]).and_then(Result::ok))?;
            let weights = constant(flat.transposed(&[1, 0]))?;
            let y = dense(importer, x, &weights, None)?;
            let missing = matrix.len().saturating_sub(shape.len());
            let result: Vec<usize> = std::iter::repeat_n(1, missing).chain(importer.shape(y).iter().copied()).collect();
            importer.reshape(y, &result)
        }
        _ => stacked(importer, node, x, b),
    }
}

/// A product by a stack of matrices: one product each, joined.
fn stacked(importer: &mut Importer, node: &Node, x: NodeId, b: &Value) -> Result<NodeId, Diagnostic> {
    let given = importer.shape(x).to_vec();
    let literal = b.literal().ok_or_else(|| node.not_constant("a stack of matrices"))?;
    let (&[.., k, n], &[.., rows, inner]) = (&literal.shape[..], &given[..]) else {
        return Err(node.unsupported("a vector times a stack of matrices", "give the vector a second axis"));
    };
    let rank = literal.shape.len().max(given.len());
    let padded = |shape: &[usize]| -> Vec<usize> {
        std::iter::repeat_n(1, rank - shape.len()).chain(shape.iter().copied()).collect()
    };
    let (left, right) = (padded(&given), padded(&literal.shape));
    let mut batch = Vec::new();
    for (&l, &r) in left[..rank - 2].iter().zip(&right) {
        if l != r && l != 1 && r != 1 {
            return Err(node.invalid(format!("shapes {given:?} and {:?} cannot be multiplied", literal.shape)));
        }
        batch.push(l.max(r));
    }
    let matrices = batch.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let matrices = matrices.filter(|&matrices| matrices <= MAX_MATRICES && inner == k).ok_or_else(|| {
        node.unsupported(
            format!("a product of shapes {given:?} and {:?}", literal.shape),
            format!("at most {MAX_MATRICES} matrices of fitting shapes can be multiplied"),
        )
    })?;
    let x = importer.reshape(x, &left)?;
    let (batch_strides, matrix_strides) = (strides(&batch), strides(&right));
    let mut parts = Vec::new();
    for index in 0..matrices {
        let mut starts = vec![0; rank];
        let mut first = 0;
        for axis in 0..rank - 2 {
            let place = index / batch_strides[axis] % batch[axis];
            starts[axis] = if left[axis] == 1 { 0 } else { place };
            first += if right[axis] == 1 { 0 } else { place * matrix_strides[axis] };
        }
        let mut sizes = vec![1; rank];
        sizes[rank - 2..].copy_from_slice(&[rows, inner]);
        let part = importer.emit(Op::Slice(Slice { starts, sizes, steps: vec![1; rank] }), &[x])?;
        let part = importer.reshape(part, &[rows, inner])?;
        let positions: Vec<usize> = (first..first + k * n).collect();
        let matrix = literal.taken(vec![k, n], &positions).map_err(|message| node.invalid(message))?;
        let weights = Value::Constant(matrix.transposed(&[1, 0]));
        let product = dense(importer, part, &weights, None)?;
        parts.push(importer.reshape(product, &[1, rows, n])?);
    }
    let joined = importer.concat(&parts, 0)?;
    batch.extend([rows, n]);
    importer.reshape(joined, &batch)
}

/// `x [..,k]` times the transpose of `weights [o,k]`. Where `x` flattens an image, the weights are
/// put in the image's order instead of the image in theirs.
pub fn dense(importer: &mut Importer, x: NodeId, weights: &Value, bias: Option<&Value>) -> Result<NodeId, Diagnostic> {
    let (mut x, mut weights) = (x, weights.clone());
    if let Some(&[outputs, inputs]) = weights.constant_shape()
        && importer.shape(x).last() == Some(&inputs)
        && let Some((rows, order)) = importer.unordered_rows(x)?
    {
        let columns = order.as_ints().unwrap_or_default();
        if let Some(ordered) = with_columns(&weights, outputs, inputs, columns) {
            (x, weights) = (rows, ordered);
        }
    }
    let mut operands = vec![x, importer.node_as(&weights, "weights")?];
    if let Some(bias) = bias {
        operands.push(importer.node_as(bias, "bias")?);
    }
    importer.emit(Op::Dense(Dense), &operands)
}

fn with_columns(weights: &Value, outputs: usize, inputs: usize, columns: &[i64]) -> Option<Value> {
    let positions: Vec<usize> =
        (0..outputs).flat_map(|row| columns.iter().map(move |&column| row * inputs + column as usize)).collect();
    let reorder = |literal: &Literal| literal.taken(vec![outputs, inputs], &positions).ok();
    match weights {
        Value::Constant(literal) => reorder(literal).map(Value::Constant),
        Value::Weights(quantized) if quantized.scales.len() == 1 || quantized.axis == 0 => {
            let integers = reorder(&quantized.integers)?;
            Some(Value::Weights(crate::value::Weights { integers, ..quantized.clone() }))
        }
        Value::Weights(_) | Value::Runtime(_) | Value::Poisoned => None,
    }
}

/// `Gemm`: `alpha * a' * b' + beta * c`.
pub fn gemm(importer: &mut Importer, node: &Node) -> Imported {
    let mut x = importer.float(node, 0)?;
    let weights = node.parameter(1, "the right factor")?;
    let (Some(&[_, _]), [_, _]) = (weights.constant_shape(), importer.shape(x)) else {
        return Err(node.invalid("the factors must be matrices"));
    };
    if node.flag("transA") {
        x = importer.transpose(x, &[1, 0])?;
    }
    let weights = if node.flag("transB") { Some(weights) } else { weights.transposed(&[1, 0]) };
    let weights = weights.ok_or_else(|| node.not_constant("the right factor"))?;
    let alpha = node.float("alpha", 1.0);
    let beta = node.float("beta", 1.0);
    let weights = scaled(&weights, alpha).ok_or_else(|| node.not_constant("the right factor"))?;
    let outputs = weights.constant_shape().map_or(0, |shape| shape[0]);
    let addend = node.optional(2).filter(|_| beta != 0.0);
    one(importer, |importer| {
        let Some(addend) = addend else { return dense(importer, x, &weights, None) };
        if let Some(shape) = addend.constant_shape()
            && (shape == [outputs] || shape == [1, outputs])
            && let Some(Ok(flat)) = addend.reshaped(&[outputs])
            && let Some(bias) = scaled(&flat, beta)
        {
            return dense(importer, x, &weights, Some(&bias));
        }
        let y = dense(importer, x, &weights, None)?;
        let c = importer.node(addend)?;
        importer.require_float(node, c)?;
        let c = scale(importer, c, beta)?;
        let rank = importer.shape(c).len();
        if rank > 2 {
            return Err(node.invalid(format!("the addend has rank {rank}")));
        }
        importer.broadcast(Op::Binary(Binary::Add), y, c)
    })
}

fn scaled(value: &Value, factor: f32) -> Option<Value> {
    if factor == 1.0 {
        return Some(value.clone());
    }
    let literal = value.literal()?;
    let data = literal.to_floats().iter().map(|v| v * factor).collect();
    Literal::floats(literal.shape, data).ok().map(Value::Constant)
}

/// The permutation that brings `axis` to the end.
pub fn axis_last(axis: usize, rank: usize) -> (Vec<usize>, Vec<usize>) {
    let permutation: Vec<usize> = (0..rank).filter(|&other| other != axis).chain([axis]).collect();
    let back = inverse(&permutation);
    (permutation, back)
}
