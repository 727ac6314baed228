//! Choices of stages, and the dataflow network that follows from them.

use super::fold::{Fold, Styles, folds};
use super::form::WeightForm;
use super::price::priced;
use crate::cost::{Resources, pairs_fit};
use crate::dataflow::{KernelNode, Network};
use crate::device::Device;
use crate::elaborate::lane_type;
use crate::kernel::{Kernel, kernel_of};
use crate::rtl::MemoryStyle;
use crate::rtl::engine::{Multiplier, NofM};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One way to build a stage, with its price.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// How it is folded.
    pub fold: Fold,
    /// What the stage takes of the device: its module with window memory, requantizer and output
    /// queue. Queues and converters between stages are not in it, see [`super::conversion`].
    pub resources: Resources,
}

impl Choice {
    /// Cycles that a frame keeps the stage busy.
    pub fn cycles(&self) -> u64 {
        self.fold.cycles
    }

    /// Multipliers, in hardware or in logic; one that forms two products counts once.
    pub fn multipliers(&self) -> u32 {
        self.fold.multipliers
    }

    /// The pattern of zeros that saves products.
    pub fn pattern(&self) -> Option<NofM> {
        self.fold.folding.and_then(|folding| folding.pattern)
    }

    /// What multiplies, in a stage with multipliers.
    pub fn multiplier(&self) -> Option<Multiplier> {
        self.fold.folding.filter(|_| self.fold.multipliers > 0).map(|folding| folding.multiplier)
    }

    /// Where the weights live, in a stage with multipliers.
    pub fn weight_memory(&self) -> Option<MemoryStyle> {
        self.fold.folding.filter(|_| self.fold.multipliers > 0).map(|folding| folding.weight_memory)
    }
}

/// All ways to build a node that are worth considering for a convolution whose weights have that
/// form (which may be assumed: sums are then taken to be as much wider or narrower as the weights
/// are; other kernels ignore it), fastest first. No choice is left that another one with
/// the same lanes beats or equals in cycles, multipliers and every kind of part.
pub fn options(graph: &Graph, id: NodeId, kernel: &Kernel, form: &WeightForm, device: &Device) -> Vec<Choice> {
    let mut choices = all_implementations(graph, id, kernel, form, device);
    let costs = |choice: &Choice| {
        let Resources { lut, ff, dsp, bram, uram } = choice.resources;
        [u64::from(choice.fold.multipliers), lut, ff, dsp, bram, uram]
    };
    choices.sort_by_key(|choice| (choice.fold.cycles, costs(choice)));
    let mut kept: BTreeMap<(u32, u32), Vec<Choice>> = BTreeMap::new();
    for choice in choices {
        let front = kept.entry((choice.fold.input_lanes, choice.fold.output_lanes)).or_default();
        let beaten = front.iter().any(|other| costs(other).iter().zip(costs(&choice)).all(|(a, b)| *a <= b));
        if !beaten {
            front.push(choice);
        }
    }
    let mut choices: Vec<Choice> = kept.into_values().flatten().collect();
    choices
        .sort_by_key(|choice| (choice.fold.cycles, costs(choice), choice.fold.input_lanes, choice.fold.output_lanes));
    choices
}

/// [`options`] with those that others beat.
pub fn all_implementations(
    graph: &Graph,
    id: NodeId,
    kernel: &Kernel,
    form: &WeightForm,
    device: &Device,
) -> Vec<Choice> {
    priced(graph, id, kernel, form, device, Styles::All)
}

/// The form of a convolution's weights as its kernel sees them; of other nodes, that of no
/// weights.
pub fn form_of(graph: &Graph, id: NodeId, kernel: &Kernel) -> WeightForm {
    let node = graph.node(id);
    match (kernel, &node.op) {
        (Kernel::Convolution { extent, groups }, Op::QConv(_) | Op::QDeformConv(_)) => {
            let weights = graph.constant_of(node.operands[1]).expect("invariant: weights are constant");
            let shape = [extent.output[2], extent.kernel[0], extent.kernel[1], extent.input[2] / groups];
            WeightForm::of(weights.ints(), &shape.map(|extent| extent as usize), *groups as usize)
        }
        _ => WeightForm::dense(0),
    }
}

/// The kernels of a core graph, constants left out.
///
/// # Errors
/// Every node that has no hardware.
pub fn kernels(graph: &Graph) -> Result<Vec<(NodeId, Kernel)>, Diagnostics> {
    let mut faults = Vec::new();
    let mut kernels = Vec::new();
    for id in graph.ids() {
        match kernel_of(graph, id) {
            Ok(Kernel::Constant) => {}
            Ok(kernel) => kernels.push((id, kernel)),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() && kernels.len() > MAX_STAGES {
        let message = format!("the circuit would have {} stages; at most {MAX_STAGES} are built", kernels.len());
        let fault = Diagnostic::error("too-large", message).at(&graph.name);
        faults.push(fault.help("cut the model into parts, and compile each"));
    }
    if faults.is_empty() { Ok(kernels) } else { Err(Diagnostics(faults)) }
}

/// Most stages of a circuit: each is a module, and no device holds more.
const MAX_STAGES: usize = 2048;

/// The network in which every stage is built as chosen. Reshapes need no choice: they keep the lanes
/// of their operand.
///
/// # Errors
/// Nodes without hardware, stages without a choice, and choices that the graph's weights, shapes
/// or the device's multipliers do not allow.
pub fn assemble(graph: &Graph, choices: &BTreeMap<NodeId, Choice>, device: &Device) -> Result<Network, Diagnostics> {
    let kernels = kernels(graph)?;
    let mut faults = Vec::new();
    for (id, kernel) in &kernels {
        let node = graph.node(*id);
        let fault =
            |message: String| Diagnostic::error("choice-not-possible", message).at(&node.name).operator(node.op.name());
        let help = "take one of the options that are listed for the node with its actual weights";
        match choices.get(id) {
            _ if *kernel == Kernel::Reshape => {}
            None => faults.push(fault("no choice was made for it".to_owned()).help(help)),
            Some(choice) => {
                if let Err(reason) = check(&choice.fold, graph, *id, kernel, device) {
                    faults.push(fault(reason).help(help));
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults));
    }
    Ok(network(graph, &kernels, choices, device))
}

/// The network of choices that are known to be possible.
pub(crate) fn network(
    graph: &Graph,
    kernels: &[(NodeId, Kernel)],
    choices: &BTreeMap<NodeId, Choice>,
    device: &Device,
) -> Network {
    let mut built: Vec<KernelNode> = Vec::with_capacity(kernels.len());
    for (node, kernel) in kernels {
        let (node, kernel) = (*node, kernel.clone());
        let operands = &graph.node(node).operands;
        let producer = operands.first().and_then(|operand| built.iter().find(|other| other.node == *operand));
        let passed = producer.map_or(1, |producer| producer.lanes[1]);
        let passed =
            Fold { folding: None, input_lanes: passed, output_lanes: passed, cycles: 0, multipliers: 0, products: 0 };
        let fold = choices.get(&node).filter(|_| kernel != Kernel::Reshape).map_or(passed, |choice| choice.fold);
        let read = match kernel.streams(operands)[..] {
            [] => fold.output_lanes,
            _ => kernel.stream_lanes(0, fold.input_lanes),
        };
        built.push(KernelNode {
            node,
            kernel,
            lanes: [read, fold.output_lanes],
            interval: fold.cycles,
            latency: 0,
            multipliers: fold.multipliers,
            folding: fold.folding,
        });
    }
    Network::new(graph, built, device)
}

/// Whether the actual weights allow a fold that was perhaps listed for assumed ones.
fn check(fold: &Fold, graph: &Graph, id: NodeId, kernel: &Kernel, device: &Device) -> Result<(), String> {
    let form = form_of(graph, id, kernel);
    let plain = folds(graph, id, kernel, &WeightForm::dense(form.bits), device, Styles::Usual);
    let geometry = |fold: &Fold| {
        let window = fold.folding.map(|folding| (folding.parallel, folding.lanes, folding.outputs, folding.stream));
        (window, fold.input_lanes, fold.output_lanes, fold.cycles)
    };
    let Some(plain) = plain.into_iter().find(|plain| geometry(plain) == geometry(fold)) else {
        return Err(format!("{} in {} cycles do not fold it", describe(fold), fold.cycles));
    };
    let Some(folding) = fold.folding.filter(|_| plain.products > 0) else {
        return Ok(());
    };
    kernel.takes_folding(&folding)?;
    let paired = folding.multiplier == Multiplier::Paired;
    let element = lane_type(graph.node(graph.node(id).operands[0]).ty.element);
    let dense = !matches!(kernel, Kernel::Convolution { extent, groups } if extent.is_depthwise(*groups));
    if paired && !(dense && folding.outputs.is_multiple_of(2) && pairs_fit(element, form.bits, device)) {
        return Err(format!("weights of {} bits cannot share multipliers in pairs", form.bits));
    }
    let mut products = plain.products;
    if let Some(pattern) = folding.pattern {
        let kept = if paired { &form.pair_patterns } else { &form.patterns };
        if !dense || !kept.contains(&pattern) || !folding.lanes.is_multiple_of(u32::from(pattern.of)) {
            return Err(format!("its weights do not keep to {pattern} in words of {} lanes", folding.lanes));
        }
        products = pattern.kept_of(products);
    }
    let multipliers = products / if paired { 2 } else { 1 };
    if (fold.products, fold.multipliers) != (products, multipliers) {
        return Err(format!("{} has {multipliers} multipliers, not {}", describe(fold), fold.multipliers));
    }
    Ok(())
}

fn describe(fold: &Fold) -> String {
    let lanes = format!("{} lanes in and {} out", fold.input_lanes, fold.output_lanes);
    match fold.folding {
        None => lanes,
        Some(folding) => {
            let pattern = folding.pattern.map_or(String::new(), |pattern| format!(", pattern {pattern}"));
            format!(
                "{lanes}, {:?} taps, {} outputs, {:?} multipliers{pattern}",
                folding.parallel, folding.outputs, folding.multiplier
            )
        }
    }
}
