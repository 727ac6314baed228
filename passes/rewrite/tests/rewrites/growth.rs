//! Rules that grow without end stop, and the report says so.

use crate::random::Maker;
use lutweave_ir::op::{Pad, Slice, Unary};
use lutweave_ir::{Graph, Op};
use lutweave_rewrite::cleanup::{Phase, RewriteReport, Rewrites, saturate};
use lutweave_rewrite::egraph::{Build, Facts, RuleClass, RuleSpec, encode};
use lutweave_rewrite::rules::float_rules;

fn graph() -> Graph {
    let mut m = Maker::new(1);
    let x = m.input(&[1, 3, 3, 2]);
    let y = m.unary(Unary::Relu, x);
    m.finish(&[y])
}

/// True, and never done: a border is added and cut off, one wider each time.
fn endless(generative: bool) -> RuleSpec {
    RuleSpec {
        name: "endless",
        class: RuleClass::Integer,
        lhs: "(relu ?x)",
        rhs: "(slice (pad (relu ?x)))",
        guards: &[],
        why: "",
        apply: |egraph, found| {
            let sizes = egraph.shape(found.root).to_vec();
            let border = 1 + egraph.terms(found.root, "slice").count();
            let before = vec![0, border, 0, 0];
            let padded =
                egraph.add_op(Op::Pad(Pad { before: before.clone(), after: vec![0; 4], value: 1.0 }), &[found.root])?;
            egraph.add_op(Op::Slice(Slice { starts: before, sizes, steps: vec![1; 4] }), &[padded])
        },
        constants: false,
        generative,
    }
}

fn run(rules: &[RuleSpec]) -> RewriteReport {
    let graph = graph();
    saturate(&mut encode(&graph), &Rewrites::new(rules), graph.nodes().len())
}

#[test]
fn a_generative_rule_without_end_is_fuel_limited() {
    let report = run(&[endless(true)]);
    assert!(report.saturated && report.fuel_limited, "{report:?}");
    let bursts = report.phases.iter().filter(|phase| phase.phase == Phase::Generative);
    assert!(bursts.clone().count() > 1 && bursts.clone().all(|burst| !burst.saturated && burst.iterations == 1));
    assert!(report.phases.last().is_some_and(|last| last.phase == Phase::Directed && last.saturated));
}

#[test]
fn a_directed_rule_without_end_is_reported() {
    // A rule is applied to a match once, unless the match has changed: so let it change.
    let changing = RuleSpec { lhs: "(relu|slice ..)", ..endless(false) };
    let report = run(&[changing]);
    assert!(!report.saturated, "{report:?}");
    assert!(report.phases.iter().all(|phase| !phase.saturated));
}

#[test]
fn the_rules_saturate() {
    let report = run(&float_rules());
    assert!(report.saturated && !report.fuel_limited, "{report:?}");
}
