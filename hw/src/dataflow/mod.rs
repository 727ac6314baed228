//! The dataflow network: kernels joined by streams, between a core graph and its circuit.
//!
//! It says all that [`crate::elaborate`] has to know beside the weights. [`print()`] writes it as text, and
//! [`parse()`] reads back exactly that; [`Network::validate`] holds it to the graph.

mod fifo_depth;
mod text;

pub use text::{parse, print};

use crate::block::outside_queue::OutsideQueue;
use crate::block::window::{Bus, Folding};
use crate::device::Device;
use crate::elaborate::lane_type;
use crate::family::Family;
use crate::kernel::{Kernel, elements, kernel_of};
use crate::rtl::Ty;
use crate::rtl::engine::{Multiplier, NofM};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Depth of a queue where no more is needed, in beats.
pub const SMALLEST_QUEUE: u32 = 4;

/// Kernels and streams.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The graph's name.
    pub name: String,
    /// The kernels, in graph order.
    pub kernels: Vec<KernelNode>,
    /// The streams: those of one kernel side by side, in the order of its users, outputs of the graph last.
    pub edges: Vec<Edge>,
    /// The family of the device that it is folded for.
    pub family: Arc<Family>,
}

/// A kernel of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelNode {
    /// The node of the graph.
    pub node: NodeId,
    /// What it is to the hardware.
    pub kernel: Kernel,
    /// Lanes of the first operand stream and of the result.
    pub lanes: [u32; 2],
    /// Initiation interval: cycles from the start of a frame to the start of the next.
    pub interval: u64,
    /// Cycles from an operand's element to the result's that has the same place in the frame, at most, where frames
    /// come at the pace of the slowest kernel.
    pub latency: u64,
    /// Multipliers of its processing elements, in hardware or in logic.
    pub multipliers: u32,
    /// Folding of a window kernel: processing elements, and where their weights live.
    pub folding: Option<Folding>,
}

/// A stream from a kernel to one of its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The kernel that writes it.
    pub from: NodeId,
    /// What reads it.
    pub to: Sink,
    /// Lane type.
    pub element: Ty,
    /// Lanes as they are written.
    pub written: u32,
    /// Lanes as they are read: a converter stands between if they differ.
    pub read: u32,
    /// Depth of its queue, in beats as they are written.
    pub depth: u32,
    /// The queue's words wait in a memory outside the chip: how they go and come.
    pub outside: Option<Bus>,
}

impl Edge {
    /// Depth of what is on the chip of its queue, in beats as they are written.
    pub fn depth_on_chip(&self) -> u32 {
        if self.outside.is_some() { SMALLEST_QUEUE } else { self.depth }
    }

    /// Elements that its queue holds.
    pub fn elements(&self) -> u64 {
        u64::from(self.depth) * u64::from(self.written)
    }

    /// The queue, if it is outside.
    pub fn outside_queue(&self) -> Option<OutsideQueue> {
        Some(OutsideQueue::new(self.element, self.written, self.elements(), self.outside?))
    }
}

/// What reads a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sink {
    /// A kernel, by its operand streams.
    Kernel(NodeId, usize),
    /// An output of the graph.
    Output(usize),
}

impl KernelNode {
    /// Rows of the image that a window kernel keeps in its line buffer.
    pub fn rows(&self) -> Option<u32> {
        self.kernel.line_buffer_rows(&self.folding?)
    }

    /// How its weights come from outside, if they do.
    pub fn bus(&self) -> Option<Bus> {
        self.folding?.source.bus()
    }

    /// The pattern of zeros that it makes use of.
    pub fn pattern(&self) -> Option<NofM> {
        self.folding?.pattern
    }

    /// Products that its processing elements form in a cycle.
    pub fn products(&self) -> u32 {
        let paired = self.folding.is_some_and(|folding| folding.multiplier == Multiplier::Paired);
        self.multipliers * if paired { 2 } else { 1 }
    }
}

impl Network {
    /// The network of a core graph's kernels. Their latencies are set here, the depths of queues, and where they wait.
    pub(crate) fn new(graph: &Graph, mut kernels: Vec<KernelNode>, device: &Device) -> Self {
        let depths = fifo_depth::assign(graph, &mut kernels);
        let mut edges = streams(graph, &kernels);
        for edge in &mut edges {
            if let Some(elements) = depths.get(&edge.to) {
                edge.depth = (elements.div_ceil(u64::from(edge.written)) as u32).max(SMALLEST_QUEUE);
            }
        }
        let family = Arc::clone(&device.family);
        let mut network = Self { name: graph.name.clone(), kernels, edges, family };
        if let (Some(memory), Some(from)) = (&device.memory, device.queues_from) {
            network.move_queues_outside(graph, from, memory.bus());
        }
        network
    }

    /// Has those queues of so many elements wait outside that a memory there keeps up with: bursts of one queue are some
    /// hundred cycles on their way, and only a few at a time.
    fn move_queues_outside(&mut self, graph: &Graph, from: u64, bus: Bus) {
        let pace = self.bottleneck();
        for edge in self.edges.iter_mut().filter(|edge| edge.element.bits == 8 && edge.elements() >= from) {
            let frame = graph.node(edge.from).ty.count() as u64;
            let outside = Edge { outside: Some(bus), ..*edge };
            let lanes = outside.outside_queue().map_or(1, |queue| u64::from(queue.word.lanes));
            let share = u64::from(bus.bytes).div_ceil(SHARE_OF_QUEUE);
            if frame <= pace * lanes.min(share) {
                *edge = outside;
            }
        }
    }

    /// From so many elements on queues wait outside; `None` if none does.
    pub fn queues_from(&self) -> Option<u64> {
        self.edges.iter().filter(|edge| edge.outside.is_some()).map(Edge::elements).min()
    }

    /// The kernel of a node.
    pub fn kernel(&self, node: NodeId) -> Option<&KernelNode> {
        self.kernels.iter().find(|kernel| kernel.node == node)
    }

    /// Cycles of the slowest kernel: a lower bound on the cycles of an inference.
    pub fn bottleneck(&self) -> u64 {
        self.kernels.iter().map(|kernel| kernel.interval).max().unwrap_or(0)
    }

    /// Multipliers of all processing elements.
    pub fn multipliers(&self) -> u64 {
        self.kernels.iter().map(|kernel| u64::from(kernel.multipliers)).sum()
    }

    /// Products that all processing elements form in a cycle.
    pub fn products_per_cycle(&self) -> u64 {
        self.kernels.iter().map(|kernel| u64::from(kernel.products())).sum()
    }

    /// Multiply-accumulates of an inference.
    pub fn macs(&self, graph: &Graph) -> u64 {
        self.kernels.iter().map(|kernel| graph.macs(kernel.node)).sum()
    }

    /// How what is outside the chip goes and comes; `None` if nothing is.
    pub fn bus(&self) -> Option<Bus> {
        let stages = self.kernels.iter().filter_map(KernelNode::bus);
        stages.chain(self.edges.iter().filter_map(|edge| edge.outside)).next()
    }

    /// The streams that a kernel writes, in order.
    pub fn written(&self, node: NodeId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == node)
    }

    /// Checks that the network is one of the graph: every kernel and stream that the graph demands is
    /// there once, in order, of the right type, in lanes that divide a frame, and nothing else.
    ///
    /// # Errors
    /// All faults of the kernels, or else of the streams, each at its node.
    pub fn validate(&self, graph: &Graph) -> Result<(), Diagnostics> {
        let mut faults = Vec::new();
        let fault =
            |id: NodeId, message: String| Diagnostic::error("invalid-network", message).at(&graph.node(id).name);
        let nodes = || graph.ids().filter(|&id| !matches!(graph.node(id).op, Op::Constant(_)));
        if !nodes().eq(self.kernels.iter().map(|kernel| kernel.node)) {
            let message = "its kernels are not those of the graph, in order";
            return Err(Diagnostic::error("invalid-network", message).at(&self.name).into());
        }
        let bus = self.bus();
        for kernel in &self.kernels {
            match kernel_of(graph, kernel.node) {
                Ok(own) if own == kernel.kernel => {}
                Ok(_) => faults.push(fault(kernel.node, "its kernel is another than the graph's".to_owned())),
                Err(refused) => faults.push(refused),
            }
            if kernel.bus().is_some() && kernel.bus() != bus {
                faults.push(fault(kernel.node, OTHER_BURSTS.to_owned()));
            }
            let windows = matches!(kernel.kernel, Kernel::Convolution { .. } | Kernel::Pool { .. });
            if windows != kernel.folding.is_some() {
                faults.push(fault(kernel.node, "window kernels have a folding, and no others".to_owned()));
            }
            let node = graph.node(kernel.node);
            let operand = node.operands.first().map_or(node, |&operand| graph.node(operand));
            for (lanes, frame) in kernel.lanes.into_iter().zip([operand, node]) {
                if lanes == 0 || !elements(frame).is_multiple_of(u64::from(lanes)) {
                    faults.push(fault(kernel.node, format!("{lanes} lanes do not divide a frame")));
                }
            }
        }
        if !faults.is_empty() {
            return Err(Diagnostics(faults));
        }
        let demanded = streams(graph, &self.kernels);
        if demanded.len() != self.edges.len() {
            let message = format!("it has {} streams, but the graph demands {}", self.edges.len(), demanded.len());
            faults.push(Diagnostic::error("invalid-network", message).at(&self.name));
        }
        for (own, edge) in demanded.into_iter().zip(&self.edges) {
            let own = Edge { depth: edge.depth, outside: edge.outside, ..own };
            if *edge != own {
                faults.push(fault(own.from, format!("`{}` stands for `{}`", text::stream(edge), text::stream(&own))));
            }
            if edge.depth < SMALLEST_QUEUE {
                faults.push(fault(own.from, format!("a queue of {} beats is too short", edge.depth)));
            }
            if edge.outside.is_some() && edge.outside != bus {
                faults.push(fault(own.from, OTHER_BURSTS.to_owned()));
            }
            if edge.outside.is_some() && edge.element.bits != 8 {
                faults.push(fault(own.from, format!("queues outside hold bytes, and not {}", edge.element)));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
    }
}

/// A queue outside writes and reads at most a beat each in so many cycles.
const SHARE_OF_QUEUE: u64 = 8;

const OTHER_BURSTS: &str = "it goes outside in other bursts than others do";

/// The streams that a graph demands between its kernels, in order, with the smallest queues.
fn streams(graph: &Graph, kernels: &[KernelNode]) -> Vec<Edge> {
    let mut readers: BTreeMap<NodeId, Vec<(Sink, u32)>> = BTreeMap::new();
    for user in kernels {
        for (stream, operand) in user.kernel.streams(&graph.node(user.node).operands).into_iter().enumerate() {
            let read = user.kernel.stream_lanes(stream, user.lanes[0]);
            readers.entry(operand).or_default().push((Sink::Kernel(user.node, stream), read));
        }
    }
    let mut edges = Vec::new();
    for &KernelNode { node: from, lanes: [_, written], .. } in kernels {
        let element = lane_type(graph.node(from).ty.element);
        let outputs = graph.outputs().iter().enumerate().filter(|(_, id)| **id == from);
        let outputs = outputs.map(|(output, _)| (Sink::Output(output), written));
        for (to, read) in readers.remove(&from).unwrap_or_default().into_iter().chain(outputs) {
            edges.push(Edge { from, to, element, written, read, depth: SMALLEST_QUEUE, outside: None });
        }
    }
    edges
}
