//! Random graphs through the interpreter, the CPU code and the simulated circuit.

use lutweave_ir::text;
use lutweave_models::{RandomOptions, random_graph, random_inputs};
use lutweave_snapshots::{circuit, expected, same_data, stimulus};

/// All executors that need no other program, on one random graph.
fn agree(seed: u64) -> Result<(), String> {
    let graph = random_graph(seed, &RandomOptions::default());
    let samples: Vec<_> = (0..3).map(|sample| random_inputs(&graph, seed * 7 + sample)).collect();
    let expected = expected(&graph, &samples)?;
    let jit = lutweave_cpu::compile_jit(&graph).map_err(|error| error.to_string())?;
    for (inputs, wanted) in samples.iter().zip(&expected) {
        let outputs = jit.run(inputs).map_err(|error| error.to_string())?;
        let found: Vec<Vec<i32>> = outputs.iter().map(|tensor| tensor.ints().to_vec()).collect();
        if found != *wanted {
            return Err("cpu differs".to_owned());
        }
    }
    let share = [0.0, 0.3, 1.0][seed as usize % 3];
    let design = circuit(&graph, share, 64)?;
    let mut simulator = lutweave_wasm::Simulator::new(&design).map_err(|error| error.to_string())?;
    for (stall_seed, reset_after) in [(0, None), (seed as u32 + 1, None), (seed as u32 + 2, Some(50 + seed % 200))] {
        let trace = simulator
            .run(&stimulus(&samples, stall_seed, reset_after))
            .map_err(|error| format!("wasm, stalls {stall_seed}: {error}"))?;
        same_data(&expected, &trace).map_err(|error| format!("wasm, stalls {stall_seed}: {error}"))?;
    }
    Ok(())
}

#[test]
fn random_graphs_agree() {
    let graphs: u64 = std::env::var("LUTWEAVE_GRAPHS").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    let first: u64 = std::env::var("LUTWEAVE_FIRST").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    let mut failures = Vec::new();
    for seed in first..first + graphs {
        let result = std::panic::catch_unwind(|| agree(seed)).unwrap_or_else(|_| Err("panic".into()));
        if let Err(error) = result {
            eprintln!("seed {seed}: {error}");
            failures.push(seed);
        }
    }
    if let Some(&seed) = failures.first() {
        let graph = random_graph(seed, &RandomOptions::default());
        panic!("{} of {graphs} graphs disagree: {failures:?}; the first:\n{}", failures.len(), text::print_summary(&graph));
    }
}
