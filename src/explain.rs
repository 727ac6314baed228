//! Why a layer was built as it was, and what each other setting would have done.

use crate::artefact::Build;
use crate::codesign::record::{Decision, Record};
use crate::failure::Failure;
use crate::observer::Context;
use lutweave_codesign::sensitivity::{DISTORTION_ONE, real};
use lutweave_codesign::{Budgets, DISTORTION, SOLVER_LIMITS, Space};
use lutweave_hw::cost::Part;
use lutweave_hw::device::Device;
use lutweave_ir::Diagnostic;
use lutweave_quantize::compress::WeightConfig;
use lutweave_solve::why_not;

/// Why a layer was built as it was.
pub struct Explanation<'r> {
    /// The layer.
    pub decision: &'r Decision,
    /// What the errors of all layers may add up to.
    pub limit: f64,
    /// Each setting with its distortion and why it was taken, or not; empty where the model gives the weights.
    pub settings: Vec<(WeightConfig, f64, String)>,
}

/// The record of a compiled model's choice.
///
/// # Errors
/// If nothing was chosen, or the file is damaged.
pub fn record(build: &Build) -> Result<Record, Failure> {
    let path = build.directory.join("codesign.json");
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
