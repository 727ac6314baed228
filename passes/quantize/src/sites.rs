//! The layers whose weights can be given a setting.

use super::fuse::Fusion;
use super::normalise::{self, Model};
use crate::compress::{Pattern, WeightConfigs};
use lutweave_ir::op::Geometry;
use lutweave_ir::{Diagnostic, Diagnostics, NodeId};

/// A layer with weights, as [`super::layers`] finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerInfo {
    /// The name that settings and reports use; unique in its graph.
    pub name: String,
    /// The weights' `[o,kh,kw,i/groups]`.
    pub shape: [usize; 4],
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
    /// Height and width of the result.
    pub output: [usize; 2],
    /// Products of one inference, all weights counted.
    pub macs: u64,
    /// The layer stands for one of the model that holds trained weights, and not for a scaling, a
    /// mean or the like.
    pub trained: bool,
    /// Every input channel has output channels of its own.
    pub depthwise: bool,
    /// No trained layer comes before it, or none after it.
    pub edge: bool,
    /// Its result says where the taps of a deformable layer read.
    pub steers: bool,
    /// Width of the weights that the model itself gives as integers.
    pub given_bits: Option<u8>,
}

impl LayerInfo {
    /// The width of the layer's weights if nothing else is asked for than `bits`: depthwise, first
    /// and last layers, those that are not trained, and those
    /// whose result moves taps, keep 8.
    pub fn default_bits(&self, bits: u8) -> u8 {
        if self.depthwise || self.edge || self.steers || !self.trained { 8 } else { bits }
    }
}

/// The layers that compute, in the order in which they are lowered.
pub(super) fn roots(model: &Model, fusion: &Fusion) -> Vec<NodeId> {
    let demanded = model.graph.ids().filter(|id| fusion.demanded[id.index()] && fusion.sources[id.index()].is_none());
    let roots = demanded.map(|id| fusion.root(id));
    roots.filter(|root| model.layers.contains_key(root)).collect()
}

/// What there is to know of one layer.
pub(super) fn info(model: &Model, root: NodeId, edge: bool) -> LayerInfo {
    let layer = &model.layers[&root];
    let node = model.graph.node(root);
    let [_, h, w, _] = normalise::image(&node.ty);
    let depthwise = layer.geometry.groups > 1 && layer.weights.shape[3] == 1;
    LayerInfo {
        name: node.name.clone(),
        shape: layer.weights.shape,
        geometry: layer.geometry,
        output: [h, w],
        macs: (h * w * layer.weights.real.len()) as u64,
        trained: layer.trained,
        depthwise,
        edge,
        steers: layer.steers,
        given_bits: layer.weights.given.as_ref().map(|given| given.bits),
    }
}

/// Checks settings against the layers that there are.
pub(super) fn check(model: &Model, fusion: &Fusion, settings: &WeightConfigs) -> Result<(), Diagnostics> {
    let roots = roots(model, fusion);
    let names: Vec<&str> = roots.iter().map(|&root| model.graph.node(root).name.as_str()).collect();
    let mut faults = Vec::new();
    for (name, setting) in settings {
        let fault = |code, message: String, help: &str| Diagnostic::error(code, message).at(name).help(help);
        if !names.contains(&name.as_str()) {
            let help = "name a layer with weights as the report names it";
            faults.push(fault("unknown-layer", "there is no layer of this name to give a setting".to_owned(), help));
        }
        if !(2..=8).contains(&setting.bits) {
            let message = format!("weights of {} bits are not supported", setting.bits);
            faults.push(fault("invalid-option", message, "choose 2 to 8 bits"));
        }
        if let Pattern::NofM { kept, of } = setting.pattern
            && (of == 0 || kept > of)
        {
            let message = format!("{kept} of {of} weights cannot stay");
            faults.push(fault("invalid-option", message, "keep at most as many weights as a group has"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
}
