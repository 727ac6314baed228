//! The circuit for a device: the fastest whose estimate fits, or that of a given number of multipliers.

mod bound;
mod outside;
mod refusal;

pub use bound::{Bound, Limit, MORE, bound};
pub use refusal::by_node;

use crate::cost::{self, Resources};
use crate::dataflow::Network;
use crate::device::Device;
use crate::elaborate::{elaborate, traffic};
use crate::plan::{Choice, Planner, assemble, fewest_multipliers};
use crate::rtl::Design;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId};
use refusal::{overflow, remedy};
use std::collections::BTreeMap;

/// What a design with a memory outside may take: all multipliers, which are counted exactly.
fn limits_outside(device: &Device) -> Resources {
    Resources { dsp: device.dsp, ..device.limits() }
}

/// LUTs of an 8-bit multiplier in logic.
const LUTS_PER_MULTIPLIER: u64 = 72;

/// A folded and elaborated graph.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Its kernels and streams.
    pub network: Network,
    /// Its circuit.
    pub design: Design,
    /// Its estimate.
    pub resources: Resources,
    /// Cycles from frame to frame, as planned: of the slowest stage, or in which the memory on the board gives what a
    /// frame takes.
    pub cycles: u64,
    /// What the user should know about the fit.
    pub warnings: Vec<Diagnostic>,
}

impl Fitted {
    /// The device as the circuit makes use of it.
    pub fn device(&self, device: &Device) -> Device {
        device.with_large_from(self.network.family.large_from)
    }
}

/// Plans and elaborates a core graph. With `multipliers` the plan uses at most so many, whether
/// or not the device is full; without, it is the fastest that fits the device.
///
/// # Errors
/// Nodes without hardware, too few multipliers, or a model that does not fit the device at all.
pub fn fit(graph: &Graph, device: &Device, multipliers: Option<u32>) -> Result<Fitted, Diagnostics> {
    let planner = Planner::new(graph, device)?;
    let build = |multipliers: u32| planner.plan(multipliers).map(|network| elaborated(graph, device, network));
    if let Some(multipliers) = multipliers {
        return Ok(warned(build(multipliers)?, device));
    }
    let fewest = fewest_multipliers(graph).max(1);
    let smallest = build(fewest)?;
    if smallest.resources.share(device) > 1.0 {
        if let Some(fitted) = outside::fit(&planner, graph, device, false)? {
            return Ok(fitted);
        }
        let help = remedy(graph, device, &smallest);
        return Err(overflow(&smallest, device, Diagnostic::error).help(help).into());
    }
    let (mut low, mut high) = (fewest, (device.dsp as u32).max(fewest));
    let mut best = smallest;
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let candidate = build(middle)?;
        if candidate.resources.fits(&device.limits()) {
            low = middle;
            best = candidate;
        } else {
            high = middle - 1;
        }
    }
    Ok(best)
}

/// As [`fit`] without a number of multipliers, but weights may be loaded, to leave block RAMs free, also where the circuit
/// fits without: if it is not slower so.
///
/// # Errors
/// As [`fit`].
pub fn fit_loaded(graph: &Graph, device: &Device) -> Result<Fitted, Diagnostics> {
    let loaded = outside::fit(&Planner::of_all_styles(graph, device)?, graph, device, true)?;
    match (loaded, fit(graph, device, None)) {
        (Some(loaded), Ok(resident)) if resident.cycles < loaded.cycles => Ok(resident),
        (Some(loaded), _) => Ok(loaded),
        (None, resident) => resident,
    }
}

/// The circuit of the fewest multipliers, whether or not the device is full.
fn smallest(graph: &Graph, device: &Device) -> Result<Fitted, Diagnostics> {
    let network = Planner::new(graph, device)?.plan(fewest_multipliers(graph).max(1))?;
    Ok(elaborated(graph, device, network))
}

/// The circuit in which every stage is built as chosen, whether or not the device is full.
///
/// # Errors
/// What [`assemble`] refuses.
pub fn realize(graph: &Graph, device: &Device, choices: &BTreeMap<NodeId, Choice>) -> Result<Fitted, Diagnostics> {
    Ok(warned(elaborated(graph, device, assemble(graph, choices, device)?), device))
}

fn elaborated(graph: &Graph, device: &Device, network: Network) -> Fitted {
    let design = elaborate(graph, &network);
    let resources = cost::estimate(&design, device);
    let excess = resources.dsp.saturating_sub(device.dsp);
    let resources = spilled(resources, device);
    let mut warnings = Vec::new();
    if excess > 0 {
        let message = format!("{excess} of its multipliers exceed the device's {} and go into LUTs", device.dsp);
        warnings.push(Diagnostic::warning("multipliers-in-luts", message).at(&device.name));
    }
    let taken = traffic(graph, &network);
    let supplied = if taken > 0 { (taken as f64 / device.bytes_per_cycle()).ceil() as u64 } else { 0 };
    let cycles = network.bottleneck().max(supplied);
    Fitted { network, design, resources, cycles, warnings }
}

/// Multipliers that a device does not have are in logic: what the plan could not move there, synthesis will.
fn spilled(mut resources: Resources, device: &Device) -> Resources {
    let excess = resources.dsp.saturating_sub(device.dsp);
    resources.dsp -= excess;
    resources.lut += excess * LUTS_PER_MULTIPLIER;
    resources
}

fn warned(mut fitted: Fitted, device: &Device) -> Fitted {
    if fitted.resources.share(device) > 1.0 {
        let warning = overflow(&fitted, device, Diagnostic::warning);
        fitted.warnings.push(warning);
    }
    fitted
}
