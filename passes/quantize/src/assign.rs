//! The quantization of every value on the chip: given by the model, taken over from a neighbour,
//! or to be calibrated.

use super::fuse::Fusion;
use super::normalise::Model;
use super::place::Place;
use super::range::signed_grid;
use lutweave_ir::op::{Binary, Pad, Quantize};
use lutweave_ir::{Diagnostic, Diagnostics, Element, NodeId, Op, Quantization};

/// Element and quantization of an integer value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QuantParams {
    /// Element type, at most 8 bits.
    pub element: Element,
    /// Scale and zero point.
    pub quantization: Quantization,
}

impl QuantParams {
    /// Smallest and largest integer.
    pub fn range(&self) -> (i32, i32) {
        let (lo, hi) = self.element.range().expect("invariant: a grid's element is an integer");
        (lo as i32, hi as i32)
    }

    /// This grid if its range holds a real, otherwise one whose range does.
    pub fn with(&self, real: f32) -> Self {
        let (lo, hi) = self.range();
        let [lo, hi] = [lo, hi].map(|bound| self.quantization.dequantize(bound));
        if (lo..=hi).contains(&real) { *self } else { signed_grid(lo.min(real), hi.max(real)) }
    }

    /// Largest magnitude in steps.
    pub fn steps(&self) -> f64 {
        let (lo, hi) = self.range();
        f64::from((self.quantization.zero_point - lo).max(hi - self.quantization.zero_point))
    }

    /// The integer nearest to a real.
    pub fn quantize(&self, real: f32) -> i32 {
        let (lo, hi) = self.range();
        self.quantization.quantize(real, lo, hi)
    }
}

/// Where a value's quantization comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Origin {
    /// The model says so.
    Given(QuantParams),
    /// That of another value.
    SameAs(NodeId),
    /// From the observed range of a value.
    Calibrated(NodeId),
}

/// The origin of the quantization of every demanded value that the chip computes or reads.
///
/// # Errors
/// Integer values of which the model does not say what they stand for.
pub(super) fn assign(model: &Model, fusion: &Fusion) -> Result<Vec<Option<Origin>>, Diagnostics> {
    let readers = readers(model, fusion);
    let fixed = fixed(model, fusion, &readers)?;
    let mut origins: Vec<Option<Origin>> = vec![None; model.graph.nodes().len()];
    for id in model.graph.ids().rev() {
        if !fusion.demanded[id.index()] || model.is_constant(id) || model.places[id.index()] == Place::Epilogue {
            continue;
        }
        if let Some(grid) = fixed[id.index()] {
            origins[id.index()] = Some(Origin::Given(grid));
            continue;
        }
        if let Some(operand) = follows(model, id) {
            origins[id.index()] = Some(Origin::SameAs(operand));
            continue;
        }
        // A value that is only moved or joined takes the quantization of where it goes.
        origins[id.index()] = Some(match readers[id.index()][..] {
            [reader] if model.places[reader.index()] == Place::Chip => wanted(model, &fixed, &readers, reader)
                .or_else(|| addend(model, fusion, &fixed, id, reader).map(Origin::Given))
                .unwrap_or(Origin::Calibrated(id)),
            _ => Origin::Calibrated(id),
        });
    }
    Ok(origins)
}

/// The quantization that a reader imposes on a value that it only moves or joins.
fn wanted(model: &Model, fixed: &[Option<QuantParams>], readers: &[Vec<NodeId>], reader: NodeId) -> Option<Origin> {
    let follows = follows(model, reader).is_some();
    let joins = !follows && matches!(model.graph.node(reader).op, Op::Concat(_) | Op::Pad(_));
    if !joins && !follows && !matches!(model.graph.node(reader).op, Op::Quantize(_)) {
        return None;
    }
    if let Some(grid) = fixed[reader.index()] {
        return Some(Origin::Given(grid));
    }
    let further = match readers[reader.index()][..] {
        [next] if next != reader && model.places[next.index()] == Place::Chip => wanted(model, fixed, readers, next),
        _ => None,
    };
    further.or(joins.then_some(Origin::Calibrated(reader)))
}

/// A grid for a value that is only added to another, where the model quantizes the other and the
/// sum but not the value: models that were trained with wide accumulators do so.
///
/// Only what does not saturate the sum has to be held. If the other operand moves in whole steps
/// of the sum, the sum's own step makes the value's rounding the only one.
fn addend(
    model: &Model,
    fusion: &Fusion,
    fixed: &[Option<QuantParams>],
    id: NodeId,
    reader: NodeId,
) -> Option<QuantParams> {
    if fusion.sources[reader.index()].is_some() {
        return None;
    }
    let sum = model.graph.node(fusion.root(reader));
    let negative = match sum.op {
        Op::Binary(Binary::Add) => [false, false],
        Op::Binary(Binary::Sub) => [false, true],
        _ => return None,
    };
    let position = sum.operands.iter().position(|&operand| operand == id)?;
    let other = fixed[sum.operands[1 - position].index()]?;
    let grid = fixed[reader.index()]?;
    let bounds = fusion.clamps[reader.index()].map_or((f32::NEG_INFINITY, f32::INFINITY), |c| (c.lo, c.hi));
    let reals = |grid: &QuantParams| {
        let (lo, hi) = grid.range();
        (grid.quantization.dequantize(lo), grid.quantization.dequantize(hi))
    };
    let signed = |(lo, hi): (f32, f32), negative: bool| if negative { (-hi, -lo) } else { (lo, hi) };
    let (lo, hi) = reals(&grid);
    let (other_lo, other_hi) = signed(reals(&other), negative[1 - position]);
    let useful = (lo.max(bounds.0) - other_hi, hi.min(bounds.1) - other_lo);
    let (lo, hi) = signed(useful, negative[position]);
    if lo.is_nan() || hi.is_nan() || lo >= hi {
        return None;
    }
    let step = grid.quantization.scale;
    let ratio = other.quantization.scale / step;
    let whole = ratio.round() >= 1.0 && (ratio - ratio.round()).abs() < 1e-6 * ratio;
    let (least, most) = ((lo / step).round(), (hi / step).round());
    if whole && most - least <= 255.0 && least <= 0.0 && most >= 0.0 {
        let zero_point = -128 - least as i32;
        return Some(QuantParams { element: Element::I8, quantization: Quantization { scale: step, zero_point } });
    }
    // A whole fraction of the sum's step, so that exact results stay exact.
    let finest = (hi.max(0.0) - lo.min(0.0)) / 255.0;
    let fraction = (step / finest).floor();
    if fraction < 4.0 || !fraction.is_finite() {
        return None;
    }
    let scale = step / fraction;
    let zero_point = (-128.0 - lo.min(0.0) / scale).ceil().clamp(-128.0, 127.0) as i32;
    Some(QuantParams { element: Element::I8, quantization: Quantization { scale, zero_point } })
}

/// For every node the demanded nodes that read its value.
pub(super) fn readers(model: &Model, fusion: &Fusion) -> Vec<Vec<NodeId>> {
    let mut readers = vec![Vec::new(); model.graph.nodes().len()];
    for id in model.graph.ids().filter(|id| fusion.demanded[id.index()]) {
        let reads = match model.places[id.index()] {
            Place::Chip => fusion.reads(model, id),
            Place::Nowhere | Place::Prologue | Place::Epilogue => model.inputs_of(id),
        };
        for read in reads {
            readers[read.index()].push(id);
        }
    }
    // An output is read by the host.
    for output in model.graph.outputs() {
        readers[output.index()].push(*output);
    }
    // Who reads a value twice reads it all the same.
    readers.iter_mut().for_each(Vec::dedup);
    readers
}

/// What pads a value before a maximum, or less.
const LOWEST: f32 = -1e30;

/// The operand whose quantization the node's result always has.
pub(super) fn follows(model: &Model, id: NodeId) -> Option<NodeId> {
    let node = model.graph.node(id);
    let Op::Concat(_) = node.op else { return moves(model, id) };
    // Cuts of one value, and maxima of it, keep its quantization when they are joined.
    let first = *node.operands.first()?;
    let source = source(model, first);
    node.operands.iter().all(|&operand| self::source(model, operand) == source).then_some(first)
}

/// The value of which a value is a part, or in another order.
fn source(model: &Model, mut id: NodeId) -> NodeId {
    while let Some(operand) = moves(model, id) {
        id = operand;
    }
    id
}

/// The operand of a node that only moves or chooses elements.
fn moves(model: &Model, id: NodeId) -> Option<NodeId> {
    let node = model.graph.node(id);
    match &node.op {
        Op::MaxPool(_)
        | Op::Slice(_)
        | Op::Select(_)
        | Op::Resize(_)
        | Op::Transpose(_)
        | Op::Reshape(_)
        | Op::Dequantize(_) => Some(node.operands[0]),
        // Every quantization holds 0. Other constants are joined to the values, and need a range of
        // both; below all values, before a maximum, they only have to be the least.
        // Integers are padded with an integer of their own.
        Op::Pad(_) if model.is_int(id) => Some(node.operands[0]),
        Op::Pad(Pad { value, .. }) if *value == 0.0 || *value <= LOWEST => Some(node.operands[0]),
        _ => None,
    }
}

/// The quantizations that the model itself determines.
fn fixed(model: &Model, fusion: &Fusion, readers: &[Vec<NodeId>]) -> Result<Vec<Option<QuantParams>>, Diagnostics> {
    let mut fixed: Vec<Option<QuantParams>> = vec![None; model.graph.nodes().len()];
    let mut faults = Vec::new();
    for id in model.graph.ids().filter(|id| fusion.demanded[id.index()]) {
        let node = model.graph.node(id);
        if model.is_constant(id) || model.places[id.index()] == Place::Epilogue {
            continue;
        }
        fixed[id.index()] = match &node.op {
            Op::Quantize(Quantize { element, quantization }) => {
                Some(QuantParams { element: *element, quantization: *quantization })
            }
            Op::Input if model.is_int(id) => {
                let grid =
                    node.ty.quantization.map(|quantization| QuantParams { element: node.ty.element, quantization });
                if grid.is_none() {
                    faults.push(
                        Diagnostic::error("unknown-scale", "the model does not say what these integers stand for")
                            .at(&node.name)
                            .operator(node.op.name())
                            .help("an integer input has to be dequantized by the model"),
                    );
                }
                grid
            }
            Op::Concat(_) => {
                let operands: Vec<_> = model.inputs_of(id).iter().map(|operand| fixed[operand.index()]).collect();
                let same = operands.iter().all(|grid| *grid == operands[0]);
                asked(model, &readers[id.index()]).or(if same { operands[0] } else { None })
            }
            Op::Pad(Pad { value, .. }) if follows(model, id).is_none() => {
                let operand = fixed[node.operands[0].index()];
                asked(model, &readers[id.index()]).or(operand.map(|grid| grid.with(*value)))
            }
            _ => match follows(model, id) {
                Some(operand) => fixed[operand.index()],
                None => asked(model, &readers[id.index()]),
            },
        };
    }
    if faults.is_empty() { Ok(fixed) } else { Err(Diagnostics(faults)) }
}

/// The first quantization that the model applies to a value.
fn asked(model: &Model, readers: &[NodeId]) -> Option<QuantParams> {
    readers.iter().find_map(|reader| match model.graph.node(*reader).op {
        Op::Quantize(Quantize { element, quantization }) if model.places[reader.index()] == Place::Chip => {
            Some(QuantParams { element, quantization })
        }
        _ => None,
    })
}
