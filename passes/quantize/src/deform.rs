//! Deformable convolutions as the chip has them: offsets are whole pixels within a reach.

use super::constant::Folded;
use super::forms::Fault;
use super::linear::{self, Linear};
use lutweave_ir::op::{Binary, DeformConv, Geometry, Quantize, Sampling, Unary};
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, TensorType};

/// Offsets are whole pixels.
pub(super) const PIXELS: Quantization = Quantization { scale: 1.0, zero_point: 0 };
/// Element type of offsets, and the largest magnitude that it holds of either sign.
pub(super) const OFFSET: Element = Element::I8;
const FARTHEST: i32 = 127;
/// Stands for no bound: further than any image.
const UNBOUNDED: i32 = 1 << 20;

/// A deformable convolution.
#[derive(Clone, Debug)]
pub(super) struct Deform {
    /// Weights, geometry and the operand.
    pub linear: Linear,
    /// What the offsets mean.
    pub sampling: Sampling,
    /// The offsets.
    pub offsets: Offsets,
}

/// Whole numbers made from a value: rounded to the nearest, then clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offsets {
    /// The value.
    pub source: NodeId,
    /// Smallest offset.
    pub lo: i32,
    /// Largest offset.
    pub hi: i32,
}

impl Offsets {
    /// The largest magnitude.
    pub fn reach(&self) -> u32 {
        self.lo.unsigned_abs().max(self.hi.unsigned_abs())
    }

    /// The same, within bounds too: what one clamp after another leaves.
    fn after_clamp(self, lo: f32, hi: f32) -> Self {
        // Rounding keeps order, so that it can come first.
        let whole = |bound: f32| (bound.round_ties_even() as i32).clamp(self.lo, self.hi);
        Self { lo: whole(lo), hi: whole(hi), ..self }
    }

    /// The same, and then clamped.
    fn before_clamp(self, lo: i32, hi: i32) -> Self {
        Self { lo: self.lo.clamp(lo, hi), hi: self.hi.clamp(lo, hi), ..self }
    }

    /// The model itself bounds the offsets to either side.
    pub fn bounded(&self) -> bool {
        self.lo > -UNBOUNDED && self.hi < UNBOUNDED
    }
}

/// A `DeformConv` node.
///
/// Offsets of more than the image spans read nothing, so that they lose nothing by a clamp; more
/// than 8 bits hold they are not either. Distances below 0 become 0.
pub(super) fn deform(graph: &Graph, folded: &[Option<Folded>], id: NodeId, conv: &DeformConv) -> Result<Deform, Fault> {
    let node = graph.node(id);
    if conv.modulated {
        return Err(Fault::new("unsupported-mask", "a mask scales what the taps read, pixel by pixel")
            .help("train without modulation (`mask=None`); a mask that is the same everywhere goes into the weights"));
    }
    let groups = conv.sampling.offset_groups();
    if groups != 1 {
        return Err(Fault::new("unsupported-offset-groups", format!("it has {groups} offset groups")).help(
            "train with one offset group, or compile with `--deform square`, which fits one distance per pixel to all",
        ));
    }
    let linear = linear::conv(graph, folded, id, conv.geometry)?;
    let operand = node.operands[3];
    if folded[operand.index()].is_some() {
        return Err(Fault::new("constant-offsets", "its offsets are constant, but do not put its taps on a grid")
            .help("an ordinary convolution with a larger kernel and zeros between its weights does the same"));
    }
    let kernel = [linear.weights.shape[1], linear.weights.shape[2]];
    let span = span(&conv.geometry, kernel, conv.sampling, &graph.node(node.operands[0]).ty, &node.ty);
    let lo = if conv.sampling == Sampling::Square { 0 } else { -span };
    let offsets = stated(graph, folded, operand).before_clamp(lo, span);
    Ok(Deform { linear, sampling: conv.sampling, offsets })
}

/// What a graph itself says of offsets.
pub fn stated_offsets(graph: &Graph, offsets: NodeId) -> Offsets {
    stated(graph, &super::constant::fold(graph), offsets)
}

fn stated(graph: &Graph, folded: &[Option<Folded>], offsets: NodeId) -> Offsets {
    let offsets = peel(graph, Offsets { source: offsets, lo: -UNBOUNDED, hi: UNBOUNDED });
    let (least, most) = interval(graph, folded, offsets.source);
    offsets.after_clamp(least, most)
}

/// The offset from which on no tap that it moves is inside the image, or the largest that there is.
fn span(geometry: &Geometry, kernel: [usize; 2], sampling: Sampling, x: &TensorType, y: &TensorType) -> i32 {
    let along = |axis: usize| {
        let (image, positions) = (x.shape[axis + 1] as i64, y.shape[axis + 1] as i64);
        let first = -(geometry.pads[axis] as i64);
        let last = first + (positions - 1) * geometry.strides[axis] as i64;
        let (first, last) = match sampling {
            Sampling::Free { .. } => (first, last + ((kernel[axis] - 1) * geometry.dilations[axis]) as i64),
            Sampling::Square => (first + (kernel[axis] / 2) as i64, last + (kernel[axis] / 2) as i64),
        };
        (image - first).max(last + 1)
    };
    along(0).max(along(1)).clamp(0, i64::from(FARTHEST)) as i32
}

/// Takes roundings and clamps off the source.
fn peel(graph: &Graph, mut offsets: Offsets) -> Offsets {
    loop {
        let node = graph.node(offsets.source);
        let &[operand, ..] = &node.operands[..] else { return offsets };
        offsets = match node.op {
            Op::Unary(Unary::Round) => Offsets { source: operand, ..offsets },
            Op::Unary(Unary::Relu) => Offsets { source: operand, ..offsets.after_clamp(0.0, f32::INFINITY) },
            Op::Unary(Unary::Clip { lo, hi }) if lo <= hi => Offsets { source: operand, ..offsets.after_clamp(lo, hi) },
            // A model that gives whole pixels already.
            Op::Dequantize(_) => match (&graph.node(operand).op, graph.node(operand).ty.element.range()) {
                (Op::Quantize(Quantize { quantization, .. }), Some((least, most))) if quantization.scale == 1.0 => {
                    let real = |q: i64| quantization.dequantize(q as i32);
                    let source = graph.node(operand).operands[0];
                    Offsets { source, ..offsets.after_clamp(real(least), real(most)) }
                }
                _ => return offsets,
            },
            _ => return offsets,
        };
    }
}

/// Bounds of a value that the operators that make it imply; infinite where they do not.
fn interval(graph: &Graph, folded: &[Option<Folded>], id: NodeId) -> (f32, f32) {
    const EVERYTHING: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);
    let node = graph.node(id);
    let ordered = |values: [f32; 4]| {
        let known = values.iter().all(|value| !value.is_nan());
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if known { (least, most) } else { EVERYTHING }
    };
    if let Some(constant) = &folded[id.index()] {
        let values = constant.tensor.f32s().iter();
        return values.fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    }
    let operand = |position: usize| interval(graph, folded, node.operands[position]);
    match &node.op {
        Op::Unary(Unary::Clip { lo, hi }) if lo <= hi => {
            let (least, most) = operand(0);
            (least.clamp(*lo, *hi), most.clamp(*lo, *hi))
        }
        Op::Unary(Unary::Relu) => (operand(0).0.max(0.0), operand(0).1.max(0.0)),
        Op::Unary(Unary::Abs) => (0.0, operand(0).0.abs().max(operand(0).1.abs())),
        Op::Unary(Unary::Sigmoid | Unary::HardSigmoid { .. }) => (0.0, 1.0),
        Op::Unary(Unary::Tanh) => (-1.0, 1.0),
        Op::Unary(function @ (Unary::Round | Unary::Floor | Unary::Ceil)) => {
            (function.apply(operand(0).0), function.apply(operand(0).1))
        }
        Op::Binary(binary @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min)) => {
            let ((a, b), (c, d)) = (operand(0), operand(1));
            ordered([binary.apply(a, c), binary.apply(a, d), binary.apply(b, c), binary.apply(b, d)])
        }
        Op::MaxPool(_) | Op::Slice(_) | Op::Select(_) | Op::Resize(_) | Op::Transpose(_) | Op::Reshape(_) => operand(0),
        Op::Dequantize(_) => {
            let ty = &graph.node(node.operands[0]).ty;
            match (ty.quantization, ty.element.range()) {
                (Some(quantization), Some((least, most))) => {
                    (quantization.dequantize(least as i32), quantization.dequantize(most as i32))
                }
                (_, _) => EVERYTHING,
            }
        }
        _ => EVERYTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::Tensor;
    use lutweave_ir::op::{Conv, Dequantize};

    fn scalar(graph: &mut Graph, value: f32) -> NodeId {
        graph.constant("k", Tensor::f32([1], vec![value]), TensorType::f32([1]))
    }

    /// A deformable layer on `[1,h,w,1]` whose offsets `make` computes from a value of the model.
    fn model(sampling: Sampling, side: usize, make: impl Fn(&mut Graph, NodeId) -> NodeId) -> Graph {
        let mut graph = Graph::new("model");
        let x = graph.input("x", TensorType::f32([1, side, side + 1, 1]));
        let channels = if sampling == Sampling::Square { 1 } else { 18 };
        let shape = [channels, 1, 1, 1];
        let v = graph.constant("v", Tensor::f32(shape, vec![0.5; channels]), TensorType::f32(shape));
        let raw = graph.add("raw", Op::Conv(Conv { geometry: Geometry::PLAIN }), &[x, v]).unwrap();
        let offsets = make(&mut graph, raw);
        let w = graph.constant("w", Tensor::f32([1, 3, 3, 1], vec![1.0; 9]), TensorType::f32([1, 3, 3, 1]));
        let b = graph.constant("b", Tensor::f32([1], vec![0.0]), TensorType::f32([1]));
        let geometry = Geometry { pads: [1; 4], ..Geometry::PLAIN };
        let op = Op::DeformConv(DeformConv { geometry, sampling, modulated: false });
        let y = graph.add("y", op, &[x, w, b, offsets]).unwrap();
        graph.set_outputs(vec![y]);
        graph
    }

    /// The offsets of such a layer, and the name of what they are made from.
    fn found(graph: &Graph) -> (String, i32, i32) {
        let id = graph.outputs()[0];
        let Op::DeformConv(conv) = graph.node(id).op else { panic!("no deformable layer") };
        let folded = super::super::constant::fold(graph);
        let offsets = deform(graph, &folded, id, &conv).unwrap().offsets;
        (graph.node(offsets.source).name.clone(), offsets.lo, offsets.hi)
    }

    #[test]
    fn clamps_and_roundings_come_off() {
        let unary = |graph: &mut Graph, unary: Unary, x: NodeId| graph.add("f", Op::Unary(unary), &[x]).unwrap();
        let plain = model(Sampling::Square, 40, |graph, d| {
            let d = unary(graph, Unary::Clip { lo: -2.0, hi: 7.4 }, d);
            unary(graph, Unary::Round, d)
        });
        assert_eq!(found(&plain), ("raw".to_owned(), 0, 7));
        let nested = model(Sampling::Free { offset_groups: 1 }, 40, |graph, o| {
            let o = unary(graph, Unary::Clip { lo: -9.0, hi: 3.0 }, o);
            let o = unary(graph, Unary::Round, o);
            unary(graph, Unary::Clip { lo: -4.0, hi: 5.0 }, o)
        });
        assert_eq!(found(&nested), ("raw".to_owned(), -4, 3));
        let whole = model(Sampling::Square, 40, |graph, d| {
            let q = Op::Quantize(Quantize { element: Element::I4, quantization: PIXELS });
            let q = graph.add("q", q, &[d]).unwrap();
            graph.add("d", Op::Dequantize(Dequantize), &[q]).unwrap()
        });
        assert_eq!(found(&whole), ("raw".to_owned(), 0, 7));
    }

    #[test]
    fn bounds_of_a_sum_are_found_and_images_end() {
        let sum = model(Sampling::Square, 40, |graph, d| {
            let d = graph.add("s", Op::Unary(Unary::Clip { lo: 0.0, hi: 8.0 }), &[d]).unwrap();
            let one = scalar(graph, 1.0);
            graph.add("d", Op::Binary(Binary::Add), &[d, one]).unwrap()
        });
        assert_eq!(found(&sum), ("d".to_owned(), 1, 9));
        let same = |_: &mut Graph, x: NodeId| x;
        // From a row above the image, at -1, the first below it, 5, is 6 away; columns one more.
        assert_eq!(found(&model(Sampling::Free { offset_groups: 1 }, 5, same)), ("raw".to_owned(), -7, 7));
        assert_eq!(found(&model(Sampling::Square, 5, same)), ("raw".to_owned(), 0, 6));
        assert_eq!(found(&model(Sampling::Square, 300, same)), ("raw".to_owned(), 0, 127));
    }
}
