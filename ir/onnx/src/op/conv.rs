//! Convolution of images and of sequences.

use super::window::Sliding;
use super::{Imported, one};
use crate::import::Importer;
use crate::node::Node;
use crate::value::Value;
use lutweave_ir::op::Conv;
use lutweave_ir::{Diagnostic, NodeId, Op};

/// `Conv`: operands `x`, `w [o,i/g,..]`, `b [o]`.
pub fn conv(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let weights = node.parameter(1, "the convolution's weights")?;
    let bias = match node.optional(2) {
        Some(_) => Some(node.parameter(2, "the convolution's bias")?),
        None => None,
    };
    one(importer, |importer| convolve(importer, node, x, &weights, bias.as_ref()))
}

/// A convolution of `x` in the model's layout by constant weights in the model's layout.
pub fn convolve(
    importer: &mut Importer,
    node: &Node,
    x: NodeId,
    weights: &Value,
    bias: Option<&Value>,
) -> Result<NodeId, Diagnostic> {
    let shape = importer.shape(x).to_vec();
    let rank = shape.len();
    let image = importer.image(node, x)?;
    let kernel = weights.constant_shape().unwrap_or_default().to_vec();
    if kernel.len() != rank || kernel.contains(&0) {
        return Err(node.invalid(format!("weights of shape {kernel:?} do not fit the operand of shape {shape:?}")));
    }
    if node.ints("kernel_shape").is_some_and(|given| !given.iter().copied().eq(kernel[2..].iter().map(|&k| k as i64))) {
        return Err(node.invalid(format!("`kernel_shape` contradicts the weights of shape {kernel:?}")));
    }
    let sliding = Sliding::read(node, &shape[2..], &kernel[2..])?;
    let groups = usize::try_from(node.int("group").unwrap_or(1)).map_err(|_| node.invalid("`group` is negative"))?;
    let permuted = if rank == 4 {
        weights.transposed(&[0, 2, 3, 1])
    } else {
        let flat = weights.transposed(&[0, 2, 1]);
        flat.and_then(|flat| flat.reshaped(&[kernel[0], 1, kernel[2], kernel[1]]).and_then(Result::ok))
    };
    let permuted = permuted.ok_or_else(|| node.not_constant("the convolution's weights"))?;
    let mut operands = vec![image, importer.node_as(&permuted, "weights")?];
    if let Some(bias) = bias {
        operands.push(importer.node_as(bias, "bias")?);
    }
    let y = importer.emit(Op::Conv(Conv { geometry: sliding.geometry(groups) }), &operands)?;
    importer.model_layout(y, rank)
}
