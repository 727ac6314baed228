//! Why a node of the cleaned graph equals the nodes of the model that it stands for.
//!
//! A whole model's proof would be as large as its unfolded tree, so that a node is explained by
//! its region: the nodes of the model between it and the values that the cleaned graph computes
//! as well. The region is rewritten anew in an e-graph that keeps reasons
//! (Nieuwenhuis and Oliveras, "Proof-producing congruence closure", 2005; Flatt et al., "Small
//! proofs from congruence closure", 2022, as implemented by egg).

use crate::cleanup::{Rewrites, saturate, simplify};
use crate::egraph::{CONSTANT_FOLDING, Choice, Encoded, Facts, Term, encode_explained, extract, term};
use crate::rules::{float_rules, rule_table};
use egg::{FlatTerm, Id, Language, RecExpr};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// The most nodes of a region that is explained.
const LARGEST_REGION: usize = 64;

/// One reason in an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the rule, or [`CONSTANT_FOLDING`].
    pub rule: &'static str,
    /// Why it is true, or what it is for.
    pub why: &'static str,
}

/// A chain of equal expressions, from the model's to that of the cleaned graph.
pub struct Proof {
    /// The rules in the order in which they are first used.
    pub steps: Vec<Step>,
    /// Values that the region reads, with their names: the inputs of the proof.
    pub inputs: Vec<(String, lutweave_ir::TensorType)>,
    expressions: Vec<RecExpr<Term>>,
    encoded: Encoded,
}

/// The rules that turned the model's nodes into one node of the cleaned graph, in order; empty if
/// the node is as it was.
///
/// # Errors
/// If the model has no such node, if the cleaned graph does not compute its value any more, or if
/// its region is too large to be explained.
pub fn explain(graph: &Graph, node: &str) -> Result<Vec<Step>, Diagnostics> {
    prove(graph, node).map(|proof| proof.steps)
}

/// As [`explain`], with the expressions in between, so that it can be checked.
///
/// # Errors
/// As [`explain`].
pub fn prove(graph: &Graph, node: &str) -> Result<Proof, Diagnostics> {
    let region = region(graph, node)?;
    let mut encoded = encode_explained(&region);
    saturate(&mut encoded, &Rewrites::new(&float_rules()), region.nodes().len());
    if let Some(conflict) = encoded.egraph.analysis.conflicts().first() {
        return Err(
            Diagnostic::error("internal-error", format!("rewrite rules contradict each other: {conflict}")).into()
        );
    }
    let choice = extract::extract(&encoded);
    let lost = || Diagnostic::error("internal-error", "the chosen terms do not form a graph").at(node);
    let output = region.outputs().first().ok_or_else(lost)?;
    let mut before = Expression { encoded: &encoded, chosen: BTreeMap::new(), expression: RecExpr::default() };
    for (term, &class) in encoded.terms.iter().zip(&encoded.classes) {
        before.chosen.entry(encoded.egraph.find(class)).or_insert_with(|| term.clone());
    }
    before.add(encoded.classes[output.index()], &mut Vec::new()).ok_or_else(lost)?;
    let before = before.expression;
    let after = expression(&encoded, &choice, encoded.classes[output.index()]).ok_or_else(lost)?;
    let mut explanation = encoded.egraph.explain_equivalence(&before, &after);
    let flat = explanation.make_flat_explanation();
    let mut rules = Vec::new();
    flat.iter().for_each(|term| reasons(term, &mut rules));
    let expressions = flat.iter().map(unflattened).collect();
    let port = |id: &NodeId| (region.node(*id).name.clone(), region.node(*id).ty.clone());
    let inputs = region.inputs().iter().map(port).collect();
    Ok(Proof { steps: rules.into_iter().filter_map(|name| step(&name)).collect(), inputs, expressions, encoded })
}

impl Proof {
    /// Computes every expression of the chain from values of the inputs: the results must be one
    /// value up to rounding.
    ///
    /// # Errors
    /// If an expression cannot be computed.
    pub fn values(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        self.expressions.iter().map(|expression| self.value(expression, inputs)).collect()
    }

    fn value(&self, expression: &RecExpr<Term>, inputs: &[Tensor]) -> Result<Tensor, String> {
        let egraph = &self.encoded.egraph;
        let mut values: Vec<(Id, Tensor)> = Vec::new();
        for term in expression.as_ref() {
            let own = term.clone().map_children(|child| values[usize::from(child)].0);
            let class = egraph.lookup(own.clone()).ok_or_else(|| format!("`{}` is not in the e-graph", own.name))?;
            let operands: Vec<&Tensor> = term.children.iter().map(|&child| &values[usize::from(child)].1).collect();
            let value = match own.name {
                term::name::INPUT => inputs.get(own.payload as usize).cloned(),
                _ => egraph.eval(&own, &operands),
            };
            values.push((class, value.ok_or_else(|| format!("`{}` has no value", own.name))?));
        }
        values.pop().map(|(_, value)| value).ok_or_else(|| "an empty expression".to_owned())
    }
}

/// The part of a graph between a node and the values that the cleaned graph computes as well.
fn region(graph: &Graph, node: &str) -> Result<Graph, Diagnostics> {
    let missing = |message: &str| Diagnostics::from(Diagnostic::error("unknown-node", message).at(node));
    let target =
        graph.ids().find(|&id| graph.node(id).name == node).ok_or_else(|| missing("the model has no such node"))?;
    let clean = simplify(graph)?.graph;
    let kept: BTreeSet<&str> = clean.nodes().iter().map(|node| &node.name[..]).collect();
    if !kept.contains(node) {
        return Err(missing("the cleaned graph has no value of this name any more: it is part of another"));
    }
    let ends = |id: NodeId| {
        let own = graph.node(id);
        id != target
            && !matches!(own.op, Op::Constant(_))
            && (matches!(own.op, Op::Input) || kept.contains(&own.name[..]))
    };
    let mut inside = vec![false; graph.nodes().len()];
    inside[target.index()] = true;
    for id in graph.ids().rev().filter(|id| id.index() <= target.index()) {
        if inside[id.index()] && !ends(id) {
            graph.node(id).operands.iter().for_each(|operand| inside[operand.index()] = true);
        }
    }
    if inside.iter().filter(|&&inside| inside).count() > LARGEST_REGION {
        return Err(Diagnostic::error("region-too-large", "too many nodes became one to be explained").at(node).into());
    }
    let mut region = Graph::new(&graph.name);
    let mut map: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in graph.ids().filter(|id| inside[id.index()]) {
        let own = graph.node(id);
        let copy = match &own.op {
            Op::Constant(value) => region.constant(&own.name, value.clone(), own.ty.clone()),
            _ if ends(id) || matches!(own.op, Op::Input) => region.input(&own.name, own.ty.clone()),
            op => {
                let operands: Vec<NodeId> =
                    own.operands.iter().filter_map(|operand| map.get(operand).copied()).collect();
                region.add_typed(&own.name, op.clone(), &operands, own.ty.clone())?
            }
        };
        map.insert(id, copy);
    }
    region.set_outputs(map.get(&target).copied().into_iter().collect());
    Ok(region)
}

/// An expression under construction: one term per class.
struct Expression<'e> {
    encoded: &'e Encoded,
    chosen: BTreeMap<Id, Term>,
    expression: RecExpr<Term>,
}

impl Expression<'_> {
    /// Adds the term of a class with its operands; `None` if a class has no term or needs itself.
    fn add(&mut self, class: Id, open: &mut Vec<Id>) -> Option<Id> {
        let egraph = &self.encoded.egraph;
        let class = egraph.find(class);
        let leaf = || egraph.terms(class, term::name::CONSTANT).next().cloned();
        let known = self.chosen.get(&class).cloned();
        let mut own = if egraph.is_constant(class) { leaf().or(known) } else { known };
        if own.is_none() && egraph.is_constant(class) {
            // A large constant expression stays one.
            own = egraph[class]
                .nodes
                .iter()
                .find(|term| term.children.iter().all(|child| !open.contains(child)))
                .cloned();
        }
        let mut own = own.filter(|_| !open.contains(&class))?;
        open.push(class);
        for child in &mut own.children {
            *child = self.add(*child, open)?;
        }
        open.pop();
        Some(self.expression.add(own))
    }
}

/// The chosen expression of a class.
fn expression(encoded: &Encoded, choice: &Choice, class: Id) -> Option<RecExpr<Term>> {
    let chosen = choice.terms.iter().map(|(&class, term)| (class, term.clone())).collect();
    let mut expression = Expression { encoded, chosen, expression: RecExpr::default() };
    expression.add(class, &mut Vec::new())?;
    Some(expression.expression)
}

/// A flat term as an expression.
fn unflattened(term: &FlatTerm<Term>) -> RecExpr<Term> {
    fn add(term: &FlatTerm<Term>, expression: &mut RecExpr<Term>) -> Id {
        let children = term.children.iter().map(|child| add(child, expression)).collect();
        expression.add(Term { children, ..term.node.clone() })
    }
    let mut expression = RecExpr::default();
    add(term, &mut expression);
    expression
}

/// Names of the rules in a flat term, outermost first, each once.
fn reasons(term: &FlatTerm<Term>, found: &mut Vec<String>) {
    for rule in [term.forward_rule, term.backward_rule].into_iter().flatten() {
        if !found.iter().any(|known| known == rule.as_str()) {
            found.push(rule.to_string());
        }
    }
    term.children.iter().for_each(|child| reasons(child, found));
}

fn step(name: &str) -> Option<Step> {
    if name == CONSTANT_FOLDING {
        return Some(Step { rule: CONSTANT_FOLDING, why: "what depends on constants only is computed once" });
    }
    rule_table().iter().find(|rule| rule.name == name).map(|rule| Step { rule: rule.name, why: rule.why })
}
