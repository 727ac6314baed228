//! Clean-up in a fixed order, as conventional compilers do it: what the e-graph is compared with.
//!
//! The rules are those of [`crate::rules`], so that the two differ in the search only. Each rule
//! is a pass over the nodes, operands first. Where it matches, the node is replaced for good if
//! the graph does not become costlier; nothing is kept to go back to. The passes run in the
//! table's order, and the whole list again as long as the cost falls; then once more with the
//! rules that turn what is left into layers.

mod program;

#[cfg(test)]
mod tests;

use crate::cleanup::{RewriteReport, Simplified};
use crate::egraph::{Pattern, RuleSpec, encode, rebuild};
use crate::rules::{float_rules, hoist, integer_rules};
use lutweave_ir::{Diagnostic, Diagnostics, Graph};
use program::Program;
use std::collections::BTreeMap;

/// The list of passes runs at most this often in a phase.
const ROUNDS: usize = 8;

/// Cleans a graph before quantization, as [`crate::cleanup::simplify`] but in a fixed order.
///
/// # Errors
/// An internal error if a rule contradicts the graph; nothing is returned then.
pub fn simplify(graph: &Graph) -> Result<Simplified, Diagnostics> {
    run(graph, &float_rules())
}

/// Cleans an integer graph, as [`crate::cleanup::simplify_integer`] but in a fixed order.
///
/// # Errors
/// As [`simplify`].
pub fn simplify_integer(graph: &Graph) -> Result<Simplified, Diagnostics> {
    run(graph, &integer_rules())
}

/// Cost of a graph by [`crate::egraph::cost`]; equal nodes count once.
///
/// # Errors
/// An internal error if the graph has a cycle, which no valid graph has.
pub fn cost(graph: &Graph) -> Result<u64, Diagnostics> {
    Ok(program(graph)?.cost())
}

/// A rule as a pass.
struct Pass {
    rule: RuleSpec,
    pattern: Pattern,
    accept: Accept,
}

/// When a replacement is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accept {
    /// The cost does not rise, apart from what only breaks ties.
    NotCostlier,
    /// The cost falls.
    Cheaper,
}

/// The cost has up to this many units a node that break ties; the rest is work on elements.
const TIE_BREAK: u64 = 3;

/// Rules that make a layer of what could still go into another one: they wait until the other
/// rules are done.
const LOWERING: &[&str] = &["scale-depthwise", "bias-depthwise"];

/// The passes of a phase in order. A fixed order needs one direction for transposes: towards the
/// outputs, and back only where that pays.
fn passes(rules: &[RuleSpec], lowering: bool) -> Vec<Pass> {
    let hoists = |rule: &RuleSpec| hoist::RULES.iter().any(|hoist| hoist.name == rule.name);
    let pass = |rule: &RuleSpec| Pass {
        pattern: Pattern::parse(rule.lhs),
        accept: if hoists(rule) { Accept::Cheaper } else { Accept::NotCostlier },
        rule: *rule,
    };
    rules.iter().filter(|rule| lowering || !LOWERING.contains(&rule.name)).map(pass).collect()
}

fn run(graph: &Graph, rules: &[RuleSpec]) -> Result<Simplified, Diagnostics> {
    let mut fired: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut best = graph.clone();
    let mut report = RewriteReport { cost_before: cost(graph)?, ..RewriteReport::default() };
    report.cost_after = report.cost_before;
    for lowering in [false, true] {
        let passes = passes(rules, lowering);
        report.saturated = false;
        let mut rounds = 0;
        while rounds < ROUNDS && !report.saturated {
            let (next, found) = round(&best, &passes, &mut report)?;
            let cost = cost(&next)?;
            rounds += 1;
            report.saturated = cost >= report.cost_after;
            // On a tie the nodes stay as they were.
            if !report.saturated {
                (report.cost_after, best) = (cost, next);
                found.into_iter().for_each(|(name, count)| *fired.entry(name).or_default() += count);
            }
        }
        report.iterations += rounds;
    }
    let counts = rules.iter().filter_map(|rule| Some((rule.name, *fired.get(rule.name)?)));
    report.fired = counts.filter(|(_, count)| *count > 0).collect();
    Ok(Simplified { graph: best, report })
}

/// How often each rule fired.
type Counts = Vec<(&'static str, usize)>;

/// Every pass once; returns the graph and how often each rule fired.
fn round(graph: &Graph, passes: &[Pass], report: &mut RewriteReport) -> Result<(Graph, Counts), Diagnostics> {
    let mut program = program(graph)?;
    let found = passes.iter().map(|pass| (pass.rule.name, program.pass(pass))).collect();
    if let Some(conflict) = program.conflict() {
        return Err(fault(conflict).into());
    }
    let (encoded, choice) = program.finish();
    (report.e_nodes, report.e_classes) = (encoded.egraph.total_size(), encoded.egraph.number_of_classes());
    Ok((rebuild::rebuild(graph, &encoded, &choice)?, found))
}

fn program(graph: &Graph) -> Result<Program, Diagnostic> {
    Program::new(encode(graph)).ok_or_else(|| fault("the graph has a cycle"))
}

fn fault(message: &str) -> Diagnostic {
    Diagnostic::error("internal-error", format!("fixed-order clean-up failed: {message}"))
        .help("this is a defect of the compiler; please report it with the model")
}
