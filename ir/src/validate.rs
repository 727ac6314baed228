//! The validator, run between all passes.
//!
//! Promise: a backend that is given a graph for which [`validate`] returns `Ok` may refuse it
//! with a diagnostic, but does not panic, and its integer arithmetic never leaves 32 bits before
//! the multiplication of a requantization.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{Graph, Node, NodeId};
use crate::interpret::check_value;
use crate::op::{Op, QDeformConv, shape};
use crate::range;
use std::collections::HashSet;

/// Weights of integer convolutions have at most this many bits, sign included.
pub const MAX_WEIGHT_BITS: u8 = 9;

/// Most elements of a value that is computed: 8 channels of 1080 rows and 1920 columns.
pub const MAX_VALUE: usize = 1 << 24;

/// Most elements of all values that are computed.
pub const MAX_VALUES: usize = 1 << 27;

/// Checks everything that the graph's builder could not, and again what it could.
///
/// # Errors
/// All faults: operands out of order, types that inference does not give, values outside their
/// element type, weights that are no constants or too wide, offsets that may be out of reach,
/// accumulators that leave 32 bits,
/// quantization parameters at odds with the arithmetic, missing outputs, values that are too large to
/// be computed.
pub fn validate(graph: &Graph) -> Result<(), Diagnostics> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    let mut inputs = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        if !names.insert(&node.name) {
            faults.push(fault(node, "invalid-graph", "another node has the same name".to_owned()));
        }
        if matches!(node.op, Op::Input) {
            inputs.push(id);
        }
        if let Err(message) = check_node(graph, id) {
            faults.push(fault(node, "invalid-graph", message));
        }
    }
    if faults.is_empty() {
        faults.extend(check_sizes(graph).err());
    }
    if inputs != graph.inputs() {
        faults.push(
            Diagnostic::error("invalid-graph", "the list of inputs is not that of the input nodes").at(&graph.name),
        );
    }
    if graph.outputs().is_empty() {
        faults.push(Diagnostic::error("invalid-graph", "the graph has no outputs").at(&graph.name));
    }
    if let Some(output) = graph.outputs().iter().find(|output| output.index() >= graph.nodes().len()) {
        faults.push(Diagnostic::error("invalid-graph", format!("output {output} does not exist")).at(&graph.name));
    }
    // Range analysis reads constants, so it runs only once they are known to match their types.
    if faults.is_empty() {
        faults.extend(graph.ids().filter_map(|id| check_arithmetic(graph, id).err()));
    }
    if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
}

/// Refuses values of more than [`MAX_VALUE`] elements, or of more than [`MAX_VALUES`] together.
fn check_sizes(graph: &Graph) -> Result<(), Diagnostic> {
    let help = "export the model with smaller inputs";
    let mut total = 0usize;
    let computed = |node: &&Node| !matches!(node.op, Op::Constant(_) | Op::DequantizeWeights(_));
    for node in graph.nodes().iter().filter(computed) {
        let count = node.ty.count();
        total = total.saturating_add(count);
        if count > MAX_VALUE || total > MAX_VALUES {
            let message = format!(
                "its value has {count} elements and the values up to it {total}, of which at most {MAX_VALUE} and \
                 {MAX_VALUES} are computed"
            );
            return Err(fault(node, "too-large", message).help(help));
        }
    }
    Ok(())
}

fn fault(node: &Node, code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(code, message).at(&node.name).operator(node.op.name())
}

fn check_node(graph: &Graph, id: NodeId) -> Result<(), String> {
    let node = graph.node(id);
    shape::check_type(&node.ty)?;
    if let Some(operand) = node.operands.iter().find(|operand| **operand >= id) {
        return Err(format!("operand {operand} does not come before the node"));
    }
    match &node.op {
        Op::Input | Op::Constant(_) if !node.operands.is_empty() => Err(format!("`{}` has operands", node.op.name())),
        Op::Input => Ok(()),
        Op::Constant(value) => check_value(&node.ty, value),
        _ => {
            check_inferred(graph, node)?;
            check_quantization(node)
        }
    }
}

/// The stated type is the inferred one; where inference knows quantization parameters, they
/// agree too.
fn check_inferred(graph: &Graph, node: &Node) -> Result<(), String> {
    let inferred = node.op.infer(&graph.types(&node.operands))?;
    let quantization_known = inferred.quantization.is_some();
    if inferred.shape != node.ty.shape
        || inferred.element != node.ty.element
        || (quantization_known && inferred.quantization != node.ty.quantization)
    {
        return Err(format!("stated type {} is not the inferred {inferred}", node.ty));
    }
    Ok(())
}

/// The zero point that the arithmetic adds is the one that the type states.
fn check_quantization(node: &Node) -> Result<(), String> {
    let Some(added) = node.op.zero_point() else { return Ok(()) };
    match node.ty.quantization {
        Some(stated) if added != stated.zero_point => {
            Err(format!("the requantization adds zero point {added}, but the type states {}", stated.zero_point))
        }
        Some(_) | None => Ok(()),
    }
}

/// Weights and bias of integer convolutions are constants of few bits, offsets lie within reach,
/// and no partial sum leaves 32 bits, for any input.
fn check_arithmetic(graph: &Graph, id: NodeId) -> Result<(), Diagnostic> {
    let node = graph.node(id);
    let Some((mut lo, mut hi)) = range::summed(graph, id) else { return Ok(()) };
    if matches!(node.op, Op::QConv(_) | Op::QDeformConv(_)) {
        check_weights(graph, node).map_err(|message| fault(node, "invalid-graph", message))?;
    }
    if let Op::QDeformConv(conv) = &node.op {
        check_offsets(graph, node, conv)?;
    }
    if let Op::QAdd(add) = &node.op {
        // A sum that is not shifted meets the zero point at full width.
        let zero_point = i64::from(add.zero_point);
        (lo, hi) = (lo.min((lo >> add.shift) + zero_point), hi.max((hi >> add.shift) + zero_point));
    }
    if lo < i64::from(i32::MIN) || hi > i64::from(i32::MAX) {
        let message = format!("the accumulator can reach {lo} to {hi}, which leaves 32 bits");
        let help = "split the node into a sum of smaller ones, or use smaller weights or scales";
        return Err(fault(node, "accumulator-overflow", message).help(help));
    }
    Ok(())
}

/// The offsets cannot leave what the node says that they reach.
fn check_offsets(graph: &Graph, node: &Node, conv: &QDeformConv) -> Result<(), Diagnostic> {
    let (least, most) = conv.offset_range();
    match range::value_range(graph, node.operands[3]) {
        Some((lo, hi)) if lo < least || hi > most => {
            let message = format!("the offsets can be {lo} to {hi}, but must lie in {least} to {most}");
            let help = "clamp what computes the offsets, or raise the reach";
            Err(fault(node, "offset-out-of-reach", message).help(help))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_weights(graph: &Graph, node: &Node) -> Result<(), String> {
    let weights = graph.constant_of(node.operands[1]).ok_or("the weights are not a constant")?;
    graph.constant_of(node.operands[2]).ok_or("the bias is not a constant")?;
    let limit = 1 << (MAX_WEIGHT_BITS - 1);
    match weights.ints().iter().find(|&&w| !(-limit..limit).contains(&w)) {
        None => Ok(()),
        Some(w) => Err(format!("weight {w} has more than {MAX_WEIGHT_BITS} bits")),
    }
}
