//! The float network that quantization starts from, with its layers by name.

use super::arithmetic::edge_layers;
use super::fuse::Fusion;
use super::normalise::{self, Model};
use super::place::Place;
use super::sites::{LayerInfo, info, roots};
use lutweave_ir::{Diagnostics, Graph, NodeId};

/// A layer with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizedLayer {
    /// What there is to know of it.
    pub info: LayerInfo,
    /// Its node in [`NormalizedNetwork::graph`].
    pub node: NodeId,
    /// The constant that holds its weights.
    pub weights: NodeId,
    /// The constant that holds its bias.
    pub bias: NodeId,
}

impl NormalizedLayer {
    /// Its weights may be chosen: they are trained, and the model does not give integers for them.
    pub fn open(&self) -> bool {
        self.info.trained && self.info.given_bits.is_none()
    }

    /// Number of weights.
    pub fn count(&self) -> usize {
        self.info.shape.iter().product()
    }

    /// Output positions: every weight is used so often in an inference.
    pub fn positions(&self) -> usize {
        self.info.output.iter().product()
    }
}

/// A float network of convolutions and few other operators. Its outputs are the values that
/// leave the chip.
#[derive(Clone, Debug)]
pub struct NormalizedNetwork {
    /// The network.
    pub graph: Graph,
    /// Its layers, in order.
    pub layers: Vec<NormalizedLayer>,
}

/// The network that [`super::quantize`] makes of a float graph before it rounds anything.
///
/// # Errors
/// Everything in the graph that cannot be compiled.
pub fn normalized_network(graph: &Graph) -> Result<NormalizedNetwork, Diagnostics> {
    let model = normalise::normalise(graph)?;
    let fusion = Fusion::new(&model);
    let edges = edge_layers(&model, &fusion);
    let layers = roots(&model, &fusion)
        .into_iter()
        .map(|root| {
            let operands = &model.graph.node(root).operands;
            let info = info(&model, root, edges.contains(&root));
            NormalizedLayer { info, node: root, weights: operands[1], bias: operands[2] }
        })
        .collect();
    Ok(NormalizedNetwork { graph: chip_outputs(model), layers })
}

/// The layers of a graph that [`super::quantize`] gives integer weights, in the order of its
/// reports.
///
/// # Errors
/// Everything in the graph that cannot be compiled.
pub fn layers(graph: &Graph) -> Result<Vec<LayerInfo>, Diagnostics> {
    Ok(normalized_network(graph)?.layers.into_iter().map(|layer| layer.info).collect())
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
