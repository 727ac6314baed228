//! Quantizes the models of task files and prints their metric before and after.
//!
//! usage: accuracy [--bits 8|4] [--range minmax|mse|SHARE] [--samples N] [--no-correction] [--no-statistics]
//!        [--asymmetric] [--rounding nearest|gptq|obq] [--equalization] [--pattern N:M] [--no-simplify] [--layers] TASK.toml...
//!
//! `--pattern` prunes all layers but the first, the last and depthwise ones.
//! Without task files it takes all in `../shared/data/tasks`, and says so if there are none.

use lutweave_experiments::{Fallible, Task, argmax, outputs};
use lutweave_ir::Graph;
use lutweave_quantize::compress::{Pattern, Rounding, Setting};
use lutweave_quantize::{LayerReport, QuantizeOptions, RangeMethod, layers, quantize};
use lutweave_rewrite::cleanup::simplify;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

struct Arguments {
    options: QuantizeOptions<'static>,
    simplify: bool,
    pattern: Option<Pattern>,
    layers: bool,
    tasks: Vec<PathBuf>,
}

fn main() -> Fallible<()> {
    let mut arguments = arguments()?;
    if arguments.tasks.is_empty() {
        arguments.tasks = lutweave_experiments::files();
    }
    println!("task                 metric  reference  quantized   change  agree  largest step  seconds");
    for path in &arguments.tasks {
        if let Err(error) = run_task(path, &arguments) {
            println!("{} failed: {error}", path.display());
        }
    }
    Ok(())
}

fn arguments() -> Fallible<Arguments> {
    let mut result = Arguments {
        options: QuantizeOptions::default(),
        simplify: true,
        pattern: None,
        layers: false,
        tasks: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bits" => result.options.weight_bits = value()?.parse()?,
            "--samples" => result.options.samples = value()?.parse()?,
            "--range" => {
                result.options.activation_range = match value()?.as_str() {
                    "minmax" => RangeMethod::MinMax,
                    "mse" => RangeMethod::Mse,
                    share => RangeMethod::Percentile(share.parse()?),
                }
            }
            "--no-correction" => result.options.bias_correction = false,
            "--no-statistics" => result.options.statistics_correction = false,
            "--equalization" => result.options.equalization = true,
            "--asymmetric" => result.options.asymmetric = true,
            "--rounding" => {
                result.options.rounding = match value()?.as_str() {
                    "nearest" => Rounding::Nearest,
                    "gptq" => Rounding::Gptq,
                    "obq" => Rounding::Obq,
                    other => return Err(format!("there is no rounding {other}").into()),
                }
            }
            "--pattern" => {
                let text = value()?;
                let (kept, of) = text.split_once(':').ok_or("a pattern is N:M")?;
                result.pattern = Some(Pattern::NofM { kept: kept.parse()?, of: of.parse()? });
            }
            "--no-simplify" => result.simplify = false,
            "--layers" => result.layers = true,
            path => result.tasks.push(path.into()),
        }
    }
    Ok(result)
}

fn run_task(path: &Path, arguments: &Arguments) -> Fallible<()> {
    let task = Task::load(path)?;
    let start = Instant::now();
    let graph = if arguments.simplify { simplify(&task.model)?.graph } else { task.model.clone() };
    let simplified = start.elapsed();
    let settings = arguments.pattern.map(|pattern| settings(&graph, pattern, arguments.options.weight_bits));
    let settings = settings.transpose()?;
    let options = QuantizeOptions { settings: settings.as_ref(), ..arguments.options };
    let quantized = quantize(&graph, &task.calibration, &options)?;
    let elapsed = start.elapsed();
    lutweave_ir::split::split(&quantized.graph)?;
    let reference = outputs(&task.model, &task.evaluation)?;
    let results = outputs(&quantized.graph, &task.evaluation)?;
    let agree = (0..results.len()).filter(|&i| argmax(&results[i]) == argmax(&reference[i])).count();
    let step = reference.iter().flatten().zip(results.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let (before, after) = (task.score(&reference), task.score(&results));
    println!(
        "{:20} {:6} {before:10.4} {after:10.4} {:8.4} {:6.3} {step:13.4} {:.2} + {:.2}",
        task.name,
        task.metric,
        after - before,
        agree as f64 / results.len() as f64,
        simplified.as_secs_f64(),
        (elapsed - simplified).as_secs_f64(),
    );
    if arguments.layers {
        quantized.layers.iter().for_each(print_layer);
    }
    Ok(())
}

/// A pattern for all layers but the first, the last and depthwise ones.
fn settings(graph: &Graph, pattern: Pattern, bits: u8) -> Fallible<BTreeMap<String, Setting>> {
    let sites = layers(graph)?.into_iter().filter(|site| site.trained && !site.depthwise && !site.edge);
    Ok(sites.map(|site| (site.name, Setting { bits, pattern })).collect())
}

fn print_layer(layer: &LayerReport) {
    let bits = layer.weight_bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string());
    let sqnr = layer.sqnr_db.map_or_else(|| "-".to_owned(), |db| format!("{db:.1} dB"));
    let scales = &layer.scales;
    let distortion = layer.distortion.map_or_else(|| "-".to_owned(), |share| format!("{share:.1e}"));
    println!(
        "    {:14} {bits:>2} bits {sqnr:>9} {distortion:>8}  given {} abs-max {} mse {} inert {} corrected {}  {}",
        layer.operator, scales.given, scales.abs_max, scales.mse, scales.inert, layer.scales_corrected, layer.name
    );
}
