//! Adding terms: from rules, and from a whole graph.

use super::term::{Term, name};
use super::typing::{EGraph, Facts, Typing};
use egg::Id;
use lutweave_ir::op::{Reshape, Slice, Transpose};
use lutweave_ir::{Element, Graph, Op, Quantization, Tensor, TensorType};

/// Constants of up to this many elements are computed when they are added, so that equal values
/// become one class; larger ones stay expressions until extraction.
const EAGER_ELEMENTS: usize = 4096;

/// In explanations, the reason why a constant expression equals its value.
pub const CONSTANT_FOLDING: &str = "constant-folding";

/// Adding terms to an e-graph. Everything that is added is well-typed.
pub trait Build {
    /// Adds an operator; `None`, and a recorded conflict, if the operands do not fit.
    fn add_op(&mut self, op: Op, operands: &[Id]) -> Option<Id>;
    /// As [`Build::add_op`], with the quantization of the result.
    fn add_quantized(&mut self, op: Op, operands: &[Id], stated: Option<Quantization>) -> Option<Id>;
    /// Adds a constant.
    fn add_constant(&mut self, value: Tensor, ty: TensorType) -> Id;
    /// Adds a float constant.
    fn add_floats(&mut self, shape: &[usize], elements: Vec<f32>) -> Option<Id>;
    /// Adds `x * g` along the last axis.
    fn add_scale(&mut self, x: Id, g: Id) -> Option<Id>;
    /// Adds `x + h` along the last axis.
    fn add_bias(&mut self, x: Id, h: Id) -> Option<Id>;
    /// Adds a reshape, or nothing if the shape is already right.
    fn reshaped(&mut self, x: Id, shape: &[usize]) -> Option<Id>;
    /// Adds a transpose, or nothing for the identity.
    fn transposed(&mut self, x: Id, permutation: &[usize]) -> Option<Id>;
}

impl Build for EGraph {
    fn add_op(&mut self, op: Op, operands: &[Id]) -> Option<Id> {
        self.add_quantized(op, operands, None)
    }

    fn add_quantized(&mut self, op: Op, operands: &[Id], stated: Option<Quantization>) -> Option<Id> {
        let op = normal_form(op);
        let types: Option<Vec<&TensorType>> = operands.iter().map(|&operand| self.ty(operand)).collect();
        let inferred = op.infer(&types?);
        match inferred {
            Ok(ty) => {
                let stated = if stated == ty.quantization { None } else { stated };
                let name = op.name();
                let eager = ty.count() <= EAGER_ELEMENTS && !matches!(op, Op::DequantizeWeights(_));
                let payload = self.analysis.operator(op, stated);
                let term = Term { name, payload, children: operands.to_vec() };
                Some(add_term(self, term, eager))
            }
            Err(message) => {
                self.analysis.conflict(format!("a rule built an ill-typed `{}`: {message}", op.name()));
                None
            }
        }
    }

    fn add_constant(&mut self, value: Tensor, ty: TensorType) -> Id {
        let payload = self.analysis.constant(value, ty);
        self.add(Term { name: name::CONSTANT, payload, children: Vec::new() })
    }

    fn add_floats(&mut self, shape: &[usize], elements: Vec<f32>) -> Option<Id> {
        (shape.iter().product::<usize>() == elements.len())
            .then(|| self.add_constant(Tensor::f32(shape, elements), TensorType::f32(shape)))
    }

    fn add_scale(&mut self, x: Id, g: Id) -> Option<Id> {
        add_channels(self, name::CHANNEL_SCALE, x, g)
    }

    fn add_bias(&mut self, x: Id, h: Id) -> Option<Id> {
        add_channels(self, name::CHANNEL_BIAS, x, h)
    }

    fn reshaped(&mut self, x: Id, shape: &[usize]) -> Option<Id> {
        let source = self.terms(x, "reshape").map(|term| term.children[0]).next().unwrap_or(x);
        match [x, source].into_iter().find(|&id| self.shape(id) == shape) {
            Some(known) => Some(known),
            None => self.add_op(Op::Reshape(Reshape { shape: shape.to_vec() }), &[source]),
        }
    }

    fn transposed(&mut self, x: Id, permutation: &[usize]) -> Option<Id> {
        if permutation.is_sorted() {
            return Some(x);
        }
        // Not a transpose of a transpose: inverse rules would pile them up without end on large
        // constants, which have no value until extraction.
        let inner = self.terms(x, "transpose").find_map(|term| match self.op(term)? {
            Op::Transpose(Transpose { permutation }) => Some((term.children[0], permutation.clone())),
            _ => None,
        });
        let (source, permutation) = match inner {
            Some((source, inner)) => (source, permutation.iter().map(|&axis| inner[axis]).collect()),
            None => (x, permutation.to_vec()),
        };
        if permutation.is_sorted() {
            return Some(source);
        }
        self.add_op(Op::Transpose(Transpose { permutation }), &[source])
    }
}

fn add_channels(egraph: &mut EGraph, name: &'static str, x: Id, channels: Id) -> Option<Id> {
    let fits = egraph.is_constant(channels)
        && egraph.shape(channels).len() == 1
        && egraph.shape(x).last() == egraph.shape(channels).first();
    if !fits {
        let message = format!("a rule built an ill-typed `{name}` of {:?}", egraph.shape(x));
        egraph.analysis.conflict(message);
        return None;
    }
    Some(add_term(egraph, Term { name, payload: 0, children: vec![x, channels] }, true))
}

/// Adds a term; if its value is constant and `eager`, adds that and makes them equal.
fn add_term(egraph: &mut EGraph, term: Term, eager: bool) -> Id {
    let site = matches!(egraph.op(&term), Some(Op::Site(_)));
    let constant = !site && term.children.iter().all(|&child| egraph.is_constant(child));
    let known = egraph.lookup(term.clone()).is_some();
    let id = egraph.add(term);
    if eager && constant && !known {
        let leaf = egraph.value(id).zip(egraph.ty(id).cloned());
        if let Some((value, ty)) = leaf {
            let leaf = egraph.add_constant(value, ty);
            egraph.union_trusted(id, leaf, CONSTANT_FOLDING);
        }
    }
    id
}

/// One spelling of the same operator. The step of a box with one element is 1: composed steps
/// would otherwise grow without end.
fn normal_form(op: Op) -> Op {
    match op {
        Op::Slice(Slice { starts, sizes, mut steps }) => {
            steps.iter_mut().zip(&sizes).filter(|(_, size)| **size == 1).for_each(|(step, _)| *step = 1);
            Op::Slice(Slice { starts, sizes, steps })
        }
        other => other,
    }
}

/// A graph as an e-graph.
pub struct Encoded {
    /// The e-graph.
    pub egraph: EGraph,
    /// Class of every node of the graph.
    pub classes: Vec<Id>,
    /// The term that stands for every node of the graph.
    pub terms: Vec<Term>,
    /// Class of the root.
    pub root: Id,
}

/// Encodes a graph. Convolutions and matrix products without a bias get one of zeros, so that
/// rules need one form only.
pub fn encode(graph: &Graph) -> Encoded {
    encode_into(EGraph::new(Typing::default()), graph)
}

/// Encodes a graph so that equalities can be explained. Slower, for small graphs.
pub fn encode_explained(graph: &Graph) -> Encoded {
    encode_into(EGraph::new(Typing::default()).with_explanations_enabled(), graph)
}

fn encode_into(mut egraph: EGraph, graph: &Graph) -> Encoded {
    let mut classes: Vec<Id> = Vec::with_capacity(graph.nodes().len());
    let mut terms: Vec<Term> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let mut children: Vec<Id> = node.operands.iter().map(|operand| classes[operand.index()]).collect();
        let (name, payload) = match &node.op {
            Op::Input => (name::INPUT, egraph.analysis.input(node.ty.clone())),
            Op::Constant(value) => (name::CONSTANT, egraph.analysis.constant(value.clone(), node.ty.clone())),
            op => {
                if matches!(op, Op::Conv(_) | Op::Dense(_)) && children.len() == 2 {
                    let outputs = node.ty.shape.last().copied().unwrap_or(1);
                    let zeros = Tensor::f32([outputs], vec![0.0; outputs]);
                    children.push(egraph.add_constant(zeros, TensorType::f32([outputs])));
                }
                let inferred = op.infer(&graph.types(&node.operands)).ok().and_then(|ty| ty.quantization);
                let stated = if node.ty.quantization == inferred { None } else { node.ty.quantization };
                (op.name(), egraph.analysis.operator(normal_form(op.clone()), stated))
            }
        };
        let eager = node.ty.count() <= EAGER_ELEMENTS && !matches!(node.op, Op::DequantizeWeights(_));
        let term = Term { name, payload, children };
        terms.push(term.clone());
        let leaf = matches!(node.op, Op::Input | Op::Constant(_));
        classes.push(add_term(&mut egraph, term, eager && !leaf));
    }
    let children = graph.outputs().iter().map(|output| classes[output.index()]).collect();
    let root = egraph.add(Term { name: name::OUTPUTS, payload: 0, children });
    egraph.rebuild();
    Encoded { egraph, classes, terms, root }
}

/// The element type of a class is F32.
pub(crate) fn is_float(egraph: &EGraph, id: Id) -> bool {
    egraph.ty(id).is_some_and(|ty| ty.element == Element::F32)
}
