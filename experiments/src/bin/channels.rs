//! Removes dead channels from the float models of the shared tasks and prints what it cost.
//!
//! usage: channels [--layers] [--margin DEVIATIONS] [--negligible SHARE] [--never-firing yes|no]
//!        [--quantize] [TASK..]
//!
//! `--quantize` prints the metric of the 8-bit graph too, without and with the removal.

use lutweave_experiments::{Fallible, Task, files, outputs};
use lutweave_ir::Graph;
use lutweave_quantize::channels::{Options, Removed, remove_dead};
use lutweave_quantize::{QuantizeOptions, quantize};
use lutweave_rewrite::cleanup::simplify;
use std::time::Instant;

fn main() -> Fallible<()> {
    let (mut options, mut layers, mut quantized, mut names) = (Options::default(), false, false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match &argument[..] {
            "--layers" => layers = true,
            "--quantize" => quantized = true,
            "--margin" => options.margin = value()?.parse()?,
            "--negligible" => options.negligible = value()?.parse()?,
            "--never-firing" => options.never_firing = value()? == "yes",
            _ => names.push(argument),
        }
    }
    println!("task             channels         MACs                   zeroed  never fire  change/magnitude  metric");
    for path in files() {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let done = Task::load(&path).and_then(|task| report(&task, &options, layers, quantized));
        if let Err(error) = done {
            println!("{name:16} failed: {error}");
        }
    }
    Ok(())
}

fn report(task: &Task, options: &Options, layers: bool, quantized: bool) -> Fallible<()> {
    let graph = simplify(&task.model)?.graph;
    let start = Instant::now();
    let removed = remove_dead(&graph, &task.calibration, options)?;
    let seconds = start.elapsed().as_secs_f64();
    let score = |graph: &Graph| -> Fallible<f64> { Ok(task.score(&outputs(graph, &task.evaluation)?)) };
    let (before, after) = (score(&graph)?, score(&removed.graph)?);
    print(task, &removed);
    println!("  {} {before:.4} -> {after:.4}  {seconds:.2} s", task.metric);
    if quantized {
        for (what, graph) in [("8 bits before", &graph), ("8 bits after", &removed.graph)] {
            let integer = quantize(graph, &task.calibration, &QuantizeOptions::default())?.graph;
            println!("    {what:14} {:.4}", score(&integer)?);
        }
    }
    for layer in removed.layers.iter().filter(|_| layers) {
        println!(
            "    inputs {:4} -> {:4}, outputs {:4} -> {:4}, {:6} weights zeroed, MACs {:8} -> {:8}  {}",
            layer.inputs.before,
            layer.inputs.indices.len(),
            layer.outputs.before,
            layer.outputs.indices.len(),
            layer.weights_zeroed,
            layer.macs[0],
            layer.macs[1],
            layer.name
        );
    }
    Ok(())
}

fn print(task: &Task, removed: &Removed) {
    let before: usize = removed.layers.iter().map(|layer| layer.outputs.before).sum();
    let after: usize = removed.layers.iter().map(|layer| layer.outputs.indices.len()).sum();
    let zeroed: usize = removed.layers.iter().map(|layer| layer.weights_zeroed).sum();
    let [old, new] = removed.macs;
    let share = 100.0 * new as f64 / old.max(1) as f64;
    let change = removed.change.iter().map(|change| change.largest / change.magnitude.max(f64::MIN_POSITIVE));
    print!(
        "{:16} {before:5} -> {after:5} {old:9} -> {new:9} {share:5.1} % {zeroed:7} {:8} {:12.2e}",
        task.name,
        removed.never_firing,
        change.fold(0.0, f64::max),
    );
}
