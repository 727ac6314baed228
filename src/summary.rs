//! The figures of a compiled model, as `compile --json`, the table and the report show them.

use lutweave_hw::cost::Resources;
use lutweave_hw::fit::Fitted;
use lutweave_hw::kernel::Kernel;
use lutweave_hw::rtl::ParallelTaps;
use lutweave_ir::{Graph, Op};
use serde::Serialize;

/// One stage of the circuit.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Name of the node.
    pub name: String,
    /// Operator.
    pub operator: &'static str,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Width of the weights, where there are any.
    pub weight_bits: Option<u32>,
    /// Taps of a window read at once: `one`, `row` or `all`.
    pub taps: Option<&'static str>,
    /// Channels read at once (SIMD).
    pub lanes: u32,
    /// Outputs computed at once (PE).
    pub outputs: Option<u32>,
    /// Multiply-accumulates of a frame.
    pub macs: u64,
    /// Hardware multipliers of its processing elements.
    pub multipliers: u32,
    /// Cycles that a frame keeps it busy.
    pub cycles: u64,
    /// Its cycles as a share of the slowest stage's.
    pub share: f64,
}

/// Accuracy of a model and of what was made of it.
#[derive(Clone, Debug, Serialize)]
pub struct Accuracy {
    /// Name of the metric.
    pub metric: &'static str,
    /// The model as it came.
    pub float: f64,
    /// The integer graph.
    pub integer: f64,
    /// Samples of the evaluation window that were judged.
    pub samples: usize,
}

/// How the executors compared.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Samples.
    pub samples: usize,
    /// True if every output element of every executor is equal.
    pub agree: bool,
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
    /// `macs / (cycles_per_inference * products_per_cycle)`.
    pub efficiency: f64,
    /// Estimated parts of the device.
    pub resources: Resources,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Share of weights that are 0.
    pub sparsity: f64,
    /// Operators that run on the host.
    pub host_ops: Vec<String>,
    /// Files written, relative to the directory.
    pub files: Vec<String>,
    /// Comparison of interpreter, cpu and wasm; null if it was skipped.
    pub verify: Option<Agreement>,
    /// Accuracy on the evaluation window; null without a task or if it was skipped.
    pub accuracy: Option<Accuracy>,
    /// Stages of the circuit.
    pub layers: Vec<Layer>,
    /// Wall-clock seconds.
    pub compile_seconds: f64,
}

/// The stages of a fitted core.
pub fn layers(core: &Graph, fitted: &Fitted) -> Vec<Layer> {
    let bottleneck = fitted.plan.bottleneck().max(1);
    let stages = fitted.plan.stages.iter().filter(|stage| !matches!(stage.kernel, Kernel::Input | Kernel::Reshape));
    stages
        .map(|stage| {
            let node = core.node(stage.node);
            let weights = match node.op {
                Op::QConv(_) => core.constant_of(node.operands[1]),
                _ => None,
            };
            Layer {
                name: node.name.clone(),
                operator: node.op.name(),
                shape: node.ty.shape.clone(),
                weight_bits: weights.map(|weights| lutweave_hw::elaborate::weight_bits(weights.ints())),
                taps: stage.folding.map(|folding| match folding.parallel {
                    ParallelTaps::One => "one",
                    ParallelTaps::Row => "row",
                    ParallelTaps::All => "all",
                }),
                lanes: stage.input_lanes.first().copied().unwrap_or(stage.output_lanes),
                outputs: stage.folding.map(|folding| folding.outputs),
                macs: stage.macs,
                multipliers: stage.multipliers,
                cycles: stage.cycles,
                share: stage.cycles as f64 / bottleneck as f64,
            }
        })
        .collect()
}

/// Bytes of all weights in their widths, and the share of them that is 0.
pub fn weights(core: &Graph) -> (u64, f64) {
    let mut bits = 0u64;
    let mut count = 0u64;
    let mut zeros = 0u64;
    for node in core.nodes() {
        let Op::QConv(_) = node.op else { continue };
        let Some(weights) = core.constant_of(node.operands[1]) else { continue };
        let values = weights.ints();
        bits += values.len() as u64 * u64::from(lutweave_hw::elaborate::weight_bits(values));
        count += values.len() as u64;
        zeros += values.iter().filter(|&&value| value == 0).count() as u64;
    }
    (bits.div_ceil(8), zeros as f64 / count.max(1) as f64)
}
