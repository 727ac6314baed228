//! The analysis: the type of every class, whether it is constant, and the arenas behind payloads.

use super::pattern::Match;
use super::term::{Term, name};
use egg::{Analysis, DidMerge, Id};
use lutweave_ir::{Data, Element, Op, Quantization, Tensor, TensorType};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// The e-graph of a [`lutweave_ir::Graph`].
pub type EGraph = egg::EGraph<Term, Typing>;

/// What is known about a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Type of the value; `None` for the root and where typing failed (a recorded conflict).
    pub ty: Option<TensorType>,
    /// The value depends on no input and on no site.
    pub constant: bool,
    /// The value depends on no input: it is known once the sites have their settings.
    pub closed: bool,
}

/// An interned operator.
#[derive(Clone, Debug)]
struct Operator {
    op: Op,
    /// The quantization of the result, where the graph states one that inference cannot know.
    stated: Option<Quantization>,
}

/// Arenas for operators, constants and inputs; conflicts seen so far.
///
/// egg cannot return an error from a merge, so that conflicts are recorded here and the run is
/// stopped by a hook.
#[derive(Debug, Default)]
pub struct Typing {
    operators: Vec<Operator>,
    operator_index: HashMap<String, u32>,
    constants: Vec<(Tensor, TensorType)>,
    constant_index: HashMap<[u8; 32], u32>,
    inputs: Vec<TensorType>,
    conflicts: Vec<String>,
    out_of_fuel: bool,
    applied: HashSet<(&'static str, Match)>,
    values: RefCell<HashMap<Id, Tensor>>,
}

impl Typing {
    /// Interns an operator.
    ///
    /// The key is the derived `Debug` text: it holds every attribute, and floats in it read back
    /// to the same bits.
    pub fn operator(&mut self, op: Op, stated: Option<Quantization>) -> u32 {
        let key = format!("{op:?} {stated:?}");
        if let Some(&index) = self.operator_index.get(&key) {
            return index;
        }
        let index = self.operators.len() as u32;
        self.operators.push(Operator { op, stated });
        self.operator_index.insert(key, index);
        index
    }

    /// Interns a constant by the hash of its type and elements.
    pub fn constant(&mut self, value: Tensor, ty: TensorType) -> u32 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{ty:?}").as_bytes());
        match &value.data {
            Data::F32(elements) => elements.iter().for_each(|element| {
                hasher.update(&element.to_bits().to_le_bytes());
            }),
            Data::Int(elements) => elements.iter().for_each(|element| {
                hasher.update(&element.to_le_bytes());
            }),
        }
        let key = *hasher.finalize().as_bytes();
        if let Some(&index) = self.constant_index.get(&key) {
            return index;
        }
        let index = self.constants.len() as u32;
        self.constants.push((value, ty));
        self.constant_index.insert(key, index);
        index
    }

    /// Registers the next input.
    pub fn input(&mut self, ty: TensorType) -> u32 {
        self.inputs.push(ty);
        self.inputs.len() as u32 - 1
    }

    /// Contradictions found so far: a rule or an operator is wrong if there is any.
    pub fn conflicts(&self) -> &[String] {
        &self.conflicts
    }

    /// Records a contradiction.
    pub fn conflict(&mut self, message: String) {
        self.conflicts.push(message);
    }
}

impl Typing {
    /// Records that a rule had more to add to a class than its fuel allows.
    pub(super) fn stop_for_fuel(&mut self) {
        self.out_of_fuel = true;
    }

    /// Remembers that a rule was applied to a match.
    pub(super) fn remember(&mut self, rule: &'static str, found: &Match) {
        self.applied.insert((rule, found.clone()));
    }

    /// A rule was applied to the same match before.
    pub(super) fn remembers(&self, rule: &'static str, found: &Match) -> bool {
        self.applied.contains(&(rule, found.clone()))
    }

    /// True if a rule had more to add to a class than its fuel allows, or more matches there than
    /// are tried.
    pub fn out_of_fuel(&self) -> bool {
        self.out_of_fuel
    }
}

impl Analysis<Term> for Typing {
    type Data = Fact;

    fn make(egraph: &mut EGraph, term: &Term, _id: Id) -> Fact {
        let constant = match term.name {
            name::CONSTANT => true,
            name::INPUT | name::OUTPUTS => false,
            _ if matches!(egraph.op(term), Some(Op::Site(_))) => false,
            _ => term.children.iter().all(|&child| egraph[child].data.constant),
        };
        let closed = match term.name {
            name::INPUT | name::OUTPUTS => false,
            _ => term.children.iter().all(|&child| egraph[child].data.closed),
        };
        match infer(egraph, term) {
            Ok(ty) => Fact { ty, constant, closed },
            Err(message) => {
                egraph.analysis.conflict(format!("ill-typed `{}`: {message}", term.name));
                Fact { ty: None, constant, closed }
            }
        }
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        let before = a.clone();
        a.constant |= b.constant;
        a.closed |= b.closed;
        match (&mut a.ty, &b.ty) {
            (Some(left), Some(right)) if left.shape == right.shape && left.element == right.element => {
                match (left.quantization, right.quantization) {
                    (Some(p), Some(q)) if p != q => {
                        let message = format!("one class has the quantizations {p} and {q}");
                        self.conflict(message);
                    }
                    (None, Some(q)) => left.quantization = Some(q),
                    (_, _) => {}
                }
            }
            (Some(left), Some(right)) => {
                let message = format!("one class has the types {left} and {right}");
                self.conflict(message);
            }
            (None, Some(right)) => a.ty = Some(right.clone()),
            (_, None) => {}
        }
        DidMerge(*a != before, *a != b)
    }
}

/// Type of a term from the types of its children; `None` for the root.
fn infer(egraph: &EGraph, term: &Term) -> Result<Option<TensorType>, String> {
    match term.name {
        name::OUTPUTS => Ok(None),
        name::INPUT => Ok(Some(egraph.analysis.inputs[term.payload as usize].clone())),
        name::CONSTANT => Ok(Some(egraph.analysis.constants[term.payload as usize].1.clone())),
        name::CHANNEL_SCALE | name::CHANNEL_BIAS => {
            let [x, channels] = [0, 1].map(|position| egraph.ty(term.children[position]));
            let (Some(x), Some(channels)) = (x, channels) else { return Err("an operand has no type".to_owned()) };
            if x.element != Element::F32 || channels.shape.len() != 1 || x.shape.last() != channels.shape.first() {
                return Err(format!("operands {x} and {channels} do not match"));
            }
            Ok(Some(x.clone()))
        }
        _ => {
            let operator = &egraph.analysis.operators[term.payload as usize];
            let mut types = Vec::with_capacity(term.children.len());
            for &child in &term.children {
                types.push(egraph.ty(child).ok_or("an operand has no type")?);
            }
            let mut ty = operator.op.infer(&types)?;
            if operator.stated.is_some() {
                ty.quantization = operator.stated;
            }
            Ok(Some(ty))
        }
    }
}

/// Reading facts from an e-graph.
pub trait Facts {
    /// Type of a class; `None` for the root and after a conflict.
    fn ty(&self, id: Id) -> Option<&TensorType>;
    /// Extents of a class; empty where there is no type.
    fn shape(&self, id: Id) -> &[usize];
    /// The class depends on no input and on no site.
    fn is_constant(&self, id: Id) -> bool;
    /// The operator of a term; `None` for leaves, the root and the channel terms.
    fn op(&self, term: &Term) -> Option<&Op>;
    /// The constant behind a constant leaf.
    fn constant_leaf(&self, id: Id) -> Option<(&Tensor, &TensorType)>;
    /// The value of a constant class, computed once.
    fn value(&self, id: Id) -> Option<Tensor>;
    /// The single element value of a constant float class, if all elements are equal.
    fn uniform(&self, id: Id) -> Option<f32>;
    /// The value of a term, given the values of its children.
    fn eval(&self, term: &Term, operands: &[&Tensor]) -> Option<Tensor>;
    /// The terms of a class with a name.
    fn terms<'a>(&'a self, id: Id, name: &'a str) -> impl Iterator<Item = &'a Term> + 'a;
}

impl Facts for EGraph {
    fn ty(&self, id: Id) -> Option<&TensorType> {
        self[id].data.ty.as_ref()
    }

    fn shape(&self, id: Id) -> &[usize] {
        self.ty(id).map_or(&[], |ty| &ty.shape)
    }

    fn is_constant(&self, id: Id) -> bool {
        self[id].data.constant
    }

    fn op(&self, term: &Term) -> Option<&Op> {
        match term.name {
            name::INPUT | name::CONSTANT | name::OUTPUTS | name::CHANNEL_SCALE | name::CHANNEL_BIAS => None,
            _ => self.analysis.operators.get(term.payload as usize).map(|operator| &operator.op),
        }
    }

    fn constant_leaf(&self, id: Id) -> Option<(&Tensor, &TensorType)> {
        let leaf = self[id].nodes.iter().find(|term| term.name == name::CONSTANT)?;
        self.analysis.constants.get(leaf.payload as usize).map(|(value, ty)| (value, ty))
    }

    fn value(&self, id: Id) -> Option<Tensor> {
        value(self, id, &mut Vec::new())
    }

    fn uniform(&self, id: Id) -> Option<f32> {
        if self.ty(id)?.element != Element::F32 {
            return None;
        }
        let value = self.value(id)?;
        let (&first, rest) = value.f32s().split_first()?;
        (!first.is_nan() && rest.iter().all(|&element| element == first)).then_some(first)
    }

    fn eval(&self, term: &Term, operands: &[&Tensor]) -> Option<Tensor> {
        match term.name {
            name::INPUT | name::OUTPUTS => None,
            name::CONSTANT => self.analysis.constants.get(term.payload as usize).map(|(value, _)| value.clone()),
            name::CHANNEL_SCALE | name::CHANNEL_BIAS => {
                let channels = operands[1].f32s();
                let combine = if term.name == name::CHANNEL_SCALE { |x, c| x * c } else { |x: f32, c: f32| x + c };
                let elements = operands[0].f32s().iter().enumerate();
                let elements: Vec<f32> = elements.map(|(i, &x)| combine(x, channels[i % channels.len()])).collect();
                Some(Tensor::f32(operands[0].shape.clone(), elements))
            }
            _ => {
                let types: Option<Vec<&TensorType>> = term.children.iter().map(|&child| self.ty(child)).collect();
                let ty = infer(self, term).ok()??;
                Some(self.op(term)?.eval(&ty, &types?, operands))
            }
        }
    }

    fn terms<'a>(&'a self, id: Id, name: &'a str) -> impl Iterator<Item = &'a Term> + 'a {
        self[id].nodes.iter().filter(move |term| term.name == name)
    }
}

/// `visiting` holds the classes under evaluation: a class may contain itself through pairs of
/// rewrites that cancel.
fn value(egraph: &EGraph, id: Id, visiting: &mut Vec<Id>) -> Option<Tensor> {
    let id = egraph.find(id);
    if !egraph.is_constant(id) || visiting.contains(&id) {
        return None;
    }
    if let Some((value, _)) = egraph.constant_leaf(id) {
        return Some(value.clone());
    }
    if let Some(value) = egraph.analysis.values.borrow().get(&id) {
        return Some(value.clone());
    }
    visiting.push(id);
    let found = egraph[id].nodes.iter().find_map(|term| {
        let operands: Option<Vec<Tensor>> = term.children.iter().map(|&child| value(egraph, child, visiting)).collect();
        egraph.eval(term, &operands?.iter().collect::<Vec<_>>())
    });
    visiting.pop();
    if let Some(value) = &found {
        egraph.analysis.values.borrow_mut().insert(id, value.clone());
    }
    found
}
