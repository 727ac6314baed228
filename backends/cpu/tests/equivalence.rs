//! Compiled code equals the interpreter on random graphs, at every feature level.

mod support;

use lutweave_cpu::{Features, Options, compile_jit_with};
use lutweave_ir::{Graph, Tensor, interpret};
use proptest::prelude::*;
use support::Choices;

fn levels() -> Vec<Features> {
    let levels = [Features::Baseline, Features::Avx2, Features::Native];
    let verify = true;
    let empty = Graph::new("empty");
    levels.into_iter().filter(|&features| compile_jit_with(&empty, Options { features, verify }).is_ok()).collect()
}

fn check(graph: &Graph, samples: &[Vec<Tensor>]) -> Result<(), TestCaseError> {
    for features in levels() {
        let jit = compile_jit_with(graph, Options { features, verify: true })
            .map_err(|diagnostics| TestCaseError::fail(format!("{features:?}: {diagnostics}")))?;
        for inputs in samples {
            let expected = interpret::run(graph, inputs).expect("generated inputs match");
            let found = jit.run(inputs).expect("generated inputs match");
            prop_assert_eq!(&found, &expected, "{:?}", features);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs(numbers in prop::collection::vec(any::<u32>(), 1..160), seed in any::<u64>()) {
        let mut choices = Choices::new(&numbers, seed);
        let graph = support::graph(&mut choices);
        let samples: Vec<Vec<Tensor>> = (0..2)
            .map(|_| graph.inputs().iter().map(|&id| choices.tensor(&graph.node(id).ty)).collect())
            .collect();
        check(&graph, &samples)?;
    }
}

/// The generator is worth little if it rarely makes what it should cover.
#[test]
fn random_graphs_cover_all_operators() {
    let mut counts = std::collections::BTreeMap::new();
    let mut state = 1u64;
    for seed in 0..800 {
        let numbers: Vec<u32> = (0..120)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 32) as u32
            })
            .collect();
        let graph = support::graph(&mut Choices::new(&numbers, seed));
        for node in graph.without_dead_nodes().nodes() {
            *counts.entry(node.op.name()).or_insert(0) += 1;
        }
    }
    println!("{counts:?}");
    let operators = [
        "qconv",
        "qdeform_conv",
        "qaverage_pool",
        "max_pool",
        "qadd",
        "qmul",
        "table",
        "concat",
        "slice",
        "select",
        "pad",
        "resize",
        "transpose",
        "reshape",
        "top_peaks",
    ];
    for operator in operators {
        assert!(counts.get(operator).copied().unwrap_or(0) >= 30, "{operator}: {counts:?}");
    }
}
