//! Circuits whose weights come from a memory outside: loaded once, or streamed under blocks of rows.

use lutweave_hw::block::window::WeightSource;
use lutweave_hw::kernel::Kernel;
use lutweave_ir::{Graph, text};
use lutweave_snapshots::cases::{all_pass, seeds};
use lutweave_snapshots::executors::{agree, samples, supplied_circuit, verilog_agrees};
use lutweave_testing::random::{RandomOptions, Step, random_graph};
use lutweave_testing::tools;
use lutweave_verilog::Simulator;

fn random(seed: u64) -> Graph {
    let options = match seed % 3 {
        0 => RandomOptions { operators: 1..=3, steps: vec![Step::Convolution], ..RandomOptions::default() },
        1 => RandomOptions { steps: vec![Step::Convolution, Step::Residual], ..RandomOptions::default() },
        _ => RandomOptions::default(),
    };
    random_graph(seed, &options)
}

#[test]
fn supplied_circuits_agree() {
    let check = |&seed: &u64| {
        let graph = random(seed);
        let circuit = supplied_circuit(&graph, seed, 64)?;
        agree(&graph, &circuit, &samples(&graph, 3, seed), seed as u32).map(drop)
    };
    all_pass(seeds(200, 2000), check, |seed| format!("seed {seed}\n{}", text::print_summary(&random(*seed))));
}

#[test]
fn cases_reach_every_source() {
    let (mut loaded, mut streamed, mut short) = (0, 0, 0);
    for seed in 0..100 {
        let Ok(circuit) = supplied_circuit(&random(seed), seed, 64) else { continue };
        for kernel in &circuit.network.kernels {
            match (kernel.folding.map(|folding| folding.source), &kernel.kernel) {
                (Some(WeightSource::Loaded(_)), _) => loaded += 1,
                (Some(WeightSource::Streamed { rows, .. }), Kernel::Convolution { extent, .. }) => {
                    streamed += 1;
                    short += u32::from(!extent.output[0].is_multiple_of(rows));
                }
                _ => {}
            }
        }
    }
    assert!(
        loaded >= 20 && streamed >= 30 && short >= 5,
        "{loaded} loaded, {streamed} streamed, {short} with a short block"
    );
}

#[test]
fn supplied_circuits_agree_in_icarus() {
    if tools::icarus() {
        in_verilog(Simulator::Icarus, 12, 40);
    }
}

#[test]
fn supplied_circuits_agree_in_verilator() {
    if tools::verilator() {
        in_verilog(Simulator::Verilator, 2, 20);
    }
}

/// The same data in the same cycles.
fn in_verilog(simulator: Simulator, default: u64, long: u64) {
    let check = |&seed: &u64| {
        let graph = random(seed);
        let circuit = supplied_circuit(&graph, seed, 16)?;
        let driven = agree(&graph, &circuit, &samples(&graph, 2, seed), seed as u32)?;
        verilog_agrees(&circuit, simulator, &driven)
    };
    all_pass(seeds(default, long), check, |seed| format!("seed {seed}\n{}", text::print_summary(&random(*seed))));
}
