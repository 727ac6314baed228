//! A graph with some of its constants replaced: only what depends on them is computed anew.

use super::Interpreter;
use crate::convolve::Weights;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, NodeId};
use crate::tensor::{Tensor, TensorType};
use std::collections::BTreeMap;

/// An interpreter's graph with other values for some constants; threads may share it.
pub struct Variant<'i, 'g> {
    interpreter: &'i Interpreter<'g>,
    constants: BTreeMap<NodeId, Tensor>,
    weights: BTreeMap<NodeId, Weights>,
    /// The nodes that depend on the constants, in order.
    dependants: Vec<NodeId>,
}

impl<'g> Interpreter<'g> {
    /// The graph with other values for some constants.
    ///
    /// # Errors
    /// If a node is not a constant, or a value not one of its type.
    pub fn variant(&self, constants: BTreeMap<NodeId, Tensor>) -> Result<Variant<'_, 'g>, Diagnostic> {
        let graph = self.graph;
        for (&id, value) in &constants {
            let node = graph.node(id);
            let refuse = |message: String| Diagnostic::error("invalid-constant", message).at(&node.name);
            if graph.constant_of(id).is_none() {
                return Err(refuse("only constants have variants".into()));
            }
            super::check_value(&node.ty, value).map_err(refuse)?;
        }
        let mut depends = vec![false; graph.nodes().len()];
        let mut dependants = Vec::new();
        let mut weights = BTreeMap::new();
        for id in graph.ids() {
            let node = graph.node(id);
            if constants.contains_key(&id) {
                depends[id.index()] = true;
            } else if node.operands.iter().any(|operand| depends[operand.index()]) {
                depends[id.index()] = true;
                dependants.push(id);
                if let Some(replaced) = node.operands.get(1).and_then(|operand| constants.get(operand)) {
                    weights.extend(node.op.pack(replaced).map(|packed| (id, packed)));
                }
            }
        }
        Ok(Variant { interpreter: self, constants, weights, dependants })
    }
}

impl Variant<'_, '_> {
    /// The value of every node, given what the values of one run of the original graph were.
    pub fn run_all(&self, baseline: &[Tensor]) -> Vec<Tensor> {
        let mut values = baseline.to_vec();
        for (id, value) in &self.constants {
            values[id.index()] = value.clone();
        }
        for &id in &self.dependants {
            values[id.index()] = self.evaluate(id, |operand| &values[operand.index()]);
        }
        values
    }

    /// The outputs, given what the values of one run of the original graph were.
    pub fn run(&self, baseline: &[Tensor]) -> Vec<Tensor> {
        let mut changed: BTreeMap<NodeId, Tensor> = self.constants.clone();
        for &id in &self.dependants {
            let value = self.evaluate(id, |operand| changed.get(&operand).unwrap_or(&baseline[operand.index()]));
            changed.insert(id, value);
        }
        let outputs = self.graph().outputs().iter();
        outputs.map(|id| changed.get(id).unwrap_or(&baseline[id.index()]).clone()).collect()
    }

    fn graph(&self) -> &Graph {
        self.interpreter.graph
    }

    fn evaluate<'v>(&self, id: NodeId, value: impl Fn(NodeId) -> &'v Tensor) -> Tensor {
        let node = self.graph().node(id);
        let operands: Vec<&Tensor> = node.operands.iter().map(|&operand| value(operand)).collect();
        let weights = self.weights.get(&id);
        let packed = node.operands.get(1).is_some_and(|operand| self.constants.contains_key(operand));
        if packed && weights.is_none() {
            let types: Vec<&TensorType> = node.operands.iter().map(|&id| &self.graph().node(id).ty).collect();
            return node.op.eval(&node.ty, &types, &operands);
        }
        self.interpreter.evaluate_node(id, weights.or(self.interpreter.weights[id.index()].as_ref()), &operands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Binary, Conv, Geometry, Op, Unary};

    /// Two convolutions, a skip connection around the second, and a branch that reads neither.
    fn graph(first: f32, second: f32) -> (Graph, [NodeId; 2]) {
        let mut graph = Graph::new("variants");
        let x = graph.input("x", TensorType::f32([1, 3, 4, 2]));
        let weights = |scale: f32| {
            let data: Vec<f32> = (0..36).map(|i| ((i * 29) % 13) as f32 * 0.1 * scale - 0.5).collect();
            Tensor::f32([2, 3, 3, 2], data)
        };
        let conv = || Op::Conv(Conv { geometry: Geometry { pads: [1; 4], ..Geometry::PLAIN } });
        let ty = TensorType::f32([2, 3, 3, 2]);
        let w1 = graph.constant("w1", weights(first), ty.clone());
        let w2 = graph.constant("w2", weights(second), ty);
        let a = graph.add("a", conv(), &[x, w1]).unwrap();
        let relu = graph.add("relu", Op::Unary(Unary::Relu), &[a]).unwrap();
        let b = graph.add("b", conv(), &[relu, w2]).unwrap();
        let sum = graph.add("sum", Op::Binary(Binary::Add), &[b, relu]).unwrap();
        let other = graph.add("other", Op::Unary(Unary::Relu), &[x]).unwrap();
        graph.set_outputs(vec![sum, other]);
        (graph, [w1, w2])
    }

    #[test]
    fn a_variant_is_the_graph_with_the_other_constants() {
        let (original, constants) = graph(1.0, 1.0);
        let interpreter = Interpreter::new(&original);
        let x = Tensor::f32([1, 3, 4, 2], (0..24).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>());
        let baseline = interpreter.run_all(std::slice::from_ref(&x)).unwrap();
        for (first, second) in [(1.0, 2.0), (0.5, 1.0), (3.0, -1.0)] {
            let (changed, _) = graph(first, second);
            let values = super::super::run_all(&changed, std::slice::from_ref(&x)).unwrap();
            let replaced = constants.iter().map(|&id| (id, changed.constant_of(id).unwrap().clone())).collect();
            let variant = interpreter.variant(replaced).unwrap();
            assert_eq!(variant.run_all(&baseline), values);
            let outputs: Vec<Tensor> = changed.outputs().iter().map(|id| values[id.index()].clone()).collect();
            assert_eq!(variant.run(&baseline), outputs);
            assert_ne!(outputs[0], baseline[original.outputs()[0].index()]);
        }
    }

    #[test]
    fn only_constants_of_their_type_have_variants() {
        let (graph, [w1, _]) = graph(1.0, 1.0);
        let interpreter = Interpreter::new(&graph);
        let wrong = Tensor::f32([1], vec![1.0]);
        assert!(interpreter.variant([(w1, wrong.clone())].into()).is_err());
        assert!(interpreter.variant([(graph.outputs()[0], wrong)].into()).is_err());
    }
}
