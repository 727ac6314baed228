//! The dataflow network: kernels joined by streams, between a folded core and its circuit.
//!
//! It says all that [`crate::elaborate`] has to know beside the weights. [`print()`] writes it as text, and
//! [`parse()`] reads back exactly that; [`Network::validate`] holds it to the graph.

mod text;

pub use text::{parse, print};

use crate::block::window::Folding;
use crate::elaborate::lane_type;
use crate::family::Family;
use crate::kernel::{Kernel, kernel_of};
use crate::plan::Plan;
use crate::rtl::Ty;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op};
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

impl Network {
    /// The network of a planned core graph.
    pub fn new(graph: &Graph, plan: &Plan) -> Self {
        let kernels = plan.stages.iter().map(|stage| KernelNode {
            node: stage.node,
            kernel: stage.kernel.clone(),
            lanes: [stage.input_lanes.first().copied().unwrap_or(stage.output_lanes), stage.output_lanes],
            interval: stage.cycles,
            multipliers: stage.multipliers,
            folding: stage.folding,
        });
        let operands: Vec<Vec<NodeId>> =
            plan.stages.iter().map(|stage| stage.kernel.streams(&graph.node(stage.node).operands)).collect();
        let mut edges = Vec::new();
        for stage in &plan.stages {
            let (from, written) = (stage.node, stage.output_lanes);
            let element = lane_type(graph.node(from).ty.element);
            for (user, operands) in plan.stages.iter().zip(&operands) {
                for (stream, _) in operands.iter().enumerate().filter(|(_, operand)| **operand == from) {
                    let beats = user.fifo_depths[stream].div_ceil(u64::from(written)) as u32;
                    let (to, read) = (Sink::Kernel(user.node, stream), user.input_lanes[stream]);
                    edges.push(Edge { from, to, element, written, read, depth: beats.max(SMALLEST_QUEUE) });
                }
            }
            for (output, _) in graph.outputs().iter().enumerate().filter(|(_, id)| **id == from) {
                let to = Sink::Output(output);
                edges.push(Edge { from, to, element, written, read: written, depth: SMALLEST_QUEUE });
            }
        }
        let (name, family) = (graph.name.clone(), Arc::clone(&plan.family));
        Self { name, kernels: kernels.collect(), edges, family }
    }

    /// The kernel of a node.
    pub fn kernel(&self, node: NodeId) -> Option<&KernelNode> {
        self.kernels.iter().find(|kernel| kernel.node == node)
    }

    /// The streams that a kernel writes, in order.
    pub fn written(&self, node: NodeId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == node)
    }

    /// Checks that the network is one of the graph: every kernel and stream that the graph demands is
    /// there once, in order, of the right type, and nothing else.
    ///
    /// # Errors
    /// All faults, each at its node.
    pub fn validate(&self, graph: &Graph) -> Result<(), Diagnostics> {
        let mut faults = Vec::new();
        let fault =
            |id: NodeId, message: String| Diagnostic::error("invalid-network", message).at(&graph.node(id).name);
        let nodes = || graph.ids().filter(|&id| !matches!(graph.node(id).op, Op::Constant(_)));
        if !nodes().eq(self.kernels.iter().map(|kernel| kernel.node)) {
            let message = "its kernels are not those of the graph, in order";
            return Err(Diagnostic::error("invalid-network", message).at(&self.name).into());
        }
        let mut expected = Vec::new();
        for kernel in &self.kernels {
            match kernel_of(graph, kernel.node) {
                Ok(own) if own == kernel.kernel => {}
                Ok(_) => faults.push(fault(kernel.node, "its kernel is another than the graph's".to_owned())),
                Err(refused) => faults.push(refused),
            }
            let windows = matches!(kernel.kernel, Kernel::Convolution { .. } | Kernel::Pool { .. });
            if windows != kernel.folding.is_some() {
                faults.push(fault(kernel.node, "window kernels have a folding, and no others".to_owned()));
            }
            for user in &self.kernels {
                let operands = user.kernel.streams(&graph.node(user.node).operands);
                for (stream, _) in operands.iter().enumerate().filter(|(_, operand)| **operand == kernel.node) {
                    let read = user.kernel.stream_lanes(stream, user.lanes[0]);
                    expected.push((kernel, Sink::Kernel(user.node, stream), read));
                }
            }
            for (output, _) in graph.outputs().iter().enumerate().filter(|(_, id)| **id == kernel.node) {
                expected.push((kernel, Sink::Output(output), kernel.lanes[1]));
            }
        }
        if expected.len() != self.edges.len() {
            let message = format!("it has {} streams, but the graph demands {}", self.edges.len(), expected.len());
            faults.push(Diagnostic::error("invalid-network", message).at(&self.name));
        }
        for ((kernel, to, read), edge) in expected.into_iter().zip(&self.edges) {
            let element = lane_type(graph.node(kernel.node).ty.element);
            let own = Edge { from: kernel.node, to, element, written: kernel.lanes[1], read, depth: edge.depth };
            if *edge != own {
                faults
                    .push(fault(kernel.node, format!("`{}` stands for `{}`", text::stream(edge), text::stream(&own))));
            }
            if edge.depth < SMALLEST_QUEUE {
                faults.push(fault(kernel.node, format!("a queue of {} beats is too short", edge.depth)));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
    }
}
