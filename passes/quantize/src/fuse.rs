//! Which operators become one integer operator.

use super::normalise::{self, Model};
use super::place::Place;
use lutweave_ir::op::Unary;
use lutweave_ir::{NodeId, Op};

/// Groups of nodes that become one.
#[derive(Debug)]
pub(super) struct Fusion {
    /// For a clamp that its only producer takes up: the producer and the real bounds.
    pub clamps: Vec<Option<Clamp>>,
    /// For a function of a single value: that value. It becomes one table of it.
    pub sources: Vec<Option<NodeId>>,
    /// The nodes whose values exist as integers, or on the host.
    pub demanded: Vec<bool>,
}

/// An arithmetic operator with a clamped result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clamp {
    /// The operator.
    pub root: NodeId,
    /// Smallest real result.
    pub lo: f32,
    /// Largest real result.
    pub hi: f32,
}

impl Fusion {
    /// Analyses a model.
    pub fn new(model: &Model) -> Self {
        let count = model.graph.nodes().len();
        let mut fusion = Self { clamps: vec![None; count], sources: vec![None; count], demanded: vec![false; count] };
        let users = live_users(model);
        for id in model.graph.ids().filter(|id| model.places[id.index()] == Place::Chip) {
            fusion.analyse(model, &users, id);
        }
        fusion.demand(model);
        fusion
    }

    /// The operator whose arithmetic computes a value.
    pub fn root(&self, id: NodeId) -> NodeId {
        self.clamps[id.index()].map_or(id, |clamp| clamp.root)
    }

    /// The values that computing a node's value reads.
    pub fn reads(&self, model: &Model, id: NodeId) -> Vec<NodeId> {
        match self.sources[id.index()] {
            Some(source) => vec![source],
            None => model.inputs_of(self.root(id)),
        }
    }

    fn analyse(&mut self, model: &Model, users: &[Vec<NodeId>], id: NodeId) {
        let node = model.graph.node(id);
        let inputs = model.inputs_of(id);
        match &node.op {
            Op::Unary(unary) => {
                let operand = inputs[0];
                let alone = users[operand.index()].len() == 1 && !model.graph.outputs().contains(&operand);
                match bounds(*unary) {
                    Some((lo, hi)) if alone && self.is_arithmetic(model, operand) => {
                        let inner = self.clamps[operand.index()];
                        let (root, inner_lo, inner_hi) =
                            inner.map_or((operand, f32::NEG_INFINITY, f32::INFINITY), |c| (c.root, c.lo, c.hi));
                        let clamp = Clamp { root, lo: inner_lo.max(lo).min(hi), hi: inner_hi.max(lo).min(hi) };
                        self.clamps[id.index()] = Some(clamp);
                    }
                    _ => self.sources[id.index()] = Some(self.source(operand)),
                }
            }
            Op::Binary(_) => {
                let sources: Vec<NodeId> = inputs.iter().map(|&operand| self.source(operand)).collect();
                let shape = normalise::image(&node.ty);
                let same = sources
                    .iter()
                    .all(|&source| source == sources[0] && normalise::image(&model.graph.node(source).ty) == shape);
                if same || inputs.len() == 1 {
                    self.sources[id.index()] = Some(sources[0]);
                }
            }
            _ => {}
        }
    }

    fn source(&self, id: NodeId) -> NodeId {
        self.sources[id.index()].unwrap_or(id)
    }

    /// True if a node's result is requantized, so that a clamp costs nothing.
    fn is_arithmetic(&self, model: &Model, id: NodeId) -> bool {
        if model.places[id.index()] != Place::Chip {
            return false;
        }
        if self.clamps[id.index()].is_some() {
            return true;
        }
        match &model.graph.node(id).op {
            Op::Conv(_) | Op::AveragePool(_) | Op::DeformConv(_) => true,
            Op::Binary(_) => self.sources[id.index()].is_none(),
            _ => false,
        }
    }

    fn demand(&mut self, model: &Model) {
        for output in model.graph.outputs() {
            self.demanded[output.index()] = true;
        }
        for id in model.graph.ids().rev() {
            if !self.demanded[id.index()] {
                continue;
            }
            let reads = match model.places[id.index()] {
                Place::Chip => self.reads(model, id),
                Place::Nowhere | Place::Prologue | Place::Epilogue => model.inputs_of(id),
            };
            for read in reads {
                self.demanded[read.index()] = true;
            }
        }
    }
}

/// For every node its users among the nodes that some output depends on.
fn live_users(model: &Model) -> Vec<Vec<NodeId>> {
    let mut live = vec![false; model.graph.nodes().len()];
    for output in model.graph.outputs() {
        live[output.index()] = true;
    }
    let mut users = vec![Vec::new(); live.len()];
    for id in model.graph.ids().rev() {
        if live[id.index()] {
            for operand in &model.graph.node(id).operands {
                live[operand.index()] = true;
                users[operand.index()].push(id);
            }
        }
    }
    users
}

/// The bounds of a function that only clamps.
fn bounds(unary: Unary) -> Option<(f32, f32)> {
    match unary {
        Unary::Relu => Some((0.0, f32::INFINITY)),
        Unary::Clip { lo, hi } => Some((lo, hi)),
        _ => None,
    }
}
