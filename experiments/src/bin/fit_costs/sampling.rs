//! Modules of random circuits, counted and synthesised.

use lutweave::inputs::calibration;
use lutweave::observer::Context;
use lutweave::options::Weights;
use lutweave::pipeline::{self, State};
use lutweave::{Model, Options};
use lutweave_experiments::{Fallible, shared_data};
use lutweave_hw::cost::{Count, Resources, Term, count_module};
use lutweave_hw::device::{self, Device};
use lutweave_hw::family::Family;
use lutweave_hw::fit::realize;
use lutweave_hw::kernel::{Kernel, kernel_of};
use lutweave_hw::plan::{Choice, all_implementations, form_of};
use lutweave_hw::rtl::Module;
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Graph, NodeId};
use lutweave_verilog::Artefacts;
use lutweave_verilog::synthesis::Synthesis;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

/// Built-in models whose layers are taken.
const MODELS: [&str; 4] = ["mnist", "codenet-bccd", "mobilenetv2", "yolov8n"];

/// Tasks of the shared data whose layers are taken, where they are there.
const TASKS: [&str; 3] = ["kws_dscnn", "ic_resnet8", "ad_autoencoder"];

/// Most multipliers of a stage: more only repeat what is there.
const MOST_MULTIPLIERS: u32 = 12;

/// Most look-up tables of a module, for the same reason.
const MOST_LUTS: u64 = 1000;

/// Most block RAMs.
const MOST_BLOCK_RAMS: u64 = 32;

/// Modules that are taken of one circuit.
const PER_CIRCUIT: usize = 16;

/// One module: what was counted, and what synthesis made of it.
pub struct Sample {
    /// Its name.
    pub name: String,
    /// What was counted.
    pub count: Count,
    /// Parts after synthesis.
    pub found: Resources,
}

/// Integer cores with 8-bit and with 4-bit weights.
pub fn cores() -> Fallible<Vec<Graph>> {
    let mut cores = Vec::new();
    for name in MODELS {
        let model = Model::load(Some(name), None)?;
        for weights in [Weights::Eight, Weights::Four] {
            cores.push(core(&model, weights)?);
        }
    }
    for name in TASKS {
        let path = shared_data().join("tasks").join(format!("{name}.toml"));
        if path.exists() {
            cores.push(core(&Model::load(None, Some(&path))?, Weights::Eight)?);
        } else {
            println!("skipped: {} is absent", path.display());
        }
    }
    Ok(cores)
}

fn core(model: &Model, weights: Weights) -> Fallible<Graph> {
    let (options, context) = (Options { weights: Some(weights), ..Options::default() }, Context::new(&()));
    let samples = calibration(model, &options)?;
    let mut state = State::new(model, &options, &context, lutweave::device::find(&options.device)?, samples)?;
    pipeline::run(&mut state, pipeline::through("partition"))?;
    Ok(state.lowered.ok_or("the pipeline lowers")?.split.core)
}

/// Samples of a family: those of the file, and as many more as are wanted, which the file then holds.
pub fn samples(family: &Family, cores: &[Graph], wanted: usize, file: &Path) -> Fallible<Vec<Sample>> {
    let device = device::devices().into_iter().find(|device| device.family.name == family.name);
    let device = device.ok_or_else(|| format!("{} has no device", family.name))?;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut samples: Vec<Sample> = text.lines().map(read).collect::<Fallible<_>>()?;
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    let mut ways: Vec<Option<Ways>> = vec![None; cores.len()];
    let mut circuit = samples.len() as u64;
    while samples.len() < wanted {
        let mut random = SplitMix64::new(circuit);
        circuit += 1;
        let number = random.below(cores.len());
        let core = &cores[number];
        let ways = ways[number].get_or_insert_with(|| ways_of(core, &device));
        for sample in of_circuit(core, ways, &device, &samples, &mut random)? {
            writeln!(out, "{}", written(&sample))?;
            samples.push(sample);
        }
        println!("{}: {} of {wanted} modules", family.name, samples.len());
    }
    Ok(samples)
}

/// The ways to build each stage.
type Ways = Vec<(NodeId, Vec<Choice>)>;

fn ways_of(graph: &Graph, device: &Device) -> Ways {
    let ways = |id: NodeId| {
        let kernel = kernel_of(graph, id).ok().filter(|kernel| !matches!(kernel, Kernel::Constant))?;
        let mut all = all_implementations(graph, id, &kernel, &form_of(graph, id, &kernel), device);
        if all.iter().any(|choice| choice.multipliers() <= MOST_MULTIPLIERS) {
            all.retain(|choice| choice.multipliers() <= MOST_MULTIPLIERS);
        }
        (!all.is_empty()).then_some((id, all))
    };
    graph.ids().filter_map(ways).collect()
}

/// Some modules of a random circuit that are unlike those that are known.
fn of_circuit(
    graph: &Graph,
    ways: &Ways,
    device: &Device,
    known: &[Sample],
    random: &mut SplitMix64,
) -> Fallible<Vec<Sample>> {
    let choices: BTreeMap<NodeId, Choice> = ways.iter().map(|(id, all)| (*id, all[random.below(all.len())])).collect();
    let fitted = realize(graph, device, &choices)?;
    let Artefacts { files, .. } = lutweave_verilog::emit(&fitted.design);
    let mut modules: Vec<(&Module, Count)> = Vec::new();
    for module in &fitted.design.modules {
        let count = count_module(module, device);
        let is_known = known.iter().map(|sample| &sample.count).chain(modules.iter().map(|(_, count)| count));
        let is_file = files.iter().any(|(name, _)| *name == format!("{}.v", module.name));
        if is_file
            && count.priced(device).lut <= MOST_LUTS
            && count.parts.bram <= MOST_BLOCK_RAMS
            && !is_known.into_iter().any(|other| *other == count)
        {
            modules.push((module, count));
        }
    }
    while modules.len() > PER_CIRCUIT {
        modules.swap_remove(random.below(modules.len()));
    }
    let parts = |name: &str| fitted.design.modules.iter().any(|module| name.starts_with(&module.name));
    let sample = |(module, count): &(&Module, Count)| -> Result<Sample, String> {
        let own = |name: &str| name.starts_with(&module.name) || name.ends_with(".hex") || !parts(name);
        let files = files.iter().filter(|(name, _)| own(name)).map(|(name, text)| (&name[..], &text[..])).collect();
        let found = Synthesis { files, top: &module.name }.yosys(&device.family).map_err(|error| error.to_string())?;
        Ok(Sample { name: module.name.clone(), count: *count, found })
    };
    Ok(modules.par_iter().map(sample).collect::<Result<_, _>>()?)
}

fn written(sample: &Sample) -> Value {
    let logic: BTreeMap<&str, u64> = Term::ALL
        .iter()
        .map(|&term| (term.key(), sample.count.logic[term]))
        .filter(|(_, amount)| *amount > 0)
        .collect();
    json!({ "name": sample.name, "parts": sample.count.parts, "logic": logic, "found": sample.found })
}

fn read(line: &str) -> Fallible<Sample> {
    let value: Value = serde_json::from_str(line)?;
    let parts = |key: &str| serde_json::from_value::<Resources>(value[key].clone());
    let mut count = Count::from(parts("parts")?);
    for &term in Term::ALL {
        count.logic[term] = value["logic"][term.key()].as_u64().unwrap_or(0);
    }
    let name = value["name"].as_str().unwrap_or_default().to_owned();
    Ok(Sample { name, count, found: parts("found")? })
}
