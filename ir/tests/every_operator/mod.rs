//! A graph that has every operator once.

use lutweave_ir::op::*;
use lutweave_ir::op::{
    ArgMax, BatchNorm, Concat, Dense, Dequantize, MaxPool, PRelu, Pad, Quantize, ReduceMean, Reshape, Resize, Select,
    Slice, Softmax, Transpose,
};
use lutweave_ir::{Element, Graph, Op, Quantization, Requantize, Tensor, TensorType};

fn requantize(multipliers: Vec<u16>) -> Requantize {
    Requantize { multipliers, shifts: vec![20], zero_point: -3, lo: -128, hi: 127 }
}

const WINDOW: Window = Window { kernel: [2, 2], strides: [2, 1], dilations: [1, 1], pads: [0, 1, 0, 0] };

/// The graph.
pub fn graph() -> Graph {
    let mut graph = Graph::new("every \"operator\"");
    let mut outputs = Vec::new();
    let reals = |count: usize| (0..count).map(|v| (v as f32 - 7.0) / 9.0).collect::<Vec<_>>();
    let geometry = Geometry { strides: [1, 2], dilations: [2, 1], pads: [2, 1, 2, 1], groups: 2 };
    let mut add = |graph: &mut Graph, name: &str, op: Op, operands: &[_]| {
        let id = graph.add(name, op, operands).unwrap();
        outputs.push(id);
        id
    };

    let x = graph.input("image", TensorType::f32([1, 4, 4, 4]));
    let w = graph.constant("w", Tensor::f32([6, 3, 3, 2], reals(108)), TensorType::f32([6, 3, 3, 2]));
    let c4 = graph.constant("c4", Tensor::f32([4], reals(4)), TensorType::f32([4]));
    let c6 = graph.constant("c6", Tensor::f32([6], reals(6)), TensorType::f32([6]));
    add(&mut graph, "conv", Op::Conv(Conv { geometry }), &[x, w, c6]);
    let moved = |sampling, modulated| Op::DeformConv(DeformConv { geometry, sampling, modulated });
    let by_tap = TensorType::f32([1, 4, 2, 36]);
    let offsets = graph.constant("offsets", Tensor::f32([1, 4, 2, 36], reals(288)), by_tap);
    let mask = graph.constant("mask", Tensor::f32([1, 4, 2, 18], reals(144)), TensorType::f32([1, 4, 2, 18]));
    let free = moved(Sampling::Free { offset_groups: 2 }, true);
    add(&mut graph, "deform", free, &[x, w, c6, offsets, mask]);
    let square_geometry = Geometry { pads: [1; 4], groups: 2, ..Geometry::PLAIN };
    let square = DeformConv { geometry: square_geometry, sampling: Sampling::Square, modulated: false };
    let distance = graph.constant("distance", Tensor::f32([1, 4, 4, 1], reals(16)), TensorType::f32([1, 4, 4, 1]));
    add(&mut graph, "deform square", Op::DeformConv(square), &[x, w, c6, distance]);
    let d = graph.constant("d", Tensor::f32([5, 4], reals(20)), TensorType::f32([5, 4]));
    add(&mut graph, "dense", Op::Dense(Dense), &[x, d]);
    let variance = graph.constant("variance", Tensor::f32([4], vec![0.5; 4]), TensorType::f32([4]));
    add(&mut graph, "norm", Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, c4, c4, c4, variance]);
    let unaries = [
        Unary::Relu,
        Unary::Clip { lo: -1.5, hi: f32::INFINITY },
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Elu { alpha: 1.0 },
        Unary::Sigmoid,
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::HardSwish,
        Unary::Silu,
        Unary::Tanh,
        Unary::Mish,
        Unary::Softplus,
        Unary::Gelu,
        Unary::Erf,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Reciprocal,
        Unary::Abs,
        Unary::Neg,
        Unary::Round,
        Unary::Floor,
        Unary::Ceil,
    ];
    for unary in unaries {
        add(&mut graph, unary.name(), Op::Unary(unary), &[x]);
    }
    for binary in Binary::ALL {
        add(&mut graph, binary.name(), Op::Binary(binary), &[x, c4]);
    }
    add(&mut graph, "prelu", Op::PRelu(PRelu), &[x, c4]);
    add(&mut graph, "weights site", Op::Site(Site { number: 3, kind: SiteKind::Weights }), &[d]);
    add(&mut graph, "activation site", Op::Site(Site { number: 4, kind: SiteKind::Activation }), &[x]);
    add(&mut graph, "max", Op::MaxPool(MaxPool { window: WINDOW }), &[x]);
    add(&mut graph, "average", Op::AveragePool(AveragePool { window: WINDOW, counted_pads: None }), &[x]);
    let counted = Op::AveragePool(AveragePool { window: WINDOW, counted_pads: Some([0, 1, 0, 0]) });
    add(&mut graph, "counted", counted, &[x]);
    add(&mut graph, "mean", Op::ReduceMean(ReduceMean { axes: vec![1, 2], keep: false }), &[x]);
    add(&mut graph, "concat", Op::Concat(Concat { axis: 3 }), &[x, x]);
    let slice = Op::Slice(Slice { starts: vec![0, 1, 0, 3], sizes: vec![1, 2, 4, 1], steps: vec![1, 2, 1, 1] });
    add(&mut graph, "slice", slice, &[x]);
    add(&mut graph, "select", Op::Select(Select { channels: vec![3, 0, 0, 2, 1] }), &[x]);
    let pad = Op::Pad(Pad { before: vec![0, 1, 0, 0], after: vec![0, 0, 2, 0], value: -0.5 });
    add(&mut graph, "pad", pad, &[x]);
    add(&mut graph, "resize", Op::Resize(Resize::by([2, 3])), &[x]);
    add(&mut graph, "transpose", Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[x]);
    add(&mut graph, "reshape", Op::Reshape(Reshape { shape: vec![1, 64] }), &[x]);
    add(&mut graph, "softmax", Op::Softmax(Softmax { axis: 3 }), &[x]);
    add(&mut graph, "argmax", Op::ArgMax(ArgMax { axis: 3, keep: false, last: true }), &[x]);

    let quantization = Quantization { scale: 0.012_345_678, zero_point: -3 };
    let q = add(&mut graph, "quantize", Op::Quantize(Quantize { element: Element::I8, quantization }), &[x]);
    let ints = |count: usize| (0..count as i32).map(|v| v * 7 % 255 - 127).collect::<Vec<_>>();
    let qw = graph.constant("qw", Tensor::int([6, 3, 3, 2], ints(108)), TensorType::int([6, 3, 3, 2], Element::I8));
    let qb = graph.constant("qb", Tensor::int([6], vec![-70_000, 1, 2, 3, 4, 5]), TensorType::int([6], Element::I32));
    let weights = DequantizeWeights { axis: 1, scales: vec![0.5, 0.25, 1.0], zero_points: vec![0, 1, -1] };
    add(&mut graph, "weights", Op::DequantizeWeights(weights), &[qw]);
    let qconv =
        QConv { geometry, pad_value: -3, requantize: requantize(vec![1, 2, 3, 4, 5, 65535]), element: Element::I8 };
    let ty = TensorType::int([1, 4, 2, 6], Element::I8).quantized(quantization);
    let conv = graph.add_typed("qconv", Op::QConv(qconv), &[q, qw, qb], ty).unwrap();
    add(&mut graph, "dequantize", Op::Dequantize(Dequantize), &[conv]);
    let deform = |geometry, sampling, reach| {
        let requantize = requantize(vec![7]);
        Op::QDeformConv(QDeformConv { geometry, sampling, reach, pad_value: -3, requantize, element: Element::I8 })
    };
    let by_tap = (0..144).map(|v| v * 5 % 7 - 3).collect::<Vec<_>>();
    let by_tap =
        graph.constant("qoffsets", Tensor::int([1, 4, 2, 18], by_tap), TensorType::int([1, 4, 2, 18], Element::I4));
    let free = deform(geometry, Sampling::Free { offset_groups: 1 }, 3);
    add(&mut graph, "qdeform", free, &[q, qw, qb, by_tap]);
    let channel = Op::Slice(Slice { starts: vec![0; 4], sizes: vec![1, 4, 4, 1], steps: vec![1; 4] });
    let channel = add(&mut graph, "channel", channel, &[q]);
    let distances =
        Table { entries: (0..256).map(|v| v % 4).collect(), element: Element::Int { bits: 2, signed: false } };
    let distances = add(&mut graph, "distances", Op::Table(distances), &[channel]);
    add(&mut graph, "qdeform square", deform(square_geometry, Sampling::Square, 3), &[q, qw, qb, distances]);
    let pool =
        QAveragePool { window: WINDOW, pad_value: -3, bias: 12, requantize: requantize(vec![9]), element: Element::I8 };
    add(&mut graph, "qpool", Op::QAveragePool(pool), &[q]);
    let sum = QAdd {
        multipliers: [300, -400],
        offset: -9,
        shift: 10,
        zero_point: 4,
        lo: 0,
        hi: 15,
        element: Element::Int { bits: 4, signed: false },
    };
    add(&mut graph, "qadd", Op::QAdd(sum), &[q, q]);
    let product = QMul { zero_points: [-3, -3], requantize: requantize(vec![77]), element: Element::I8 };
    let product = add(&mut graph, "qmul", Op::QMul(product), &[q, q]);
    let table = Table { entries: (0..256).map(|v| v / 2).collect(), element: Element::U8 };
    add(&mut graph, "table", Op::Table(table), &[product]);
    let bytes = add(&mut graph, "qargmax", Op::QArgMax(QArgMax { last: true }), &[q]);
    add(&mut graph, "join bytes", Op::JoinBytes(JoinBytes), &[bytes]);
    add(&mut graph, "top peaks", Op::TopPeaks(TopPeaks { count: 5 }), &[q, distances, product]);
    graph.set_outputs(outputs);
    graph
}
