//! A circuit that is too large for its device with all weights and queues in block RAM: tables move to logic, large
//! memories to the large RAM, if there is one, and weights out of the chip.

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

    /// The circuit of these choices, changed by as few moves as make it fit; `None` if it does not, or if the memory
    /// outside does not give as many bytes.
    fn moved(&self, device: &Device, choices: &BTreeMap<NodeId, Choice>) -> Result<Option<Fitted>, Diagnostics> {
        let limits = limits(device);
        let (resident, pace) = self.estimate(device, choices);
        let moves = if resident.fits(&limits) {
            Vec::new()
        } else {
            moves(self.planner, self.graph, device, choices, |part| resident[part] > limits[part])
        };
        let moved = |count: usize| {
            let mut moved = choices.clone();
            let mut traffic: BTreeMap<NodeId, u64> = BTreeMap::new();
            for &Move { node, choice, traffic: bytes, .. } in &moves[..count] {
                moved.insert(node, choice);
                traffic.insert(node, bytes);
            }
            (moved, traffic.values().sum::<u64>())
        };
        let available = device.bytes_per_cycle() * pace as f64;
        let affordable = (0..=moves.len()).rev().find(|&count| moved(count).1 as f64 <= available).unwrap_or(0);
        let fits = |count: usize| self.estimate(device, &moved(count).0).0.fits(&limits);
        // The queues beside streamed stages grow, so the last moves need not help.
        let mut high = affordable;
        while !fits(high) {
            if high == 0 {
                return Ok(None);
            }
            high = high * 3 / 4;
        }
        let mut low = 0;
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if fits(middle) {
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

    /// What choices take together, without their circuit (it leaves out what brings weights from outside), and the
    /// cycles of the slowest.
    fn estimate(&self, device: &Device, choices: &BTreeMap<NodeId, Choice>) -> (Resources, u64) {
        let Network { kernels, edges, .. } = network(self.graph, self.kernels, choices, device);
        let mut total = Resources::default();
        choices.values().for_each(|choice| total += choice.resources);
        for kernel in &kernels {
            let written: Vec<_> = edges.iter().filter(|edge| edge.from == kernel.node).collect();
            let depths: Vec<u32> = written.iter().map(|edge| edge.depth).collect();
            if let (Some(edge), true) = (written.first(), depths[..] != [SMALLEST_QUEUE]) {
                total += estimate_module(&fork::fork("", "", edge.element.by(edge.written), &depths), device);
            }
            for edge in written {
                total += conversion(edge.written, edge.read, edge.element, device);
            }
        }
        (total, kernels.iter().map(|kernel| kernel.interval).max().unwrap_or(1))
    }
}
