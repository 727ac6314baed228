//! Plan: how every node of a core graph is folded, and how deep the queues between them are.

mod choice;
mod fifo_depth;
mod fold;
mod form;
mod price;
mod select;

pub use choice::{Choice, all_implementations, assemble, form_of, kernels, options};
pub use fold::{Fold, divisors, gcd};
pub use form::WeightForm;
pub use price::conversion;
pub use select::{Planner, plan};

use crate::block::window::Folding;
use crate::family::Family;
use crate::kernel::{Kernel, kernel_of};
use lutweave_ir::{Graph, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How one node becomes a circuit.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The node.
    pub node: NodeId,
    /// What it is to the hardware.
    pub kernel: Kernel,
    /// Folding of a window kernel.
    pub folding: Option<Folding>,
    /// Lanes of each operand stream (weights and biases have none).
    pub input_lanes: Vec<u32>,
    /// Lanes of the result stream.
    pub output_lanes: u32,
    /// Cycles that a frame keeps it busy.
    pub cycles: u64,
    /// Cycles from an operand's element to the result's that has the same place in the frame, at most, where frames
    /// come at the pace of the slowest stage.
    pub latency: u64,
    /// Multipliers of its processing elements, in hardware or in logic.
    pub multipliers: u32,
    /// Products that they form in a cycle.
    pub products: u32,
    /// Multiply-accumulates of a frame.
    pub macs: u64,
    /// For each operand, elements of extra queue that keep this join from stalling the longer
    /// path.
    pub fifo_depths: Vec<u64>,
}

/// A folded graph. Stages are in graph order; constants have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One per node that is a circuit.
    pub stages: Vec<Stage>,
    /// The family of the device that it is folded for.
    pub family: Arc<Family>,
}

impl Stage {
    /// Rows of the image that a window kernel keeps.
    pub fn line_buffer_rows(&self) -> Option<u32> {
        self.kernel.line_buffer_rows(&self.folding?)
    }
}

impl Plan {
    /// The stage of a node.
    pub fn stage(&self, node: NodeId) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.node == node)
    }

    /// How each stage is folded: what [`assemble`] makes the plan of.
    pub fn folds(&self) -> BTreeMap<NodeId, Fold> {
        let fold = |stage: &Stage| Fold {
            folding: stage.folding,
            input_lanes: stage.input_lanes.first().copied().unwrap_or(stage.output_lanes),
            output_lanes: stage.output_lanes,
            cycles: stage.cycles,
            multipliers: stage.multipliers,
            products: stage.products,
        };
        self.stages.iter().map(|stage| (stage.node, fold(stage))).collect()
    }

    /// Cycles of the slowest stage: a lower bound on the cycles of an inference.
    pub fn bottleneck(&self) -> u64 {
        self.stages.iter().map(|stage| stage.cycles).max().unwrap_or(0)
    }

    /// Multipliers of all processing elements.
    pub fn multipliers(&self) -> u64 {
        self.stages.iter().map(|stage| u64::from(stage.multipliers)).sum()
    }

    /// Products that all processing elements form in a cycle.
    pub fn products_per_cycle(&self) -> u64 {
        self.stages.iter().map(|stage| u64::from(stage.products)).sum()
    }

    /// Multiply-accumulates of an inference.
    pub fn macs(&self) -> u64 {
        self.stages.iter().map(|stage| stage.macs).sum()
    }
}

/// Fewest multipliers that the core of a graph can be built with: one per convolution.
pub fn fewest_multipliers(graph: &Graph) -> u32 {
    graph.ids().filter(|&id| matches!(kernel_of(graph, id), Ok(Kernel::Convolution { .. }))).count() as u32
}
