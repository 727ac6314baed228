//! A circuit that is too large for its device with all weights and queues in block RAM: tables move to logic, large
//! memories to the large RAM, if there is one, weights out of the chip, and then queues.

use super::prices::{KINDS, Shares, within};
use super::{Fitted, elaborated, limits};
use crate::block::fork;
use crate::cost::{Part, Resources, estimate_module};
use crate::dataflow::{Network, SMALLEST_QUEUE};
use crate::device::Device;
use crate::kernel::Kernel;
use crate::plan::{Choice, Planner, Stages, Way, assemble, conversion, conversion_through, lanes_between, network};
use lutweave_ir::{Diagnostics, Graph, NodeId};
use std::collections::BTreeMap;

/// From so many thousandths of a block RAM on that it frees per large RAM, a memory moves there: all, to the largest.
const LARGE_FROM: [u32; 4] = [16_000, 9_000, 5_000, 2_500];

/// From so many elements on queues wait outside: few, then more.
const QUEUES_FROM: [u64; 3] = [32_768, 8_192, 3_072];

/// Times that ways are chosen anew because of what is between them.
const ROUNDS: usize = 6;

/// Place of the memory outside among what is limited: behind the kinds of parts.
const TRAFFIC: usize = KINDS - 1;

/// A share that is never taken.
const MANY: f64 = 1e6;

/// The fastest circuit that fits, as far as is found; `None` if none is.
pub(super) fn fit(
    planner: &Planner,
    graph: &Graph,
    device: &Device,
    fewest: u32,
) -> Result<Option<Fitted>, Diagnostics> {
    let kernels: Vec<(NodeId, Kernel)> = planner.stages().map(|(node, kernel, _)| (node, kernel.clone())).collect();
    let large = LARGE_FROM.into_iter().map(Some).filter(|_| device.uram > 0);
    let devices: Vec<Device> = std::iter::once(None).chain(large).map(|from| device.with_large_from(from)).collect();
    let tiers = Tiers { graph, kernels: &kernels };
    let mut stages = Stages::new(planner, graph, device);
    let mut build = |multipliers: u32| tiers.fit(&mut stages, &devices, &planner.choose(multipliers)?);
    // Few multipliers need few resources, but memories of narrow words, which large RAMs and beats hold badly: what
    // fits need not be the smallest. So the range is walked down first.
    let (mut low, mut high) = ((device.dsp as u32).max(fewest), (device.dsp as u32).max(fewest));
    let mut best = loop {
        match build(low)? {
            Some(fitted) => break fitted,
            None if low == fewest => return Ok(None),
            None => {
                high = low - 1;
                low = (low / 2).max(fewest);
            }
        }
    };
    while high - low > low / 8 {
        let middle = low + (high - low).div_ceil(2);
        match build(middle)? {
            Some(fitted) => {
                low = middle;
                best = fitted;
            }
            None => high = middle - 1,
        }
    }
    Ok(Some(best))
}

/// A graph whose memories are to find their places.
struct Tiers<'a> {
    graph: &'a Graph,
    kernels: &'a [(NodeId, Kernel)],
}

impl Tiers<'_> {
    /// The circuit that keeps most on the chip; `None` if none fits. `devices` is one with memories in ever more large
    /// RAMs.
    fn fit<'b>(
        &self,
        stages: &mut Stages<'b>,
        devices: &'b [Device],
        choices: &BTreeMap<NodeId, Choice>,
    ) -> Result<Option<Fitted>, Diagnostics> {
        for device in devices {
            let ways = stages.ways(device, choices);
            let queues = QUEUES_FROM.into_iter().map(Some).filter(|_| device.memory.is_some());
            for queues_from in std::iter::once(None).chain(queues) {
                if let Some(fitted) = self.placed(&device.with_queues_from(queues_from), &ways)? {
                    return Ok(Some(fitted));
                }
            }
        }
        Ok(None)
    }

    /// The circuit of one way for each stage; `None` if none is found that fits.
    fn placed(&self, device: &Device, ways: &[(NodeId, Vec<Way>)]) -> Result<Option<Fitted>, Diagnostics> {
        let limits = limits(device);
        let pace = ways.iter().map(|(_, ways)| ways[0].choice.cycles()).max().unwrap_or(1);
        let available = device.bytes_per_cycle() * pace as f64;
        let shares = |resources: &Resources, traffic: u64| -> Shares {
            let mut shares = [0.0; KINDS];
            let part = |part: Part| resources[part] as f64 / limits[part] as f64;
            shares.iter_mut().zip(Part::ALL).for_each(|(share, kind)| *share = part(kind));
            shares[TRAFFIC] = traffic as f64 / available;
            // Nothing of what there is none of.
            shares.map(|share| if share.is_nan() { 0.0 } else { share.min(MANY) })
        };
        let stages: Vec<Vec<Shares>> = ways
            .iter()
            .map(|(_, ways)| ways.iter().map(|way| shares(&way.choice.resources, way.traffic)).collect())
            .collect();
        // What is between the stages depends on their ways, and so does what is there for all of them.
        let mut choices: BTreeMap<NodeId, Choice> = ways.iter().map(|(node, ways)| (*node, ways[0].choice)).collect();
        let mut now = self.between(device, &choices);
        let mut more = Resources::default();
        for _ in 0..ROUNDS {
            let mut all = now.between;
            all += more;
            let Some(taken) = within(&stages, shares(&all, now.queues), TRAFFIC) else { return Ok(None) };
            let taken = || ways.iter().zip(&taken).map(|((node, ways), &way)| (*node, ways[way]));
            choices = taken().map(|(node, way)| (node, way.choice)).collect();
            let mut total: Resources = more;
            choices.values().for_each(|choice| total += choice.resources);
            now = self.between(device, &choices);
            total += now.between;
            let traffic: u64 = taken().map(|(_, way)| way.traffic).sum();
            if !total.fits(&limits) || (traffic + now.queues) as f64 > available {
                continue;
            }
            let fitted = elaborated(self.graph, device, assemble(self.graph, &choices, device)?);
            if fitted.resources.fits(&limits) {
                return Ok(Some(fitted));
            }
            more += Resources::of_each(|part| fitted.resources[part].saturating_sub(total[part]));
        }
        Ok(None)
    }

    /// What is between the stages of some choices (without what reads and writes the memory outside).
    fn between(&self, device: &Device, choices: &BTreeMap<NodeId, Choice>) -> Estimate {
        let network = network(self.graph, self.kernels, choices, device);
        let pace = network.bottleneck().max(1);
        let Network { kernels, edges, .. } = network;
        let mut total = Estimate::default();
        for kernel in &kernels {
            let written: Vec<_> = edges.iter().filter(|edge| edge.from == kernel.node).collect();
            let depths: Vec<u32> = written.iter().map(|edge| edge.depth_on_chip()).collect();
            if let (Some(edge), true) = (written.first(), depths[..] != [SMALLEST_QUEUE]) {
                total.between += estimate_module(&fork::fork("", "", edge.element.by(edge.written), &depths), device);
            }
            for edge in written {
                let mut lanes = edge.written;
                let frame = self.graph.node(edge.from).ty.count() as u64;
                if let Some(queue) = edge.outside_queue() {
                    total.between += conversion(lanes, queue.word.lanes, edge.element, device);
                    total.between += estimate_module(&queue.module(""), device);
                    total.queues += queue.traffic(frame);
                    lanes = queue.word.lanes;
                }
                let way = lanes_between(lanes, edge.read, frame.div_ceil(pace));
                total.between += conversion_through(way, edge.element, device);
            }
        }
        total
    }
}

/// What is between stages.
#[derive(Default)]
struct Estimate {
    between: Resources,
    /// Bytes that queues outside write and read for a frame.
    queues: u64,
}
