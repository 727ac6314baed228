//! Cycles against what the memory on the board gives.

use super::plot::{self, Mark, Vertical};
use crate::artefact::{self, Files};
use crate::compiler;
use crate::executor::{self, Drive};
use crate::failure::Failure;
use crate::model::Model;
use crate::observer::Context;
use crate::options::{Options, Weights};
use crate::outside::Outside;
use crate::pipeline;
use crate::verify::random_samples;
use lutweave_hw::cost::Resources;
use lutweave_hw::device::{Device, ExternalMemory};
use lutweave_hw::fit::{Fitted, bound, fit};
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::{Diagnostic, Graph};
use serde::Serialize;

/// Frames that are simulated to count the cycles between them.
const FRAMES: usize = 2;

/// The circuit for a bandwidth.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// What the memory gives at most; a circuit is planned with less, see the device file.
    pub megabytes_per_second: f64,
    /// Frames back to back, measured in the simulator beside a memory that gives no more than that.
    pub cycles_per_inference: u64,
    /// As planned: those of the slowest stage, or in which the memory gives what a frame takes.
    pub planned_cycles: u64,
    /// The fewest cycles that are not refuted, see [`lutweave_hw::fit::Bound`].
    pub lower_bound: u64,
    /// `planned_cycles / lower_bound - 1`.
    pub gap: f64,
    /// Bytes that go and come for every frame.
    pub bytes_per_frame: u64,
    /// Hardware multipliers.
    pub multipliers: u64,
    /// The estimate.
    pub resources: Resources,
}

/// The circuits of a model for several bandwidths.
#[derive(Debug, Serialize)]
pub struct Sweep {
    /// Name of the model.
    pub model: String,
    /// Name of the device.
    pub device: String,
    /// The clock that is aimed at.
    pub clock_mhz: f64,
    /// From the lowest bandwidth to the highest.
    pub points: Vec<Point>,
}

/// The fastest circuits of a model beside memories of several bandwidths in megabytes per second.
///
/// # Errors
/// What the compiler refuses; a device without a memory on its board, or weights that are to be chosen.
pub fn sweep(model: &Model, options: &Options, bandwidths: &[f64], context: &Context) -> Result<Sweep, Failure> {
    if options.weights == Some(Weights::Auto) {
        let refused = Diagnostic::error("invalid-option", "--bandwidth goes with weights of given widths");
        return Err(Failure::Usage(refused.help("choose --weights 8 or 4, or leave it out")));
    }
    let mut state = compiler::start(model, options, context, true)?;
    let Some(memory) = state.device.memory.clone() else {
        let refused = Diagnostic::error("no-memory", "its board has no memory that is known").at(&state.device.name);
        return Err(refused.help("give a device file with [memory]").into());
    };
    pipeline::run(&mut state, pipeline::through("partition"))?;
    let core = &state.lowered.as_ref().expect("invariant: `partition` ran").split.core;
    let mut sorted = bandwidths.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    let work = context.work("explore", Some(sorted.len()));
    let mut points = Vec::new();
    let mut best: Option<Fitted> = None;
    for megabytes_per_second in sorted {
        let memory = ExternalMemory { megabytes_per_second, ..memory.clone() };
        let device = Device { memory: Some(memory), ..Device::clone(&state.device) };
        let fitted = fit(core, &device, options.multipliers)?;
        // What keeps up with less keeps up with more.
        let better = best.filter(|best| best.cycles <= fitted.cycles).unwrap_or(fitted);
        points.push(point(core, &better, &device, context)?);
        best = Some(better);
        work.step()?;
    }
    Ok(Sweep {
        model: model.name.clone(),
        device: state.device.name.clone(),
        clock_mhz: state.device.clock_mhz,
        points,
    })
}

fn point(core: &Graph, fitted: &Fitted, device: &Device, context: &Context) -> Result<Point, Failure> {
    let memory = MemoryTiming::of(device);
    let module = executor::simulator(&fitted.design, memory);
    let circuit = executor::wasm(&module, core, context)?.run(&random_samples(core, FRAMES), Drive::default())?;
    let planned = fitted.cycles;
    let lower_bound = bound(core, device)?.cycles.min(planned);
    Ok(Point {
        megabytes_per_second: device.memory.as_ref().map_or(0.0, |memory| memory.megabytes_per_second),
        cycles_per_inference: circuit.cycles_per_inference.unwrap_or(planned),
        planned_cycles: planned,
        lower_bound,
        gap: planned as f64 / lower_bound.max(1) as f64 - 1.0,
        bytes_per_frame: Outside::of(core, fitted).map_or(0, |outside| outside.bytes_per_frame),
        multipliers: fitted.network.multipliers(),
        resources: fitted.resources.shown(device),
    })
}

impl Sweep {
    /// The files of the sweep: a table for programs, and a drawing.
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        files.add_json(artefact::FRONT, self);
        files.add("front.svg", self.drawing());
        files
    }

    fn drawing(&self) -> String {
        let mark = |point: &Point| Mark {
            cycles: point.planned_cycles,
            bound: point.lower_bound,
            value: point.megabytes_per_second,
            on_front: true,
            label: format!(
                "{} MB/s: {} cycles ({} simulated), {} bytes per frame, fewer than {} cycles refuted",
                point.megabytes_per_second,
                point.planned_cycles,
                point.cycles_per_inference,
                point.bytes_per_frame,
                point.lower_bound
            ),
        };
        let title = format!("{} on {} at {} MHz", self.model, self.device, self.clock_mhz);
        let shown = Vertical { name: "MB/s of the memory on the board", reference: None, logarithmic: true };
        plot::svg(&title, shown, &self.points.iter().map(mark).collect::<Vec<_>>())
    }
}
