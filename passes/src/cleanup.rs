//! Exact clean-up of a graph: equality saturation with the rules, and extraction.

use crate::egraph::{Encoded, RuleSpec, encode, extract, rebuild};
use crate::rules::{float_rules, integer_rules};
use egg::{Runner, SimpleScheduler, StopReason};
use lutweave_ir::{Diagnostic, Diagnostics, Graph};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds of rewriting at most.
const ITERATION_LIMIT: usize = 60;
/// E-nodes at most: this many, and this many per node of the graph.
const NODE_LIMIT: usize = 20_000;
const NODE_LIMIT_PER_NODE: usize = 40;

/// A cleaned graph and how it came about.
#[derive(Clone, Debug)]
pub struct Simplified {
    /// Computes the same function, with the same inputs and outputs.
    pub graph: Graph,
    /// What happened.
    pub report: RewriteReport,
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
    /// No rule had anything to add; false if a limit stopped the run.
    pub saturated: bool,
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

fn run(graph: &Graph, rules: &[RuleSpec]) -> Result<Simplified, Diagnostics> {
    let mut encoded = encode(graph);
    let rewrites: Vec<_> = rules.iter().map(RuleSpec::rewrite).collect();
    let mut report = saturate(&mut encoded, &rewrites, graph.nodes().len());
    report.fired.sort_by_key(|(name, _)| rules.iter().position(|rule| rule.name == *name));
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

/// Applies rules until nothing new is found, a limit is reached, or a contradiction shows.
pub fn saturate(
    encoded: &mut Encoded,
    rewrites: &[egg::Rewrite<crate::egraph::Term, crate::egraph::Typing>],
    nodes: usize,
) -> RewriteReport {
    let egraph = std::mem::take(&mut encoded.egraph);
    let runner: Runner<_, _> = Runner::default()
        .with_egraph(egraph)
        .with_iter_limit(ITERATION_LIMIT)
        .with_node_limit(NODE_LIMIT + NODE_LIMIT_PER_NODE * nodes)
        // Limits are in terms of work only, so that results do not depend on the machine.
        .with_time_limit(Duration::MAX)
        .with_scheduler(SimpleScheduler)
        .with_hook(|runner| match runner.egraph.analysis.conflicts().first() {
            Some(conflict) => Err(conflict.clone()),
            None => Ok(()),
        })
        .run(rewrites);
    let mut fired: BTreeMap<&'static str, usize> = BTreeMap::new();
    for iteration in &runner.iterations {
        for (name, count) in &iteration.applied {
            *fired.entry(name.as_str()).or_default() += count;
        }
    }
    let report = RewriteReport {
        fired: fired.into_iter().collect(),
        e_nodes: runner.egraph.total_size(),
        e_classes: runner.egraph.number_of_classes(),
        iterations: runner.iterations.len(),
        saturated: matches!(runner.stop_reason, Some(StopReason::Saturated)),
        ..RewriteReport::default()
    };
    encoded.egraph = runner.egraph;
    report
}
