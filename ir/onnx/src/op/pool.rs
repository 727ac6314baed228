//! Pooling over windows and over whole images.

use super::window::Sliding;
use super::{Imported, one};
use crate::import::Importer;
use crate::node::Node;
use lutweave_ir::op::{AveragePool, MaxPool, ReduceMean, Window};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// `MaxPool`.
pub fn max_pool(importer: &mut Importer, node: &Node) -> Imported {
    if node.has_output(1) {
        return Err(node.unsupported("the indices of the maxima are asked for", "leave the second output out"));
    }
    let x = importer.node(node.operand(0)?)?;
    windowed(importer, node, x, |sliding| Op::MaxPool(MaxPool { window: sliding.window() }))
}

/// `AveragePool`.
pub fn average_pool(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let counted = node.flag("count_include_pad");
    windowed(importer, node, x, |sliding| {
        Op::AveragePool(AveragePool { window: sliding.window(), counted_pads: counted.then_some(sliding.pads) })
    })
}

fn windowed(importer: &mut Importer, node: &Node, x: NodeId, build: impl FnOnce(&Sliding) -> Op) -> Imported {
    let shape = importer.shape(x).to_vec();
    let rank = shape.len();
    let image = importer.image(node, x)?;
    if node.ints("kernel_shape").is_none() {
        return Err(node.invalid("`kernel_shape` is missing"));
    }
    let kernel = node.extents("kernel_shape", 1, rank - 2)?;
    let sliding = Sliding::read(node, &shape[2..], &kernel)?;
    one(importer, |importer| {
        let y = importer.emit(build(&sliding), &[image])?;
        importer.model_layout(y, rank)
    })
}

/// `GlobalAveragePool`.
pub fn global_average_pool(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    one(importer, |importer| global_mean(importer, node, x))
}

/// The mean over the spatial axes, which stay with extent 1.
pub fn global_mean(importer: &mut Importer, node: &Node, x: NodeId) -> Result<NodeId, Diagnostic> {
    let rank = importer.shape(x).len();
    let image = importer.image(node, x)?;
    let y = importer.emit(Op::ReduceMean(ReduceMean { axes: vec![1, 2], keep: true }), &[image])?;
    importer.model_layout(y, rank)
}

/// `GlobalMaxPool`.
pub fn global_max_pool(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let rank = importer.shape(x).len();
    let image = importer.image(node, x)?;
    let kernel = [importer.shape(image)[1], importer.shape(image)[2]];
    one(importer, |importer| {
        let window = Window { kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4] };
        let y = importer.emit(Op::MaxPool(MaxPool { window }), &[image])?;
        importer.model_layout(y, rank)
    })
}
