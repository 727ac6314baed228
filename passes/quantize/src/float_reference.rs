//! The float graph's values on the calibration samples, node by node beside the integer graph.

use super::fuse::Fusion;
use super::normalise::Model;
use super::place::Place;
use lutweave_ir::{Element, NodeId, Op, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// Values of the float graph; each is held as long as something may read it.
pub(super) struct FloatReference<'m> {
    model: &'m Model,
    samples: &'m [Vec<Tensor>],
    /// The node after the last one that was computed.
    next: usize,
    values: Vec<Option<Arc<[Tensor]>>>,
    /// For every node the last one that reads it; `None` where nothing does.
    last_reader: Vec<Option<NodeId>>,
}

/// Most elements that a [`ReferenceValues`] keeps.
const KEPT_ELEMENTS: usize = 1 << 27;

/// All values that a [`FloatReference`] gives, kept for the next one.
pub(super) struct ReferenceValues(Vec<Option<Arc<[Tensor]>>>);

impl ReferenceValues {
    /// The values of all nodes that are read, if memory allows.
    pub fn new(model: &Model, fusion: &Fusion, samples: &[Vec<Tensor>]) -> Option<Self> {
        let mut shadow = FloatReference::new(model, fusion, samples, None);
        let read = model.graph.ids().filter(|id| shadow.last_reader[id.index()].is_some());
        let elements: usize = read.map(|id| model.graph.node(id).ty.count()).sum();
        if elements.saturating_mul(samples.len()) > KEPT_ELEMENTS {
            return None;
        }
        let last = model.graph.ids().last()?;
        shadow.advance(last);
        Some(Self(shadow.values))
    }
}

impl<'m> FloatReference<'m> {
    /// Before the first node; with a reference all is there already.
    pub fn new(
        model: &'m Model,
        fusion: &Fusion,
        samples: &'m [Vec<Tensor>],
        reference: Option<&ReferenceValues>,
    ) -> Self {
        let count = model.graph.nodes().len();
        let mut live = vec![false; count];
        for output in model.graph.outputs() {
            live[output.index()] = true;
        }
        let mut last_reader: Vec<Option<NodeId>> = vec![None; count];
        for id in model.graph.ids().rev() {
            let node = model.graph.node(id);
            let computed = live[id.index()] && model.places[id.index()] != Place::Epilogue;
            for operand in &node.operands {
                live[operand.index()] |= live[id.index()];
                if computed {
                    last_reader[operand.index()] = last_reader[operand.index()].max(Some(id));
                }
            }
            if fusion.demanded[id.index()] && model.places[id.index()] == Place::Chip {
                // A layer is compared with its own values, before and after its clamp.
                for read in [fusion.root(id), id] {
                    last_reader[read.index()] = last_reader[read.index()].max(Some(id));
                }
            }
        }
        let (next, values) = match reference {
            Some(ReferenceValues(values)) => (count, values.clone()),
            None => (0, vec![None; count]),
        };
        Self { model, samples, next, values, last_reader }
    }

    /// Computes everything up to a node.
    pub fn advance(&mut self, to: NodeId) {
        for id in self.model.graph.ids().skip(self.next).take_while(|id| *id <= to) {
            let node = self.model.graph.node(id);
            self.next = id.index() + 1;
            if self.last_reader[id.index()].is_none() || self.model.places[id.index()] == Place::Epilogue {
                continue;
            }
            let value: Arc<[Tensor]> = match node.op {
                Op::Constant(_) => continue,
                Op::Input => {
                    let inputs = self.model.graph.inputs();
                    let position = inputs.iter().position(|input| *input == id);
                    let position = position.expect("invariant: input nodes are the graph's inputs");
                    self.samples.iter().map(|sample| sample[position].clone()).collect()
                }
                _ => {
                    let types = self.model.graph.types(&node.operands);
                    let evaluate = |sample: usize| -> Option<Tensor> {
                        let operands: Option<Vec<&Tensor>> = node
                            .operands
                            .iter()
                            .map(|&operand| match self.model.graph.constant_of(operand) {
                                Some(constant) => Some(constant),
                                None => Some(&self.values[operand.index()].as_ref()?[sample]),
                            })
                            .collect();
                        Some(node.op.eval(&node.ty, &types, &operands?))
                    };
                    let values: Option<Vec<Tensor>> = (0..self.samples.len()).into_par_iter().map(evaluate).collect();
                    let Some(values) = values else { continue };
                    values.into()
                }
            };
            self.values[id.index()] = Some(value);
        }
    }

    /// Frees what nothing after a node reads.
    pub fn release(&mut self, after: NodeId) {
        for index in 0..self.next {
            if self.last_reader[index].is_some_and(|reader| reader <= after) {
                self.values[index] = None;
            }
        }
    }

    /// The reals of a node, one tensor per sample, while they are held.
    pub fn reals(&self, id: NodeId) -> Option<&[Tensor]> {
        let real = self.model.graph.node(id).ty.element == Element::F32;
        self.values[id.index()].as_deref().filter(|samples| real && !samples.is_empty())
    }
}
