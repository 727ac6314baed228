//! Plan: how every node of a core graph is folded, and how deep the queues between them are.

mod fold;
mod slack;

pub use fold::{Choice, choices, divisors, gcd};

use crate::block::window::Folding;
use crate::kernel::{Kernel, elements, kernel_of};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId};

/// How one node becomes a circuit.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The node.
    pub node: NodeId,
    /// What it is to the hardware.
    pub kernel: Kernel,
    /// Folding of a window kernel.
    pub folding: Option<Folding>,
    /// Lanes of each operand stream (weights and biases have none).
    pub input_lanes: Vec<u32>,
    /// Lanes of the result stream.
    pub output_lanes: u32,
    /// Cycles that a frame keeps it busy.
    pub cycles: u64,
    /// Hardware multipliers of its processing elements.
    pub multipliers: u32,
    /// Multiply-accumulates of a frame.
    pub macs: u64,
    /// For each operand, elements of extra queue that keep this join from stalling the longer
    /// path.
    pub slack: Vec<u64>,
}

/// A folded graph. Stages are in graph order; constants have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One per node that is a circuit.
    pub stages: Vec<Stage>,
    /// Width of the wider operand of the device's multipliers.
    pub multiplier_width: u32,
}

/// What a plan may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most multipliers of processing elements.
    pub multipliers: u32,
    /// Width of the wider operand of the device's multipliers.
    pub multiplier_width: u32,
}

impl Plan {
    /// The stage of a node.
    pub fn stage(&self, node: NodeId) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.node == node)
    }

    /// Cycles of the slowest stage: a lower bound on the cycles of an inference.
    pub fn bottleneck(&self) -> u64 {
        self.stages.iter().map(|stage| stage.cycles).max().unwrap_or(0)
    }

    /// Multipliers of all processing elements.
    pub fn multipliers(&self) -> u64 {
        self.stages.iter().map(|stage| u64::from(stage.multipliers)).sum()
    }

    /// Multiply-accumulates of an inference.
    pub fn macs(&self) -> u64 {
        self.stages.iter().map(|stage| stage.macs).sum()
    }
}

/// Fewest multipliers that the core of a graph can be built with: one a convolution.
pub fn fewest_multipliers(graph: &Graph) -> u32 {
    graph.ids().filter(|&id| matches!(kernel_of(graph, id), Ok(Kernel::Convolution { .. }))).count() as u32
}

/// Folds a core graph so that its slowest stage is as fast as the multipliers allow, and no
/// stage has more multipliers than that speed needs.
///
/// # Errors
/// Every node that has no hardware; or a budget below one multiplier a convolution.
pub fn plan(graph: &Graph, budget: Budget) -> Result<Plan, Diagnostics> {
    let mut faults = Vec::new();
    let mut kernels = Vec::new();
    for id in graph.ids() {
        match kernel_of(graph, id) {
            Ok(Kernel::Constant) => {}
            Ok(kernel) => kernels.push((id, kernel)),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults));
    }
    let tables: Vec<Vec<Choice>> =
        kernels.iter().map(|(id, kernel)| choices(graph, *id, kernel, budget.multiplier_width)).collect();
    let fewest: u64 =
        tables.iter().filter_map(|table| table.iter().map(|choice| u64::from(choice.multipliers)).min()).sum();
    if fewest > u64::from(budget.multipliers) {
        return Err(Diagnostic::error(
            "too-few-multipliers",
            format!(
                "the model needs at least {fewest} multipliers, one a convolution; {} are allowed",
                budget.multipliers
            ),
        )
        .help(format!("allow {fewest} multipliers or choose a larger device"))
        .into());
    }

    // The fewest cycles whose cheapest choices fit the budget.
    let mut targets: Vec<u64> = tables.iter().flatten().map(|choice| choice.cycles).collect();
    targets.sort_unstable();
    targets.dedup();
    let select = |target: u64| -> Option<Vec<&Choice>> {
        let chosen: Vec<&Choice> = tables.iter().map(|table| fold::cheapest(table, target)).collect::<Option<_>>()?;
        let used: u64 = chosen.iter().map(|choice| u64::from(choice.multipliers)).sum();
        (used <= u64::from(budget.multipliers)).then_some(chosen)
    };
    let first_feasible = targets.partition_point(|&target| select(target).is_none());
    let target = targets.get(first_feasible).copied().unwrap_or(0);
    let chosen = select(target).unwrap_or_default();

    let mut stages: Vec<Stage> = Vec::with_capacity(kernels.len());
    for ((id, kernel), choice) in kernels.iter().zip(chosen) {
        let node = graph.node(*id);
        let producer = node.operands.first().and_then(|operand| stages.iter().find(|stage| stage.node == *operand));
        let producer_lanes = producer.map(|stage| stage.output_lanes);
        let table = &tables[stages.len()];
        let choice = fold::aligned(table, choice, target, producer_lanes);
        let output_lanes = if *kernel == Kernel::Reshape { producer_lanes.unwrap_or(1) } else { choice.output_lanes };
        let streams = match kernel {
            Kernel::Input | Kernel::Constant => 0,
            Kernel::Convolution { .. } => 1,
            _ => node.operands.len(),
        };
        let lanes = if *kernel == Kernel::Reshape { output_lanes } else { choice.input_lanes };
        let types: Vec<_> = node.operands.iter().map(|&operand| &graph.node(operand).ty).collect();
        stages.push(Stage {
            node: *id,
            kernel: kernel.clone(),
            folding: choice.folding,
            input_lanes: vec![lanes; streams],
            output_lanes,
            cycles: if *kernel == Kernel::Reshape { 0 } else { choice.cycles },
            multipliers: choice.multipliers,
            macs: node.op.macs(&node.ty, &types),
            slack: vec![0; streams],
        });
    }
    slack::assign(graph, &mut stages);
    debug_assert!(stages.iter().all(|stage| stage.cycles <= target || elements(graph.node(stage.node)) == 0));
    Ok(Plan { stages, multiplier_width: budget.multiplier_width })
}
