//! The figures of a compiled model, as `compile --json`, the table and the report show them.

use crate::codesign::Measured;
use crate::codesign::hint::Faster;
use crate::codesign::record::Record;
use crate::failure::object;
use crate::memory::LayerMemory;
use crate::metric::Metric;
use crate::outside::Outside;
use crate::reshape::Reshaping;
use lutweave_codesign::prune::Pruned;
use lutweave_codesign::shrink::Step;
use lutweave_hw::cost::{Part, Resources, estimate_module};
use lutweave_hw::dataflow::Network;
use lutweave_hw::device::Device;
use lutweave_hw::fit::Fitted;
use lutweave_hw::kernel::Kernel;
use lutweave_hw::rtl::{NofM, ParallelTaps};
use lutweave_ir::{Diagnostic, Graph, NodeId, Op};
use serde::{Serialize, Serializer};

/// One stage of the circuit.
#[derive(Clone, Debug, Serialize)]
pub struct StageSummary {
    /// Name of the node.
    pub name: String,
    /// Operator.
    pub operator: &'static str,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Width of the weights, where there are any.
    pub weight_bits: Option<u32>,
    /// The pattern of zeros that the circuit makes use of.
    pub pattern: Option<String>,
    /// Taps of a window read at once: `one`, `row` or `all`.
    pub taps: Option<&'static str>,
    /// Channels read at once (SIMD).
    pub lanes: u32,
    /// Outputs computed at once (PE).
    pub outputs: Option<u32>,
    /// Rows of the window memory, where there is one.
    pub line_buffer_rows: Option<u32>,
    /// Multiply-accumulates of a frame.
    pub macs: u64,
    /// Hardware multipliers of its processing elements.
    pub multipliers: u32,
    /// Cycles that a frame keeps it busy.
    pub cycles: u64,
    /// Its cycles as a share of the slowest stage's.
    pub share: f64,
}

/// What a module of the circuit takes, by the estimate.
#[derive(Clone, Debug, Serialize)]
pub struct Module {
    /// Name of the Verilog module.
    pub name: String,
    /// Look-up tables.
    pub lut: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Hardware multipliers.
    pub dsp: u64,
    /// Block RAMs as the maker counts them; parts of one are fractions.
    pub bram: f64,
}

/// Accuracy of a model and of what was made of it.
#[derive(Clone, Debug, Serialize)]
pub struct Accuracy {
    /// The metric.
    pub metric: Metric,
    /// The model as it came.
    pub float: f64,
    /// The integer graph.
    pub integer: f64,
    /// Samples of the evaluation window that were judged.
    pub samples: usize,
    /// Samples that the evaluation window has.
    pub available: usize,
}

/// What the circuit takes of one kind of part, and how much there is.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    /// The kind of part.
    pub name: &'static str,
    /// How many the circuit takes, by the estimate.
    pub used: u64,
    /// How many the device has, or `--multipliers` allows.
    pub limit: u64,
}

/// What a circuit takes of each kind of part.
pub fn budgets(fitted: &Fitted, device: &Device, multipliers: Option<u32>) -> Vec<Budget> {
    let (used, available) = (fitted.resources.shown(device), device.parts().shown(device));
    let budget = |part: Part| Budget { name: part.key(), used: used[part], limit: available[part] };
    let parts = Part::ALL.into_iter().filter(|part| available[*part] > 0 || *part != Part::Uram);
    let mut budgets: Vec<Budget> = parts.map(budget).collect();
    let asked = multipliers.map(u64::from);
    budgets.extend(asked.map(|limit| Budget { name: "multipliers", used: fitted.network.multipliers(), limit }));
    budgets
}

/// How the executors compared.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Samples.
    pub samples: usize,
    /// True if every output element of every executor is equal.
    pub agree: bool,
}

/// A co-design in short; all of it is in `codesign.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// Cycles of the slowest stage as planned.
    pub cycles: u64,
    /// No choice within the budgets needs fewer cycles.
    pub lower_bound: u64,
    /// `cycles / lower_bound - 1`.
    pub gap: f64,
    /// Cycles of "compress first, then fold" within the same budgets.
    pub compress_first_cycles: Option<u64>,
    /// Sum of the layers' own distortions.
    pub predicted_distortion: f64,
    /// What was measured on the calibration data.
    pub measured: Measured,
}

impl Choice {
    /// Of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            cycles: record.cycles,
            lower_bound: record.lower_bound,
            gap: record.gap,
            compress_first_cycles: record.compress_first_cycles,
            predicted_distortion: record.predicted_distortion,
            measured: record.measured,
        }
    }
}

/// Everything about a compilation.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name of the model.
    pub model: String,
    /// Name of the device.
    pub device: String,
    /// Width of weights: `8`, `4` or `given`.
    pub weights: String,
    /// Frames back to back, measured in the simulator.
    pub cycles_per_inference: u64,
    /// First beat in to last beat out, measured in the simulator.
    pub latency_cycles: u64,
    /// Clock of the time figures in MHz.
    pub clock_mhz: f64,
    /// Inferences a second at that clock.
    pub inferences_per_second: f64,
    /// Hardware multipliers of the processing elements.
    pub multipliers: u64,
    /// Products that they form in a cycle at most.
    pub products_per_cycle: u64,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
    /// `macs / (cycles_per_inference * products_per_cycle)`, without the multiply-accumulates that
    /// a pattern of zeros saves.
    pub efficiency: f64,
    /// Estimated parts of the device.
    pub resources: Resources,
    /// The same beside what there is.
    pub budgets: Vec<Budget>,
    /// True if the circuit is estimated to fit the device.
    pub fits: bool,
    /// What the user should know.
    #[serde(serialize_with = "objects")]
    pub warnings: Vec<Diagnostic>,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Share of weights that are 0.
    pub sparsity: f64,
    /// Multiply-accumulates whose weight is not 0.
    pub macs_kept: u64,
    /// Multiply-accumulates of the model as it came, in layers whose weights are trained.
    pub model_macs: u64,
    /// How settings and foldings were chosen, with `--weights auto`.
    pub codesign: Option<Choice>,
    /// How layers' shares of weights were chosen, if they were pruned.
    pub pruning: Option<Pruned>,
    /// What was made of deformable layers, if there are any.
    pub deform: Option<Reshaping>,
    /// Channels that were given up, step by step.
    pub channels: Vec<Step>,
    /// Operators that run on the host.
    pub host_ops: Vec<String>,
    /// Files written, relative to the directory.
    pub files: Vec<String>,
    /// Comparison of interpreter, cpu and wasm; null if it was skipped.
    pub verify: Option<Agreement>,
    /// Accuracy on the evaluation window; null without a task or if it was skipped.
    pub accuracy: Option<Accuracy>,
    /// How much faster `--weights auto` may be on the same device, where it was not asked.
    pub faster: Option<Faster>,
    /// Stages of the circuit.
    pub layers: Vec<StageSummary>,
    /// What the memory of each layer is made of.
    pub memory: Vec<LayerMemory>,
    /// What comes from the memory on the board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
    /// Modules of the circuit: those of the stages, and the forks, queues and converters between.
    pub modules: Vec<Module>,
    /// Wall-clock seconds.
    pub compile_seconds: f64,
}

fn objects<S: Serializer>(warnings: &[Diagnostic], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(object))
}

/// The stages of a fitted core.
pub fn layers(core: &Graph, fitted: &Fitted) -> Vec<StageSummary> {
    let network = &fitted.network;
    let bottleneck = network.bottleneck().max(1);
    let kernels = network.kernels.iter().filter(|own| !matches!(own.kernel, Kernel::Input | Kernel::Reshape));
    kernels
        .map(|kernel| {
            let node = core.node(kernel.node);
            StageSummary {
                name: node.name.clone(),
                operator: node.op.name(),
                shape: node.ty.shape.clone(),
                weight_bits: weights_of(core, kernel.node).map(lutweave_hw::elaborate::weight_bits),
                pattern: kernel.pattern().map(|pattern| pattern.to_string()),
                taps: kernel.folding.map(|folding| match folding.parallel {
                    ParallelTaps::One => "one",
                    ParallelTaps::Row => "row",
                    ParallelTaps::All => "all",
                }),
                lanes: kernel.lanes[0],
                outputs: kernel.folding.map(|folding| folding.outputs),
                line_buffer_rows: kernel.rows(),
                macs: core.macs(kernel.node),
                multipliers: kernel.multipliers,
                cycles: kernel.interval,
                share: kernel.interval as f64 / bottleneck as f64,
            }
        })
        .collect()
}

/// The modules of a fitted core.
pub fn modules(fitted: &Fitted, device: &Device) -> Vec<Module> {
    let (modules, device) = (fitted.design.modules.iter(), &fitted.device(device));
    modules
        .map(|module| {
            let Resources { lut, ff, dsp, bram, .. } = estimate_module(module, device);
            Module { name: module.name.clone(), lut, ff, dsp, bram: bram as f64 / device.family.bram_per_tile as f64 }
        })
        .collect()
}

/// Products that a network's processing elements form in an inference.
pub fn products(core: &Graph, network: &Network) -> u64 {
    network.kernels.iter().map(|kernel| NofM::share(kernel.pattern(), core.macs(kernel.node))).sum()
}

/// Multiply-accumulates whose weight is not 0.
pub fn macs_kept(core: &Graph, network: &Network) -> u64 {
    let kernels = network.kernels.iter().filter_map(|kernel| Some((kernel, weights_of(core, kernel.node)?)));
    kernels
        .map(|(kernel, weights)| {
            let positions = core.macs(kernel.node) / (weights.len() as u64).max(1);
            weights.iter().filter(|&&weight| weight != 0).count() as u64 * positions
        })
        .sum()
}

/// Bytes of all weights as the circuit stores them, indices of patterns included, and the share of
/// weights that is 0.
pub fn weights(core: &Graph, network: &Network) -> (u64, f64) {
    let mut bits = 0u64;
    let mut count = 0u64;
    let mut zeros = 0u64;
    for kernel in &network.kernels {
        let Some(values) = weights_of(core, kernel.node) else { continue };
        let width = lutweave_hw::elaborate::weight_bits(values);
        bits += NofM::stored_bits(kernel.pattern(), values.len() as u64, width);
        count += values.len() as u64;
        zeros += values.iter().filter(|&&value| value == 0).count() as u64;
    }
    (bits.div_ceil(8), zeros as f64 / count.max(1) as f64)
}

/// The weights of a convolution.
fn weights_of(core: &Graph, node: NodeId) -> Option<&[i32]> {
    match core.node(node).op {
        Op::QConv(_) | Op::QDeformConv(_) => Some(core.constant_of(core.node(node).operands[1])?.ints()),
        _ => None,
    }
}
