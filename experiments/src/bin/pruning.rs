//! Layer-adaptive pruning without retraining: rate-distortion against the usual baselines, all with
//! the same compensation, 8-bit weights and activations.
//!
//! usage: pruning [--samples N] [--symmetric] [--methods rd,lamp,..] [--csv] [TASK.toml...]
//!
//! The first table keeps shares of the multiply-accumulates, the second prunes shares of the
//! weights. `drop` is in points of top-1 against the float model, `+-` its paired standard error.
//! Without task files it takes four models of `../shared/data/tasks`, and says so if there are none.

use lutweave::metric::Metric;
use lutweave_codesign::prune::{Method, Target, Totals, prune};
use lutweave_codesign::sensitivity::Loss;
use lutweave_experiments::{Fallible, Task, after_pass, outputs};
use lutweave_ir::Tensor;
use lutweave_quantize::{NormalizedLayer, QuantizeOptions, normalized_network, quantize};
use std::path::{Path, PathBuf};
use std::time::Instant;

const DEFAULT_TASKS: [&str; 4] = ["ic_resnet8", "kws_dscnn", "vww_mobilenet", "ic_resnet_large"];

const METHODS: [(Method, &str); 6] = [
    (Method::Rd, "rd"),
    (Method::RdOnce, "rd-once"),
    (Method::Uniform, "uniform"),
    (Method::Magnitude, "magnitude"),
    (Method::Lamp, "lamp"),
    (Method::Erk, "erk"),
];

const TARGETS: [(Target, &str); 5] = [
    (Target::Macs(0.5), "50 % of the MACs kept"),
    (Target::Macs(0.3), "30 % of the MACs kept"),
    (Target::Weights(0.5), "50 % of the weights pruned"),
    (Target::Weights(0.3), "70 % of the weights pruned"),
    (Target::Weights(0.2), "80 % of the weights pruned"),
];

fn main() -> Fallible<()> {
    let mut options = QuantizeOptions { asymmetric: true, samples: 200, ..QuantizeOptions::default() };
    let (mut csv, mut only, mut tasks) = (false, String::new(), Vec::<PathBuf>::new());
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--samples" => options.samples = given.next().ok_or("--samples needs a value")?.parse()?,
            "--symmetric" => options.asymmetric = false,
            "--methods" => only = given.next().ok_or("--methods needs a value")?,
            "--csv" => csv = true,
            path => tasks.push(path.into()),
        }
    }
    if tasks.is_empty() {
        let is_default = |path: &PathBuf| path.file_stem().is_some_and(|stem| DEFAULT_TASKS.iter().any(|d| stem == *d));
        tasks = lutweave_experiments::files().into_iter().filter(is_default).collect();
    }
    if csv {
        println!("task,target,method,top1,drop,standard_error,seconds");
    }
    let mut methods = METHODS.to_vec();
    methods.retain(|(_, name)| only.is_empty() || only.split(',').any(|one| one == *name));
    for path in &tasks {
        if let Err(error) = table(path, &options, &methods, csv) {
            println!("{} failed: {error}", path.display());
        }
    }
    Ok(())
}

fn table(path: &Path, options: &QuantizeOptions, methods: &[(Method, &str)], csv: bool) -> Fallible<()> {
    let task = Task::load(path)?;
    let metric = task.metric()?;
    if metric != Metric::Top1 {
        return Err(format!("the metric is {}, not top1", metric.name()).into());
    }
    let count = options.samples.min(task.calibration.len());
    let drawn: Vec<Vec<Tensor>> =
        (0..count).map(|index| task.calibration[index * task.calibration.len() / count].clone()).collect();
    let totals = Totals::of(&normalized_network(&after_pass(&task.model, &drawn, "simplify")?)?);
    let graph = after_pass(&task.model, &drawn, "remove-dead-channels")?;
    let network = normalized_network(&graph)?;
    let inputs = task.inputs();
    let float = task.verdicts(&task.model.graph, &outputs(&task.model.graph, &inputs)?)?;
    if !csv {
        println!("\n{}: float top-1 {} on {} samples", task.name, metric.show(metric.value(&float)), float.len());
    }
    for (target, title) in TARGETS {
        for &(method, name) in methods {
            let start = Instant::now();
            let bits = |_: &NormalizedLayer| 8;
            let pruned = prune(&network, &drawn, Loss::Divergence, method, target, totals, &bits, &|_, _| Ok(()))?;
            let options = QuantizeOptions { settings: Some(&pruned.settings), ..*options };
            let quantized = quantize(&graph, &drawn, &options)?;
            let seconds = start.elapsed().as_secs_f64();
            let verdicts = task.verdicts(&quantized.graph, &outputs(&quantized.graph, &inputs)?)?;
            let (drop, error) = metric.drop(&float, &verdicts);
            let top1 = metric.value(&verdicts);
            if csv {
                println!("{},{title},{name},{:.4},{drop:.2},{error:.2},{seconds:.1}", task.name, top1);
            } else {
                println!(
                    "  {title:28} {name:10} top-1 {:6.2} %  drop {drop:6.2} +- {error:4.2}  {seconds:6.1} s  {}",
                    100.0 * top1,
                    rounds(&pruned.rounds, pruned.predicted)
                );
            }
        }
    }
    Ok(())
}

/// What the first curves predicted, and what was measured round after round.
fn rounds(measured: &[f64], predicted: Option<f64>) -> String {
    let Some(predicted) = predicted else { return String::new() };
    let measured: Vec<String> = measured.iter().map(|distortion| format!("{distortion:.4}")).collect();
    format!("distortion predicted {predicted:.4}, measured {}", measured.join(" -> "))
}
