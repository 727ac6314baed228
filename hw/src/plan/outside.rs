//! Weights that move out of block RAM: into the large RAM, or out of the chip under blocks of how many rows.

use super::Planner;
use super::choice::Choice;
use super::fold::Fold;
use super::price::Pricer;
use crate::block::window::{Folding, WeightSource};
use crate::cost::{Part, Resources};
use crate::device::Device;
use crate::kernel::Kernel;
use crate::rtl::MemoryStyle;
use lutweave_ir::{Graph, NodeId};
use std::collections::BTreeMap;

/// Another way to build a stage that frees what is short.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// The stage.
    pub node: NodeId,
    /// How it is built then.
    pub choice: Choice,
    /// Bytes that it takes from outside for every frame.
    pub traffic: u64,
    /// What it frees for each byte more, for the order of moves.
    worth: f64,
}

/// The moves that free what is short, those first that free most for a byte. Several of one stage come in the order in
/// which they take its place: each frees more than the one before, for more bytes.
///
/// `short` says which parts there are too few of.
pub fn moves(
    planner: &Planner,
    graph: &Graph,
    device: &Device,
    choices: &BTreeMap<NodeId, Choice>,
    short: impl Fn(Part) -> bool,
) -> Vec<Move> {
    let parts = device.parts();
    // What is not short counts a little, so that it does not become so.
    let price = |resources: &Resources| -> f64 {
        let share = |part: Part| resources[part] as f64 / parts[part].max(1) as f64;
        Part::ALL.into_iter().map(|part| if short(part) { share(part) } else { share(part) / 20.0 }).sum()
    };
    let mut all = Vec::new();
    for (node, kernel, form) in planner.stages() {
        let (Kernel::Convolution { extent, .. }, Some(now)) = (kernel, choices.get(&node)) else { continue };
        let Some(folding) = now.fold.folding else { continue };
        let mut pricer = Pricer::new(graph, node, kernel, form, device);
        let before = price(&now.resources);
        let streamed = device.memory.iter().flat_map(|memory| {
            let bus = memory.bus();
            rows_of_blocks(extent.output[0]).into_iter().map(move |rows| WeightSource::Streamed { bus, rows })
        });
        let in_logic = |fold: Fold| Fold {
            folding: fold.folding.map(|folding| Folding { tables_in_logic: true, ..folding }),
            ..fold
        };
        // What tables take does not depend on where the weights come from.
        let tables = [pricer.price(&now.fold), pricer.price(&in_logic(now.fold))];
        // Traffic, what is freed, and the choice.
        let mut ways: Vec<(u64, f64, Choice)> = Vec::new();
        let mut add = |choice: Choice, traffic: u64| {
            let resources =
                Resources::of_each(|part| (choice.resources[part] + tables[1][part]).saturating_sub(tables[0][part]));
            for choice in [choice, Choice { fold: in_logic(choice.fold), resources }] {
                let freed = before - price(&choice.resources);
                if freed > 0.0 {
                    ways.push((traffic, freed, choice));
                }
            }
        };
        add(*now, 0);
        for source in streamed.filter(|source| kernel.takes_weights(*source, folding.pattern).is_ok()) {
            if let Some((choice, traffic)) = pricer.supplied(&now.fold, source) {
                add(choice, traffic);
            }
        }
        all.extend(hull(ways).into_iter().map(|(traffic, worth, choice)| Move { node, choice, traffic, worth }));
    }
    all.sort_by(|a, b| b.worth.total_cmp(&a.worth).then(a.node.cmp(&b.node)).then(a.traffic.cmp(&b.traffic)));
    all
}

/// The choices with those weights loaded into the large RAM that are better off there than in block RAM.
pub fn loaded(
    planner: &Planner,
    graph: &Graph,
    device: &Device,
    choices: &BTreeMap<NodeId, Choice>,
) -> BTreeMap<NodeId, Choice> {
    let mut loaded = choices.clone();
    let (Some(memory), Some(large)) = (&device.memory, &device.family.large_ram) else { return loaded };
    let source = WeightSource::Loaded(memory.bus());
    for (node, kernel, form) in planner.stages() {
        let Some(choice) = loaded.get_mut(&node) else { continue };
        let mut pricer = Pricer::new(graph, node, kernel, form, device);
        // Its line buffer may have moved.
        choice.resources = pricer.price(&choice.fold);
        let Some(pattern) = choice.fold.folding.map(|folding| folding.pattern) else { continue };
        if kernel.takes_weights(source, pattern).is_err() || choice.multipliers() == 0 {
            continue;
        }
        let Some((other, _)) = pricer.supplied(&choice.fold, source) else { continue };
        let Some(banks) = pricer.weight_banks(&other.fold) else { continue };
        let taken = u64::from(banks.count) * large.count(banks.width.into(), banks.depth.into());
        let freed = choice.resources.bram.saturating_sub(other.resources.bram);
        let worth = device.family.large_from.is_some_and(|from| 1000 * freed >= u64::from(from) * taken);
        if worth && other.weight_memory() == Some(MemoryStyle::Large) {
            *choice = other;
        }
    }
    loaded
}

/// Rows of blocks that are worth a look: those of ever more blocks.
fn rows_of_blocks(all: u32) -> Vec<u32> {
    let mut rows = Vec::new();
    let mut blocks = 1;
    while blocks <= all {
        rows.push(all.div_ceil(blocks));
        blocks *= 2;
    }
    rows.dedup();
    rows
}

/// The ways that free most for their bytes, each with what it frees beyond the one before for each byte more: falling.
fn hull(mut ways: Vec<(u64, f64, Choice)>) -> Vec<(u64, f64, Choice)> {
    ways.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut kept: Vec<(u64, f64, f64, Choice)> = Vec::new();
    for (traffic, freed, choice) in ways {
        loop {
            let (bytes, before) = kept.last().map_or((0, 0.0), |last| (last.0, last.1));
            if freed <= before {
                break;
            }
            let worth = (freed - before) / (traffic - bytes).max(1) as f64;
            if kept.last().is_some_and(|last| last.2 <= worth) {
                kept.pop();
                continue;
            }
            kept.push((traffic, freed, worth, choice));
            break;
        }
    }
    kept.into_iter().map(|(traffic, _, worth, choice)| (traffic, worth, choice)).collect()
}
