//! What limits a circuit: how few cycles are refuted on its device, and on one that had more of something.

use super::limits_outside;
use super::outside::{Search, available, counts};
use crate::cost::Part;
use crate::device::Device;
use crate::kernel::Kernel;
use crate::plan::{Planner, Stages, Way};
use lutweave_ir::{Diagnostics, Graph, NodeId};
use std::collections::BTreeMap;

/// By how many percent each limit is raised to see what it is worth.
pub const MORE: u64 = 10;

/// What a circuit may take of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// A kind of part; `None` for bytes per frame from the memory on the board.
    pub part: Option<Part>,
    /// What may be taken; of bytes, in as many cycles as [`Bound::cycles`].
    pub limit: u64,
    /// [`Bound::cycles`] if it were [`MORE`] percent higher.
    pub cycles_with_more: u64,
}

/// How fast a circuit of a graph can be on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// No choice of foldings, of sources of weights and of places of memories is known to need fewer: for all fewer, one
    /// is refuted, what is between stages left out. Foldings of more than five fourths of the fewest multipliers that a
    /// stage needs are not looked at.
    pub cycles: u64,
    /// What is limited.
    pub limits: Vec<Limit>,
}

impl Bound {
    /// What is worth most: the limit with which, higher, the fewest cycles are not refuted; `None` if all are worth
    /// nothing.
    pub fn binding(&self) -> Option<&Limit> {
        let worthy = self.limits.iter().filter(|limit| limit.cycles_with_more < self.cycles);
        worthy.min_by_key(|limit| limit.cycles_with_more)
    }
}

/// How fast a circuit of a core graph can be on a device.
///
/// # Errors
/// Nodes without hardware.
pub fn bound(graph: &Graph, device: &Device) -> Result<Bound, Diagnostics> {
    let planner = Planner::of_all_styles(graph, device)?;
    let kernels: Vec<(NodeId, Kernel)> = planner.stages().map(|(node, kernel, _)| (node, kernel.clone())).collect();
    let search = Search { graph, kernels: &kernels, planner: &planner, parts: limits_outside(device), loaded: false };
    let counts = counts(&planner, device);
    let mut ways =
        Ways { search: &search, stages: Stages::new(&planner, graph, device), device, known: BTreeMap::new() };
    let cycles = fewest(&counts, |cycles| ways.refuted(cycles, None));
    let below = &counts[..counts.partition_point(|&count| count < cycles)];
    let limits = available(device, &search.parts, cycles)
        .into_iter()
        .enumerate()
        .filter(|(_, limit)| *limit > 0)
        .map(|(kind, limit)| {
            let cycles_with_more = fewest(below, |fewer| ways.refuted(fewer, Some(kind))).min(cycles);
            Limit { part: Part::ALL.get(kind).copied(), limit, cycles_with_more }
        })
        .collect();
    Ok(Bound { cycles, limits })
}

/// The first of rising numbers of cycles that is not refuted; `u64::MAX` if all are.
fn fewest(counts: &[u64], mut refuted: impl FnMut(u64) -> bool) -> u64 {
    counts.get(counts.partition_point(|&cycles| refuted(cycles))).copied().unwrap_or(u64::MAX)
}

/// The ways to build the stages of a graph, by the number of cycles that they keep to.
struct Ways<'a, 'b> {
    search: &'b Search<'b>,
    stages: Stages<'a>,
    device: &'a Device,
    known: BTreeMap<u64, Vec<(NodeId, Vec<Way>)>>,
}

impl Ways<'_, '_> {
    /// Whether no choice of so many cycles stays within limits, one of them raised.
    fn refuted(&mut self, cycles: u64, raised: Option<usize>) -> bool {
        let Self { search, stages, device, known } = self;
        if search.planner.fewest_multipliers(cycles).is_none() {
            return true;
        }
        let ways =
            known.entry(cycles).or_insert_with(|| stages.ways(device, &search.planner.within(cycles, usize::MAX)));
        let mut limits = available(device, &search.parts, cycles);
        if let Some(kind) = raised {
            limits[kind] += limits[kind] * MORE / 100;
        }
        search.refutes(device, ways, limits, cycles)
    }
}
