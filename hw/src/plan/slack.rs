//! Queue depths at joins.
//!
//! Every stage can hold back a part of a frame before it must give results: a window kernel the
//! rows of its ring, a mean over the image a whole frame. Where paths of different length meet,
//! the shorter ones get queues that hold what the longest can. Then a fork above is never
//! blocked by a full queue while the longer path still waits for input, so the network cannot
//! deadlock and the join does not slow it down.

use super::choice::{form_of, kernels};
use super::fold::{Styles, folds};
use super::{Stage, operand_streams};
use crate::cost::{Resources, queue_memory};
use crate::device::Device;
use crate::elaborate::lane_type;
use crate::kernel::{Kernel, elements};
use lutweave_ir::{Diagnostics, Graph, NodeId};
use std::collections::BTreeMap;

/// The most that queues at the joins of a graph can hold, whatever is chosen for its stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinQueues {
    /// For each join, and each of its operands: elements, and bits of one.
    elements: BTreeMap<NodeId, Vec<(u64, u32)>>,
}

impl JoinQueues {
    /// Bounds the queues of a core graph. A stage is never faster than its fastest folding, and
    /// holds back no more of a frame than at that speed.
    ///
    /// # Errors
    /// Every node that has no hardware.
    pub fn new(graph: &Graph, device: &Device) -> Result<Self, Diagnostics> {
        let mut stages: Vec<Stage> = kernels(graph)?
            .into_iter()
            .map(|(node, kernel)| {
                let form = form_of(graph, node, &kernel);
                let table = folds(graph, node, &kernel, &form, device, Styles::Usual);
                let streams = operand_streams(&kernel, graph.node(node).operands.len());
                let cycles = match kernel {
                    Kernel::Reshape => 0,
                    _ => table.iter().map(|fold| fold.cycles).min().unwrap_or(0),
                };
                Stage {
                    node,
                    kernel,
                    folding: None,
                    input_lanes: vec![1; streams],
                    output_lanes: 1,
                    cycles,
                    multipliers: 0,
                    products: 0,
                    macs: 0,
                    slack: vec![0; streams],
                }
            })
            .collect();
        let bottleneck = stages.iter().map(|stage| stage.cycles).max().unwrap_or(1).max(1);
        // A stage after a whole frame may be as slow as the slowest.
        stages.iter_mut().for_each(|stage| stage.cycles = bottleneck);
        assign(graph, &mut stages);
        let joins = stages.into_iter().filter(|stage| stage.slack.len() > 1);
        let elements = joins.map(|stage| {
            let operands = &graph.node(stage.node).operands;
            let bits = operands.iter().map(|operand| lane_type(graph.node(*operand).ty.element).bits);
            (stage.node, stage.slack.iter().copied().zip(bits).collect())
        });
        Ok(Self { elements: elements.collect() })
    }

    /// Memory of the queues before a join whose operands come in so many lanes; nothing for other
    /// nodes.
    pub fn price(&self, join: NodeId, lanes: u32, device: &Device) -> Resources {
        let mut total = Resources::default();
        for &(elements, bits) in self.elements.get(&join).into_iter().flatten() {
            total += queue_memory(bits * lanes, elements.div_ceil(u64::from(lanes)) as u32, device);
        }
        total
    }

    /// Elements that wait for each operand of a join at most; none for other nodes.
    pub fn elements(&self, join: NodeId) -> impl Iterator<Item = u64> + '_ {
        self.elements.get(&join).into_iter().flatten().map(|(elements, _)| *elements)
    }
}

/// Sets [`Stage::slack`] of every stage.
pub fn assign(graph: &Graph, stages: &mut [Stage]) {
    let bottleneck = stages.iter().map(|stage| stage.cycles).max().unwrap_or(1).max(1);
    // What the longest path from the inputs to a node holds, in frames.
    let mut depth = vec![0.0f64; graph.nodes().len()];
    for stage in stages.iter_mut() {
        let id = stage.node;
        let node = graph.node(id);
        let operands: Vec<NodeId> = node.operands[..stage.input_lanes.len()].to_vec();
        let longest = operands.iter().map(|operand| depth[operand.index()]).fold(0.0, f64::max);
        // What every operand leaves waiting while the others give their part.
        let turn = match &stage.kernel {
            Kernel::Concat { units, .. } => 1.0 / f64::from(*units),
            _ => 0.0,
        };
        for (position, operand) in operands.iter().enumerate() {
            let frames = longest - depth[operand.index()] + turn;
            if operands.len() > 1 && frames > 0.0 {
                let frame = elements(graph.node(*operand));
                let row = graph.node(*operand).ty.image().map_or(0, |(_, width, channels)| width * channels) as u64;
                stage.slack[position] = (frames * frame as f64).ceil() as u64 + row + MARGIN;
            } else if operands.len() > 1 {
                stage.slack[position] = MARGIN;
            }
        }
        depth[id.index()] = longest + held(stage, longest, bottleneck as f64);
    }
}

/// Elements added to every queue at a join for the registers and small queues of the blocks.
const MARGIN: u64 = 64;

/// Cycles that the registers and small queues of a block delay a beat, at most.
const LATENCY: f64 = 64.0;

/// Frames that a stage holds at most. `before` is what the path to it holds.
fn held(stage: &Stage, before: f64, bottleneck: f64) -> f64 {
    let latency = LATENCY / bottleneck.max(LATENCY);
    let rows = match &stage.kernel {
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => {
            if extent.input[0] == 1 && before >= 1.0 {
                // The whole frame is already waited for: only the time of the stage counts.
                stage.cycles as f64 / bottleneck
            } else {
                f64::from(extent.ring_rows() + 1) / f64::from(extent.input[0])
            }
        }
        Kernel::Global { .. } => 1.0,
        Kernel::Upsample { input, .. } => 3.0 / f64::from(input[0]),
        Kernel::Concat { units, .. } => 1.0 / f64::from(*units),
        Kernel::Pad(_) | Kernel::Crop(_) => row_share(&stage.kernel).min(1.0),
        Kernel::Table | Kernel::Pair { .. } | Kernel::Input | Kernel::Constant | Kernel::Reshape => 0.0,
    };
    rows + latency
}

/// Largest part of a frame that a crop swallows, or a padding adds, in one piece.
fn row_share(kernel: &Kernel) -> f64 {
    match kernel {
        Kernel::Crop(axes) => {
            let [extent, start, size, step] = axes[0];
            let end = start + (size - 1) * step + 1;
            f64::from(start.max(extent - end) + 1) / f64::from(extent)
        }
        Kernel::Pad(axes) => {
            let [outer, before, inner] = axes[0];
            f64::from(before.max(outer - before - inner) + 1) / f64::from(outer)
        }
        _ => 0.0,
    }
}
