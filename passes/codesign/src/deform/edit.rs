//! Copies of a graph in which deformable layers become something else.

use lutweave_ir::op::{DeformConv, Unary};
use lutweave_ir::{Diagnostic, Graph, NodeId, Op, Tensor, TensorType};

/// A deformable layer of a source graph.
pub(super) struct DeformableLayer {
    pub node: NodeId,
    pub conv: DeformConv,
}

/// A graph under construction.
pub(super) struct Edit<'s> {
    pub source: &'s Graph,
    pub graph: Graph,
    map: Vec<NodeId>,
}

/// Makes something of a deformable layer: the node that takes its place, or nothing if it stays.
pub(super) type Replace<'r> = dyn FnMut(&mut Edit, &DeformableLayer) -> Result<Option<NodeId>, Diagnostic> + 'r;

/// The graph with its deformable layers replaced; `None` if all of them stay.
///
/// # Errors
/// What `replace` says.
pub(super) fn rebuild(source: &Graph, replace: &mut Replace) -> Result<Option<Graph>, Diagnostic> {
    let mut edit = Edit { source, graph: Graph::new(&source.name), map: Vec::with_capacity(source.nodes().len()) };
    let mut changed = false;
    for id in source.ids() {
        let node = source.node(id);
        let replaced = match &node.op {
            Op::DeformConv(conv) => replace(&mut edit, &DeformableLayer { node: id, conv: *conv })?,
            _ => None,
        };
        changed |= replaced.is_some();
        let own = match (&node.op, replaced) {
            (_, Some(replaced)) => replaced,
            (Op::Input, None) => edit.graph.input(&node.name, node.ty.clone()),
            (Op::Constant(value), None) => edit.graph.constant(&node.name, value.clone(), node.ty.clone()),
            (op, None) => {
                let operands = edit.operands(id);
                edit.graph.add_typed(&node.name, op.clone(), &operands, node.ty.clone())?
            }
        };
        edit.map.push(own);
    }
    edit.graph.set_outputs(source.outputs().iter().map(|output| edit.map[output.index()]).collect());
    Ok(changed.then(|| edit.graph.without_dead_nodes()))
}

impl Edit<'_> {
    /// The copy of a node of the source.
    pub fn copied(&self, id: NodeId) -> NodeId {
        self.map[id.index()]
    }

    /// The copies of a node's operands.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        self.source.node(id).operands.iter().map(|&operand| self.copied(operand)).collect()
    }

    /// Adds a float constant.
    pub fn floats(&mut self, name: &str, shape: &[usize], elements: Vec<f32>) -> NodeId {
        self.graph.constant(name, Tensor::f32(shape, elements), TensorType::f32(shape))
    }

    /// The layer with a function between its offsets and their use.
    fn with_offsets_through(
        &mut self,
        layer: &DeformableLayer,
        name: &str,
        function: Unary,
    ) -> Result<NodeId, Diagnostic> {
        let node = self.source.node(layer.node);
        let mut operands = self.operands(layer.node);
        operands[3] = self.graph.add(&format!("{}.{name}", node.name), Op::Unary(function), &[operands[3]])?;
        self.graph.add(&node.name, node.op.clone(), &operands)
    }

    /// The layer with clamped offsets.
    pub fn with_clamped_offsets(&mut self, layer: &DeformableLayer, lo: f32, hi: f32) -> Result<NodeId, Diagnostic> {
        self.with_offsets_through(layer, "bound", Unary::Clip { lo, hi })
    }

    /// The layer with whole offsets; `None` if they are whole already.
    pub fn with_whole_offsets(&mut self, layer: &DeformableLayer) -> Result<Option<NodeId>, Diagnostic> {
        if is_whole(self.source, self.source.node(layer.node).operands[3]) {
            return Ok(None);
        }
        self.with_offsets_through(layer, "whole", Unary::Round).map(Some)
    }
}

/// A value is rounded, and then at most clamped to whole bounds.
fn is_whole(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match &node.op {
        Op::Unary(Unary::Round | Unary::Floor | Unary::Ceil) => true,
        Op::Unary(Unary::Clip { lo, hi }) => {
            let whole = |bound: f32| bound.is_infinite() || bound == bound.round();
            whole(*lo) && whole(*hi) && is_whole(graph, node.operands[0])
        }
        Op::Unary(Unary::Relu) => is_whole(graph, node.operands[0]),
        Op::Dequantize(_) => {
            graph.node(node.operands[0]).ty.quantization.is_some_and(|quantization| quantization.scale == 1.0)
        }
        _ => false,
    }
}
