//! The quantization of every value on the chip: given by the model, taken over from a neighbour,
//! or to be calibrated.

use super::fuse::Fusion;
use super::normalise::Model;
use super::place::Place;
use lutweave_ir::{Diagnostic, Diagnostics, Element, NodeId, Op, Quantization};

/// Element and quantization of an integer value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    /// Element type, at most 8 bits.
    pub element: Element,
    /// Scale and zero point.
    pub quantization: Quantization,
}

impl Grid {
    /// Smallest and largest integer.
    pub fn range(&self) -> (i32, i32) {
        let (lo, hi) = self.element.range().expect("invariant: a grid's element is an integer");
        (lo as i32, hi as i32)
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
    Given(Grid),
    /// That of another value.
    Like(NodeId),
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
            origins[id.index()] = Some(Origin::Like(operand));
            continue;
        }
        // A value that is only moved or joined takes the quantization of where it goes.
        origins[id.index()] = Some(match readers[id.index()][..] {
            [reader] if model.places[reader.index()] == Place::Chip => {
                wanted(model, &fixed, &readers, reader).unwrap_or(Origin::Calibrated(id))
            }
            _ => Origin::Calibrated(id),
        });
    }
    Ok(origins)
}

/// The quantization that a reader imposes on a value that it only moves or joins.
fn wanted(model: &Model, fixed: &[Option<Grid>], readers: &[Vec<NodeId>], reader: NodeId) -> Option<Origin> {
    let joins = matches!(model.graph.node(reader).op, Op::Concat { .. });
    if !joins && follows(model, reader).is_none() && !matches!(model.graph.node(reader).op, Op::Quantize { .. }) {
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

/// For every node the demanded nodes that read its value.
fn readers(model: &Model, fusion: &Fusion) -> Vec<Vec<NodeId>> {
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
    readers
}

/// The operand whose quantization the node's result always has.
pub(super) fn follows(model: &Model, id: NodeId) -> Option<NodeId> {
    let node = model.graph.node(id);
    match &node.op {
        Op::MaxPool(_)
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Resize { .. }
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Dequantize => Some(node.operands[0]),
        Op::Conv(_) if model.layers.get(&id).is_some_and(|layer| layer.moves) => Some(node.operands[0]),
        _ => None,
    }
}

/// The quantizations that the model itself determines.
fn fixed(model: &Model, fusion: &Fusion, readers: &[Vec<NodeId>]) -> Result<Vec<Option<Grid>>, Diagnostics> {
    let mut fixed: Vec<Option<Grid>> = vec![None; model.graph.nodes().len()];
    let mut faults = Vec::new();
    for id in model.graph.ids().filter(|id| fusion.demanded[id.index()]) {
        let node = model.graph.node(id);
        if model.is_constant(id) || model.places[id.index()] == Place::Epilogue {
            continue;
        }
        fixed[id.index()] = match &node.op {
            Op::Quantize { element, quantization } => Some(Grid { element: *element, quantization: *quantization }),
            Op::Input if model.is_int(id) => {
                let grid = node.ty.quantization.map(|quantization| Grid { element: node.ty.element, quantization });
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
            Op::Concat { .. } => {
                let operands: Vec<_> = model.inputs_of(id).iter().map(|operand| fixed[operand.index()]).collect();
                let same = operands.iter().all(|grid| *grid == operands[0]);
                asked(model, &readers[id.index()]).or(if same { operands[0] } else { None })
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
fn asked(model: &Model, readers: &[NodeId]) -> Option<Grid> {
    readers.iter().find_map(|reader| match model.graph.node(*reader).op {
        Op::Quantize { element, quantization } if model.places[reader.index()] == Place::Chip => {
            Some(Grid { element, quantization })
        }
        _ => None,
    })
}
