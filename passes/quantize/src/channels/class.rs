//! Layers whose channels can only be removed together.

use super::lanes::Lanes;
use super::layer::{MixingLayer, layers};
use lutweave_ir::{Graph, NodeId};
use std::collections::BTreeMap;

/// Layers whose output channels meet channel by channel, so that one decision holds for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelClass {
    /// Names of the layers, in order.
    pub members: Vec<String>,
    /// The channels that can be removed, in the order of the first member that has them.
    pub channels: Vec<Channel>,
}

/// One channel of a [`ChannelClass`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Member and output channel, wherever this channel is computed.
    pub places: Vec<(usize, usize)>,
    /// Layers that read it together with others, and their input channel.
    pub readers: Vec<(NodeId, usize)>,
    /// Multiply-accumulates that compute it, and that read it in other layers.
    pub macs: u64,
}

/// The classes of a graph, in the order of their first layers. Layers of which no channel can be
/// removed (those behind an output) are in none.
pub fn classes(graph: &Graph) -> Vec<ChannelClass> {
    let lanes = Lanes::new(graph);
    let layers = layers(graph, &lanes);
    let members = members(&lanes, &layers);
    let costs = costs(graph, &lanes, &layers);
    let readers = readers(&lanes, &layers);
    // A class is known by its first layer.
    let mut first: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for places in members.values() {
        let roots: Vec<NodeId> = places.iter().map(|(id, _)| root(&first, *id)).collect();
        let least = roots.iter().copied().min().unwrap_or(places[0].0);
        roots.into_iter().for_each(|root| {
            first.insert(root, least);
        });
    }
    let mut groups: BTreeMap<NodeId, BTreeMap<(NodeId, usize), usize>> = BTreeMap::new();
    for (&class, places) in &members {
        groups.entry(root(&first, places[0].0)).or_default().insert(places[0], class);
    }
    let mut found = Vec::with_capacity(groups.len());
    for group in groups.values() {
        let mut ids: Vec<NodeId> = group.values().flat_map(|class| members[class].iter().map(|(id, _)| *id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let place = |&(id, output): &(NodeId, usize)| (ids.partition_point(|&known| known < id), output);
        let channel = |class: &usize| Channel {
            places: members[class].iter().map(place).collect(),
            readers: readers.get(class).cloned().unwrap_or_default(),
            macs: costs[*class],
        };
        found.push(ChannelClass {
            channels: group.values().map(channel).collect(),
            members: ids.iter().map(|&id| graph.node(id).name.clone()).collect(),
        });
    }
    found
}

fn root(first: &BTreeMap<NodeId, NodeId>, mut id: NodeId) -> NodeId {
    while let Some(&next) = first.get(&id).filter(|&&next| next != id) {
        id = next;
    }
    id
}

/// The outputs of layers in every class that can be removed.
pub(super) fn members(lanes: &Lanes, layers: &BTreeMap<NodeId, MixingLayer>) -> BTreeMap<usize, Vec<(NodeId, usize)>> {
    let mut members: BTreeMap<usize, Vec<(NodeId, usize)>> = BTreeMap::new();
    for &id in layers.keys() {
        for (output, &class) in lanes.of(id).map_or(&[][..], |channels| &channels.classes).iter().enumerate() {
            if !lanes.pinned[class] {
                members.entry(class).or_default().push((id, output));
            }
        }
    }
    members
}

/// The inputs of layers without groups that each class is.
fn readers(lanes: &Lanes, layers: &BTreeMap<NodeId, MixingLayer>) -> BTreeMap<usize, Vec<(NodeId, usize)>> {
    let mut readers: BTreeMap<usize, Vec<(NodeId, usize)>> = BTreeMap::new();
    for (&id, layer) in layers.iter().filter(|(_, layer)| layer.groups == 1) {
        for (input, &class) in lanes.of(layer.operand).map_or(&[][..], |read| &read.classes).iter().enumerate() {
            readers.entry(class).or_default().push((id, input));
        }
    }
    readers
}

/// Multiply-accumulates that compute and read each class.
fn costs(graph: &Graph, lanes: &Lanes, layers: &BTreeMap<NodeId, MixingLayer>) -> Vec<u64> {
    let mut costs = vec![0; lanes.count()];
    for (&id, layer) in layers {
        let own = lanes.of(id).map_or(&[][..], |channels| &channels.classes);
        let read = lanes.of(layer.operand).filter(|_| layer.groups == 1);
        for classes in [own, read.map_or(&[][..], |channels| &channels.classes)] {
            for &class in classes {
                costs[class] += graph.macs(id) / classes.len() as u64;
            }
        }
    }
    costs
}
