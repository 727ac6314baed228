//! Giving up channels of a caller's choice.

use super::class::members;
use super::constancy::Constancy;
use super::lanes::Lanes;
use super::layer::{MixingLayer, layers};
use super::{Removed, remove};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId};
use std::collections::BTreeMap;

/// Which output channels of a layer stay.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// As many as this, those whose weights have the largest sum of magnitudes. Where several
    /// layers share the channels, each counts relative to its own mean.
    Largest(usize),
    /// As many as `count`, those with the highest scores.
    Best {
        /// How many.
        count: usize,
        /// One score per output channel.
        scores: Vec<f64>,
    },
    /// These.
    Channels(Vec<usize>),
}

/// Removes output channels of layers, with everything that is tied to them, see
/// [`super::classes`]. What a layer is asked to keep holds for all layers of its class.
///
/// The result computes what the graph would with weights and biases of zero in place of the
/// channels given up. A channel whose activation function maps 0 to something else, in front of
/// a padded layer, stays as a constant. Weights that stay are not refitted; [`Removed::layers`]
/// says which they are.
///
/// # Errors
/// All requests that cannot be met: unknown layers, counts and channels out of range, channels
/// that an output needs, and layers of one class that contradict each other. A graph that does
/// not validate.
pub fn prune(graph: &Graph, keep: &BTreeMap<String, Keep>) -> Result<Removed, Diagnostics> {
    lutweave_ir::validate::validate(graph)?;
    let lanes = Lanes::new(graph);
    let mut layers = layers(graph, &lanes);
    let members = members(&lanes, &layers);
    let mut faults = Vec::new();
    // For every class that a request names: whether it stays, and the layer that says so.
    let mut wanted: BTreeMap<usize, (bool, &str)> = BTreeMap::new();
    for (name, keep) in keep {
        let stay = match request(graph, &lanes, &layers, &members, name, keep) {
            Ok(stay) => stay,
            Err(fault) => {
                faults.push(*fault);
                continue;
            }
        };
        for (class, stays) in stay {
            let (known, other) = *wanted.entry(class).or_insert((stays, name));
            if known != stays {
                let message = format!("it shares channels with `{other}`, which is asked to keep others");
                faults
                    .push(Diagnostic::error("conflicting-channels", message).at(name).help("ask one layer of a class"));
                break;
            }
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults));
    }
    for class in wanted.iter().filter(|(_, (stays, _))| !stays).map(|(class, _)| class) {
        for &(id, output) in members.get(class).map_or(&[][..], Vec::as_slice) {
            if let Some(layer) = layers.get_mut(&id) {
                give_up(layer, output);
            }
        }
    }
    let constancy = Constancy::new(graph, &lanes, &layers, None);
    remove(graph, &lanes, &layers, &constancy)
}

fn give_up(layer: &mut MixingLayer, output: usize) {
    let row = layer.taps * layer.inputs;
    let row = &mut layer.weights[output * row..][..row];
    layer.zeroed += row.iter().filter(|weight| **weight != 0.0).count();
    row.fill(0.0);
    layer.bias[output] = 0.0;
    layer.changed = true;
}

/// For every class of a layer's outputs, whether it stays.
fn request(
    graph: &Graph,
    lanes: &Lanes,
    layers: &BTreeMap<NodeId, MixingLayer>,
    members: &BTreeMap<usize, Vec<(NodeId, usize)>>,
    name: &str,
    keep: &Keep,
) -> Result<BTreeMap<usize, bool>, Box<Diagnostic>> {
    let fault = |code, message: String| Box::new(Diagnostic::error(code, message).at(name));
    let found = layers.iter().find(|(id, _)| graph.node(**id).name == name);
    let Some((&id, layer)) = found else {
        let message = "no convolution or matrix product with constant weights has this name".to_owned();
        return Err(fault("unknown-layer", message));
    };
    let classes = lanes.of(id).map_or(&[][..], |channels| &channels.classes);
    let scores = match keep {
        Keep::Channels(channels) => {
            if let Some(channel) = channels.iter().find(|&&channel| channel >= layer.outputs) {
                let message = format!("channel {channel} is not one of its {}", layer.outputs);
                return Err(fault("invalid-channels", message));
            }
            let stays = |class: usize| channels.iter().any(|&channel| classes[channel] == class);
            classes.iter().map(|&class| f64::from(u8::from(stays(class)))).collect()
        }
        Keep::Best { scores, .. } => scores.clone(),
        Keep::Largest(_) => {
            let score = |class| members.get(class).map_or(0.0, |places| magnitude(layers, places));
            classes.iter().map(score).collect()
        }
    };
    if scores.len() != layer.outputs || scores.iter().any(|score| score.is_nan()) {
        return Err(fault("invalid-channels", format!("{} scores are required, all of them numbers", layer.outputs)));
    }
    let count = match keep {
        Keep::Channels(_) => scores.iter().filter(|&&score| score > 0.0).count(),
        Keep::Largest(count) | Keep::Best { count, .. } => *count,
    };
    if !(1..=layer.outputs).contains(&count) {
        return Err(fault("invalid-channels", format!("it can keep 1 to {} channels, not {count}", layer.outputs)));
    }
    let mut order: Vec<usize> = (0..layer.outputs).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut stay: BTreeMap<usize, bool> = classes.iter().map(|&class| (class, false)).collect();
    let mut left = count;
    for channel in order {
        if left > 0 && !std::mem::replace(stay.entry(classes[channel]).or_default(), true) {
            left -= classes.iter().filter(|&&class| class == classes[channel]).count().min(left);
        }
    }
    if let Some(channel) =
        (0..layer.outputs).find(|&channel| !stay[&classes[channel]] && lanes.pinned[classes[channel]])
    {
        let message =
            format!("channel {channel} cannot be removed: an output, or an operator that mixes channels, needs it");
        return Err(fault("unremovable-channels", message));
    }
    Ok(stay)
}

/// Sum of the magnitudes of a channel's weights, relative to the mean of each layer.
fn magnitude(layers: &BTreeMap<NodeId, MixingLayer>, places: &[(NodeId, usize)]) -> f64 {
    let norm = |weights: &[f32]| weights.iter().map(|&weight| f64::from(weight).abs()).sum::<f64>();
    let relative = |&(id, output): &(NodeId, usize)| {
        let layer = &layers[&id];
        let row = layer.taps * layer.inputs;
        let mean = norm(&layer.weights) / layer.outputs as f64;
        norm(&layer.weights[output * row..][..row]) / mean.max(f64::MIN_POSITIVE)
    };
    places.iter().map(relative).sum()
}
