//! Deformable convolution of images.

use super::window::Sliding;
use super::{Imported, one};
use crate::import::Importer;
use crate::literal::Literal;
use crate::node::Node;
use crate::value::Value;
use lutweave_ir::op::{DeformConv, Sampling};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// `DeformConv`: operands `x, w [o,i/g,kh,kw], offset [n,2*og*kh*kw,h',w'], b [o],
/// mask [n,og*kh*kw,h',w']`; bias and mask may be left out.
pub fn deform_conv(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let weights = node.parameter(1, "the convolution's weights")?;
    one(importer, |importer| deform(importer, node, x, &weights))
}

fn deform(importer: &mut Importer, node: &Node, x: NodeId, weights: &Value) -> Result<NodeId, Diagnostic> {
    let shape = importer.shape(x).to_vec();
    let kernel = weights.constant_shape().unwrap_or_default().to_vec();
    let (&[batch, channels, height, width], &[outputs, _, kernel_height, kernel_width]) = (&shape[..], &kernel[..])
    else {
        return Err(node
            .unsupported(format!("an operand of shape {shape:?} and weights of shape {kernel:?}"), "")
            .help("only two-dimensional deformable convolutions can be compiled"));
    };
    if kernel.contains(&0) {
        return Err(node.invalid(format!("the weights of shape {kernel:?} are empty")));
    }
    if node.ints("kernel_shape").is_some_and(|given| !given.iter().copied().eq(kernel[2..].iter().map(|&k| k as i64))) {
        return Err(node.invalid(format!("`kernel_shape` contradicts the weights of shape {kernel:?}")));
    }
    let sliding = Sliding::read(node, &[height, width], &kernel[2..])?;
    let geometry = sliding.geometry(positive(node, "group")?);
    let offset_groups = positive(node, "offset_group")?;
    if channels % offset_groups != 0 {
        return Err(node.invalid(format!("`offset_group` {offset_groups} does not divide the {channels} channels")));
    }
    // The offset groups divide the channels, and both kernel extents are below 2^16.
    let taps = kernel_height * kernel_width * offset_groups;
    let offsets = field(importer, node, 2, "offsets", batch, 2 * taps)?;
    let mask = match node.optional(4) {
        Some(_) => Some(field(importer, node, 4, "mask", batch, taps)?),
        None => None,
    };

    let image = importer.image(node, x)?;
    let permuted = weights.transposed(&[0, 2, 3, 1]).ok_or_else(|| node.not_constant("the convolution's weights"))?;
    let bias = match node.optional(3) {
        Some(_) => node.parameter(3, "the convolution's bias")?,
        None => {
            let zeros = Literal::floats(vec![outputs], vec![0.0; outputs]);
            Value::Constant(zeros.map_err(|message| node.invalid(message))?)
        }
    };
    let mut operands = vec![image, importer.node_as(&permuted, "weights")?, importer.node_as(&bias, "bias")?];
    for id in [Some(offsets), mask].into_iter().flatten() {
        operands.push(importer.image(node, id)?);
    }
    let op = DeformConv { geometry, sampling: Sampling::Free { offset_groups }, modulated: mask.is_some() };
    let y = importer.emit(Op::DeformConv(op), &operands)?;
    importer.model_layout(y, shape.len())
}

/// A field of numbers over the output's pixels, with a number of channels.
fn field(
    importer: &mut Importer,
    node: &Node,
    operand: usize,
    what: &'static str,
    batch: usize,
    channels: usize,
) -> Result<NodeId, Diagnostic> {
    let id = importer.node_as(node.operand(operand)?, what)?;
    importer.require_float(node, id)?;
    let shape = importer.shape(id);
    if shape.len() != 4 || shape[..2] != [batch, channels] {
        let message = format!("the {what} of shape {shape:?} must be [{batch},{channels},height,width]");
        return Err(node.invalid(message).help("check `offset_group` and the kernel's extents"));
    }
    Ok(id)
}

/// A number of groups; 1 if it is not given.
fn positive(node: &Node, attribute: &str) -> Result<usize, Diagnostic> {
    match usize::try_from(node.int(attribute).unwrap_or(1)) {
        Ok(groups) if groups > 0 => Ok(groups),
        _ => Err(node.invalid(format!("`{attribute}` is not positive"))),
    }
}
