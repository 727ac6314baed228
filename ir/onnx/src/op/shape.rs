//! Operators that keep the elements and change the shape, or nothing at all.

use super::{Imported, one};
use crate::import::Importer;
use crate::literal::{Kind, count};
use crate::node::Node;
use crate::proto::data_type;
use crate::value::Value;
use lutweave_ir::{Diagnostic, Element, Op, Quantization};

/// The shape that a `Reshape` node gives an operand of shape `from`.
pub fn target(node: &Node, from: &[usize], wanted: &[i64]) -> Result<Vec<usize>, Diagnostic> {
    let allow_zero = node.flag("allowzero");
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            -1 if open.is_some() => return Err(node.invalid(format!("the shape {wanted:?} has two -1"))),
            -1 => {
                open = Some(axis);
                1
            }
            0 if !allow_zero => *from
                .get(axis)
                .ok_or_else(|| node.invalid(format!("the 0 at axis {axis} of {wanted:?} has no axis to copy")))?,
            _ => usize::try_from(extent).map_err(|_| node.invalid(format!("the shape {wanted:?} is negative")))?,
        });
    }
    let mismatch = || node.invalid(format!("{from:?} cannot be reshaped to {wanted:?}"));
    let elements = count(from).ok_or_else(mismatch)?;
    let known = count(&shape).ok_or_else(mismatch)?;
    if let Some(axis) = open {
        if known == 0 || !elements.is_multiple_of(known) {
            return Err(mismatch());
        }
        shape[axis] = elements / known;
    } else if known != elements {
        return Err(mismatch());
    }
    Ok(shape)
}

/// `Reshape`.
pub fn reshape(importer: &mut Importer, node: &Node) -> Imported {
    let wanted = node
        .ints_or_operand("shape", 1)
        .map_err(|diagnostic| Diagnostic { message: format!("the shape: {}", diagnostic.message), ..diagnostic })?
        .ok_or_else(|| node.invalid("the shape is missing"))?;
    let operand = node.operand(0)?;
    let shape = target(node, importer.shape_of(operand), &wanted)?;
    reshaped(importer, node, operand, &shape)
}

/// `Flatten`.
pub fn flatten(importer: &mut Importer, node: &Node) -> Imported {
    let operand = node.operand(0)?;
    let from = importer.shape_of(operand).to_vec();
    let axis = match node.int("axis").unwrap_or(1) {
        axis if axis == from.len() as i64 => from.len(),
        axis => node.axis(axis, from.len())?,
    };
    let shape = [from[..axis].iter().product(), from[axis..].iter().product()];
    reshaped(importer, node, operand, &shape)
}

/// `Squeeze`.
pub fn squeeze(importer: &mut Importer, node: &Node) -> Imported {
    let operand = node.operand(0)?;
    let from = importer.shape_of(operand).to_vec();
    let axes = match node.ints_or_operand("axes", 1)? {
        Some(axes) => node.axes(&axes, from.len())?,
        None => (0..from.len()).filter(|&axis| from[axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| from[axis] != 1) {
        return Err(node.invalid(format!("axis {axis} of {from:?} has not extent 1")));
    }
    let shape: Vec<usize> = (0..from.len()).filter(|axis| !axes.contains(axis)).map(|axis| from[axis]).collect();
    reshaped(importer, node, operand, &shape)
}

/// `Unsqueeze`.
pub fn unsqueeze(importer: &mut Importer, node: &Node) -> Imported {
    let operand = node.operand(0)?;
    let from = importer.shape_of(operand).to_vec();
    let axes = node.ints_or_operand("axes", 1)?.ok_or_else(|| node.invalid("`axes` is missing"))?;
    if axes.len() > 16 {
        return Err(node.invalid("more than 16 axes"));
    }
    let rank = from.len() + axes.len();
    let axes = node.axes(&axes, rank)?;
    let mut rest = from.iter().copied();
    let shape: Vec<usize> =
        (0..rank).map(|axis| if axes.contains(&axis) { 1 } else { rest.next().unwrap_or(1) }).collect();
    reshaped(importer, node, operand, &shape)
}

fn reshaped(importer: &mut Importer, node: &Node, operand: &Value, shape: &[usize]) -> Imported {
    match operand.reshaped(shape) {
        Some(constant) => Ok(vec![constant.map_err(|message| node.invalid(message))?]),
        None => {
            let x = importer.node(operand)?;
            one(importer, |importer| importer.reshape(x, shape))
        }
    }
}

/// `Transpose`.
pub fn transpose(importer: &mut Importer, node: &Node) -> Imported {
    let operand = node.operand(0)?;
    let rank = importer.shape_of(operand).len();
    let permutation: Vec<usize> = match node.ints("perm") {
        None => (0..rank).rev().collect(),
        Some(perm) => {
            let permutation = perm.iter().map(|&axis| node.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
            node.axes(perm, rank)?;
            if permutation.len() != rank {
                return Err(node.invalid(format!("`perm` {perm:?} is not a permutation of {rank} axes")));
            }
            permutation
        }
    };
    if let Some(constant) = operand.transposed(&permutation) {
        return Ok(vec![constant]);
    }
    let x = importer.node(operand)?;
    one(importer, |importer| importer.transpose(x, &permutation))
}

/// `Identity`, and `Dropout`, which is one at inference.
pub fn identity(_: &mut Importer, node: &Node) -> Imported {
    Ok(vec![node.operand(0)?.clone()])
}

/// `Dropout`.
pub fn dropout(_: &mut Importer, node: &Node) -> Imported {
    if node.has_output(1) {
        return Err(node.unsupported("the mask is asked for", "export the model in evaluation mode"));
    }
    let training = node.optional_scalar(2, "the training flag")?.is_some_and(|flag| flag != 0.0);
    if training && node.optional_scalar(1, "the ratio")?.is_none_or(|ratio| ratio != 0.0) {
        return Err(node.unsupported("the node drops elements, which is training", "export in evaluation mode"));
    }
    Ok(vec![node.operand(0)?.clone()])
}

/// `Cast` of a run-time value.
pub fn cast(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let to = node.int("to").and_then(|to| i32::try_from(to).ok()).and_then(Kind::of);
    if node.int("to") == Some(i64::from(data_type::BFLOAT16)) {
        return Err(node.unsupported(
            "a run-time value is rounded to bfloat16",
            "export the model in float32; the compiler chooses the precision itself",
        ));
    }
    match (importer.ty(x).element, to) {
        (Element::F32, Some(Kind::Float)) => Ok(vec![Value::Runtime(x)]),
        (Element::Int { .. }, Some(Kind::Float)) => {
            one(importer, |importer| importer.as_real(x, Quantization { scale: 1.0, zero_point: 0 }))
        }
        (Element::Int { bits, signed }, Some(Kind::Int { bits: wide, signed: also }))
            if (bits, signed) == (wide, also) || (matches!(importer.graph.node(x).op, Op::ArgMax(_)) && wide >= 32) =>
        {
            Ok(vec![Value::Runtime(x)])
        }
        _ => Err(node
            .unsupported("a run-time value is cast to integers or booleans", "")
            .help("quantize with QuantizeLinear instead")),
    }
}

/// `DepthToSpace`.
pub fn depth_to_space(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let block = block_size(node)?;
    let &[n, c, h, w] = importer.shape(x) else { return Err(node.invalid("the operand is no image")) };
    let area = block * block;
    if !c.is_multiple_of(area) {
        return Err(node.invalid(format!("{c} channels are not divisible by {area}")));
    }
    let depth = c / area;
    let image = importer.image(node, x)?;
    let (split, order) = match node.string("mode", "DCR") {
        "DCR" => ([n, h, w, block, block, depth], [0, 1, 3, 2, 4, 5]),
        "CRD" => ([n, h, w, depth, block, block], [0, 1, 4, 2, 5, 3]),
        mode => return Err(node.invalid(format!("`mode` is `{mode}`"))),
    };
    one(importer, |importer| {
        let parts = importer.reshape(image, &split)?;
        let moved = importer.transpose(parts, &order)?;
        let y = importer.reshape(moved, &[n, h * block, w * block, depth])?;
        importer.model_layout(y, 4)
    })
}

/// `SpaceToDepth`.
pub fn space_to_depth(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let block = block_size(node)?;
    let &[n, c, h, w] = importer.shape(x) else { return Err(node.invalid("the operand is no image")) };
    if !h.is_multiple_of(block) || !w.is_multiple_of(block) {
        return Err(node.invalid(format!("{h} x {w} is not divisible by {block}")));
    }
    let image = importer.image(node, x)?;
    one(importer, |importer| {
        let parts = importer.reshape(image, &[n, h / block, block, w / block, block, c])?;
        let moved = importer.transpose(parts, &[0, 1, 3, 2, 4, 5])?;
        let y = importer.reshape(moved, &[n, h / block, w / block, block * block * c])?;
        importer.model_layout(y, 4)
    })
}

fn block_size(node: &Node) -> Result<usize, Diagnostic> {
    match node.int("blocksize") {
        Some(block @ 1..=4096) => Ok(block as usize),
        _ => Err(node.invalid("`blocksize` must be from 1 to 4096")),
    }
}
