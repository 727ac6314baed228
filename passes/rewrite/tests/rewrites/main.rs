//! Every rule is true, every guard is needed, and clean-up keeps the function.

mod affine_cases;
mod composed;
mod deform_cases;
mod expectations;
mod explanations;
mod function_cases;
mod growth;
mod integer_cases;
mod merge_cases;
mod movement_cases;
mod quantized_cases;
mod random;
mod resample_cases;
mod shuffle_cases;
mod site_cases;
mod sites;
mod soundness;

use lutweave_ir::interpret;
use lutweave_ir::op::Transpose;
use lutweave_ir::{Graph, Op};
use lutweave_rewrite::cleanup::{Rewrites, saturate, simplify, simplify_integer, simplify_sites};
use lutweave_rewrite::egraph::{Pattern, RuleClass, RuleSpec, encode, extract, rebuild};
use lutweave_rewrite::rules::{float_rules, integer_rules, rule_table, site_rules};
use random::Random;
use soundness::{Tolerance, check, difference};
use std::collections::BTreeSet;

/// A family of small graphs.
pub struct Case {
    /// What it is.
    pub name: &'static str,
    /// Rules that it is meant to fire, or to tempt.
    pub rules: &'static [&'static str],
    /// Makes one graph of the family.
    pub build: fn(u64) -> Graph,
}

/// Graphs per family.
const SEEDS: u64 = 40;

fn cases() -> impl Iterator<Item = &'static Case> {
    [
        affine_cases::CASES,
        deform_cases::CASES,
        function_cases::CASES,
        merge_cases::CASES,
        movement_cases::CASES,
        quantized_cases::CASES,
        resample_cases::CASES,
        shuffle_cases::CASES,
        site_cases::CASES,
        integer_cases::CASES,
    ]
    .into_iter()
    .flatten()
}

fn is_integer(case: &Case) -> bool {
    integer_cases::CASES.iter().any(|other| other.name == case.name)
}

fn is_site(case: &Case) -> bool {
    site_cases::CASES.iter().any(|other| other.name == case.name)
}

/// The rule sets a case is checked with: all rules, up to rounding, and the exact ones, exactly.
fn settings(case: &Case) -> Vec<(Vec<RuleSpec>, Tolerance)> {
    let all = match (is_integer(case), is_site(case)) {
        (true, _) => integer_rules(),
        (_, true) => site_rules(),
        _ => float_rules(),
    };
    let exact = all.iter().copied().filter(|rule| rule.class == RuleClass::Integer).collect();
    // Rounding may move a value over a quantization step, so that graphs with steps are checked
    // with exact rules only.
    if is_integer(case) || case.name.contains("quantization") {
        return vec![(exact, Tolerance::Exact)];
    }
    vec![(all, Tolerance::Rounding), (exact, Tolerance::Exact)]
}

#[test]
fn every_e_node_of_a_class_has_its_value() {
    let mut fired = BTreeSet::new();
    for case in cases() {
        for (rules, tolerance) in settings(case) {
            let rewrites = Rewrites::new(&rules);
            for seed in 0..SEEDS {
                match check(&(case.build)(seed), &rewrites, tolerance, seed) {
                    Ok(report) => fired.extend(report.fired.iter().map(|(name, _)| *name)),
                    Err(message) => panic!("{} {seed}: {message}", case.name),
                }
            }
        }
    }
    let silent: Vec<&str> = rule_table().iter().map(|rule| rule.name).filter(|name| !fired.contains(name)).collect();
    assert!(silent.is_empty(), "rules that no case fires: {silent:?}");
}

#[test]
fn every_guard_is_needed() {
    let mut useless = Vec::new();
    for rule in rule_table() {
        for guard in rule.guards {
            let broken = cases().filter(|case| case.rules.contains(&rule.name)).any(|case| {
                settings(case).into_iter().any(|(rules, tolerance)| {
                    let rewrites = Rewrites::without_guard(&rules, Some((rule.name, guard.name)));
                    (0..SEEDS).any(|seed| check(&(case.build)(seed), &rewrites, tolerance, seed).is_err())
                })
            });
            if !broken {
                useless.push(format!("{}: {}", rule.name, guard.name));
            }
        }
    }
    assert!(useless.is_empty(), "guards whose absence no case notices: {useless:#?}");
}

#[test]
fn simplified_graphs_compute_the_same_and_cost_no_more() {
    for case in cases() {
        for seed in 0..SEEDS {
            let graph = (case.build)(seed);
            let name = format!("{} {seed}", case.name);
            let clean = match (is_integer(case), is_site(case)) {
                (true, _) => simplify_integer,
                (_, true) => simplify_sites,
                _ => simplify,
            };
            let simplified = clean(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(simplified.report.cost_after <= simplified.report.cost_before, "{name} costs more");
            same_interface(&graph, &simplified.graph, &name);
            if !case.name.contains("quantization") {
                let tolerance = if is_integer(case) { Tolerance::Exact } else { Tolerance::Rounding };
                same_function(&graph, &simplified.graph, tolerance, seed, &name);
            }
            let again = clean(&simplified.graph).unwrap_or_else(|error| panic!("{name} again: {error}"));
            assert_eq!(again.graph, simplified.graph, "{name} changes when cleaned again");
        }
    }
}

#[test]
fn the_table_is_well_formed() {
    let mut names = BTreeSet::new();
    for rule in rule_table() {
        assert!(names.insert(rule.name), "two rules are named {}", rule.name);
        assert!(!Pattern::parse(rule.lhs).root_names().is_empty(), "{} matches everything", rule.name);
        assert!(!rule.why.is_empty() && !rule.rhs.is_empty(), "{} is not explained", rule.name);
        let tried = cases().any(|case| case.rules.contains(&rule.name));
        assert!(tried, "no case is meant for {}", rule.name);
    }
    for case in cases() {
        for rule in case.rules {
            assert!(names.contains(rule), "{} names an unknown rule {rule}", case.name);
        }
    }
}

fn same_interface(before: &Graph, after: &Graph, name: &str) {
    let ports = |graph: &Graph| {
        let port = |id: &lutweave_ir::NodeId| (graph.node(*id).name.clone(), graph.node(*id).ty.clone());
        let inputs: Vec<_> = graph.inputs().iter().map(port).collect();
        let outputs: Vec<_> = graph.outputs().iter().map(port).collect();
        (inputs, outputs)
    };
    assert_eq!(ports(before), ports(after), "{name}: inputs or outputs differ");
}

fn same_function(before: &Graph, after: &Graph, tolerance: Tolerance, seed: u64, name: &str) {
    let mut random = Random(seed);
    let inputs: Vec<_> = before.inputs().iter().map(|&id| random.tensor(&before.node(id).ty)).collect();
    let run = |graph: &Graph| interpret::run(graph, &inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (a, b) in run(before).iter().zip(&run(after)) {
        if let Some(difference) = difference(a, b, tolerance) {
            panic!("{name}: an output {difference}");
        }
    }
}

#[test]
fn names_and_order_of_outputs_survive() {
    let mut graph = Graph::new("ports");
    let x = graph.input("x", lutweave_ir::TensorType::f32([1, 2, 2, 3]));
    let there = graph.add("there", Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[x]).unwrap();
    let back = graph.add("back", Op::Transpose(Transpose { permutation: vec![0, 2, 3, 1] }), &[there]).unwrap();
    graph.set_outputs(vec![back, there, back]);
    let simplified = simplify(&graph).unwrap().graph;
    same_interface(&graph, &simplified, "ports");
    same_function(&graph, &simplified, Tolerance::Exact, 1, "ports");
}

#[test]
fn random_choices_compute_the_same() {
    let mut changed = 0;
    for case in cases().filter(|case| !case.name.contains("quantization")) {
        let (rules, tolerance) = settings(case).remove(0);
        for seed in 0..3 {
            let graph = (case.build)(seed);
            let mut encoded = encode(&graph);
            saturate(&mut encoded, &Rewrites::new(&rules), graph.nodes().len());
            for turn in 0..100 {
                let mut random = Random(seed * 1000 + turn);
                let choice = extract::arbitrary(&encoded, &mut |count| random.from(0, count - 1));
                let name = format!("{} {seed}.{turn}", case.name);
                let other =
                    rebuild::rebuild(&graph, &encoded, &choice).unwrap_or_else(|error| panic!("{name}: {error}"));
                same_interface(&graph, &other, &name);
                same_function(&graph, &other, tolerance, seed, &name);
                changed += usize::from(other != graph);
            }
        }
    }
    assert!(changed > 1000, "random choices are hardly ever another graph: {changed}");
}

#[test]
fn the_page_of_the_rules_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rules.md");
    let written = std::fs::read_to_string(path).expect("the page is there");
    let hint = "run `cargo run --release -p lutweave-rewrite --example rules > docs/rules.md`";
    assert!(written == lutweave_rewrite::rules::page::page(), "docs/rules.md is not what the table says; {hint}");
}
