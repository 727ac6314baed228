//! The graph: an append-only list of typed, single-output nodes.

use crate::diagnostic::Diagnostic;
use crate::op::Op;
use crate::tensor::{Tensor, TensorType};
use petgraph::graph::DiGraph;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// A node of one graph, and the value it computes. Printed as `%7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// An operator applied to operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the graph; taken from the model's file where there is one.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Operands in the operator's order.
    pub operands: Vec<NodeId>,
    /// Type of the result.
    pub ty: TensorType,
}

/// A computation from inputs to outputs.
///
/// Invariants: operands come before their users; names are unique; every type is what
/// [`Op::infer`] says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    nodes: Vec<Node>,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    names: HashSet<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds an input of a given type.
    pub fn input(&mut self, name: &str, ty: TensorType) -> NodeId {
        let id = self.push(name, Op::Input, Vec::new(), ty);
        self.inputs.push(id);
        id
    }

    /// Adds a constant of a given type. Its value must be one of that type: the validator
    /// checks it.
    pub fn constant(&mut self, name: &str, value: Tensor, ty: TensorType) -> NodeId {
        self.push(name, Op::Constant(value), Vec::new(), ty)
    }

    /// Adds an operator and infers its type.
    ///
    /// # Errors
    /// What is wrong with the operands, as a diagnostic that names the node.
    pub fn add(&mut self, name: &str, op: Op, operands: &[NodeId]) -> Result<NodeId, Diagnostic> {
        let types = self.types(operands);
        let ty = op
            .infer(&types)
            .map_err(|message| Diagnostic::error("invalid-operands", message).at(name).operator(op.name()))?;
        Ok(self.push(name, op, operands.to_vec(), ty))
    }

    /// Adds a node whose type the caller states: for integer results, whose quantization
    /// parameters inference cannot know. Shape and element must be what inference says.
    ///
    /// # Errors
    /// As [`Graph::add`], and if the stated type differs in shape or element.
    pub fn add_typed(&mut self, name: &str, op: Op, operands: &[NodeId], ty: TensorType) -> Result<NodeId, Diagnostic> {
        let types = self.types(operands);
        let inferred = op.infer(&types).and_then(|inferred| {
            if inferred.shape == ty.shape && inferred.element == ty.element {
                Ok(())
            } else {
                Err(format!("stated type {ty} is not the inferred {inferred}"))
            }
        });
        inferred.map_err(|message| Diagnostic::error("invalid-operands", message).at(name).operator(op.name()))?;
        Ok(self.push(name, op, operands.to_vec(), ty))
    }

    /// Declares the outputs, in order. A value may be an output more than once.
    pub fn set_outputs(&mut self, outputs: Vec<NodeId>) {
        self.outputs = outputs;
    }

    /// All nodes, operands before users.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All ids, operands before users.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The types of nodes, in the order given.
    pub fn types(&self, ids: &[NodeId]) -> Vec<&TensorType> {
        ids.iter().map(|&id| &self.node(id).ty).collect()
    }

    /// Multiply-accumulates of a node.
    pub fn macs(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        node.op.macs(&node.ty, &self.types(&node.operands))
    }

    /// The inputs, in the model's order.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The outputs, in the model's order.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// The constant value of a node, if it is a constant.
    pub fn constant_of(&self, id: NodeId) -> Option<&Tensor> {
        if let Op::Constant(tensor) = &self.node(id).op { Some(tensor) } else { None }
    }

    /// The same graph with other values of the same types for some constants.
    #[must_use]
    pub fn with_constants(&self, values: &BTreeMap<NodeId, Tensor>) -> Self {
        let mut graph = self.clone();
        for (id, value) in values {
            if let Op::Constant(constant) = &mut graph.nodes[id.index()].op {
                constant.clone_from(value);
            }
        }
        graph
    }

    /// For every node, its users in order, once per operand position that reads it.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for id in self.ids() {
            for operand in &self.node(id).operands {
                users[operand.index()].push(id);
            }
        }
        users
    }

    /// The topology as a petgraph for analyses: node weights are ids, edge weights operand
    /// positions. petgraph's own indices equal the ids' indices.
    pub fn topology(&self) -> DiGraph<NodeId, usize> {
        let mut topology = DiGraph::with_capacity(self.nodes.len(), self.nodes.len());
        let indices: Vec<_> = self.ids().map(|id| topology.add_node(id)).collect();
        for id in self.ids() {
            for (position, operand) in self.node(id).operands.iter().enumerate() {
                topology.add_edge(indices[operand.index()], indices[id.index()], position);
            }
        }
        topology
    }

    /// The same graph without nodes that no output depends on. Inputs stay.
    #[must_use]
    pub fn without_dead_nodes(&self) -> Self {
        let mut live = vec![false; self.nodes.len()];
        for &id in self.outputs.iter().chain(&self.inputs) {
            live[id.index()] = true;
        }
        for id in self.ids().rev() {
            if live[id.index()] {
                for operand in &self.node(id).operands {
                    live[operand.index()] = true;
                }
            }
        }
        let mut graph = Self::new(&self.name);
        let mut map = vec![NodeId(u32::MAX); self.nodes.len()];
        for id in self.ids().filter(|id| live[id.index()]) {
            let node = self.node(id);
            let operands = node.operands.iter().map(|operand| map[operand.index()]).collect();
            map[id.index()] = graph.push(&node.name, node.op.clone(), operands, node.ty.clone());
        }
        graph.inputs = self.inputs.iter().map(|id| map[id.index()]).collect();
        graph.outputs = self.outputs.iter().map(|id| map[id.index()]).collect();
        graph
    }

    fn push(&mut self, name: &str, op: Op, operands: Vec<NodeId>, ty: TensorType) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let name = self.unique(name);
        self.nodes.push(Node { name, op, operands, ty });
        id
    }

    fn unique(&mut self, name: &str) -> String {
        let base = if name.is_empty() { "node" } else { name };
        let mut candidate = base.to_owned();
        let mut suffix = 1;
        while !self.names.insert(candidate.clone()) {
            suffix += 1;
            candidate = format!("{base}.{suffix}");
        }
        candidate
    }
}
