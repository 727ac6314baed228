//! Random and dangerous graphs through every executor.

use lutweave_hw::rtl::MemoryStyle;
use lutweave_ir::{Graph, text};
use lutweave_snapshots::cases::{all_pass, seeds};
use lutweave_snapshots::executors::{
    Circuit, Driven, agree, circuit, random_circuit, samples, stimulus, verilog_agrees,
};
use lutweave_snapshots::merge::side_by_side;
use lutweave_snapshots::{full, stress};
use lutweave_testing::random::Step;
use lutweave_testing::random::{RandomOptions, random_graph};
use lutweave_testing::tools;
use lutweave_verilog::Simulator;
use std::collections::BTreeSet;

/// Shares of the multipliers between one per convolution and [`MOST`].
const SHARES: [f64; 5] = [0.0, 0.15, 0.4, 0.7, 1.0];

/// Multipliers at most.
const MOST: u32 = 80;

fn random(seed: u64) -> Graph {
    random_graph(seed, &RandomOptions::default())
}

fn check(graph: &Graph, share: f64, seed: u64) -> Result<(Circuit, Vec<Driven>), String> {
    let attempt = || {
        let circuit = circuit(graph, share, MOST)?;
        let driven = agree(graph, &circuit, &samples(graph, 3, seed), seed as u32)?;
        Ok((circuit, driven))
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).unwrap_or_else(|_| Err("panic".to_owned()))
}

fn show(seed: &u64) -> String {
    format!("LUTWEAVE_FIRST={seed} LUTWEAVE_GRAPHS=1 repeats it\n{}", text::print_summary(&random(*seed)))
}

fn share(seed: u64) -> f64 {
    SHARES[(seed % SHARES.len() as u64) as usize]
}

#[test]
fn random_graphs_agree() {
    all_pass(seeds(300, 3000), |&seed| check(&random(seed), share(seed), seed).map(drop), show);
}

/// Mostly deformable convolutions, whose two streams part and meet.
fn random_deformable(seed: u64) -> Graph {
    let steps = vec![Step::Deformable, Step::Deformable, Step::Convolution, Step::Residual, Step::MaxPool];
    random_graph(seed, &RandomOptions { operators: 3..=9, steps, ..RandomOptions::default() })
}

#[test]
fn deformable_graphs_agree() {
    all_pass(
        seeds(150, 2000),
        |&seed| check(&random_deformable(seed), share(seed), seed).map(drop),
        |seed| {
            format!(
                "LUTWEAVE_FIRST={seed} LUTWEAVE_GRAPHS=1 repeats it\n{}",
                text::print_summary(&random_deformable(*seed))
            )
        },
    );
}

/// Multipliers of one stage at most where stages are built in random ways.
const MOST_OF_A_STAGE: u32 = 48;

fn check_random_choices(seed: u64) -> Result<(Circuit, Vec<Driven>), String> {
    let graph = random(seed);
    let circuit = random_circuit(&graph, seed, MOST_OF_A_STAGE)?;
    let driven = agree(&graph, &circuit, &samples(&graph, 2, seed), seed as u32)?;
    Ok((circuit, driven))
}

/// Patterns, shared multipliers, multipliers in logic and memories of either kind.
#[test]
fn random_choices_agree() {
    all_pass(seeds(150, 1500), |&seed| check_random_choices(seed).map(drop), show);
}

#[test]
fn random_choices_reach_every_way_to_form_products() {
    let (mut formed, mut memories) = (BTreeSet::new(), [0; 2]);
    for seed in 0..150 {
        let circuit = random_circuit(&random(seed), seed, MOST_OF_A_STAGE).expect("every option can be built");
        let kernels = circuit.network.kernels.iter().filter(|kernel| kernel.multipliers > 0);
        for folding in kernels.filter_map(|kernel| kernel.folding) {
            formed.insert((folding.multiplier, folding.pattern.is_some()));
            memories[usize::from(folding.weight_memory == MemoryStyle::Block)] += 1;
        }
    }
    assert!(formed.len() == 6 && memories[0] > 10 && memories[1] > 10, "{formed:?} {memories:?}");
}

#[test]
fn random_choices_agree_in_icarus() {
    if !tools::icarus() {
        return;
    }
    let check = |seed: &u64| {
        let (circuit, driven) = check_random_choices(*seed)?;
        verilog_agrees(&circuit, Simulator::Icarus, &[driven[0].clone(), driven[3].clone()])
    };
    all_pass(seeds(10, 400), check, show);
}

#[test]
fn dangerous_graphs_agree() {
    let graphs = stress::graphs().expect("the passes take every network here");
    let cases = graphs.iter().flat_map(|(name, graph)| SHARES.map(|share| (name, graph, share))).collect();
    all_pass(
        cases,
        |(_, graph, share)| check(graph, *share, 5).map(drop),
        |(name, graph, share)| format!("{name}, share {share}\n{}", text::print_summary(graph)),
    );
}

#[test]
fn random_graphs_agree_in_icarus() {
    if !tools::icarus() {
        return;
    }
    let check = |seed: &u64| {
        let (circuit, driven) = check(&random(*seed), share(*seed), *seed)?;
        // The stimulus without stalls, and the one with stalls and a reset.
        let driven = [driven[0].clone(), driven[3].clone()];
        verilog_agrees(&circuit, Simulator::Icarus, &driven)
    };
    all_pass(seeds(10, 600), check, show);
}

#[test]
fn dangerous_graphs_agree_in_icarus() {
    if !tools::icarus() {
        return;
    }
    let graphs = stress::graphs().expect("the passes take every network here");
    let few = if full() { graphs.len() } else { 4 };
    let cases = graphs.iter().zip(SHARES.iter().cycle()).take(few).collect();
    all_pass(
        cases,
        |((_, graph), share)| {
            let (circuit, driven) = check(graph, **share, 9)?;
            verilog_agrees(&circuit, Simulator::Icarus, &[driven[0].clone(), driven[3].clone()])
        },
        |((name, graph), share)| format!("{name}, share {share}\n{}", text::print_summary(graph)),
    );
}

/// Graphs in one build of Verilator, which takes seconds whatever it builds.
fn batch() -> u64 {
    if full() { 10 } else { 3 }
}

#[test]
fn random_graphs_agree_in_verilator() {
    if !tools::verilator() {
        return;
    }
    let batches: Vec<Vec<u64>> = seeds(3, 500).chunks(batch() as usize).map(<[u64]>::to_vec).collect();
    let joined = |seeds: &Vec<u64>| {
        let graphs: Vec<Graph> = seeds.iter().map(|&seed| random(seed)).collect();
        side_by_side("batch", &graphs)
    };
    all_pass(
        batches,
        |seeds| {
            let graph = joined(seeds)?;
            let most = MOST * seeds.len() as u32;
            let circuit = circuit(&graph, share(seeds[0] / batch()), most)?;
            let driven = agree(&graph, &circuit, &samples(&graph, 3, seeds[0]), seeds[0] as u32)?;
            verilog_agrees(&circuit, Simulator::Verilator, &driven)
        },
        |seeds| {
            let graph = joined(seeds).map(|graph| text::print_summary(&graph)).unwrap_or_default();
            format!("LUTWEAVE_FIRST={} LUTWEAVE_GRAPHS={} repeats it\n{graph}", seeds[0], seeds.len())
        },
    );
}

/// Networks whose circuits stall, and the most cycles that they take in terms of the slowest
/// stage's: joined rows arrive all at once, windows that skip rows want them in bursts, and a window of the whole
/// image takes no pixel of the next frame before it is read. `compile` warns of them.
const STALLING: &[(&str, f64)] = &[
    ("concat_of_rows", 3.0),
    ("concat_of_columns", 1.3),
    ("pyramid", 1.25),
    ("dilated", 1.3),
    ("nine_bits_2", 1.2),
    ("skip_over_mean", 1.7),
];

/// Frames back to back take as long as the slowest stage: pipelines hardly stall.
#[test]
fn throughput_is_that_of_the_slowest_stage() {
    let graphs = stress::graphs().expect("the passes take every network here");
    let large = |graph: &Graph| graph.nodes().iter().any(|node| node.ty.count() >= 150);
    let cases: Vec<_> = graphs
        .iter()
        .filter(|(_, graph)| large(graph))
        .flat_map(|(name, graph)| SHARES.map(|share| (name, graph, share)))
        .collect();
    let check = |&(name, graph, share): &(&String, &Graph, f64)| {
        let circuit = circuit(graph, share, 200)?;
        let mut simulator = lutweave_wasm::Simulator::new(&circuit.design).map_err(|error| error.to_string())?;
        let trace = simulator.run(&stimulus(&samples(graph, 6, 1), 0, None)).map_err(|error| error.to_string())?;
        let known = STALLING.iter().find(|(stalling, _)| stalling == name).map_or(1.05, |(_, factor)| *factor);
        circuit.keeps_pace(&trace, known)
    };
    all_pass(cases, check, |(name, graph, share)| format!("{name}, share {share}\n{}", text::print_summary(graph)));
}
