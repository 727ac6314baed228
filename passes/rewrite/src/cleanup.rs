//! Exact clean-up of a graph: equality saturation with the rules, and extraction.

use crate::egraph::{Encoded, RuleSpec, encode, extract, rebuild};
use crate::egraph::{Term, Typing};
use crate::rules::{float_rules, integer_rules, site_rules};
use egg::{Rewrite, Runner, SimpleScheduler, StopReason};
use lutweave_ir::{Diagnostic, Diagnostics, Graph};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds of rewriting at most.
const ITERATION_LIMIT: usize = 60;
/// E-nodes at most: this many, and this many per node of the graph.
const NODE_LIMIT: usize = 20_000;
const NODE_LIMIT_PER_NODE: usize = 40;

/// Graphs at most that are cleaned, each what was made of the one before.
const RERUNS: usize = 6;

/// Bursts of the generative rules at most.
const BURSTS: usize = 3;

/// A cleaned graph and how it came about.
#[derive(Clone, Debug)]
pub struct Simplified {
    /// Computes the same function, with the same inputs and outputs.
    pub graph: Graph,
    /// What happened.
    pub report: RewriteReport,
}

/// Which rules a phase applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The directed rules, until they add nothing.
    Directed,
    /// The generative rules, once, with [`crate::egraph::FUEL`] for each class.
    Generative,
}

/// How a phase went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseReport {
    /// Which rules.
    pub phase: Phase,
    /// Rounds.
    pub iterations: usize,
    /// E-nodes at its end.
    pub e_nodes: usize,
    /// The rules had nothing to add at its end.
    pub saturated: bool,
}

/// Rules by phase, as rewrites.
pub struct Rewrites {
    directed: Vec<Rewrite<Term, Typing>>,
    generative: Vec<Rewrite<Term, Typing>>,
}

impl Rewrites {
    /// The rules.
    pub fn new(rules: &[RuleSpec]) -> Self {
        Self::without_guard(rules, None)
    }

    /// The rules, the guard `(rule, guard)` ignored. For tests of guards only: such rules are
    /// wrong.
    pub fn without_guard(rules: &[RuleSpec], ignored: Option<(&str, &'static str)>) -> Self {
        let rewrite = |rule: &RuleSpec| {
            rule.rewrite_without(ignored.filter(|(name, _)| *name == rule.name).map(|(_, guard)| guard))
        };
        let of = |generative: bool| rules.iter().filter(|rule| rule.generative == generative).map(rewrite).collect();
        Self { directed: of(false), generative: of(true) }
    }
}

/// What equality saturation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewriteReport {
    /// Rules that found something new, with how often, in the table's order.
    pub fired: Vec<(&'static str, usize)>,
    /// E-nodes at the end.
    pub e_nodes: usize,
    /// Classes at the end.
    pub e_classes: usize,
    /// Rounds.
    pub iterations: usize,
    /// How each phase ended, in order.
    pub phases: Vec<PhaseReport>,
    /// No directed rule had anything to add in the end; false if a limit stopped the run.
    pub saturated: bool,
    /// A rule had more to add than bursts and fuel allow, or more matches at a class than are
    /// tried: there may be cheaper graphs.
    pub fuel_limited: bool,
    /// Cost of the graph before, by [`crate::egraph::cost`].
    pub cost_before: u64,
    /// Cost of the graph after; never more than before.
    pub cost_after: u64,
}

/// Cleans a graph before quantization: batch normalization and constant arithmetic go into
/// layers, transposes and pads vanish, functions that exporters spell out get their names.
///
/// The result equals the graph over the reals; floating-point results differ by rounding.
///
/// # Errors
/// An internal error if two rules contradict each other; nothing is returned then.
pub fn simplify(graph: &Graph) -> Result<Simplified, Diagnostics> {
    run(graph, &float_rules())
}

/// Cleans an integer graph. The result equals the graph bit for bit.
///
/// # Errors
/// As [`simplify`].
pub fn simplify_integer(graph: &Graph) -> Result<Simplified, Diagnostics> {
    run(graph, &integer_rules())
}

/// Cleans a float graph with sites. The result equals the graph over the reals for every setting
/// of the sites.
///
/// # Errors
/// As [`simplify`].
pub fn simplify_sites(graph: &Graph) -> Result<Simplified, Diagnostics> {
    run(graph, &site_rules())
}

/// Cleans until the graph's cost stops falling. The choice of terms is a heuristic: among those
/// of a smaller graph it sees exchanges that it did not see before.
fn run(graph: &Graph, rules: &[RuleSpec]) -> Result<Simplified, Diagnostics> {
    let rewrites = Rewrites::new(rules);
    let mut best = once(graph, rules, &rewrites)?;
    let mut cost = crate::fixed::cost(&best.graph)?;
    for _ in 1..RERUNS {
        let next = once(&best.graph, rules, &rewrites)?;
        let next_cost = crate::fixed::cost(&next.graph)?;
        if next_cost >= cost {
            break;
        }
        cost = next_cost;
        best = Simplified { graph: next.graph, report: best.report.then(next.report, rules) };
    }
    Ok(best)
}

/// One e-graph and one choice from it.
fn once(graph: &Graph, rules: &[RuleSpec], rewrites: &Rewrites) -> Result<Simplified, Diagnostics> {
    let mut encoded = encode(graph);
    let mut report = saturate(&mut encoded, rewrites, graph.nodes().len());
    report.sort(rules);
    if !encoded.egraph.analysis.conflicts().is_empty() {
        let conflict = |message: &String| {
            Diagnostic::error("internal-error", format!("rewrite rules contradict each other: {message}"))
                .help("this is a defect of the compiler; please report it with the model")
        };
        return Err(Diagnostics(encoded.egraph.analysis.conflicts().iter().map(conflict).collect()));
    }
    let choice = extract::extract(&encoded);
    (report.cost_before, report.cost_after) = (choice.cost_before, choice.cost);
    let graph = rebuild::rebuild(graph, &encoded, &choice)?;
    Ok(Simplified { graph, report })
}

impl RewriteReport {
    /// Rules in the order of their table.
    fn sort(&mut self, rules: &[RuleSpec]) {
        self.fired.sort_by_key(|(name, _)| rules.iter().position(|rule| rule.name == *name));
    }

    /// This clean-up and one of its result: the e-graph is the larger one.
    fn then(mut self, next: Self, rules: &[RuleSpec]) -> Self {
        for (name, count) in next.fired {
            match self.fired.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => self.fired.push((name, count)),
            }
        }
        self.sort(rules);
        self.phases.extend(next.phases);
        Self {
            e_nodes: self.e_nodes.max(next.e_nodes),
            e_classes: self.e_classes.max(next.e_classes),
            iterations: self.iterations + next.iterations,
            saturated: self.saturated && next.saturated,
            fuel_limited: self.fuel_limited || next.fuel_limited,
            cost_after: self.cost_after.min(next.cost_after),
            ..self
        }
    }
}

/// Applies the directed rules until nothing new is found, a limit is reached, or a contradiction
/// shows; then, in turns, a burst of the generative rules and the directed ones again.
pub fn saturate(encoded: &mut Encoded, rewrites: &Rewrites, nodes: usize) -> RewriteReport {
    let mut saturation = Saturation { nodes, fired: BTreeMap::new(), report: RewriteReport::default() };
    let mut saturated = saturation.phase(encoded, Phase::Directed, &rewrites.directed);
    let mut grown = !rewrites.generative.is_empty();
    for _ in 0..BURSTS {
        if !saturated || !grown {
            break;
        }
        grown = !saturation.phase(encoded, Phase::Generative, &rewrites.generative);
        if grown {
            saturated = saturation.phase(encoded, Phase::Directed, &rewrites.directed);
        }
    }
    let Saturation { fired, mut report, .. } = saturation;
    report.fired = fired.into_iter().collect();
    report.e_nodes = encoded.egraph.total_size();
    report.e_classes = encoded.egraph.number_of_classes();
    report.iterations = report.phases.iter().map(|phase| phase.iterations).sum();
    report.saturated = saturated;
    report.fuel_limited = grown || encoded.egraph.analysis.out_of_fuel();
    report
}

struct Saturation {
    nodes: usize,
    fired: BTreeMap<&'static str, usize>,
    report: RewriteReport,
}

impl Saturation {
    /// Runs a phase; true if its rules had nothing to add at its end.
    fn phase(&mut self, encoded: &mut Encoded, phase: Phase, rewrites: &[Rewrite<Term, Typing>]) -> bool {
        let rounds = match phase {
            Phase::Directed => ITERATION_LIMIT,
            Phase::Generative => 1,
        };
        let egraph = std::mem::take(&mut encoded.egraph);
        let runner: Runner<_, _> = Runner::default()
            .with_egraph(egraph)
            .with_iter_limit(rounds)
            .with_node_limit(NODE_LIMIT + NODE_LIMIT_PER_NODE * self.nodes)
            // Limits are in terms of work only, so that results do not depend on the machine.
            .with_time_limit(Duration::MAX)
            .with_scheduler(SimpleScheduler)
            .with_hook(|runner| match runner.egraph.analysis.conflicts().first() {
                Some(conflict) => Err(conflict.clone()),
                None => Ok(()),
            })
            .run(rewrites);
        let mut changes = 0;
        for iteration in &runner.iterations {
            for (name, count) in &iteration.applied {
                *self.fired.entry(name.as_str()).or_default() += count;
                changes += count;
            }
        }
        let saturated = match phase {
            Phase::Directed => matches!(runner.stop_reason, Some(StopReason::Saturated)),
            Phase::Generative => changes == 0,
        };
        let (iterations, e_nodes) = (runner.iterations.len(), runner.egraph.total_size());
        self.report.phases.push(PhaseReport { phase, iterations, e_nodes, saturated });
        encoded.egraph = runner.egraph;
        saturated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::cost;
    use lutweave_ir::interpret::run as interpret;
    use lutweave_testing::channels::{Recipe, random_graph, random_inputs};

    /// Random graphs of many operators.
    fn graphs() -> impl Iterator<Item = Graph> {
        (0..300u64).map(|seed| {
            let step = |index: u64| {
                let bits = (seed * 64 + index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                ((bits >> 56) as u8, bits)
            };
            let steps: Vec<(u8, u64)> = (0..10 + seed % 15).map(step).collect();
            random_graph(&steps, Recipe { dead: 0, live: false })
        })
    }

    #[test]
    fn another_run_does_not_lower_the_cost() {
        let rules = float_rules();
        let rewrites = Rewrites::new(&rules);
        let mut lowered = 0;
        for (number, graph) in graphs().enumerate() {
            let first = cost(&once(&graph, &rules, &rewrites).unwrap().graph).unwrap();
            let clean = simplify(&graph).unwrap();
            let last = cost(&clean.graph).unwrap();
            assert!(last <= first, "graph {number}: {last} after {first}");
            assert!(clean.report.cost_after <= clean.report.cost_before);
            let again = cost(&simplify(&clean.graph).unwrap().graph).unwrap();
            assert!(again >= last, "graph {number}: {last} is followed by {again}");
            if last < first {
                lowered += 1;
                let inputs = random_inputs(&graph, 1);
                let (a, b) = (interpret(&graph, &inputs).unwrap(), interpret(&clean.graph, &inputs).unwrap());
                for (a, b) in a.iter().zip(&b).flat_map(|(a, b)| a.f32s().iter().zip(b.f32s())) {
                    assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "graph {number}: {a} {b}");
                }
            }
        }
        assert!(lowered > 0, "some graphs need more than one run");
    }
}
