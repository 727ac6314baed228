//! Which classes of channels somebody needs.

use super::constancy::Constancy;
use super::lanes::Lanes;
use super::layer::MixingLayer;
use lutweave_ir::{Graph, NodeId};
use std::collections::BTreeMap;

/// For every class, whether it has to stay: pinned classes, and what needed outputs of layers
/// read with weights that are not zero, unless it is a constant that the bias absorbs.
///
/// Every value keeps at least one channel.
pub(super) fn needed(
    graph: &Graph,
    lanes: &Lanes,
    layers: &BTreeMap<NodeId, MixingLayer>,
    constancy: &Constancy,
) -> Vec<bool> {
    let reads = Reads::new(lanes, layers, constancy);
    let mut needed = lanes.pinned.clone();
    reads.spread(&mut needed);
    // From the outputs on, since what a channel needs comes before it.
    for id in graph.ids().rev() {
        if let Some(channels) = lanes.of(id)
            && let Some(&first) = channels.classes.first()
            && channels.classes.iter().all(|&class| !needed[class])
        {
            needed[first] = true;
            reads.spread(&mut needed);
        }
    }
    needed
}

/// For every class of outputs of layers, the classes that it reads.
struct Reads {
    by_class: Vec<Vec<usize>>,
}

impl Reads {
    fn new(lanes: &Lanes, layers: &BTreeMap<NodeId, MixingLayer>, constancy: &Constancy) -> Self {
        let mut by_class = vec![Vec::new(); lanes.count()];
        // A group's inputs and outputs are one class.
        for (id, layer) in layers.iter().filter(|(_, layer)| layer.groups == 1) {
            let (Some(own), Some(operand)) = (lanes.of(*id), lanes.of(layer.operand)) else { continue };
            for (output, &class) in own.classes.iter().enumerate() {
                for (input, &read) in operand.classes.iter().enumerate() {
                    let constant = constancy.channel(layer.operand, input);
                    if layer.reads(output, input) && !constant.is_some_and(|constant| layer.absorbs(constant)) {
                        by_class[class].push(read);
                    }
                }
            }
        }
        for read in &mut by_class {
            read.sort_unstable();
            read.dedup();
        }
        Self { by_class }
    }

    fn spread(&self, needed: &mut [bool]) {
        let mut open: Vec<usize> = (0..needed.len()).filter(|&class| needed[class]).collect();
        while let Some(class) = open.pop() {
            for &read in &self.by_class[class] {
                if !std::mem::replace(&mut needed[read], true) {
                    open.push(read);
                }
            }
        }
    }
}
