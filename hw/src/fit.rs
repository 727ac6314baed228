//! The circuit for a device: the fastest plan whose estimate fits, or the plan of a given
//! number of multipliers.

use crate::cost::{self, Resources};
use crate::device::Device;
use crate::elaborate::elaborate;
use crate::plan::{Budget, Plan, fewest_multipliers, plan};
use crate::rtl::Design;
use lutweave_ir::{Diagnostic, Diagnostics, Graph};

/// Share of each kind of part that a fitted design may take; the rest is for routing and for
/// the error of the estimate.
const HEADROOM: f64 = 0.9;

/// LUTs of an 8-bit multiplier in logic.
const LUTS_PER_MULTIPLIER: u64 = 72;

/// A planned and elaborated graph.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The plan.
    pub plan: Plan,
    /// Its circuit.
    pub design: Design,
    /// Its estimate.
    pub resources: Resources,
    /// What the user should know about the fit.
    pub warnings: Vec<Diagnostic>,
}

/// Plans and elaborates a core graph. With `multipliers` the plan uses at most so many, whether
/// or not the device is full; without, it is the fastest that fits the device.
///
/// # Errors
/// Nodes without hardware, too few multipliers, or a model that does not fit the device at all.
pub fn fit(graph: &Graph, device: &Device, multipliers: Option<u32>) -> Result<Fitted, Diagnostics> {
    if let Some(multipliers) = multipliers {
        let mut fitted = build(graph, device, multipliers)?;
        if fitted.resources.share(device) > 1.0 {
            fitted.warnings.push(overflow(&fitted.resources, device, Diagnostic::warning));
        }
        return Ok(fitted);
    }
    let fewest = fewest_multipliers(graph).max(1);
    let smallest = build(graph, device, fewest)?;
    if smallest.resources.share(device) > 1.0 {
        return Err(overflow(&smallest.resources, device, Diagnostic::error)
            .help("choose a larger device, or force a plan for estimation with --multipliers")
            .into());
    }
    let (mut low, mut high) = (fewest, (device.dsp as u32).max(fewest));
    let mut best = smallest;
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let candidate = build(graph, device, middle)?;
        if candidate.resources.share(device) <= HEADROOM {
            low = middle;
            best = candidate;
        } else {
            high = middle - 1;
        }
    }
    Ok(best)
}

fn build(graph: &Graph, device: &Device, multipliers: u32) -> Result<Fitted, Diagnostics> {
    let budget = Budget { multipliers, multiplier_width: device.multiplier[0] };
    let plan = plan(graph, budget)?;
    let design = elaborate(graph, &plan);
    let mut resources = cost::estimate(&design, device);
    let excess = resources.dsp.saturating_sub(device.dsp);
    resources.dsp -= excess;
    resources.lut += excess * LUTS_PER_MULTIPLIER;
    let mut warnings = Vec::new();
    if excess > 0 {
        let message = format!("{excess} of its multipliers exceed the device's {} and go into LUTs", device.dsp);
        warnings.push(Diagnostic::warning("multipliers-in-luts", message).at(&device.name));
    }
    Ok(Fitted { plan, design, resources, warnings })
}

fn overflow(resources: &Resources, device: &Device, level: fn(&'static str, String) -> Diagnostic) -> Diagnostic {
    let kinds = [
        ("LUTs", resources.lut, device.lut),
        ("flip-flops", resources.ff, device.ff),
        ("multipliers", resources.dsp, device.dsp),
        ("block RAMs", resources.bram, device.bram),
    ];
    let over: Vec<String> = kinds
        .iter()
        .filter(|(_, used, available)| used > available)
        .map(|(kind, used, available)| format!("{used} of {available} {kind}"))
        .collect();
    level("does-not-fit", format!("the circuit is estimated at {}", over.join(", "))).at(&device.name)
}
