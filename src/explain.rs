//! Why a layer was built as it was, and what each other setting would have done; what a circuit is limited by.

use crate::artefact::Build;
use crate::codesign::record::{Decision, Record};
use crate::failure::Failure;
use crate::observer::Context;
use lutweave_codesign::sensitivity::{DISTORTION_ONE, real};
use lutweave_codesign::{Budgets, DISTORTION, SOLVER_LIMITS, Space};
use lutweave_hw::cost::Part;
use lutweave_hw::device::Device;
use lutweave_hw::fit::{self, Limit, MORE};
use lutweave_ir::Diagnostic;
use lutweave_quantize::compress::WeightConfig;
use lutweave_solve::why_not;
use serde::Serialize;

/// Why a layer was built as it was.
pub struct Explanation<'r> {
    /// The layer.
    pub decision: &'r Decision,
    /// What the errors of all layers may add up to.
    pub limit: f64,
    /// Each setting with its distortion and why it was taken, or not; empty where the model gives the weights.
    pub settings: Vec<(WeightConfig, f64, String)>,
}

/// What a circuit takes of something that is limited.
#[derive(Clone, Debug, Serialize)]
pub struct Use {
    /// What it is.
    pub name: &'static str,
    /// How much is taken.
    pub used: u64,
    /// How much may be taken.
    pub limit: u64,
    /// The fewest cycles that are not refuted with [`MORE`] percent more of it.
    pub cycles_with_more: u64,
}

/// What limits a circuit whose settings were given.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Cycles as planned.
    pub cycles: u64,
    /// The fewest cycles that are not refuted, see [`fit::Bound`].
    pub lower_bound: u64,
    /// What keeps it from fewer cycles.
    pub binding: Binding,
    /// Cycles that one more megabyte per second from the memory on the board is worth.
    pub cycles_per_megabyte_per_second: f64,
    /// All that is limited.
    pub limits: Vec<Use>,
}

/// What keeps a circuit from fewer cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// So many multipliers were asked for.
    Asked(u32),
    /// It fits without the memory on the board, and has as many multipliers as the device at most.
    Hardware(u64),
    /// What more of is worth most.
    Limit(&'static str),
    /// More of one thing alone is worth nothing.
    Nothing,
}

/// What bytes from the memory on the board are called.
const BYTES: &str = "bytes per frame";

/// What limits a compiled model.
///
/// # Errors
/// If its device is not known, or the plan does not fit the graph.
pub fn limited(build: &Build) -> Result<Limits, Failure> {
    let device = crate::device::find(&build.manifest.device)?;
    let fitted = build.plan.build(&build.split.core, &device)?;
    let bound = fit::bound(&build.split.core, &device)?;
    let taken = build.manifest.memory.as_ref().map_or(0, |memory| memory.bytes_per_frame);
    let cycles = fitted.cycles;
    let name = |limit: &Limit| limit.part.map_or(BYTES, Part::plural);
    let limits = bound.limits.iter().map(|limit| Use {
        name: name(limit),
        used: limit.part.map_or(taken, |part| fitted.resources[part]),
        // A frame of more cycles brings more.
        limit: limit.part.map_or((device.bytes_per_cycle() * cycles as f64) as u64, |_| limit.limit),
        cycles_with_more: limit.cycles_with_more,
    });
    let price = |limit: &Limit| {
        let more = device.bytes_per_cycle() * device.clock_mhz * MORE as f64 / 100.0;
        (bound.cycles - limit.cycles_with_more) as f64 / more
    };
    let traffic = bound.limits.iter().find(|limit| limit.part.is_none());
    let binding = match (build.manifest.multipliers, &build.manifest.memory) {
        (Some(multipliers), _) => Binding::Asked(multipliers),
        (None, None) if cycles > bound.cycles && fitted.resources.uram == 0 => Binding::Hardware(device.dsp),
        (None, _) => bound.binding().map_or(Binding::Nothing, |limit| Binding::Limit(name(limit))),
    };
    Ok(Limits {
        cycles,
        lower_bound: bound.cycles,
        binding,
        cycles_per_megabyte_per_second: traffic.map_or(0.0, price),
        limits: limits.collect(),
    })
}

/// Whether settings of a compiled model were chosen.
pub fn is_chosen(build: &Build) -> bool {
    build.directory.join(RECORD).exists()
}

/// The file with what was chosen and why.
const RECORD: &str = "codesign.json";

/// The record of a compiled model's choice.
///
/// # Errors
/// If nothing was chosen, or the file is damaged.
pub fn record(build: &Build) -> Result<Record, Failure> {
    let path = build.directory.join(RECORD);
    let bytes = std::fs::read(&path).map_err(|_| {
        Diagnostic::error("not-co-designed", "its settings were given, not chosen")
            .at(build.directory.display().to_string())
            .help("compile with --weights auto")
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::file(&path, "understand", error))
}

/// The decision about a layer of that name, or whose name ends so.
///
/// # Errors
/// If there is none, or more than one.
pub fn find<'r>(record: &'r Record, layer: &str) -> Result<&'r Decision, Failure> {
    if let Some(decision) = record.decisions.iter().find(|decision| decision.layer == layer) {
        return Ok(decision);
    }
    let ends: Vec<&Decision> = record.decisions.iter().filter(|decision| decision.layer.ends_with(layer)).collect();
    if let [decision] = ends[..] {
        return Ok(decision);
    }
    let message = if ends.is_empty() { "there is no such layer" } else { "several layers end so" };
    let shown = if ends.is_empty() { record.decisions.iter().collect() } else { ends };
    let names: Vec<&str> = shown.iter().map(|decision| decision.layer.as_str()).collect();
    Err(Diagnostic::error("no-layer", message).at(layer).help(format!("layers: {}", names.join(", "))).into())
}

/// What each other setting of a layer would have done.
///
/// # Errors
/// If the graph is not the one that was decided about, or the observer wants no more.
pub fn explain<'r>(
    build: &Build,
    record: &Record,
    decision: &'r Decision,
    context: &Context,
) -> Result<Explanation<'r>, Failure> {
    let device = crate::device::find(&build.manifest.device)?;
    let space = Space::new(&build.split.core, &record.tables, &device)?;
    let problem = space.problem(&limits(record, &device));
    let Some(position) = space.stages.iter().position(|stage| stage.name == decision.layer) else {
        return Err(Diagnostic::error("not-compiled", "the graph does not have the layer that was decided about")
            .at(&decision.layer)
            .help("compile the model again")
            .into());
    };
    let members = &space.stages[position].members;
    let mut settings: Vec<_> = record
        .tables
        .iter()
        .filter(|table| table.layer == decision.layer)
        .flat_map(|table| table.prices.iter().map(|price| (price.setting, price.distortion)))
        .collect();
    settings.sort_by_key(|(_, distortion)| *distortion);
    let work = context.work("solve", Some(settings.len()));
    let mut answers = Vec::new();
    for (setting, distortion) in settings {
        let options: Vec<usize> = (0..members.len()).filter(|&index| members[index].setting == Some(setting)).collect();
        let reason = if decision.setting == Some(setting) {
            "it is the choice".to_owned()
        } else if options.is_empty() {
            "the hardware has no engine for it".to_owned()
        } else {
            why_not(&problem, record.cycles, position, &options, &SOLVER_LIMITS)?.reason
        };
        work.step()?;
        answers.push((setting, real(distortion), reason));
    }
    Ok(Explanation { decision, limit: real(problem.budgets[DISTORTION].limit), settings: answers })
}

/// The budgets that the choice was made within.
fn limits(record: &Record, device: &Device) -> Budgets {
    let limit = |name: &str| record.budgets.iter().find(|budget| budget.name == name).and_then(|budget| budget.limit);
    let distortion = limit("distortion").map_or(u64::MAX >> 16, |limit| (limit * DISTORTION_ONE as f64).round() as u64);
    let mut budgets = Budgets::of(device, distortion, record.multipliers);
    for part in Part::ALL {
        if let Some(limit) = limit(part.label()) {
            budgets.parts[part] = limit as u64;
        }
    }
    budgets
}
