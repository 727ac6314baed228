//! Patterns over operator names, and matching.
//!
//! A pattern is an s-expression: `(conv (cscale ?x ?g) ?w ?b)`. `?x` is any class, the same one
//! wherever it repeats, and `!k` any constant class; `(concat ..)` has any operands; `@unary` stands for every function of one
//! real. Attributes are not in the pattern: a match holds the matched terms, and guards and
//! appliers read the attributes from them. Operands of commutative operators match in either
//! order.

use super::term::Term;
use super::typing::{EGraph, Facts};
use egg::{Id, Language};

/// Matches of one rule at one class are cut off here.
pub(super) const MATCHES_PER_CLASS: usize = 64;

const UNARY: &[&str] = &[
    "relu",
    "clip",
    "leaky_relu",
    "elu",
    "sigmoid",
    "hard_sigmoid",
    "hard_swish",
    "silu",
    "tanh",
    "mish",
    "softplus",
    "gelu",
    "erf",
    "exp",
    "log",
    "sqrt",
    "reciprocal",
    "abs",
    "neg",
    "round",
    "floor",
    "ceil",
];
const BINARY: &[&str] = &["add", "sub", "mul", "div", "max", "min", "pow"];
const COMMUTATIVE: &[&str] = &["add", "mul", "max", "min"];

/// One node of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Any class, or any constant one.
    Any {
        /// Identifies the variable.
        variable: usize,
        /// Only constant classes match.
        constant: bool,
    },
    /// A term with one of some names.
    Term {
        /// The names.
        names: Vec<&'static str>,
        /// Patterns of the operands; `None` if they are free.
        operands: Option<Vec<Pattern>>,
    },
}

/// How a pattern matched a class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// The class.
    pub root: Id,
    /// The matched terms, in the pattern's order of opening brackets. Operands of commutative
    /// terms are in the pattern's order.
    pub terms: Vec<Term>,
    /// The classes bound to `?a`, `?b`, .. in order of first appearance.
    pub classes: Vec<Id>,
}

impl Match {
    /// The first `N` variables, in order of first appearance.
    ///
    /// # Panics
    /// If the pattern has fewer: rules are static data, and a test matches each of them.
    pub fn vars<const N: usize>(&self) -> [Id; N] {
        std::array::from_fn(|index| self.classes[index])
    }
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Panics
    /// If it is malformed: patterns are static data, and a test parses each of them.
    pub fn parse(text: &'static str) -> Self {
        let mut variables = Vec::new();
        let (pattern, rest) = parse(text.trim(), &mut variables);
        assert!(rest.trim().is_empty(), "text after the pattern `{text}`");
        pattern
    }

    /// The names a matching root term may have.
    pub fn root_names(&self) -> &[&'static str] {
        match self {
            Self::Any { .. } => &[],
            Self::Term { names, .. } => names,
        }
    }

    /// Some term's operands are not in the pattern.
    pub(crate) fn has_free_operands(&self) -> bool {
        match self {
            Self::Any { .. } => false,
            Self::Term { operands, .. } => {
                operands.as_ref().is_none_or(|operands| operands.iter().any(Self::has_free_operands))
            }
        }
    }

    /// All matches at a class.
    pub fn matches(&self, egraph: &EGraph, root: Id) -> Vec<Match> {
        let empty = Match { root, terms: Vec::new(), classes: Vec::new() };
        let mut found = Vec::new();
        search(egraph, vec![(self, root)], empty, &mut found);
        found
    }
}

fn parse(text: &'static str, variables: &mut Vec<&'static str>) -> (Pattern, &'static str) {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix('(') {
        let (head, mut rest) = word(rest);
        let expand = |name| match name {
            "@unary" => UNARY.to_vec(),
            "@binary" => BINARY.to_vec(),
            name => vec![name],
        };
        let names = head.split('|').flat_map(expand).collect();
        let mut operands = Some(Vec::new());
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix(')') {
                return (Pattern::Term { names, operands }, after);
            }
            if let Some(after) = rest.strip_prefix("..") {
                operands = None;
                rest = after;
            } else {
                let (operand, after) = parse(rest, variables);
                operands.as_mut().expect("invariant: `..` stands alone").push(operand);
                rest = after;
            }
        }
    }
    let (variable, rest) = word(text);
    assert!(variable.starts_with(['?', '!']), "a variable or a bracket expected at `{text}`");
    let index = variables.iter().position(|known| *known == variable).unwrap_or_else(|| {
        variables.push(variable);
        variables.len() - 1
    });
    (Pattern::Any { variable: index, constant: variable.starts_with('!') }, rest)
}

fn word(text: &'static str) -> (&'static str, &'static str) {
    let end = text.find([' ', ')', '(', '\n']).unwrap_or(text.len());
    text.split_at(end)
}

/// Depth-first over the patterns still to match, with backtracking by value.
fn search(egraph: &EGraph, mut open: Vec<(&Pattern, Id)>, partial: Match, found: &mut Vec<Match>) {
    if found.len() >= MATCHES_PER_CLASS {
        return;
    }
    let Some((pattern, id)) = open.pop() else {
        found.push(partial);
        return;
    };
    match pattern {
        Pattern::Any { variable, constant } => {
            let id = egraph.find(id);
            if *constant && !egraph.is_constant(id) {
                return;
            }
            let mut partial = partial;
            match partial.classes.get(*variable) {
                Some(&bound) if bound != id => return,
                Some(_) => {}
                None => partial.classes.push(id),
            }
            search(egraph, open, partial, found);
        }
        Pattern::Term { names, operands } => {
            for term in egraph[id].nodes.iter().filter(|term| names.contains(&term.name)) {
                let Some(operands) = operands else {
                    let mut next = partial.clone();
                    next.terms.push(term.clone());
                    search(egraph, open.clone(), next, found);
                    continue;
                };
                if operands.len() != term.children().len() {
                    continue;
                }
                let mut orders = vec![term.clone()];
                if COMMUTATIVE.contains(&term.name) && term.children[0] != term.children[1] {
                    let mut swapped = term.clone();
                    swapped.children.swap(0, 1);
                    orders.push(swapped);
                }
                for term in orders {
                    let mut next_open = open.clone();
                    next_open.extend(operands.iter().zip(term.children.iter().copied()).rev());
                    let mut next = partial.clone();
                    next.terms.push(term);
                    search(egraph, next_open, next, found);
                }
            }
        }
    }
}

/// The classes, constant or not, that have a term with one of the names; ascending.
pub(crate) fn candidates(egraph: &EGraph, names: &[&'static str], constants: bool) -> Vec<Id> {
    let mut ids: Vec<Id> =
        names.iter().filter_map(|name| egraph.classes_for_op(name)).flatten().map(|id| egraph.find(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|&id| egraph.is_constant(id) == constants);
    ids
}
