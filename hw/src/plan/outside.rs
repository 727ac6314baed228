//! Other ways to build a stage, folded as it is: where its weights and its tables live.

use super::Planner;
use super::choice::Choice;
use super::fold::{Fold, divisors};
use super::form::WeightForm;
use super::price::Pricer;
use crate::block::window::{Folding, WeightSource};
use crate::cost::Resources;
use crate::device::Device;
use crate::kernel::Kernel;
use crate::rtl::MemoryStyle;
use lutweave_ir::{Graph, NodeId};

/// A way to build a stage.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// How it is built.
    pub choice: Choice,
    /// Bytes that it takes from outside for every frame.
    pub traffic: u64,
}

/// The stages of a graph, with what was priced of them.
pub struct Stages<'a> {
    planner: &'a Planner<'a>,
    pricers: Vec<Pricer<'a>>,
}

impl<'a> Stages<'a> {
    /// Of a planner's graph.
    pub fn new(planner: &'a Planner<'a>, graph: &'a Graph, device: &'a Device) -> Self {
        let pricer = |(node, kernel, form)| Pricer::new(graph, node, kernel, form, device);
        Self { planner, pricers: planner.stages().map(pricer).collect() }
    }

    /// All ways to build each stage that has foldings, with the prices of a device, which may have its memories in other
    /// places. Weights are constants in block RAM or in logic, are loaded, or are streamed under blocks of rows; tables
    /// are in block RAM or in logic.
    pub fn ways(&mut self, device: &'a Device, foldings: &[(NodeId, Vec<Choice>)]) -> Vec<(NodeId, Vec<Way>)> {
        let stages = self.planner.stages().zip(&mut self.pricers);
        let ways = |((node, kernel, _), pricer): ((NodeId, &Kernel, &WeightForm), &mut Pricer<'a>)| {
            pricer.on(device);
            let (_, foldings) = foldings.iter().find(|(other, _)| *other == node)?;
            let of = |choice: &Choice| undominated(stage_ways(kernel, pricer, device, choice));
            Some((node, undominated(foldings.iter().flat_map(of).collect())))
        };
        stages.filter_map(ways).collect()
    }
}

/// From so many thousandths of a block RAM on that it frees per large RAM, a memory of a stage moves there: none, or all
/// to the largest.
const LARGE_FROM: [Option<u32>; 5] = [None, Some(16_000), Some(9_000), Some(5_000), Some(2_500)];

fn stage_ways(kernel: &Kernel, pricer: &mut Pricer, device: &Device, now: &Choice) -> Vec<Way> {
    let Some(folding) = now.fold.folding else {
        return vec![Way { choice: Choice { resources: pricer.price(&now.fold), ..*now }, traffic: 0 }];
    };
    let folding = Folding { pixel_by_pixel: kernel.is_pointwise(folding.source), ..folding };
    let levels = if device.uram > 0 { &LARGE_FROM[..] } else { &LARGE_FROM[..1] };
    let mut ways = Vec::new();
    for &large_from in levels {
        ways.extend(placed_ways(kernel, pricer, device, now, Folding { large_from, ..folding }));
    }
    ways
}

/// Ways with memories in block RAM or in the large RAM as a folding says.
fn placed_ways(kernel: &Kernel, pricer: &mut Pricer, device: &Device, now: &Choice, folding: Folding) -> Vec<Way> {
    let with = |folding: Folding| Fold { folding: Some(folding), ..now.fold };
    let mut on_chip = |folding: Folding| {
        let fold = with(folding);
        Way { choice: Choice { fold, resources: pricer.price(&fold) }, traffic: 0 }
    };
    let chosen = on_chip(folding);
    let Kernel::Convolution { extent, .. } = kernel else { return vec![chosen] };
    let mut ways = vec![chosen];
    if folding.weight_memory == MemoryStyle::Block {
        ways.push(on_chip(Folding { weight_memory: MemoryStyle::Distributed, ..folding }));
    }
    let logic = on_chip(Folding { tables_in_logic: true, ..folding }).choice.resources;
    let sources = device.bus().into_iter().flat_map(|bus| {
        let streamed = rows_of_blocks(extent.output[0]).into_iter();
        let streamed = streamed.map(move |rows| WeightSource::Streamed { bus, rows });
        std::iter::once(WeightSource::Loaded(bus)).chain(streamed)
    });
    for source in sources.filter(|source| kernel.takes_weights(*source, folding.pattern).is_ok()) {
        let streamed = matches!(source, WeightSource::Streamed { .. });
        let folding = Folding { pixel_by_pixel: folding.pixel_by_pixel && !streamed, ..folding };
        let supplied = pricer.supplied(&with(folding), source);
        ways.extend(supplied.map(|(choice, traffic)| Way { choice, traffic }));
    }
    // What tables take does not depend on where the weights come from.
    let in_logic =
        |fold: Fold| Fold { folding: fold.folding.map(|folding| Folding { tables_in_logic: true, ..folding }), ..fold };
    let tables = chosen.choice.resources;
    for Way { choice, traffic } in ways.clone() {
        let resources = Resources::of_each(|part| (choice.resources[part] + logic[part]).saturating_sub(tables[part]));
        ways.push(Way { choice: Choice { fold: in_logic(choice.fold), resources }, traffic });
    }
    ways
}

/// The ways that no other of the same lanes beats or equals in everything.
fn undominated(ways: Vec<Way>) -> Vec<Way> {
    let costs = |way: &Way| {
        let Resources { lut, ff, dsp, bram, uram } = way.choice.resources;
        [lut, ff, dsp, bram, uram, way.traffic]
    };
    let lanes = |way: &Way| (way.choice.fold.input_lanes, way.choice.fold.output_lanes);
    let mut kept: Vec<Way> = Vec::new();
    for (index, way) in ways.iter().enumerate() {
        let beats =
            |other: &Way| lanes(other) == lanes(way) && costs(other).iter().zip(costs(way)).all(|(a, b)| *a <= b);
        let equals = |other: &Way| costs(other) == costs(way);
        let beaten = ways.iter().enumerate().any(|(at, other)| beats(other) && (!equals(other) || at < index));
        if !beaten {
            kept.push(*way);
        }
    }
    kept
}

/// Rows of blocks that are worth a look: those that divide all rows, each at most two thirds of the one before.
fn rows_of_blocks(all: u32) -> Vec<u32> {
    let mut rows: Vec<u32> = vec![all];
    for divisor in divisors(all).into_iter().rev() {
        if rows.last().is_some_and(|last| 3 * divisor <= 2 * last) {
            rows.push(divisor);
        }
    }
    rows
}
