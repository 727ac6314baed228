//! A circuit that is too large for its device with all weights and queues in block RAM: tables move to logic, large
//! memories to the large RAM, if there is one, weights out of the chip, and then queues.

use super::{Fitted, elaborated, limits};
use crate::block::fork;
use crate::cost::{Resources, estimate_module};
use crate::dataflow::{Network, SMALLEST_QUEUE};
use crate::device::Device;
use crate::kernel::Kernel;
use crate::plan::{Choice, Move, Planner, assemble, conversion, loaded, moves, network};
use lutweave_ir::{Diagnostics, Graph, NodeId};
use std::collections::BTreeMap;

/// From so many thousandths of a block RAM on that it frees per large RAM, a memory moves there: all, to the largest.
const LARGE_FROM: [u32; 4] = [16_000, 9_000, 5_000, 2_500];

/// From so many elements on queues wait outside: few, then more.
const QUEUES_FROM: [u64; 3] = [32_768, 8_192, 3_072];

/// Moves that are tried beyond those that the estimate asks for.
const MORE_MOVES: usize = 4;

/// The fastest circuit that fits, as far as is found; `None` if none is.
pub(super) fn fit(
    planner: &Planner,
    graph: &Graph,
    device: &Device,
    fewest: u32,
) -> Result<Option<Fitted>, Diagnostics> {
    let kernels: Vec<(NodeId, Kernel)> = planner.stages().map(|(node, kernel, _)| (node, kernel.clone())).collect();
    let build = |multipliers: u32| {
        Tiers { planner, graph, device, kernels: &kernels, choices: planner.choose(multipliers)? }.fit()
    };
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

/// Choices whose memories are to find their places.
struct Tiers<'a> {
    planner: &'a Planner<'a>,
    graph: &'a Graph,
    device: &'a Device,
    kernels: &'a [(NodeId, Kernel)],
    choices: BTreeMap<NodeId, Choice>,
}

impl Tiers<'_> {
    /// The circuit that keeps most in block RAM; `None` if none fits.
    fn fit(&self) -> Result<Option<Fitted>, Diagnostics> {
        if let Some(fitted) = self.moved(self.device, &self.choices)? {
            return Ok(Some(fitted));
        }
        if self.device.uram == 0 {
            return Ok(None);
        }
        for from in LARGE_FROM {
            let device = self.device.with_large_from(Some(from));
            let choices = loaded(self.planner, self.graph, &device, &self.choices);
            if let Some(fitted) = self.moved(&device, &choices)? {
                return Ok(Some(fitted));
            }
        }
        Ok(None)
    }

    /// The circuit of these choices, changed by as few moves as make it fit, and with queues outside only where moves do
    /// not; `None` if it does not fit, or if the memory outside does not give as many bytes.
    fn moved(&self, device: &Device, choices: &BTreeMap<NodeId, Choice>) -> Result<Option<Fitted>, Diagnostics> {
        let limits = limits(device);
        let resident = self.estimate(device, choices);
        let moves = if resident.resources.fits(&limits) {
            Vec::new()
        } else {
            moves(self.planner, self.graph, device, choices, |part| resident.resources[part] > limits[part])
        };
        if let Some(fitted) = self.with_moves(device, choices, &moves)? {
            return Ok(Some(fitted));
        }
        if device.memory.is_none() || resident.resources.bram <= limits.bram {
            return Ok(None);
        }
        for from in QUEUES_FROM {
            let device = device.with_queues_from(Some(from));
            if let Some(fitted) = self.with_moves(&device, choices, &moves)? {
                return Ok(Some(fitted));
            }
        }
        Ok(None)
    }

    /// The circuit of these choices after as few of these moves as make it fit.
    fn with_moves(
        &self,
        device: &Device,
        choices: &BTreeMap<NodeId, Choice>,
        moves: &[Move],
    ) -> Result<Option<Fitted>, Diagnostics> {
        let limits = limits(device);
        let moved = |count: usize| {
            let mut moved = choices.clone();
            let mut traffic: BTreeMap<NodeId, u64> = BTreeMap::new();
            for &Move { node, choice, traffic: bytes, .. } in &moves[..count] {
                moved.insert(node, choice);
                traffic.insert(node, bytes);
            }
            (moved, traffic.values().sum::<u64>())
        };
        let fits = |count: usize| {
            let (moved, traffic) = moved(count);
            let Estimate { resources, pace, queues } = self.estimate(device, &moved);
            let available = device.bytes_per_cycle() * pace as f64;
            (resources.fits(&limits), (traffic + queues) as f64 <= available)
        };
        // Moves that the memory outside affords: each takes more of it.
        let (mut affordable, mut too_many) = (0, moves.len() + 1);
        while affordable + 1 < too_many {
            let middle = affordable + (too_many - affordable) / 2;
            if fits(middle).1 {
                affordable = middle;
            } else {
                too_many = middle;
            }
        }
        // The queues beside streamed stages grow, so the last moves need not help.
        let mut high = affordable;
        while fits(high) != (true, true) {
            if high == 0 {
                return Ok(None);
            }
            high = high * 3 / 4;
        }
        let mut low = 0;
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if fits(middle).0 {
                high = middle;
            } else {
                low = middle;
            }
        }
        for count in high..=affordable.min(high + MORE_MOVES) {
            let fitted = elaborated(self.graph, device, assemble(self.graph, &moved(count).0, device)?);
            if fitted.resources.fits(&limits) {
                return Ok(Some(fitted));
            }
        }
        Ok(None)
    }

    /// What choices take together, without their circuit (it leaves out what reads and writes the memory outside).
    fn estimate(&self, device: &Device, choices: &BTreeMap<NodeId, Choice>) -> Estimate {
        let Network { kernels, edges, .. } = network(self.graph, self.kernels, choices, device);
        let pace = kernels.iter().map(|kernel| kernel.interval).max().unwrap_or(1);
        let mut total = Estimate { resources: Resources::default(), pace, queues: 0 };
        choices.values().for_each(|choice| total.resources += choice.resources);
        for kernel in &kernels {
            let written: Vec<_> = edges.iter().filter(|edge| edge.from == kernel.node).collect();
            let depths: Vec<u32> = written.iter().map(|edge| edge.depth_on_chip()).collect();
            if let (Some(edge), true) = (written.first(), depths[..] != [SMALLEST_QUEUE]) {
                total.resources += estimate_module(&fork::fork("", "", edge.element.by(edge.written), &depths), device);
            }
            for edge in written {
                let mut lanes = edge.written;
                if let Some(queue) = edge.outside_queue() {
                    total.resources += conversion(lanes, queue.word.lanes, edge.element, device);
                    total.resources += estimate_module(&queue.module(""), device);
                    total.queues += queue.traffic(self.graph.node(edge.from).ty.count() as u64);
                    lanes = queue.word.lanes;
                }
                total.resources += conversion(lanes, edge.read, edge.element, device);
            }
        }
        total
    }
}

/// What choices take together.
struct Estimate {
    resources: Resources,
    /// Cycles of the slowest stage.
    pace: u64,
    /// Bytes that queues outside write and read for a frame.
    queues: u64,
}
