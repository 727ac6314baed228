//! The WebAssembly simulator against Verilator, side by side on one design.
//!
//! `cargo bench -p lutweave-snapshots --bench against_verilator -- DIR MULTIPLIERS..` takes the graph of
//! a compiled model and builds it once for each budget. Speeds are cycles per second of processor
//! time, from the difference of a long and a short run, so that loading does not count; each is
//! the best of three. Verilator 5 runs at its `-O3` with C++ at `-O3 -march=native`.

use lutweave_hw::device;
use lutweave_hw::fit::fit;
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::Stimulus;
use lutweave_ir::{Graph, split, text};
use lutweave_snapshots::executors::{samples, stimulus as stimulus_of};
use lutweave_verilog::{Build, Options, Simulator as Tool};

/// Frames of the short and the long run.
const FRAMES: [usize; 2] = [2, 6];

fn stimulus(core: &Graph, frames: usize) -> Stimulus {
    stimulus_of(&samples(core, frames as u64, 1), 0, None)
}

/// Best of three runs: cycles and processor seconds between the long and the short run.
fn best(mut run: impl FnMut(usize) -> Result<(u64, f64), String>) -> Result<f64, String> {
    let mut best: f64 = 0.0;
    for _ in 0..3 {
        let [(short_cycles, short), (long_cycles, long)] = [run(FRAMES[0])?, run(FRAMES[1])?];
        best = best.max((long_cycles - short_cycles) as f64 / (long - short).max(1e-9));
    }
    Ok(best)
}

fn compare(core: &Graph, design: &Design) -> Result<(f64, f64), String> {
    let mut simulator = lutweave_wasm::Simulator::new(design).map_err(|error| error.to_string())?;
    // The simulator is so much faster that it runs each stimulus often enough to be timed.
    let repeats = 10;
    let wasm = best(|frames| {
        let stimulus = stimulus(core, frames);
        let (cycles, seconds) = (simulator.cycles(), simulator.seconds());
        for _ in 0..repeats {
            simulator.run(&stimulus).map_err(|error| error.to_string())?;
        }
        Ok((simulator.cycles() - cycles, simulator.seconds() - seconds))
    })?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let options = Options { flags: "-O3 -march=native".to_owned(), ..Options::default() };
    let build =
        Build::with_options(design, Tool::Verilator, directory.path(), &options).map_err(|error| error.to_string())?;
    let verilator = best(|frames| {
        let run = build.run(&stimulus(core, frames)).map_err(|error| error.to_string())?;
        Ok((run.cycles, run.cpu_seconds))
    })?;
    Ok((wasm, verilator))
}

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [directory, budgets @ ..] = &arguments[..] else {
        println!("skipped: give DIR (of `lutweave compile`) and multiplier budgets; see scripts/bench-simulator");
        return Ok(());
    };
    if !lutweave_verilog::available(Tool::Verilator) {
        println!("skipped: verilator is not installed");
        return Ok(());
    }
    let path = std::path::Path::new(directory).join("graph.txt");
    let graph = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let graph = text::parse(&graph).map_err(|error| error.to_string())?;
    let core = split::split(&graph).map_err(|error| error.to_string())?.core;
    let device = device::find("kv260").ok_or("no device")?;
    println!(
        "{:>11} {:>11} {:>20} {:>20} {:>6}",
        "multipliers", "cycles", "wasm kcycles/s", "verilator kcycles/s", "ratio"
    );
    for budget in budgets {
        let budget: u32 = budget.parse().map_err(|error| format!("{budget}: {error}"))?;
        let fitted = fit(&core, &device, Some(budget)).map_err(|error| error.to_string())?;
        let (wasm, verilator) = compare(&core, &fitted.design)?;
        println!(
            "{:>11} {:>11} {:>20.0} {:>20.0} {:>6.1}",
            fitted.network.multipliers(),
            fitted.network.bottleneck(),
            wasm / 1e3,
            verilator / 1e3,
            wasm / verilator
        );
    }
    Ok(())
}
