//! What a term costs: products, elements moved, and a penalty for transposes.

use super::term::{Term, name};
use super::typing::{EGraph, Facts};
use lutweave_ir::op::{AveragePool, MaxPool, QAveragePool, ReduceMean, Window};
use lutweave_ir::{Op, TensorType};

/// Charged for a transpose, up to three times, on top of its elements: a stream has to be stored to be reordered.
const TRANSPOSE: u64 = 1_000_000;
/// Charged for a mean over other axes than a stream's rows and columns, or its channels: the chip has none.
const STORED_MEAN: u64 = 10 * TRANSPOSE;
/// Per element of a transpose.
const TRANSPOSE_ELEMENT: u64 = 64;
/// Per element of a function that needs a table or a transcendental function.
const TABLE_ELEMENT: u64 = 4;

/// Cost of one term, without its operands. Constant expressions cost nothing: they are computed
/// once, when the graph is rebuilt; those that wait for a site's setting cost their being there.
pub fn cost(egraph: &EGraph, term: &Term) -> u64 {
    if !term.children.is_empty() && term.children.iter().all(|&child| egraph[child].data.closed) {
        return 1;
    }
    match term.name {
        name::INPUT | name::CONSTANT | name::OUTPUTS => return 0,
        name::CHANNEL_SCALE | name::CHANNEL_BIAS => return 2 * elements(egraph, term) + 2,
        _ => {}
    }
    let Some(op) = egraph.op(term) else { return 0 };
    let types: Option<Vec<&TensorType>> = term.children.iter().map(|&child| egraph.ty(child)).collect();
    let Some((types, ty)) = types.and_then(|types| op.infer(&types).ok().map(|ty| (types, ty))) else {
        return u64::from(u32::MAX);
    };
    let count = ty.count() as u64;
    let operand = types.first().map_or(0, |ty| ty.count() as u64);
    match op {
        Op::Input | Op::Constant(_) => 0,
        Op::Conv(_) | Op::DeformConv(_) | Op::QConv(_) | Op::QDeformConv(_) | Op::Dense(_) => op.macs(&ty, &types) + 1,
        Op::BatchNorm(_) => 4 * count + 1,
        Op::Unary(_) | Op::Table(_) => {
            let clamp = matches!(term.name, "relu" | "clip" | "leaky_relu");
            if clamp && follows_linear(egraph, term) {
                1 + u64::from(term.name != "relu")
            } else if clamp {
                count + u64::from(term.name != "relu")
            } else {
                TABLE_ELEMENT * count + 1
            }
        }
        Op::PRelu(_) => TABLE_ELEMENT * count + 1,
        Op::Binary(_) | Op::QAdd(_) | Op::QMul(_) => 2 * count + 1,
        Op::MaxPool(MaxPool { window })
        | Op::AveragePool(AveragePool { window, .. })
        | Op::QAveragePool(QAveragePool { window, .. }) => count * taps(window) + 1,
        Op::ReduceMean(ReduceMean { axes, .. }) => {
            let stored = types.first().is_some_and(|ty| !streams(ty, axes));
            2 * operand + 1 + if stored { STORED_MEAN } else { 0 }
        }
        Op::Concat(_) | Op::Pad(_) | Op::Resize(_) => count + 1,
        // What is cut off has to be read all the same.
        Op::Slice(_) => 2 * operand + 1,
        // A pixel is kept, so a selection is dearer than a slice.
        Op::Select(_) => 3 * operand.max(count) + 1,
        Op::Transpose(_) => TRANSPOSE * remoteness(egraph, term) + TRANSPOSE_ELEMENT * count,
        Op::Site(_) => count + 1,
        Op::Reshape(_) => remoteness(egraph, term),
        Op::Softmax(_) | Op::ArgMax(_) | Op::TopPeaks(_) => TABLE_ELEMENT * operand + 1,
        Op::QArgMax(_) => operand + 1,
        Op::Quantize(_) | Op::Dequantize(_) | Op::DequantizeWeights(_) | Op::JoinBytes(_) => count + 1,
    }
}

/// True for a mean over rows and columns, or over channels, of a value as a channels-last image.
fn streams(ty: &TensorType, axes: &[usize]) -> bool {
    let Some(outer) = 4usize.checked_sub(ty.shape.len()) else { return false };
    let mut reduced = axes.iter().filter(|&&axis| ty.shape[axis] > 1).map(|axis| axis + outer).peekable();
    let channels = reduced.peek() == Some(&3);
    reduced.all(|axis| matches!(axis, 1 | 2) && !channels || axis == 3 && channels)
}

fn elements(egraph: &EGraph, term: &Term) -> u64 {
    egraph.shape(term.children[0]).iter().map(|&extent| extent as u64).product()
}

fn taps(window: &Window) -> u64 {
    (window.kernel[0] * window.kernel[1]) as u64
}

/// How far a change of layout is from where it is free: at an input the sender does it, among
/// reals the host, among integers the device.
fn remoteness(egraph: &EGraph, term: &Term) -> u64 {
    let operand = term.children[0];
    if egraph.terms(operand, name::INPUT).next().is_some() {
        1
    } else if egraph.ty(operand).is_some_and(|ty| ty.element.is_int()) {
        3
    } else {
        2
    }
}

/// The operand comes from a layer that clamps its result for free.
fn follows_linear(egraph: &EGraph, term: &Term) -> bool {
    const LINEAR: &[&str] = &["conv", "dense", "add", "sub", "mul", "average_pool", "qconv", "qadd", "qmul"];
    egraph[term.children[0]].nodes.iter().any(|term| LINEAR.contains(&term.name))
}
