//! Queue depths at joins.
//!
//! Every stage can hold back a part of a frame before it must give results: a window kernel the
//! rows of its ring, a mean over the image a whole frame. Where paths of different length meet,
//! the shorter ones get queues that hold what the longest can. Then a fork above is never
//! blocked by a full queue while the longer path still waits for input, so the network cannot
//! deadlock and the join does not slow it down.
//!
//! A convolution whose taps a second stream moves is a join that takes its image in for some rows
//! before it needs the first offsets, and must have all rows within reach before it takes them:
//! the offsets' queue holds what is computed meanwhile.

use super::Stage;
use super::choice::{form_of, kernels};
use super::fold::{Styles, folds};
use crate::block::window::Extent;
use crate::cost::{Resources, queue_memory};
use crate::device::Device;
use crate::elaborate::lane_type;
use crate::kernel::{Kernel, elements};
use lutweave_ir::{Diagnostics, Graph, NodeId};
use std::collections::BTreeMap;

/// The most that queues at the joins of a graph can hold, whatever is chosen for its stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinQueues {
    /// For each join, its queues.
    queues: BTreeMap<NodeId, Vec<JoinQueue>>,
}

/// The queue before one operand of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct JoinQueue {
    elements: u64,
    /// Bits of an element.
    bits: u32,
    /// Lanes of the operand, if they are always the same.
    lanes: Option<u32>,
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
                let streams = kernel.streams(&graph.node(node).operands).len();
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
        let queues = joins.map(|stage| {
            let operands = stage.kernel.streams(&graph.node(stage.node).operands);
            let queue = |(position, (&elements, operand)): (usize, (&u64, NodeId))| JoinQueue {
                elements,
                bits: lane_type(graph.node(operand).ty.element).bits,
                lanes: stage.kernel.fixed_lanes(position),
            };
            (stage.node, stage.slack.iter().zip(operands).enumerate().map(queue).collect())
        });
        Ok(Self { queues: queues.collect() })
    }

    /// Memory of the queues before a join whose operands come in so many lanes; nothing for other
    /// nodes.
    pub fn price(&self, join: NodeId, lanes: u32, device: &Device) -> Resources {
        let mut total = Resources::default();
        for &JoinQueue { elements, bits, lanes: fixed } in self.queues.get(&join).into_iter().flatten() {
            let lanes = fixed.unwrap_or(lanes);
            total += queue_memory(bits * lanes, elements.div_ceil(u64::from(lanes)) as u32, device);
        }
        total
    }

    /// Elements that wait for each operand of a join at most; none for other nodes.
    pub fn elements(&self, join: NodeId) -> impl Iterator<Item = u64> + '_ {
        self.queues.get(&join).into_iter().flatten().map(|queue| queue.elements)
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
        let operands = stage.kernel.streams(&node.operands);
        let before = |position: usize| depth[operands[position].index()];
        let longest = (0..operands.len()).map(before).fold(0.0, f64::max);
        // What every operand leaves waiting while the others give their part.
        let turn = match &stage.kernel {
            Kernel::Concat { units, .. } => 1.0 / f64::from(*units),
            _ => 0.0,
        };
        for (position, operand) in operands.iter().enumerate() {
            // What the path of this operand holds, the stage included, and what the longest does.
            let own = before(position) + taken_early(&stage.kernel, position).least;
            let most = |other: usize| match other {
                other if other == position => own,
                other => before(other) + taken_early(&stage.kernel, other).most,
            };
            let frames = (0..operands.len()).map(most).fold(0.0, f64::max) - own + turn;
            if operands.len() > 1 && frames > 0.0 {
                let frame = elements(graph.node(*operand));
                let row = graph.node(*operand).ty.image().map_or(0, |(_, width, channels)| width * channels) as u64;
                stage.slack[position] = (frames * frame as f64).ceil() as u64 + row + MARGIN;
            } else if operands.len() > 1 {
                stage.slack[position] = MARGIN;
            }
        }
        let bottleneck = bottleneck as f64;
        depth[id.index()] = match stage.kernel.offset_lanes() {
            Some(_) => (before(0) + held(stage, before(0), bottleneck)).max(before(1) + latency(bottleneck)),
            None => longest + held(stage, longest, bottleneck),
        };
    }
}

/// Frames of an operand that a stage takes in before it needs another operand.
struct Early {
    /// It takes at least so much.
    least: f64,
    /// It needs at most so much.
    most: f64,
}

fn taken_early(kernel: &Kernel, position: usize) -> Early {
    match kernel {
        Kernel::Convolution { extent, .. } if extent.displacement.is_some() && position == 0 => {
            let share = |rows: u32| f64::from(rows) / f64::from(extent.input[0]);
            Early { least: share(extent.rows_of_lead()), most: share(rows_held(extent)) }
        }
        Kernel::TopPeaks { image: [height, width, _], .. } if position == 0 => {
            // A row, and two pixels of the next one.
            let [height, width] = [height, width].map(|extent| f64::from(*extent));
            Early { least: 1.0 / height, most: ((width + 2.0) / (height * width)).min(1.0) }
        }
        _ => Early { least: 0.0, most: 0.0 },
    }
}

/// Elements added to every queue at a join for the registers and small queues of the blocks.
const MARGIN: u64 = 64;

/// Cycles that the registers and small queues of a block delay a beat, at most.
const LATENCY: f64 = 64.0;

/// Frames that a stage holds at most. `before` is what the path to it holds.
fn held(stage: &Stage, before: f64, bottleneck: f64) -> f64 {
    let rows = match &stage.kernel {
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => {
            if extent.input[0] == 1 && before >= 1.0 {
                // The whole frame is already waited for: only the time of the stage counts.
                stage.cycles as f64 / bottleneck
            } else {
                f64::from(rows_held(extent)) / f64::from(extent.input[0])
            }
        }
        Kernel::Global { .. } | Kernel::TopPeaks { .. } => 1.0,
        Kernel::Upsample { input, .. } => 3.0 / f64::from(input[0]),
        Kernel::Concat { units, .. } => 1.0 / f64::from(*units),
        // A pixel that comes in, and one that waits or is read.
        Kernel::Select { pixels, .. } => 2.0 / f64::from(*pixels),
        Kernel::Pad(_) | Kernel::Crop(_) => row_share(&stage.kernel).min(1.0),
        Kernel::Table | Kernel::Pair { .. } | Kernel::Input | Kernel::Constant | Kernel::Reshape => 0.0,
    };
    rows + latency(bottleneck)
}

/// Rows that a window kernel holds back at most: those that it needs before it gives its first
/// results, and those that arrive meanwhile. Its ring has more, for rows above a window, which do
/// not keep results back.
fn rows_held(extent: &Extent) -> u32 {
    extent.rows_of_lead() + extent.strides[0] + 1
}

/// The delay of a block in frames.
fn latency(bottleneck: f64) -> f64 {
    LATENCY / bottleneck.max(LATENCY)
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
