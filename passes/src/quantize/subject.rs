//! The float network that quantization starts from, with its layers by name.

use super::arithmetic::edge_layers;
use super::fuse::Fusion;
use super::normalise::{self, Model};
use super::place::Place;
use lutweave_ir::op::Geometry;
use lutweave_ir::{Diagnostics, Graph, NodeId};

/// A layer with weights.
#[derive(Clone, Debug)]
pub struct SubjectLayer {
    /// Its name: that of the integer node and of its entry in the settings.
    pub name: String,
    /// Its node in [`Subject::graph`].
    pub node: NodeId,
    /// The constant that holds its weights.
    pub weights: NodeId,
    /// The constant that holds its bias.
    pub bias: NodeId,
    /// Shape of the weights, `[o,kh,kw,i/groups]`.
    pub shape: [usize; 4],
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
    /// Output positions: every weight is used so often in an inference.
    pub positions: usize,
    /// The first or last layer, or depthwise, or without trained weights: 8 bits, all weights,
    /// unless asked otherwise.
    pub tender: bool,
    /// Its weights may be chosen: they are trained and the model does not give integers for them.
    pub open: bool,
}

/// A float network of convolutions and few other operators. Its outputs are the values that
/// leave the chip.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The network.
    pub graph: Graph,
    /// Its layers, in order.
    pub layers: Vec<SubjectLayer>,
}

/// The network that [`super::quantize`] makes of a float graph before it rounds anything.
///
/// # Errors
/// Everything in the graph that cannot be compiled.
pub fn subject(graph: &Graph) -> Result<Subject, Diagnostics> {
    let model = normalise::normalise(graph)?;
    let fusion = Fusion::new(&model);
    let edges = edge_layers(&model, &fusion);
    let layers = model
        .layers
        .iter()
        .filter(|(id, _)| model.places[id.index()] == Place::Chip)
        .map(|(&id, layer)| {
            let node = model.graph.node(id);
            let shape = layer.weights.shape;
            let depthwise = layer.geometry.groups > 1 && shape[3] == 1;
            SubjectLayer {
                name: node.name.clone(),
                node: id,
                weights: node.operands[1],
                bias: node.operands[2],
                shape,
                geometry: layer.geometry,
                positions: node.ty.count() / shape[0].max(1),
                tender: depthwise || !layer.trained || edges.contains(&id),
                open: layer.trained && !layer.moves && layer.weights.given.is_none(),
            }
        })
        .collect();
    Ok(Subject { graph: chip_outputs(model), layers })
}

/// The graph with the values that leave the chip as outputs, in order.
fn chip_outputs(model: Model) -> Graph {
    let on_chip = |id: NodeId| model.places[id.index()] == Place::Chip;
    let mut leaves = vec![false; model.graph.nodes().len()];
    for &id in model.graph.outputs() {
        leaves[id.index()] = true;
    }
    for id in model.graph.ids().filter(|&id| !on_chip(id)) {
        for operand in &model.graph.node(id).operands {
            leaves[operand.index()] = true;
        }
    }
    let outputs = model.graph.ids().filter(|&id| on_chip(id) && leaves[id.index()]).collect();
    let mut graph = model.graph;
    graph.set_outputs(outputs);
    graph
}
