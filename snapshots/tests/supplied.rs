//! Circuits with a memory outside: weights come from there, once or under blocks of rows, and queues wait there.

use lutweave_hw::block::window::WeightSource;
use lutweave_hw::elaborate::elaborate;
use lutweave_hw::kernel::Kernel;
use lutweave_hw::rtl::MemoryStyle;
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::{Graph, text};
use lutweave_snapshots::cases::{all_pass, seeds};
use lutweave_snapshots::executors::{agree, large_circuit, samples, stimulus, supplied_circuit, verilog_agrees};
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
    let (mut loaded, mut streamed, mut blocks, mut queues, mut pixels, mut large) = (0, 0, 0, 0, 0, 0);
    for seed in 0..140 {
        let Ok(circuit) = supplied_circuit(&random(seed), seed, 64) else { continue };
        queues += circuit.network.edges.iter().filter(|edge| edge.outside.is_some()).count();
        let foldings = circuit.network.kernels.iter().filter_map(|kernel| kernel.folding);
        pixels += foldings.filter(|folding| folding.pixel_by_pixel).count();
        for kernel in &circuit.network.kernels {
            match (kernel.folding.map(|folding| folding.source), &kernel.kernel) {
                (Some(WeightSource::Loaded(_)), _) => {
                    loaded += 1;
                    let single_port = circuit.network.family.large_ram.as_ref().is_some_and(|large| large.single_port);
                    large += u32::from(
                        single_port
                            && kernel.folding.is_some_and(|folding| folding.weight_memory == MemoryStyle::Large),
                    );
                }
                (Some(WeightSource::Streamed { rows, .. }), Kernel::Convolution { extent, .. }) => {
                    streamed += 1;
                    blocks += u32::from(rows > 1 && rows < extent.output[0]);
                }
                _ => {}
            }
        }
    }
    assert!(
        loaded >= 20 && streamed >= 30 && blocks >= 5 && queues >= 100 && pixels >= 5 && large >= 3,
        "{loaded} loaded, {streamed} streamed, {blocks} of several blocks, {queues} queues, {pixels} pixel by pixel, \
         {large} of one port"
    );
}

/// What waits in a queue outside takes the memory's time to come back.
#[test]
fn queues_wait_outside() {
    let far = MemoryTiming { latency: 8000, ..MemoryTiming::FAST };
    let waits = |seed: u64| -> Result<bool, String> {
        let graph = random_graph(seed, &RandomOptions { steps: vec![Step::Residual], ..RandomOptions::default() });
        let mut network = supplied_circuit(&graph, seed, 64)?.network;
        for folding in network.kernels.iter_mut().filter_map(|kernel| kernel.folding.as_mut()) {
            folding.source = WeightSource::Constant;
        }
        let design = elaborate(&graph, &network);
        let completions = |memory: MemoryTiming| {
            let options = lutweave_wasm::Options { memory, ..lutweave_wasm::Options::default() };
            let mut simulator = lutweave_wasm::Simulator::with_options(&design, options)?;
            simulator.run(&stimulus(&samples(&graph, 4, seed), 7, None)).map(|trace| trace.completions)
        };
        let [near, far] = [completions(MemoryTiming::FAST), completions(far)].map(|run| run.map_err(|e| e.to_string()));
        Ok(near? != far?)
    };
    let waiting = (0..40).filter(|&seed| waits(seed) == Ok(true)).count();
    assert!(waiting >= 10, "{waiting} of 40 circuits have what waits outside");
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

/// Narrow words lie side by side in large RAMs.
#[test]
fn large_memories_agree_in_icarus() {
    if !tools::icarus() {
        return;
    }
    let options = RandomOptions {
        operators: 1..=2,
        extent: 20,
        channels: 16,
        steps: vec![Step::Convolution, Step::Residual],
        ..RandomOptions::default()
    };
    let circuit = |seed: u64| {
        let graph = random_graph(seed, &options);
        large_circuit(&graph).map(|circuit| (graph, circuit))
    };
    let abreast = |&seed: &u64| {
        circuit(seed).is_ok_and(|(_, circuit)| {
            lutweave_verilog::emit(&circuit.design).files.iter().any(|(_, text)| text.contains("lie side by side"))
        })
    };
    let chosen: Vec<u64> = (0..4000).filter(abreast).take(seeds(6, 60).len()).collect();
    assert!(chosen.len() == seeds(6, 60).len(), "{chosen:?}");
    let check = |&seed: &u64| {
        let (graph, circuit) = circuit(seed)?;
        let driven = agree(&graph, &circuit, &samples(&graph, 2, seed), seed as u32)?;
        verilog_agrees(&circuit, Simulator::Icarus, &driven)
    };
    all_pass(chosen, check, |seed| format!("seed {seed}"));
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
