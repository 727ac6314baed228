//! Operators along axes: means, softmax, argmax.

use super::{Imported, one};
use crate::import::Importer;
use crate::node::Node;
use lutweave_ir::op::{ArgMax, ReduceMean, Softmax};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// `ReduceMean`, axes in an attribute (before operator set 18) or an operand.
pub fn reduce_mean(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let shape = importer.shape(x).to_vec();
    let rank = shape.len();
    let axes = match node.ints_or_operand("axes", 1)?.filter(|axes| !axes.is_empty()) {
        Some(axes) => node.axes(&axes, rank)?,
        None if node.flag("noop_with_empty_axes") => return super::shape::identity(importer, node),
        None => (0..rank).collect(),
    };
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    one(importer, |importer| {
        if axes.is_empty() {
            return Ok(x);
        }
        let y = importer.per_axis(x, |order| {
            let mut inner: Vec<usize> = axes.iter().map(|&axis| order.place(axis)).collect();
            inner.sort_unstable();
            Op::ReduceMean(ReduceMean { axes: inner, keep: true })
        })?;
        if keep {
            return Ok(y);
        }
        let rest: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
        importer.reshape(y, &rest)
    })
}

/// `Softmax`. Before operator set 13 it works on all axes from the given one together.
pub fn softmax(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let shape = importer.shape(x).to_vec();
    let joint = importer.opset < 13;
    let axis = node.axis(node.int("axis").unwrap_or(if joint { 1 } else { -1 }), shape.len())?;
    one(importer, |importer| {
        let long: Vec<usize> = (axis..shape.len()).filter(|&axis| shape[axis] > 1).collect();
        match long[..] {
            _ if !joint => along(importer, x, axis),
            [] => along(importer, x, axis),
            [only] => along(importer, x, only),
            _ => {
                let flat = [shape[..axis].iter().product(), shape[axis..].iter().product()];
                let flat = importer.reshape(x, &flat)?;
                let y = along(importer, flat, 1)?;
                importer.reshape(y, &shape)
            }
        }
    })
}

fn along(importer: &mut Importer, x: NodeId, axis: usize) -> Result<NodeId, Diagnostic> {
    importer.per_axis(x, |order| Op::Softmax(Softmax { axis: order.place(axis) }))
}

/// `ArgMax`.
pub fn argmax(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let shape = importer.shape(x).to_vec();
    let axis = node.axis(node.int("axis").unwrap_or(0), shape.len())?;
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    let last = node.flag("select_last_index");
    one(importer, |importer| {
        let y = importer.per_axis(x, |order| Op::ArgMax(ArgMax { axis: order.place(axis), keep: true, last }))?;
        if keep {
            return Ok(y);
        }
        let rest: Vec<usize> = (0..shape.len()).filter(|&other| other != axis).map(|other| shape[other]).collect();
        importer.reshape(y, &rest)
    })
}
