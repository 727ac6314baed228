//! A circuit that is too large for its device with all weights and queues in block RAM: tables move to logic, large
//! memories to the large RAM, if there is one, weights out of the chip, and then queues.
//!
//! For a number of cycles every stage has ways to keep to it: foldings, places of its memories, sources of its weights.
//! Whether one way for each fits within all that is limited, bytes per frame among it, is a question for
//! [`lutweave_solve`]; the fewest cycles are found by halving.

use super::{Fitted, LUTS_PER_MULTIPLIER, elaborated, limits_outside, spilled};
use crate::block::fork;
use crate::cost::{Part, Resources, estimate_module};
use crate::dataflow::{Network, SMALLEST_QUEUE};
use crate::device::Device;
use crate::elaborate::lane_type;
use crate::kernel::Kernel;
use crate::plan::{Choice, Planner, Stages, Way, assemble, conversion_through, lanes_between, network};
use lutweave_ir::{Diagnostics, Graph, NodeId};
use lutweave_solve::{Alternative, Budget, Edge, Limits, Outcome, Problem, Stage, minimise_cycles};
use std::collections::BTreeMap;

/// From so many elements on queues wait outside: none, few, then more.
const QUEUES_FROM: [Option<u64>; 4] = [None, Some(32_768), Some(8_192), Some(3_072)];

/// From so many thousandths of a block RAM on that it frees per large RAM, a queue moves there: none, or most.
const LARGE_FROM: [Option<u32>; 2] = [None, Some(5_000)];

/// Ways to fold a stage that are looked at for a number of cycles.
const FOLDINGS: usize = 8;

/// Times that ways are chosen anew because of what is between them.
const ROUNDS: usize = 6;

/// How much more cycles a circuit may take than one that was not found.
const PRECISION: f64 = 1.02;

/// How often a circuit may be slower by that than its slowest stage: the memory on the board then limits it.
const SLOWER: i32 = 300;

/// How hard the choice is searched, and what is to be low besides.
fn search(secondary: usize) -> Limits {
    Limits { nodes: 80, total_nodes: 80, secondary: Some(secondary), report: false }
}

/// Place of bytes per frame among what is limited: behind the kinds of parts.
pub(super) const TRAFFIC: usize = Part::ALL.len();

/// An amount of each kind of part, and of bytes per frame.
pub(super) type Amounts = [u64; TRAFFIC + 1];

/// What a circuit of so many cycles may take, with so much of each kind of part.
pub(super) fn available(device: &Device, parts: &Resources, cycles: u64) -> Amounts {
    let mut amounts = [(device.bytes_per_cycle() * cycles as f64) as u64; TRAFFIC + 1];
    amounts[..TRAFFIC].copy_from_slice(&Part::ALL.map(|part| parts[part]));
    amounts
}

/// The fastest circuit that fits, as far as is found; `None` if none is. If none keeps to what fitted designs may take of
/// a device, it may take all.
///
/// `loaded`: it has as few block RAMs as is found, rather than as little from outside.
pub(super) fn fit(
    planner: &Planner,
    graph: &Graph,
    device: &Device,
    loaded: bool,
) -> Result<Option<Fitted>, Diagnostics> {
    Ok(match fit_within(limits_outside(device), planner, graph, device, loaded)? {
        None => fit_within(device.parts(), planner, graph, device, loaded)?,
        found => found,
    })
}

fn fit_within(
    parts: Resources,
    planner: &Planner,
    graph: &Graph,
    device: &Device,
    loaded: bool,
) -> Result<Option<Fitted>, Diagnostics> {
    let kernels: Vec<(NodeId, Kernel)> = planner.stages().map(|(node, kernel, _)| (node, kernel.clone())).collect();
    let large = LARGE_FROM.into_iter().filter(|from| from.is_none() || device.uram > 0);
    let devices: Vec<Device> = large.map(|from| device.with_large_from(from)).collect();
    let search = Search { graph, kernels: &kernels, planner, parts, loaded };
    let mut stages = Stages::new(planner, graph, device);
    let cycles = counts(planner, device);
    // Nothing is faster than the multipliers allow.
    let first = cycles
        .partition_point(|&cycles| planner.fewest_multipliers(cycles).is_none_or(|fewest| fewest > 2 * device.dsp));
    // Ever more cycles until something fits; then between what does not and what does, whose positions begin at `high`.
    let mut best: Option<Fitted> = None;
    let (mut low, mut high, mut step) = (first, cycles.len(), 1.5);
    while low < high {
        let wanted = match &best {
            None => cycles[low] as f64 * step,
            Some(_) => (cycles[low] as f64 * cycles[high - 1] as f64).sqrt(),
        };
        let at = cycles.partition_point(|&all| (all as f64) < wanted).clamp(low, high - 1);
        match search.at(&mut stages, &devices, cycles[at])? {
            Some(fitted) => {
                high = cycles.partition_point(|&all| all < fitted.cycles).min(at);
                best = Some(fitted);
            }
            None => {
                low = at + 1;
                step *= 1.3;
            }
        }
        let found = best.as_ref().map(|fitted| fitted.cycles as f64);
        if found.zip(cycles.get(low)).is_some_and(|(found, &next)| found <= PRECISION * next as f64) {
            break;
        }
    }
    Ok(best)
}

/// Cycles that a circuit may take, the fewest first: those of the stages, and more in which a memory on the board gives
/// more.
pub(super) fn counts(planner: &Planner, device: &Device) -> Vec<u64> {
    let mut counts = planner.cycles();
    let slowest = counts.last().map_or(0.0, |&slowest| slowest as f64);
    if device.memory.is_some() {
        counts.extend((1..=SLOWER).map(|times| (slowest * f64::powi(PRECISION, times)).ceil() as u64));
        counts.dedup();
    }
    counts
}

/// A graph whose stages are to find their ways.
pub(super) struct Search<'a> {
    /// Integers, as it is built.
    pub graph: &'a Graph,
    /// What its nodes are to the hardware.
    pub kernels: &'a [(NodeId, Kernel)],
    /// Its foldings.
    pub planner: &'a Planner<'a>,
    /// What it may take.
    pub parts: Resources,
    /// It has few block RAMs, rather than little from outside.
    pub loaded: bool,
}

impl Search<'_> {
    /// A circuit of at most so many cycles, with as little from outside as is found; `None` if none fits. `devices` is
    /// one with queues in ever more large RAMs.
    fn at<'b>(
        &self,
        stages: &mut Stages<'b>,
        devices: &'b [Device],
        cycles: u64,
    ) -> Result<Option<Fitted>, Diagnostics> {
        let foldings = self.planner.within(cycles, FOLDINGS);
        for device in devices {
            let ways = stages.ways(device, &foldings);
            for queues_from in QUEUES_FROM.into_iter().filter(|from| from.is_none() || device.memory.is_some()) {
                if let Some(fitted) = self.placed(&device.with_queues_from(queues_from), &ways, cycles)? {
                    return Ok(Some(fitted));
                }
            }
        }
        Ok(None)
    }

    /// The circuit of one way for each stage; `None` if none is found that fits.
    fn placed(&self, device: &Device, ways: &[(NodeId, Vec<Way>)], cycles: u64) -> Result<Option<Fitted>, Diagnostics> {
        let parts = self.parts;
        let available = available(device, &parts, cycles);
        // What is kept for all but the stages and their converters: as much as any circuit so far wanted.
        let mut reserved = Amounts::default();
        for _ in 0..ROUNDS {
            let mut left = available;
            for (left, reserved) in left.iter_mut().zip(reserved) {
                let Some(rest) = left.checked_sub(reserved) else { return Ok(None) };
                *left = rest;
            }
            let Some(taken) = self.solved(device, ways, left, cycles) else { return Ok(None) };
            let taken = || ways.iter().zip(&taken).map(|((node, ways), &way)| (*node, ways[way]));
            let choices: BTreeMap<NodeId, Choice> = taken().map(|(node, way)| (node, way.choice)).collect();
            let mut stages = Resources::default();
            choices.values().for_each(|choice| stages += choice.resources);
            let Between { mut fixed, converters, queues } = self.between(device, &choices, cycles);
            stages += converters;
            let mut total = stages;
            total += fixed;
            let traffic: u64 = taken().map(|(_, way)| way.traffic).sum();
            if spilled(total, device).fits(&parts) && traffic + queues <= available[TRAFFIC] {
                let fitted = elaborated(self.graph, device, assemble(self.graph, &choices, device)?);
                if fitted.resources.fits(&parts) {
                    return Ok(Some(fitted));
                }
                let stages = spilled(stages, device);
                fixed = Resources::of_each(|part| fitted.resources[part].saturating_sub(stages[part]));
            }
            let wanted = Part::ALL.map(|part| fixed[part]).into_iter().chain([queues]);
            reserved.iter_mut().zip(wanted).for_each(|(reserved, wanted)| *reserved = wanted.max(*reserved));
        }
        Ok(None)
    }

    /// One way for each stage within what is left of each limit, converters between them included.
    fn solved(&self, device: &Device, ways: &[(NodeId, Vec<Way>)], left: Amounts, cycles: u64) -> Option<Vec<usize>> {
        let outcome = self.decided(device, ways, left, cycles);
        outcome.solution().map(|solution| solution.selection.clone())
    }

    /// Whether it is proven that no choice of ways stays within limits.
    pub fn refutes(&self, device: &Device, ways: &[(NodeId, Vec<Way>)], left: Amounts, cycles: u64) -> bool {
        matches!(self.decided(device, ways, left, cycles), Outcome::Infeasible { .. })
    }

    fn decided(&self, device: &Device, ways: &[(NodeId, Vec<Way>)], mut left: Amounts, cycles: u64) -> Outcome {
        let uses = |resources: &Resources, traffic: u64| -> Vec<u64> {
            Part::ALL.map(|part| resources[part]).into_iter().chain([traffic]).collect()
        };
        let alternative = |way: &Way| Alternative {
            // All are fast enough.
            cycles: 1,
            uses: uses(&way.choice.resources, way.traffic),
            input: way.choice.fold.input_lanes,
            output: way.choice.fold.output_lanes,
        };
        let stage = |(node, ways): &(NodeId, Vec<Way>)| Stage {
            name: self.graph.node(*node).name.clone(),
            options: ways.iter().map(alternative).collect(),
        };
        let mut stages: Vec<Stage> = ways.iter().map(stage).collect();
        let place = |node: NodeId| ways.iter().position(|(other, _)| *other == node);
        let mut edges = Vec::new();
        for (node, kernel) in self.kernels {
            let operands = &self.graph.node(*node).operands;
            for (number, operand) in kernel.streams(operands).iter().enumerate() {
                let ends = (place(*operand), place(*node), kernel.fixed_lanes(number));
                let (Some(from), Some(to), None) = ends else { continue };
                let element = lane_type(self.graph.node(*operand).ty.element);
                let needed = (self.graph.node(*operand).ty.count() as u64).div_ceil(cycles);
                let price = |written: u32, read: u32| {
                    let way = lanes_between(written, read, needed);
                    Some(uses(&conversion_through(way, element, device), 0))
                };
                let passed = *kernel == Kernel::Reshape;
                edges.push(Edge::priced(&stages, from, to, |written, read| price(written, read).filter(|_| !passed)));
            }
        }
        // The order of the stages is that of the ways: what is added comes last.
        let least = |stage: &Stage| stage.options.iter().map(|option| option.uses[DSP]).min();
        let excess = stages.iter().filter_map(least).sum::<u64>().saturating_sub(left[DSP]);
        if excess > 0 {
            stages.push(multipliers_in_logic(excess));
            left[DSP] += excess + MORE_IN_LOGIC;
        }
        let budget = |(name, limit): (&str, u64)| Budget { name: name.to_owned(), limit };
        let names = Part::ALL.iter().map(|part| part.plural()).chain(["bytes"]);
        let problem = Problem { stages, edges, budgets: names.zip(left).map(budget).collect() };
        minimise_cycles(&problem, &search(if self.loaded { BRAM } else { TRAFFIC }))
            .expect("invariant: the problem is well formed")
    }

    /// What is between the stages of some choices (without what reads and writes the memory outside).
    fn between(&self, device: &Device, choices: &BTreeMap<NodeId, Choice>, cycles: u64) -> Between {
        let network = network(self.graph, self.kernels, choices, device);
        let Network { kernels, edges, .. } = network;
        let mut total = Between::default();
        for kernel in &kernels {
            let written: Vec<_> = edges.iter().filter(|edge| edge.from == kernel.node).collect();
            let depths: Vec<u32> = written.iter().map(|edge| edge.depth_on_chip()).collect();
            if let (Some(edge), true) = (written.first(), depths[..] != [SMALLEST_QUEUE]) {
                total.fixed += estimate_module(&fork::fork("", "", edge.element.by(edge.written), &depths), device);
            }
            for edge in written {
                let mut lanes = edge.written;
                let frame = self.graph.node(edge.from).ty.count() as u64;
                if let Some(queue) = edge.outside_queue() {
                    total.fixed += conversion_through(lanes_between(lanes, queue.word.lanes, 1), edge.element, device);
                    total.fixed += estimate_module(&queue.module(""), device);
                    total.queues += queue.traffic(frame);
                    lanes = queue.word.lanes;
                }
                let way = lanes_between(lanes, edge.read, frame.div_ceil(cycles));
                total.converters += conversion_through(way, edge.element, device);
            }
        }
        total
    }
}

/// Multipliers in logic beyond those that have to be there, at most.
const MORE_IN_LOGIC: u64 = 8;

/// Places of hardware multipliers and of block RAMs among what is limited.
const DSP: usize = Part::Dsp as usize;
const BRAM: usize = Part::Bram as usize;

/// A choice of how many multipliers are in logic where there are too few in hardware: at least `excess`. With all that
/// it may move there added to their limit, it takes as many as it does not move.
fn multipliers_in_logic(excess: u64) -> Stage {
    let option = |more: u64| {
        let mut uses = [0; TRAFFIC + 1];
        uses[DSP] = MORE_IN_LOGIC - more;
        uses[Part::Lut as usize] = (excess + more) * LUTS_PER_MULTIPLIER;
        Alternative { cycles: 1, uses: uses.into(), input: 1, output: 1 }
    };
    Stage { name: "multipliers in logic".to_owned(), options: (0..=MORE_IN_LOGIC).map(option).collect() }
}

/// What is between stages.
#[derive(Default)]
struct Between {
    /// Queues.
    fixed: Resources,
    /// Converters of lanes.
    converters: Resources,
    /// Bytes that queues outside write and read for a frame.
    queues: u64,
}
