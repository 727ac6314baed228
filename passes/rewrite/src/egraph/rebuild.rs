//! From a choice of terms back to a graph, with the model's names.

use super::build::Encoded;
use super::extract::Choice;
use super::term::{Term, name};
use super::typing::Facts;
use egg::Id;
use lutweave_ir::op::{Binary, Reshape};
use lutweave_ir::{Diagnostic, Graph, NodeId, Op};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// The chosen terms as a graph. A node has the name of the last original node that computed the
/// same value; what no original node computed is named after its user.
///
/// # Errors
/// If the choice is not a graph, which is an error of the rules.
pub fn rebuild(original: &Graph, encoded: &Encoded, choice: &Choice) -> Result<Graph, Diagnostic> {
    let mut rebuild = Rebuild {
        encoded,
        choice,
        graph: Graph::new(&original.name),
        names: HashMap::new(),
        taken: original.nodes().iter().map(|node| &node.name[..]).collect(),
        nodes: HashMap::new(),
    };
    for id in original.ids() {
        rebuild.names.insert(rebuild.class(id), &original.node(id).name);
    }
    for &id in original.outputs().iter().rev() {
        rebuild.names.insert(rebuild.class(id), &original.node(id).name);
    }
    for &id in original.inputs() {
        let node = original.node(id);
        let input = rebuild.graph.input(&node.name, node.ty.clone());
        rebuild.nodes.insert(rebuild.class(id), input);
    }
    let mut outputs: HashMap<NodeId, NodeId> = HashMap::new();
    for &id in original.outputs() {
        if let Entry::Vacant(entry) = outputs.entry(id) {
            let wanted = &original.node(id).name;
            let node = rebuild.value(rebuild.class(id), wanted)?;
            entry.insert(rebuild.named(node, wanted)?);
        }
    }
    rebuild.graph.set_outputs(original.outputs().iter().map(|id| outputs[id]).collect());
    Ok(rebuild.graph)
}

struct Rebuild<'a> {
    encoded: &'a Encoded,
    choice: &'a Choice,
    graph: Graph,
    names: HashMap<Id, &'a str>,
    /// Names of the original graph, which no new node may have.
    taken: HashSet<&'a str>,
    nodes: HashMap<Id, NodeId>,
}

impl Rebuild<'_> {
    fn class(&self, id: NodeId) -> Id {
        self.encoded.egraph.find(self.encoded.classes[id.index()])
    }

    /// The original name of a class, or a new one.
    fn name(&self, class: Id, new: impl FnOnce() -> String) -> String {
        if let Some(&name) = self.names.get(&class) {
            return name.to_owned();
        }
        let mut name = new();
        while self.taken.contains(&name[..]) {
            name.push_str(".new");
        }
        name
    }

    /// Adds the chosen term of a class and all that it needs.
    fn value(&mut self, root: Id, user: &str) -> Result<NodeId, Diagnostic> {
        let encoded = self.encoded;
        let choice = self.choice;
        // Class, its user's name, and how many of its operands have been visited.
        let mut stack = vec![(root, user.to_owned(), 0)];
        while let Some((class, user, next)) = stack.pop() {
            if self.nodes.contains_key(&class) {
                continue;
            }
            if encoded.egraph.is_constant(class) {
                self.constant(class, &user)?;
                continue;
            }
            let term = choice.terms.get(&class).ok_or_else(|| missing(&user))?;
            let own = self.name(class, || format!("{user}.{}", term.name));
            match term.children.get(next) {
                Some(&operand) => {
                    stack.push((class, user, next + 1));
                    if !(next == 2 && self.is_zero_bias(term)) {
                        stack.push((encoded.egraph.find(operand), role(term.name, next, &own), 0));
                    }
                }
                None => self.term(class, term, &own)?,
            }
        }
        self.nodes.get(&root).copied().ok_or_else(|| missing(user))
    }

    fn term(&mut self, class: Id, term: &Term, own: &str) -> Result<(), Diagnostic> {
        let egraph = &self.encoded.egraph;
        let op = match term.name {
            name::CHANNEL_SCALE => Op::Binary(Binary::Mul),
            name::CHANNEL_BIAS => Op::Binary(Binary::Add),
            _ => egraph.op(term).cloned().ok_or_else(|| missing(own))?,
        };
        let mut operands = Vec::with_capacity(term.children.len());
        for (position, &child) in term.children.iter().enumerate() {
            if position == 2 && self.is_zero_bias(term) {
                break;
            }
            operands.push(*self.nodes.get(&egraph.find(child)).ok_or_else(|| missing(own))?);
        }
        let ty = egraph.ty(class).cloned().ok_or_else(|| missing(own))?;
        let node = self.graph.add_typed(own, op, &operands, ty)?;
        self.nodes.insert(class, node);
        Ok(())
    }

    fn is_zero_bias(&self, term: &Term) -> bool {
        matches!(term.name, "conv" | "dense") && self.encoded.egraph.uniform(term.children[2]) == Some(0.0)
    }

    /// Adds a constant class: as integers with scales where it has them, else as its value.
    fn constant(&mut self, class: Id, user: &str) -> Result<NodeId, Diagnostic> {
        let egraph = &self.encoded.egraph;
        let own = self.name(class, || user.to_owned());
        let ty = egraph.ty(class).cloned().ok_or_else(|| missing(&own))?;
        let integers = egraph.terms(class, "dequantize_weights").next().filter(|term| {
            let integers = egraph.find(term.children[0]);
            integers != class && egraph.value(integers).is_some()
        });
        let node = if let Some((term, op)) = integers.and_then(|term| Some((term, egraph.op(term)?.clone()))) {
            let integers = egraph.find(term.children[0]);
            let operand = match self.nodes.get(&integers) {
                Some(&node) => node,
                None => self.constant(integers, &format!("{own}.integers"))?,
            };
            self.graph.add_typed(&own, op, &[operand], ty)?
        } else {
            let value = egraph.value(class).ok_or_else(|| missing(&own))?;
            self.graph.constant(&own, value, ty)
        };
        self.nodes.insert(class, node);
        Ok(node)
    }

    /// The node itself, or a copy with the name that an output must have: an input, or another
    /// output with the same value, keeps its own.
    fn named(&mut self, node: NodeId, wanted: &str) -> Result<NodeId, Diagnostic> {
        let found = self.graph.node(node);
        if found.name == wanted {
            return Ok(node);
        }
        let ty = found.ty.clone();
        self.graph.add_typed(wanted, Op::Reshape(Reshape { shape: ty.shape.clone() }), &[node], ty)
    }
}

/// Name for an operand that no original node computed.
fn role(operator: &str, position: usize, own: &str) -> String {
    match (operator, position) {
        ("conv" | "dense" | "qconv", 1) => format!("{own}.weights"),
        ("conv" | "dense" | "qconv", 2) => format!("{own}.bias"),
        (_, _) => format!("{own}.operand{position}"),
    }
}

fn missing(node: &str) -> Diagnostic {
    Diagnostic::error("internal-error", "the chosen terms do not form a graph").at(node)
}
