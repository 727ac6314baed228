//! Whole graphs through quantization, against the float graph and against the model's own scales.

use super::*;
use lutweave_ir::op::{
    AveragePool, Binary, Concat, Conv, Dense, Dequantize, DequantizeWeights, Geometry, MaxPool, PRelu, Quantize,
    ReduceMean, Reshape, Slice, Softmax, Transpose, Unary, Window,
};
use lutweave_ir::{Quantization, TensorType, interpret};
use lutweave_testing::property::cases;
use proptest::prelude::*;

mod compression;
mod deform;

/// A small deterministic generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn reals(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.real() * scale).collect()
    }

    fn tensor(&mut self, shape: &[usize], scale: f32) -> Tensor {
        Tensor::f32(shape, self.reals(shape.iter().product(), scale))
    }

    fn ints(&mut self, count: usize, lo: i32, hi: i32) -> Vec<i32> {
        (0..count).map(|_| lo + self.below((hi - lo + 1) as usize) as i32).collect()
    }
}

fn constant(graph: &mut Graph, tensor: Tensor) -> NodeId {
    let ty = TensorType::f32(tensor.shape.clone());
    graph.constant("constant", tensor, ty)
}

fn geometry(pads: [usize; 4], strides: [usize; 2], groups: usize) -> Geometry {
    Geometry { strides, dilations: [1, 1], pads, groups }
}

fn conv(graph: &mut Graph, random: &mut Random, x: NodeId, outputs: usize, groups: usize) -> NodeId {
    let channels = graph.node(x).ty.shape[3];
    let kernel = 1 + random.below(3);
    let shape = [outputs, kernel, kernel, channels / groups];
    let scale = 1.5 / ((kernel * kernel * channels / groups) as f32).sqrt();
    let weights = random.tensor(&shape, scale);
    let bias = random.tensor(&[outputs], 0.5);
    let (w, b) = (constant(graph, weights), constant(graph, bias));
    let pads = [kernel / 2, kernel / 2, (kernel - 1) / 2, (kernel - 1) / 2];
    let op = Op::Conv(Conv { geometry: geometry(pads, [1, 1], groups) });
    graph.add("conv", op, &[x, w, b]).unwrap()
}

/// A random float graph over all operators that the chip knows.
fn random_graph(seed: u64) -> (Graph, Vec<usize>) {
    let random = &mut Random(seed);
    let mut graph = Graph::new("random");
    let shape = vec![1, 4 + random.below(4), 4 + random.below(4), 4];
    let mut x = graph.input("x", TensorType::f32(shape.clone()));
    for _ in 0..1 + random.below(5) {
        let channels = graph.node(x).ty.shape[3];
        let before = x;
        x = match random.below(12) {
            0 => conv(&mut graph, random, x, channels, channels),
            1 => {
                let y = conv(&mut graph, random, x, channels, 1);
                graph.add("add", Op::Binary(Binary::Add), &[y, before]).unwrap()
            }
            2 => {
                let y = conv(&mut graph, random, x, channels, 2);
                let z = graph.add("relu", Op::Unary(Unary::Relu), &[y]).unwrap();
                graph.add("concat", Op::Concat(Concat { axis: 3 }), &[z, before]).unwrap()
            }
            3 => {
                let slopes = random.tensor(&[channels], 0.5);
                let slopes = constant(&mut graph, slopes);
                graph.add("prelu", Op::PRelu(PRelu), &[x, slopes]).unwrap()
            }
            4 => {
                let s = graph.add("sigmoid", Op::Unary(Unary::Sigmoid), &[x]).unwrap();
                graph.add("silu", Op::Binary(Binary::Mul), &[x, s]).unwrap()
            }
            5 => {
                let y = conv(&mut graph, random, x, channels, 1);
                let m = graph.add("mean", Op::ReduceMean(ReduceMean { axes: vec![1, 2], keep: true }), &[y]).unwrap();
                let s = graph.add("gate", Op::Unary(Unary::Sigmoid), &[m]).unwrap();
                graph.add("scale", Op::Binary(Binary::Mul), &[s, before]).unwrap()
            }
            6 => {
                let window = Window { kernel: [2, 2], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 0, 0] };
                graph.add("pool", Op::MaxPool(MaxPool { window }), &[x]).unwrap()
            }
            7 => {
                let window = Window { kernel: [2, 2], strides: [1, 1], dilations: [1, 1], pads: [0; 4] };
                let counted_pads = Some([0; 4]);
                graph.add("mean", Op::AveragePool(AveragePool { window, counted_pads }), &[x]).unwrap()
            }
            8 => {
                let factors = random.tensor(&[channels], 2.0);
                let factors = constant(&mut graph, factors);
                let y = graph.add("mul", Op::Binary(Binary::Mul), &[factors, x]).unwrap();
                graph.add("clip", Op::Unary(Unary::Clip { lo: -0.5, hi: 1.0 }), &[y]).unwrap()
            }
            9 => {
                let y = conv(&mut graph, random, x, channels, 1);
                graph.add("max", Op::Binary(Binary::Max), &[before, y]).unwrap()
            }
            10 => {
                let y = conv(&mut graph, random, x, 1, 1);
                graph.add("sub", Op::Binary(Binary::Sub), &[y, before]).unwrap()
            }
            _ => {
                let y = conv(&mut graph, random, x, channels, 1);
                let alpha = constant(&mut graph, Tensor::f32([], vec![0.1]));
                let z = graph.add("shifted", Op::Binary(Binary::Add), &[y, alpha]).unwrap();
                graph.add("relu", Op::Unary(Unary::Relu), &[z]).unwrap()
            }
        };
        if graph.node(x).ty.shape[1] < 3 || graph.node(x).ty.shape[2] < 3 {
            break;
        }
    }
    let count = graph.node(x).ty.count();
    let flat = graph.add("flat", Op::Reshape(Reshape { shape: vec![1, count] }), &[x]).unwrap();
    let weights = random.tensor(&[5, count], 1.0 / (count as f32).sqrt());
    let w = constant(&mut graph, weights);
    let dense = graph.add("dense", Op::Dense(Dense), &[flat, w]).unwrap();
    let softmax = graph.add("softmax", Op::Softmax(Softmax { axis: 1 }), &[dense]).unwrap();
    graph.set_outputs(vec![dense, softmax]);
    (graph, shape)
}

fn samples(shape: &[usize], seed: u64, count: usize) -> Vec<Vec<Tensor>> {
    let mut random = Random(seed);
    (0..count).map(|_| vec![random.tensor(shape, 1.0)]).collect()
}

/// Share of the signal that is noise, over samples.
fn noise(graph: &Graph, quantized: &Graph, inputs: &[Vec<Tensor>]) -> f64 {
    let (mut signal, mut noise) = (1e-9f64, 0.0f64);
    for input in inputs {
        let real = interpret::run(graph, input).unwrap();
        let got = interpret::run(quantized, input).unwrap();
        assert_eq!(real.len(), got.len());
        for (a, b) in real[0].f32s().iter().zip(got[0].f32s()) {
            signal += f64::from(a * a);
            noise += f64::from((a - b) * (a - b));
        }
    }
    (noise / signal).sqrt()
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn random_graphs_stay_near_the_float_graph(seed in any::<u64>()) {
        let (graph, shape) = random_graph(seed);
        let inputs = samples(&shape, seed ^ 1, 12);
        let options = QuantizeOptions { activation_range: RangeMethod::MinMax, ..QuantizeOptions::default() };
        let quantized = quantize(&graph, &inputs, &options).unwrap();
        lutweave_ir::validate::validate(&quantized.graph).unwrap();
        let parts = lutweave_ir::split::split(&quantized.graph).unwrap();
        prop_assert!(parts.core.nodes().iter().all(|node| node.ty.element.is_int()));
        let noise = noise(&graph, &quantized.graph, &inputs);
        prop_assert!(noise < 0.08, "noise {noise}\n{:?}", quantized.layers);
        let again = quantize(&graph, &inputs, &options).unwrap();
        prop_assert_eq!(again.graph, quantized.graph);
    }

    #[test]
    fn four_bits_are_worse_but_sane(seed in any::<u64>()) {
        let (graph, shape) = random_graph(seed);
        let inputs = samples(&shape, seed ^ 1, 12);
        for activation_range in [RangeMethod::Mse, RangeMethod::Percentile(0.9999)] {
            let options = QuantizeOptions { weight_bits: 4, activation_range, ..QuantizeOptions::default() };
            let quantized = quantize(&graph, &inputs, &options).unwrap();
            let noise = noise(&graph, &quantized.graph, &inputs);
            prop_assert!(noise < 0.5, "noise {noise}");
        }
    }

    #[test]
    fn given_scales_are_kept_within_a_step(seed in any::<u64>()) {
        let (graph, ty) = given_graph(seed);
        let quantized = quantize(&graph, &[], &QuantizeOptions::default()).unwrap();
        let mut random = Random(seed ^ 7);
        for _ in 0..4 {
            let (lo, hi) = ty.element.range().unwrap();
            let input = Tensor::int(ty.shape.clone(), random.ints(ty.count(), lo as i32, hi as i32));
            let real = interpret::run(&graph, std::slice::from_ref(&input)).unwrap();
            let got = interpret::run(&quantized.graph, &[input]).unwrap();
            for (a, b) in real[0].ints().iter().zip(got[0].ints()) {
                prop_assert!((a - b).abs() <= 1, "{a} {b}");
            }
        }
    }
}

fn any_element(random: &mut Random) -> Element {
    let bits = [8, 8, 4][random.below(3)];
    Element::Int { bits, signed: random.below(2) == 0 }
}

fn any_zero_point(random: &mut Random, element: Element) -> i32 {
    let (lo, hi) = element.range().unwrap();
    random.ints(1, lo as i32, hi as i32)[0]
}

fn given_weights(graph: &mut Graph, random: &mut Random, shape: &[usize], scale: f32) -> NodeId {
    let element = any_element(random);
    let (lo, hi) = element.range().unwrap();
    let per_channel = random.below(2) == 0;
    let scales = if per_channel { shape[0] } else { 1 };
    let q = Tensor::int(shape, random.ints(shape.iter().product(), lo as i32, hi as i32));
    let q = graph.constant("q", q, TensorType::int(shape, element));
    let zero_points = (0..scales).map(|_| any_zero_point(random, element)).collect();
    // Some channels are dead: tiny scales.
    let scales = (0..scales)
        .map(|_| scale / hi as f32 * if random.below(4) == 0 { 1e-7 } else { random.real().abs() + 0.1 })
        .collect();
    graph.add("w", Op::DequantizeWeights(DequantizeWeights { axis: 0, scales, zero_points }), &[q]).unwrap()
}

/// One layer between given quantizations.
fn given_graph(seed: u64) -> (Graph, TensorType) {
    let random = &mut Random(seed);
    let mut graph = Graph::new("given");
    let element = any_element(random);
    let quantization = Quantization { scale: 0.02 + random.real().abs(), zero_point: any_zero_point(random, element) };
    let ty = TensorType::int([1, 5, 4, 4], element).quantized(quantization);
    let input = graph.input("x", ty.clone());
    let x = graph.add("dx", Op::Dequantize(Dequantize), &[input]).unwrap();
    let (_, hi) = element.range().unwrap();
    let size = quantization.scale * hi as f32;
    let (y, spread) = match random.below(6) {
        0 | 1 => {
            let groups = [1, 2, 4][random.below(3)];
            let w = given_weights(&mut graph, random, &[8, 3, 3, 4 / groups], 0.2);
            let bias = random.tensor(&[8], size);
            let b = constant(&mut graph, bias);
            let op = Op::Conv(Conv { geometry: geometry([1, 0, 2, 1], [2, 1], groups) });
            (graph.add("conv", op, &[x, w, b]).unwrap(), size * 2.0)
        }
        2 => {
            let flat = graph.add("flat", Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[x]).unwrap();
            let flat = graph.add("flat", Op::Reshape(Reshape { shape: vec![1, 80] }), &[flat]).unwrap();
            let w = given_weights(&mut graph, random, &[6, 80], 0.2);
            let dense = graph.add("dense", Op::Dense(Dense), &[flat, w]).unwrap();
            let bias = random.tensor(&[6], size);
            let b = constant(&mut graph, bias);
            (graph.add("biased", Op::Binary(Binary::Add), &[dense, b]).unwrap(), size * 4.0)
        }
        3 => {
            let window = Window { kernel: [3, 2], strides: [2, 2], dilations: [1, 1], pads: [0; 4] };
            (graph.add("mean", Op::AveragePool(AveragePool { window, counted_pads: None }), &[x]).unwrap(), size)
        }
        4 => {
            let half = |channel| {
                Op::Slice(Slice { starts: vec![0, 0, 0, channel], sizes: vec![1, 5, 4, 2], steps: vec![1; 4] })
            };
            let a = graph.add("a", half(0), &[x]).unwrap();
            let b = graph.add("b", half(2), &[x]).unwrap();
            let op = [Binary::Add, Binary::Sub, Binary::Mul][random.below(3)];
            let spread = if op == Binary::Mul { size * size } else { size * 1.5 };
            (graph.add("pair", Op::Binary(op), &[a, b]).unwrap(), spread)
        }
        _ => {
            let w = constant(&mut graph, Tensor::f32([4], vec![0.5, -1.0, 2.0, 0.25]));
            (graph.add("mul", Op::Binary(Binary::Mul), &[x, w]).unwrap(), size)
        }
    };
    let y = match random.below(3) {
        0 => graph.add("relu", Op::Unary(Unary::Relu), &[y]).unwrap(),
        1 => graph.add("clip", Op::Unary(Unary::Clip { lo: -0.3 * size, hi: 0.6 * size }), &[y]).unwrap(),
        _ => y,
    };
    let element = any_element(random);
    let quantization = Quantization { scale: spread / 200.0, zero_point: any_zero_point(random, element) };
    let q = graph.add("q", Op::Quantize(Quantize { element, quantization }), &[y]).unwrap();
    graph.set_outputs(vec![q]);
    (graph, ty)
}

#[test]
fn all_faults_are_reported_together() {
    let mut graph = Graph::new("faults");
    let x = graph.input("x", TensorType::f32([1, 4, 4, 2]));
    let w = constant(&mut graph, Tensor::f32([2, 1, 1, 2], vec![1.0, 0.0, 0.5, 1.0]));
    let layer = |graph: &mut Graph, name: &str, x| {
        graph.add(name, Op::Conv(Conv { geometry: geometry([0; 4], [1, 1], 1) }), &[x, w]).unwrap()
    };
    let a = layer(&mut graph, "a", x);
    let softmax = graph.add("attention", Op::Softmax(Softmax { axis: 3 }), &[a]).unwrap();
    let b = layer(&mut graph, "b", softmax);
    let turned = graph.add("turned", Op::Transpose(Transpose { permutation: vec![0, 2, 1, 3] }), &[a]).unwrap();
    let c = layer(&mut graph, "c", turned);
    let quotient = graph.add("quotient", Op::Binary(Binary::Div), &[b, c]).unwrap();
    let d = layer(&mut graph, "d", quotient);
    graph.set_outputs(vec![d]);
    let faults = quantize(&graph, &samples(&[1, 4, 4, 2], 1, 2), &QuantizeOptions::default()).unwrap_err();
    let nodes: Vec<&str> = faults.0.iter().map(|fault| fault.node.as_str()).collect();
    assert_eq!(nodes, ["attention", "turned", "quotient"], "{faults}");
    assert!(faults.0.iter().all(|fault| !fault.help.is_empty() && !fault.operator.is_empty()));
}

#[test]
fn calibration_is_asked_for_only_where_scales_are_missing() {
    let (graph, _) = random_graph(3);
    let fault = quantize(&graph, &[], &QuantizeOptions::default()).unwrap_err();
    assert_eq!(fault.0[0].code, "calibration-needed");
    let (graph, _) = given_graph(3);
    quantize(&graph, &[], &QuantizeOptions::default()).unwrap();
}

#[test]
fn a_channel_shuffle_is_exact() {
    let mut graph = Graph::new("shuffle");
    let ty = TensorType::int([1, 3, 2, 6], Element::I8).quantized(Quantization { scale: 0.1, zero_point: -7 });
    let input = graph.input("x", ty);
    let x = graph.add("d", Op::Dequantize(Dequantize), &[input]).unwrap();
    let x = graph.add("split", Op::Reshape(Reshape { shape: vec![1, 3, 2, 2, 3] }), &[x]).unwrap();
    let x = graph.add("swap", Op::Transpose(Transpose { permutation: vec![0, 1, 2, 4, 3] }), &[x]).unwrap();
    let x = graph.add("join", Op::Reshape(Reshape { shape: vec![1, 3, 2, 6] }), &[x]).unwrap();
    let quantization = Quantization { scale: 0.1, zero_point: -7 };
    let q = graph.add("q", Op::Quantize(Quantize { element: Element::I8, quantization }), &[x]).unwrap();
    graph.set_outputs(vec![q]);
    let quantized = quantize(&graph, &[], &QuantizeOptions::default()).unwrap();
    assert!(quantized.graph.nodes().iter().any(|node| matches!(node.op, Op::Select(_))));
    let input = Tensor::int([1, 3, 2, 6], (0..36).map(|i| i * 7 - 128).collect::<Vec<_>>());
    let real = interpret::run(&graph, std::slice::from_ref(&input)).unwrap();
    assert_eq!(interpret::run(&quantized.graph, &[input]).unwrap(), real);
}

#[test]
fn long_chains_of_functions_become_one_table() {
    let mut graph = Graph::new("chain");
    let input = graph.input("x", TensorType::f32([1, 2, 2, 3]));
    let mut x = graph.add("start", Op::Unary(Unary::Tanh), &[input]).unwrap();
    for _ in 0..60 {
        let y = graph.add("square", Op::Binary(Binary::Mul), &[x, x]).unwrap();
        x = graph.add("mean", Op::Binary(Binary::Sub), &[x, y]).unwrap();
    }
    graph.set_outputs(vec![x]);
    let quantized = quantize(&graph, &samples(&[1, 2, 2, 3], 5, 4), &QuantizeOptions::default()).unwrap();
    assert_eq!(quantized.graph.nodes().iter().filter(|node| matches!(node.op, Op::Table(_))).count(), 1);
}

#[test]
fn wide_activations_are_refused() {
    let wide = Element::Int { bits: 16, signed: true };
    let quantization = Quantization { scale: 0.001, zero_point: 0 };
    for quantized_by_model in [false, true] {
        let mut graph = Graph::new("wide");
        let input = if quantized_by_model {
            let input = graph.input("x", TensorType::f32([1, 2, 2, 3]));
            graph.add("q", Op::Quantize(Quantize { element: wide, quantization }), &[input]).unwrap()
        } else {
            graph.input("x", TensorType::int([1, 2, 2, 3], wide).quantized(quantization))
        };
        let x = graph.add("d", Op::Dequantize(Dequantize), &[input]).unwrap();
        let x = graph.add("tanh", Op::Unary(Unary::Tanh), &[x]).unwrap();
        graph.set_outputs(vec![x]);
        let fault = quantize(&graph, &samples(&[1, 2, 2, 3], 5, 4), &QuantizeOptions::default()).unwrap_err();
        assert!(
            fault.0.iter().all(|fault| fault.code == "wide-activation" || fault.code == "invalid-input"),
            "{fault}"
        );
    }
}

#[test]
fn sums_before_the_first_rounding_are_exact_enough() {
    // A 4-bit residual block in powers of two: the sum of an unrounded convolution and a value on
    // the sum's own grid has one rounding.
    let mut random = Random(9);
    let mut graph = Graph::new("residual");
    let u4 = Element::Int { bits: 4, signed: false };
    let half = Quantization { scale: 0.5, zero_point: 0 };
    let ty = TensorType::int([1, 4, 4, 3], u4).quantized(half);
    let input = graph.input("x", ty);
    let x = graph.add("d", Op::Dequantize(Dequantize), &[input]).unwrap();
    let q = Tensor::int([3, 1, 1, 3], random.ints(9, -8, 7));
    let q = graph.constant("q", q, TensorType::int([3, 1, 1, 3], Element::I4));
    let scales = DequantizeWeights { axis: 0, scales: vec![0.0625], zero_points: vec![0] };
    let w = graph.add("w", Op::DequantizeWeights(scales), &[q]).unwrap();
    let y = graph.add("conv", Op::Conv(Conv { geometry: geometry([0; 4], [1, 1], 1) }), &[x, w]).unwrap();
    let y = graph.add("sum", Op::Binary(Binary::Add), &[y, x]).unwrap();
    let y = graph.add("relu", Op::Unary(Unary::Relu), &[y]).unwrap();
    let y = graph.add("out", Op::Quantize(Quantize { element: u4, quantization: half }), &[y]).unwrap();
    graph.set_outputs(vec![y]);
    let quantized = quantize(&graph, &[], &QuantizeOptions::default()).unwrap();
    let mut different = 0;
    for _ in 0..50 {
        let input = Tensor::int([1, 4, 4, 3], random.ints(48, 0, 15));
        let real = interpret::run(&graph, std::slice::from_ref(&input)).unwrap();
        let got = interpret::run(&quantized.graph, &[input]).unwrap();
        for (a, b) in real[0].ints().iter().zip(got[0].ints()) {
            assert!((a - b).abs() <= 1);
            different += i32::from(a != b);
        }
    }
    // Only exact halves differ: one value in sixteen, half of them.
    assert!(different < 50 * 48 / 16, "{different}");
}

#[test]
fn joined_values_share_one_scale() {
    let random = &mut Random(11);
    let mut graph = Graph::new("joined");
    let x = graph.input("x", TensorType::f32([1, 4, 4, 4]));
    let branch = |graph: &mut Graph, random: &mut Random, scale: f32| {
        let weights = random.tensor(&[3, 1, 1, 4], scale);
        let w = constant(graph, weights);
        graph.add("branch", Op::Conv(Conv { geometry: geometry([0; 4], [1, 1], 1) }), &[x, w]).unwrap()
    };
    let (a, b) = (branch(&mut graph, random, 0.5), branch(&mut graph, random, 2.0));
    let joined = graph.add("joined", Op::Concat(Concat { axis: 3 }), &[a, b]).unwrap();
    let weights = random.tensor(&[5, 1, 1, 6], 0.5);
    let w = constant(&mut graph, weights);
    let y = graph.add("last", Op::Conv(Conv { geometry: geometry([0; 4], [1, 1], 1) }), &[joined, w]).unwrap();
    graph.set_outputs(vec![y]);
    let quantized = quantize(&graph, &samples(&[1, 4, 4, 4], 2, 8), &QuantizeOptions::default()).unwrap();
    let nodes = quantized.graph.nodes();
    let grids: Vec<_> = nodes
        .iter()
        .filter(|node| {
            matches!(node.op, Op::Concat(_)) || node.name.starts_with("branch") && matches!(node.op, Op::QConv(_))
        })
        .map(|node| node.ty.quantization)
        .collect();
    assert_eq!(grids.len(), 3);
    assert!(grids.iter().all(|grid| grid.is_some() && *grid == grids[0]), "{grids:?}");
    // No table rescales a branch.
    assert!(!nodes.iter().any(|node| matches!(node.op, Op::Table(_))));
}
