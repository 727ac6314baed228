//! Batch normalization at inference.

use super::matmul::axis_last;
use super::{Imported, one};
use crate::import::Importer;
use crate::node::Node;
use lutweave_ir::op::BatchNorm;
use lutweave_ir::{Diagnostic, NodeId, Op};

/// `BatchNormalization`: operands `x [n,c,..]`, scale, bias, mean and variance `[c]`.
pub fn batch_normalization(importer: &mut Importer, node: &Node) -> Imported {
    if node.flag("training_mode") || (1..5).any(|index| node.has_output(index)) {
        return Err(node
            .unsupported("the node updates its statistics, which is training", "")
            .help("export the model in evaluation mode"));
    }
    if node.int("spatial") == Some(0) {
        return Err(node.unsupported("`spatial` is 0", "export the model with an operator set of 9 or later"));
    }
    let x = importer.float(node, 0)?;
    let rank = importer.shape(x).len();
    if rank < 2 {
        return Err(node.invalid("the operand has no channel axis"));
    }
    let epsilon = node.float("epsilon", 1e-5);
    let mut operands = vec![x];
    for (index, what) in [(1, "the scale"), (2, "the bias"), (3, "the mean"), (4, "the variance")] {
        let value = node.parameter(index, what)?;
        operands.push(importer.node(&value)?);
    }
    one(importer, |importer| channels_last(importer, Op::BatchNorm(BatchNorm { epsilon }), operands, rank))
}

fn channels_last(
    importer: &mut Importer,
    op: Op,
    mut operands: Vec<NodeId>,
    rank: usize,
) -> Result<NodeId, Diagnostic> {
    let (permutation, back) = axis_last(1, rank);
    operands[0] = importer.transpose(operands[0], &permutation)?;
    let y = importer.emit(op, &operands)?;
    importer.transpose(y, &back)
}
