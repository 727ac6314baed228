//! What chains of reshapes and transpositions do to the elements.

use lutweave_ir::op::Transpose;
use lutweave_ir::{Graph, NodeId, Op, Tensor, TensorType};

/// The net effect of a chain of reshapes and transpositions on its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Movement {
    /// The elements keep their row-major order.
    Reshape,
    /// An image whose channels are permuted: channel `c` of the result is channel `order[c]`.
    Channels(Vec<usize>),
    /// Anything else: element `i` of the result is element `order[i]` of the source.
    Elements(Vec<usize>),
}

/// The first value up a chain of reshapes and transpositions that is neither, and the net effect
/// of the chain.
pub(super) fn chain(graph: &Graph, id: NodeId) -> (NodeId, Movement) {
    let mut links = Vec::new();
    let mut source = id;
    while let Op::Reshape(_) | Op::Transpose(_) = graph.node(source).op {
        links.push(source);
        source = graph.node(source).operands[0];
    }
    let transposes = links.iter().any(|&link| match &graph.node(link).op {
        Op::Transpose(Transpose { permutation }) => {
            !keeps_order(permutation, &graph.node(graph.node(link).operands[0]).ty.shape)
        }
        _ => false,
    });
    if !transposes {
        return (source, Movement::Reshape);
    }
    let from = &graph.node(source).ty;
    let count = from.count();
    if count > i32::MAX as usize {
        return (source, Movement::Elements(Vec::new()));
    }
    let mut indices = Tensor::int(from.shape.clone(), (0..count as i32).collect::<Vec<_>>());
    for &link in links.iter().rev() {
        let node = graph.node(link);
        let ty = TensorType::int(node.ty.shape.clone(), lutweave_ir::Element::I32);
        let operand = TensorType::int(indices.shape.clone(), lutweave_ir::Element::I32);
        indices = node.op.eval(&ty, &[&operand], &[&indices]);
    }
    let order: Vec<usize> = indices.ints().iter().map(|&index| index as usize).collect();
    (source, classify(order, &from.shape, &graph.node(id).ty.shape))
}

/// True if a transposition moves extents of 1 only.
fn keeps_order(permutation: &[usize], shape: &[usize]) -> bool {
    let moved: Vec<usize> = permutation.iter().copied().filter(|&axis| shape[axis] != 1).collect();
    moved.is_sorted()
}

fn classify(order: Vec<usize>, from: &[usize], to: &[usize]) -> Movement {
    if order.iter().enumerate().all(|(index, &source)| index == source) {
        return Movement::Reshape;
    }
    if from == to && from.len() == 4 && from[0] == 1 {
        let channels = from[3];
        let head = order[..channels].to_vec();
        let permutes = head.iter().all(|&source| source < channels)
            && order
                .iter()
                .enumerate()
                .all(|(index, &source)| source == index / channels * channels + head[index % channels]);
        if permutes {
            return Movement::Channels(head);
        }
    }
    Movement::Elements(order)
}
