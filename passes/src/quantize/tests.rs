//! Whole graphs through quantization, against the float graph and against the model's own scales.

use super::*;
use lutweave_ir::op::{AveragePool, Binary, Conv, DequantizeWeights, Geometry, Unary, Window};
use lutweave_ir::{Quantization, TensorType, interpret};
use proptest::prelude::*;

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
                graph.add("concat", Op::Concat { axis: 3 }, &[z, before]).unwrap()
            }
            3 => {
                let slopes = random.tensor(&[channels], 0.5);
                let slopes = constant(&mut graph, slopes);
                graph.add("prelu", Op::PRelu, &[x, slopes]).unwrap()
            }
            4 => {
                let s = graph.add("sigmoid", Op::Unary(Unary::Sigmoid), &[x]).unwrap();
                graph.add("silu", Op::Binary(Binary::Mul), &[x, s]).unwrap()
            }
            5 => {
                let y = conv(&mut graph, random, x, channels, 1);
                let m = graph.add("mean", Op::ReduceMean { axes: vec![1, 2], keep: true }, &[y]).unwrap();
                let s = graph.add("gate", Op::Unary(Unary::Sigmoid), &[m]).unwrap();
                graph.add("scale", Op::Binary(Binary::Mul), &[s, before]).unwrap()
            }
            6 => {
                let window = Window { kernel: [2, 2], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 0, 0] };
                graph.add("pool", Op::MaxPool(window), &[x]).unwrap()
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
    let flat = graph.add("flat", Op::Reshape { shape: vec![1, count] }, &[x]).unwrap();
    let weights = random.tensor(&[5, count], 1.0 / (count as f32).sqrt());
    let w = constant(&mut graph, weights);
    let dense = graph.add("dense", Op::Dense, &[flat, w]).unwrap();
    let softmax = graph.add("softmax", Op::Softmax { axis: 1 }, &[dense]).unwrap();
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
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

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
    fn any_settings_give_valid_graphs(seed in any::<u64>()) {
        let (graph, shape) = random_graph(seed);
        let inputs = samples(&shape, seed ^ 1, 6);
        let random = &mut Random(seed ^ 2);
        let mut settings = BTreeMap::new();
        for site in layers(&graph).unwrap() {
            let weights: usize = site.shape.iter().product();
            let pattern = match random.below(4) {
                0 => Pattern::Dense,
                1 => Pattern::Free { kept: random.below(weights + 1) },
                _ => {
                    let of = [4, 8][random.below(2)];
                    Pattern::NofM { kept: random.below(usize::from(of) + 1) as u8, of }
                }
            };
            if random.below(5) > 0 {
                settings.insert(site.name, Setting { bits: 2 + random.below(7) as u8, pattern });
            }
        }
        let options = QuantizeOptions {
            settings: Some(&settings),
            asymmetric: random.below(2) == 0,
            equalization: random.below(2) == 0,
            rounding: [Rounding::Nearest, Rounding::Gptq, Rounding::Obq][random.below(3)],
            ..QuantizeOptions::default()
        };
        let quantized = quantize(&graph, &inputs, &options).unwrap();
        lutweave_ir::validate::validate(&quantized.graph).unwrap();
        lutweave_ir::split::split(&quantized.graph).unwrap();
        let reported: Vec<&str> =
            quantized.layers.iter().filter(|layer| layer.setting.is_some()).map(|layer| layer.name.as_str()).collect();
        let found = layers(&graph).unwrap();
        prop_assert_eq!(reported, found.iter().map(|site| site.name.as_str()).collect::<Vec<_>>());
        for layer in quantized.layers.iter().filter(|layer| settings.contains_key(&layer.name)) {
            prop_assert_eq!(layer.setting, settings.get(&layer.name).copied());
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
    let x = graph.add("dx", Op::Dequantize, &[input]).unwrap();
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
            let flat = graph.add("flat", Op::Transpose { permutation: vec![0, 3, 1, 2] }, &[x]).unwrap();
            let flat = graph.add("flat", Op::Reshape { shape: vec![1, 80] }, &[flat]).unwrap();
            let w = given_weights(&mut graph, random, &[6, 80], 0.2);
            let dense = graph.add("dense", Op::Dense, &[flat, w]).unwrap();
            let bias = random.tensor(&[6], size);
            let b = constant(&mut graph, bias);
            (graph.add("biased", Op::Binary(Binary::Add), &[dense, b]).unwrap(), size * 4.0)
        }
        3 => {
            let window = Window { kernel: [3, 2], strides: [2, 2], dilations: [1, 1], pads: [0; 4] };
            (graph.add("mean", Op::AveragePool(AveragePool { window, counted_pads: None }), &[x]).unwrap(), size)
        }
        4 => {
            let half =
                |channel| Op::Slice { starts: vec![0, 0, 0, channel], sizes: vec![1, 5, 4, 2], steps: vec![1; 4] };
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
    let q = graph.add("q", Op::Quantize { element, quantization }, &[y]).unwrap();
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
    let softmax = graph.add("attention", Op::Softmax { axis: 3 }, &[a]).unwrap();
    let b = layer(&mut graph, "b", softmax);
    let turned = graph.add("turned", Op::Transpose { permutation: vec![0, 2, 1, 3] }, &[a]).unwrap();
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
    let x = graph.add("d", Op::Dequantize, &[input]).unwrap();
    let x = graph.add("split", Op::Reshape { shape: vec![1, 3, 2, 2, 3] }, &[x]).unwrap();
    let x = graph.add("swap", Op::Transpose { permutation: vec![0, 1, 2, 4, 3] }, &[x]).unwrap();
    let x = graph.add("join", Op::Reshape { shape: vec![1, 3, 2, 6] }, &[x]).unwrap();
    let quantization = Quantization { scale: 0.1, zero_point: -7 };
    let q = graph.add("q", Op::Quantize { element: Element::I8, quantization }, &[x]).unwrap();
    graph.set_outputs(vec![q]);
    let quantized = quantize(&graph, &[], &QuantizeOptions::default()).unwrap();
    assert!(quantized.graph.nodes().iter().any(|node| matches!(node.op, Op::QConv(_))));
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
            graph.add("q", Op::Quantize { element: wide, quantization }, &[input]).unwrap()
        } else {
            graph.input("x", TensorType::int([1, 2, 2, 3], wide).quantized(quantization))
        };
        let x = graph.add("d", Op::Dequantize, &[input]).unwrap();
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
    let x = graph.add("d", Op::Dequantize, &[input]).unwrap();
    let q = Tensor::int([3, 1, 1, 3], random.ints(9, -8, 7));
    let q = graph.constant("q", q, TensorType::int([3, 1, 1, 3], Element::I4));
    let scales = DequantizeWeights { axis: 0, scales: vec![0.0625], zero_points: vec![0] };
    let w = graph.add("w", Op::DequantizeWeights(scales), &[q]).unwrap();
    let y = graph.add("conv", Op::Conv(Conv { geometry: geometry([0; 4], [1, 1], 1) }), &[x, w]).unwrap();
    let y = graph.add("sum", Op::Binary(Binary::Add), &[y, x]).unwrap();
    let y = graph.add("relu", Op::Unary(Unary::Relu), &[y]).unwrap();
    let y = graph.add("out", Op::Quantize { element: u4, quantization: half }, &[y]).unwrap();
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

/// A chain of convolutions with inputs of few directions, as real ones are.
fn deep_graph(seed: u64) -> (Graph, Vec<Vec<Tensor>>) {
    let random = &mut Random(seed);
    let mut graph = Graph::new("deep");
    let shape = [1, 8, 8, 8];
    let mut x = graph.input("x", TensorType::f32(shape));
    for layer in 0..4 {
        let weights = random.tensor(&[16, 3, 3, graph.node(x).ty.shape[3]], 0.25);
        let bias = random.tensor(&[16], 0.2);
        let (w, b) = (constant(&mut graph, weights), constant(&mut graph, bias));
        let op = Op::Conv(Conv { geometry: geometry([1; 4], [1, 1], 1) });
        x = graph.add(&format!("conv{layer}"), op, &[x, w, b]).unwrap();
        if layer < 3 {
            x = graph.add("relu", Op::Unary(Unary::Relu), &[x]).unwrap();
        }
    }
    graph.set_outputs(vec![x]);
    let inputs = (0..24)
        .map(|_| {
            let common = random.reals(64, 1.0);
            let own = random.reals(512, 0.3);
            vec![Tensor::f32(shape, (0..512).map(|i| common[i / 8] + own[i]).collect::<Vec<_>>())]
        })
        .collect();
    (graph, inputs)
}

#[test]
fn each_step_of_the_ladder_lowers_the_noise() {
    let plain = QuantizeOptions {
        weight_bits: 4,
        rounding: Rounding::Nearest,
        scale: ScaleMethod::AbsMax,
        bias_correction: false,
        statistics_correction: false,
        ..QuantizeOptions::default()
    };
    let scaled = QuantizeOptions { scale: ScaleMethod::OutputError, ..plain };
    let corrected = QuantizeOptions { bias_correction: true, ..scaled };
    let gptq = QuantizeOptions { rounding: Rounding::Gptq, ..corrected };
    let steps = [
        plain,
        scaled,
        corrected,
        gptq,
        QuantizeOptions { statistics_correction: true, ..gptq },
        QuantizeOptions { asymmetric: true, ..gptq },
        QuantizeOptions { rounding: Rounding::Obq, ..gptq },
    ];
    let mut sums = [0.0; 7];
    for seed in 0..4 {
        let (graph, inputs) = deep_graph(seed);
        for (sum, options) in sums.iter_mut().zip(&steps) {
            let quantized = quantize(&graph, &inputs[..16], options).unwrap();
            *sum += noise(&graph, &quantized.graph, &inputs[16..]);
        }
    }
    let [plain, scaled, corrected, gptq, statistics, asymmetric, obq] = sums;
    assert!(scaled < plain && corrected < scaled && gptq < 0.8 * corrected, "{sums:?}");
    assert!(statistics < 1.02 * gptq && asymmetric < 1.05 * gptq && obq < 0.9 * corrected, "{sums:?}");
}

#[test]
fn layers_take_their_settings() {
    let (graph, inputs) = deep_graph(5);
    let sites = layers(&graph).unwrap();
    let names: Vec<&str> = sites.iter().map(|site| site.name.as_str()).collect();
    assert_eq!(names, ["conv0", "conv1", "conv2", "conv3"]);
    assert_eq!(sites.iter().map(|site| site.edge).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!((sites[1].shape, sites[1].macs, sites[1].default_bits(4)), ([16, 3, 3, 16], 64 * 2304, 4));
    let pattern = Pattern::NofM { kept: 2, of: 4 };
    let free = Setting { bits: 8, pattern: Pattern::Free { kept: 700 } };
    let settings = BTreeMap::from([
        ("conv1".to_owned(), Setting { bits: 4, pattern }),
        ("conv2".to_owned(), free),
        ("conv3".to_owned(), Setting::dense(4)),
    ]);
    let options = QuantizeOptions { settings: Some(&settings), ..QuantizeOptions::default() };
    let quantized = quantize(&graph, &inputs, &options).unwrap();
    lutweave_ir::validate::validate(&quantized.graph).unwrap();
    assert_eq!(
        quantized.layers.iter().map(|l| l.weight_bits).collect::<Vec<_>>(),
        [Some(8), Some(4), Some(8), Some(4)]
    );
    assert_eq!(quantized.layers[2].setting, Some(free));
    assert!(quantized.layers[1].distortion > quantized.layers[0].distortion);
    let weights = |name: &str| {
        let node = quantized.graph.nodes().iter().find(|node| node.name == format!("{name}.weight")).unwrap();
        let Op::Constant(tensor) = &node.op else { panic!("weights are constant") };
        tensor.ints().to_vec()
    };
    let conv1 = weights("conv1");
    assert!(conv1.chunks(4).all(|group| group.iter().filter(|q| **q != 0).count() <= 2));
    // Pairs of channels share masks: the union of both holds no more.
    assert!(conv1.chunks(288).all(|pair| {
        (0..36).all(|group| {
            let used = |at: usize| pair[4 * group + at] != 0 || pair[144 + 4 * group + at] != 0;
            (0..4).filter(|at| used(*at)).count() <= 2
        })
    }));
    let kept = weights("conv2").iter().filter(|q| **q != 0).count();
    assert!(kept <= 700 && kept > 650, "{kept}");
    assert!(noise(&graph, &quantized.graph, &inputs) < 0.8);
}

#[test]
fn settings_that_fit_nothing_are_refused() {
    let (graph, inputs) = deep_graph(6);
    let settings = BTreeMap::from([
        ("nowhere".to_owned(), Setting::dense(8)),
        ("conv1".to_owned(), Setting::dense(9)),
        ("conv2".to_owned(), Setting { bits: 4, pattern: Pattern::NofM { kept: 5, of: 4 } }),
    ]);
    let options = QuantizeOptions { settings: Some(&settings), ..QuantizeOptions::default() };
    let faults = quantize(&graph, &inputs, &options).unwrap_err();
    let found: Vec<(&str, &str)> = faults.0.iter().map(|fault| (fault.code, fault.node.as_str())).collect();
    assert_eq!(found, [("invalid-option", "conv1"), ("invalid-option", "conv2"), ("unknown-layer", "nowhere")]);
}

#[test]
fn equalization_helps_uneven_channels_and_stops_at_clips() {
    let uneven = |clipped: bool| {
        let random = &mut Random(8);
        let mut graph = Graph::new("uneven");
        let x = graph.input("x", TensorType::f32([1, 6, 6, 4]));
        let mut first = random.tensor(&[8, 1, 1, 4], 1.0).f32s().to_vec();
        let mut second = random.tensor(&[6, 1, 1, 8], 1.0).f32s().to_vec();
        // Channels differ by a factor of up to 128, which the next layer takes back.
        for (index, w) in first.iter_mut().enumerate() {
            *w *= (1u32 << (index / 4)) as f32;
        }
        for (index, w) in second.iter_mut().enumerate() {
            *w /= (1u32 << (index % 8)) as f32;
        }
        let w = constant(&mut graph, Tensor::f32([8, 1, 1, 4], first));
        let bias = constant(&mut graph, Tensor::f32([8], vec![0.1; 8]));
        let pointwise = || Op::Conv(Conv { geometry: geometry([0; 4], [1, 1], 1) });
        let y = graph.add("first", pointwise(), &[x, w, bias]).unwrap();
        let unary = if clipped { Unary::Clip { lo: 0.0, hi: 100.0 } } else { Unary::Relu };
        let y = graph.add("bounded", Op::Unary(unary), &[y]).unwrap();
        let w = constant(&mut graph, Tensor::f32([6, 1, 1, 8], second));
        let y = graph.add("second", pointwise(), &[y, w]).unwrap();
        graph.set_outputs(vec![y]);
        graph
    };
    let inputs = samples(&[1, 6, 6, 4], 3, 12);
    let run = |graph: &Graph, equalization: bool| {
        let options = QuantizeOptions { equalization, ..QuantizeOptions::default() };
        let quantized = quantize(graph, &inputs, &options).unwrap();
        (noise(graph, &quantized.graph, &inputs), quantized.layers.iter().map(|l| l.equalized).collect::<Vec<_>>())
    };
    let graph = uneven(false);
    let ((before, _), (after, equalized)) = (run(&graph, false), run(&graph, true));
    assert_eq!(equalized, [false, true]);
    assert!(after < 0.5 * before, "{after} {before}");
    let clipped = uneven(true);
    assert_eq!(run(&clipped, true), run(&clipped, false));
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
    let joined = graph.add("joined", Op::Concat { axis: 3 }, &[a, b]).unwrap();
    let weights = random.tensor(&[5, 1, 1, 6], 0.5);
    let w = constant(&mut graph, weights);
    let y = graph.add("last", Op::Conv(Conv { geometry: geometry([0; 4], [1, 1], 1) }), &[joined, w]).unwrap();
    graph.set_outputs(vec![y]);
    let quantized = quantize(&graph, &samples(&[1, 4, 4, 4], 2, 8), &QuantizeOptions::default()).unwrap();
    let nodes = quantized.graph.nodes();
    let grids: Vec<_> = nodes
        .iter()
        .filter(|node| {
            matches!(node.op, Op::Concat { .. }) || node.name.starts_with("branch") && matches!(node.op, Op::QConv(_))
        })
        .map(|node| node.ty.quantization)
        .collect();
    assert_eq!(grids.len(), 3);
    assert!(grids.iter().all(|grid| grid.is_some() && *grid == grids[0]), "{grids:?}");
    // No table rescales a branch.
    assert!(!nodes.iter().any(|node| matches!(node.op, Op::Table(_))));
}
