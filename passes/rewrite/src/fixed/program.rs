//! A graph under destructive rewriting.
//!
//! An e-graph serves as the store of nodes, since that is what rules read and write. It never
//! learns that two values are equal: a node that is replaced is no longer an operand of anything.

use super::{Accept, Pass, TIE_BREAK};
use crate::egraph::cost::cost;
use crate::egraph::{Choice, Encoded, Facts, Match, Pattern};
use egg::{Id, Language};
use std::collections::{HashMap, HashSet};

/// The nodes that depend on inputs and that the outputs need, and their cost.
#[derive(Clone)]
struct Extent {
    /// Operands come first.
    order: Vec<Id>,
    cost: u64,
}

pub(super) struct Program {
    encoded: Encoded,
    extent: Extent,
}

impl Program {
    /// Starts with a graph's own nodes; `None` if they have a cycle.
    pub fn new(encoded: Encoded) -> Option<Self> {
        let extent = extent(&encoded, None)?;
        Some(Self { encoded, extent })
    }

    /// Cost of the graph as it is.
    pub fn cost(&self) -> u64 {
        self.extent.cost
    }

    /// A contradiction that a rule ran into.
    pub fn conflict(&self) -> Option<&String> {
        self.encoded.egraph.analysis.conflicts().first()
    }

    /// Applies a rule at every node once, operands first; returns how often it replaced one.
    pub fn pass(&mut self, pass: &Pass) -> usize {
        if pass.rule.constants {
            return self.constants(pass);
        }
        let mut fired = 0;
        let mut needed: HashSet<Id> = self.extent.order.iter().copied().collect();
        for class in self.extent.order.clone() {
            if !needed.contains(&class) || !self.can_match(&pass.pattern, class) {
                continue;
            }
            if self.matches(pass, class).iter().any(|found| self.replace(pass, class, found)) {
                needed = self.extent.order.iter().copied().collect();
                fired += 1;
            }
        }
        fired
    }

    /// Constant expressions have one value, whatever stands for it: nothing is lost by keeping
    /// every expression, and the rebuilt graph takes the one that holds integers.
    fn constants(&mut self, pass: &Pass) -> usize {
        let egraph = &self.encoded.egraph;
        let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
        classes.retain(|&class| egraph.is_constant(class) && self.can_match(&pass.pattern, class));
        classes.sort_unstable();
        let mut fired = 0;
        for class in classes {
            for found in self.matches(pass, class) {
                let Some(new) = (pass.rule.apply)(&mut self.encoded.egraph, &found) else { continue };
                fired += usize::from(self.encoded.egraph.union(class, new));
            }
        }
        fired
    }

    fn can_match(&self, pattern: &Pattern, class: Id) -> bool {
        self.encoded.egraph[class].nodes.iter().any(|term| pattern.root_names().contains(&term.name))
    }

    fn matches(&self, pass: &Pass, class: Id) -> Vec<Match> {
        let mut found = pass.pattern.matches(&self.encoded.egraph, class);
        found.retain(|found| pass.rule.guards.iter().all(|guard| (guard.holds)(&self.encoded.egraph, found)));
        found
    }

    /// Replaces a node by what a rule makes of it, unless the graph would become costlier.
    fn replace(&mut self, pass: &Pass, old: Id, found: &Match) -> bool {
        let egraph = &mut self.encoded.egraph;
        let Some(new) = (pass.rule.apply)(egraph, found) else { return false };
        let new = egraph.find(new);
        if old == new {
            return false;
        }
        if egraph.ty(old) != egraph.ty(new) {
            egraph.analysis.conflict(format!("rule `{}` changes a type", pass.rule.name));
            return false;
        }
        let Some(extent) = extent(&self.encoded, Some((old, new))) else { return false };
        let accepted = match pass.accept {
            Accept::NotCostlier => extent.cost <= self.extent.cost + TIE_BREAK,
            Accept::Cheaper => extent.cost < self.extent.cost,
        };
        if !accepted {
            return false;
        }
        let Encoded { egraph, classes, .. } = &mut self.encoded;
        for &class in &extent.order {
            for term in &mut egraph[class].nodes {
                term.update_children(|child| if child == old { new } else { child });
            }
        }
        classes.iter_mut().filter(|class| **class == old).for_each(|class| *class = new);
        self.extent = extent;
        true
    }

    /// The nodes that are left.
    pub fn finish(self) -> (Encoded, Choice) {
        let egraph = &self.encoded.egraph;
        let term = |&class: &Id| Some((class, egraph[class].nodes.first()?.clone()));
        let terms = self.extent.order.iter().filter_map(term).collect();
        let choice = Choice { terms, cost: self.extent.cost, cost_before: self.extent.cost };
        (self.encoded, choice)
    }
}

/// What the outputs need with one node in place of another; `None` if there is a cycle.
fn extent(encoded: &Encoded, replaced: Option<(Id, Id)>) -> Option<Extent> {
    let egraph = &encoded.egraph;
    let resolve = |id: Id| {
        let id = egraph.find(id);
        replaced.filter(|(old, _)| *old == id).map_or(id, |(_, new)| new)
    };
    let root = resolve(encoded.root);
    // False while a node's operands are visited.
    let mut done: HashMap<Id, bool> = HashMap::from([(root, false)]);
    let mut extent = Extent { order: Vec::new(), cost: 0 };
    let mut stack = vec![(root, 0)];
    while let Some((class, next)) = stack.pop() {
        let term = egraph[class].nodes.first()?;
        let Some(&child) = term.children().get(next) else {
            done.insert(class, true);
            extent.cost = extent.cost.saturating_add(cost(egraph, term));
            extent.order.push(class);
            continue;
        };
        stack.push((class, next + 1));
        let child = resolve(child);
        match done.get(&child) {
            _ if egraph.is_constant(child) => {}
            Some(true) => {}
            Some(false) => return None,
            None => {
                done.insert(child, false);
                stack.push((child, 0));
            }
        }
    }
    Some(extent)
}
