//! The reference interpreter: the oracle that every backend equals.
//!
//! It runs graphs that [`crate::validate::validate`] accepts.

use crate::convolve::Weights;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::tensor::{Data, Tensor, TensorType};

mod variant;

pub use variant::Variant;

/// Runs a graph once and returns its outputs.
///
/// # Errors
/// If the inputs do not match the graph's.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
    Interpreter::new(graph).run(inputs)
}

/// Runs a graph once and returns the value of every node, indexed by [`NodeId::index`].
///
/// # Errors
/// If the inputs do not match the graph's.
pub fn run_all(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
    Interpreter::new(graph).run_all(inputs)
}

/// A graph prepared for many runs; threads may share it.
pub struct Interpreter<'g> {
    graph: &'g Graph,
    weights: Vec<Option<Weights>>,
    /// The last node that reads each value; outputs have none.
    last_use: Vec<Option<NodeId>>,
}

impl<'g> Interpreter<'g> {
    /// Prepares a graph.
    pub fn new(graph: &'g Graph) -> Self {
        let mut last_use: Vec<Option<NodeId>> = vec![None; graph.nodes().len()];
        for id in graph.ids() {
            for operand in &graph.node(id).operands {
                last_use[operand.index()] = Some(id);
            }
        }
        for output in graph.outputs() {
            last_use[output.index()] = None;
        }
        let weights = graph.nodes().iter().map(|node| pack(graph, node)).collect();
        Self { graph, weights, last_use }
    }

    /// The graph that is run.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Runs the graph and returns its outputs. Values are freed after their last use.
    ///
    /// # Errors
    /// If the inputs do not match the graph's.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        let values = self.evaluate(inputs, true)?;
        let value = |id: &NodeId| values[id.index()].clone().expect("invariant: outputs are not freed");
        Ok(self.graph.outputs().iter().map(value).collect())
    }

    /// Runs the graph and returns the value of every node, indexed by [`NodeId::index`].
    ///
    /// # Errors
    /// If the inputs do not match the graph's.
    pub fn run_all(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        let values = self.evaluate(inputs, false)?;
        Ok(values.into_iter().map(|value| value.expect("invariant: no value is freed")).collect())
    }

    fn evaluate(&self, inputs: &[Tensor], free: bool) -> Result<Vec<Option<Tensor>>, Diagnostic> {
        let mut values: Vec<Option<Tensor>> = vec![None; self.graph.nodes().len()];
        check_inputs(self.graph, inputs)?;
        for (id, input) in self.graph.inputs().iter().zip(inputs) {
            values[id.index()] = Some(input.clone());
        }
        for id in self.graph.ids() {
            let node = self.graph.node(id);
            if matches!(node.op, Op::Input) {
                continue;
            }
            let operands: Vec<&Tensor> = node
                .operands
                .iter()
                .map(|operand| values[operand.index()].as_ref().expect("invariant: operands come before users"))
                .collect();
            let value = self.evaluate_node(id, self.weights[id.index()].as_ref(), &operands);
            if free {
                for operand in &node.operands {
                    if self.last_use[operand.index()] == Some(id) {
                        values[operand.index()] = None;
                    }
                }
            }
            values[id.index()] = Some(value);
        }
        Ok(values)
    }

    fn evaluate_node(&self, id: NodeId, weights: Option<&Weights>, operands: &[&Tensor]) -> Tensor {
        let node = self.graph.node(id);
        if let Some(weights) = weights {
            return node.op.eval_packed(weights, &node.ty, operands);
        }
        node.op.eval(&node.ty, &self.graph.types(&node.operands), operands)
    }
}

fn pack(graph: &Graph, node: &Node) -> Option<Weights> {
    node.op.pack(graph.constant_of(*node.operands.get(1)?)?)
}

fn check_inputs(graph: &Graph, inputs: &[Tensor]) -> Result<(), Diagnostic> {
    if inputs.len() != graph.inputs().len() {
        let message = format!("the graph has {} inputs, but {} values were given", graph.inputs().len(), inputs.len());
        return Err(Diagnostic::error("invalid-input", message).at(&graph.name));
    }
    for (&id, input) in graph.inputs().iter().zip(inputs) {
        let node = graph.node(id);
        check_value(&node.ty, input).map_err(|message| Diagnostic::error("invalid-input", message).at(&node.name))?;
    }
    Ok(())
}

/// Checks that a value is one of a type: its shape, its kind and, for integers, their range.
pub(crate) fn check_value(ty: &TensorType, value: &Tensor) -> Result<(), String> {
    if value.shape != ty.shape {
        return Err(format!("a value of shape {:?} was given for {ty}", value.shape));
    }
    let count = match &value.data {
        Data::F32(data) => data.len(),
        Data::Int(data) => data.len(),
    };
    if count != ty.count() {
        return Err(format!("a value of {count} elements was given for {ty}"));
    }
    match (&value.data, ty.element.range()) {
        (Data::F32(_), None) => Ok(()),
        (Data::Int(data), Some((lo, hi))) => match data.iter().find(|&&q| !(lo..=hi).contains(&i64::from(q))) {
            None => Ok(()),
            Some(q) => Err(format!("the value holds {q}, which is outside {}", ty.element)),
        },
        (Data::F32(_), Some(_)) => Err(format!("a float value was given for {ty}")),
        (Data::Int(_), None) => Err(format!("an integer value was given for {ty}")),
    }
}
