//! The dataflow network: kernels joined by streams, between a core graph and its circuit.
//!
//! It says all that [`crate::elaborate`] has to know beside the weights. [`print()`] writes it as text, and
//! [`parse()`] reads back exactly that; [`Network::validate`] holds it to the graph.

mod fifo_depth;
mod text;

pub use text::{parse, print};

use crate::block::window::Folding;
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
    /// The network of a core graph's kernels. Their latencies are set here, and the depths of queues.
    pub(crate) fn new(graph: &Graph, mut kernels: Vec<KernelNode>, family: &Arc<Family>) -> Self {
        let depths = fifo_depth::assign(graph, &mut kernels);
        let mut edges = streams(graph, &kernels);
        for edge in &mut edges {
            if let Some(elements) = depths.get(&edge.to) {
                edge.depth = (elements.div_ceil(u64::from(edge.written)) as u32).max(SMALLEST_QUEUE);
            }
        }
        Self { name: graph.name.clone(), kernels, edges, family: Arc::clone(family) }
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
        for kernel in &self.kernels {
            match kernel_of(graph, kernel.node) {
                Ok(own) if own == kernel.kernel => {}
                Ok(_) => faults.push(fault(kernel.node, "its kernel is another than the graph's".to_owned())),
                Err(refused) => faults.push(refused),
            }
            let bus = |kernel: &KernelNode| kernel.folding.and_then(|folding| folding.source.bus());
            let first = self.kernels.iter().find_map(bus);
            if bus(kernel).is_some() && bus(kernel) != first {
                faults.push(fault(kernel.node, "its weights come in other bursts than those of others".to_owned()));
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
            let own = Edge { depth: edge.depth, ..own };
            if *edge != own {
                faults.push(fault(own.from, format!("`{}` stands for `{}`", text::stream(edge), text::stream(&own))));
            }
            if edge.depth < SMALLEST_QUEUE {
                faults.push(fault(own.from, format!("a queue of {} beats is too short", edge.depth)));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
    }
}

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
            edges.push(Edge { from, to, element, written, read, depth: SMALLEST_QUEUE });
        }
    }
    edges
}
