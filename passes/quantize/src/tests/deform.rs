//! Deformable layers: whole offsets within reach, weights rounded on what the taps really read.

use super::*;
use lutweave_ir::op::{Concat, DeformConv, QDeformConv, Sampling, Slice};

/// How a test's deformable layer reads.
#[derive(Clone, Copy, Debug)]
struct Shape {
    sampling: Sampling,
    groups: usize,
    bounds: (f32, f32),
    rounded: bool,
}

const SQUARE: Shape = Shape { sampling: Sampling::Square, groups: 8, bounds: (0.0, 4.0), rounded: true };
const FREE: Shape =
    Shape { sampling: Sampling::Free { offset_groups: 1 }, groups: 1, bounds: (-2.0, 2.0), rounded: true };

fn layer(graph: &mut Graph, random: &mut Random, name: &str, x: NodeId, shape: [usize; 4], spread: f32) -> NodeId {
    let fan = (shape[1] * shape[2] * shape[3]) as f32;
    let (w, b) = (random.tensor(&shape, spread / fan.sqrt()), random.tensor(&[shape[0]], 0.3));
    let (w, b) = (constant(graph, w), constant(graph, b));
    let pads = [shape[1] / 2, shape[2] / 2, shape[1] / 2, shape[2] / 2];
    graph.add(name, Op::Conv(Conv { geometry: geometry(pads, [1, 1], 1) }), &[x, w, b]).unwrap()
}

fn unary(graph: &mut Graph, name: &str, unary: Unary, x: NodeId) -> NodeId {
    graph.add(name, Op::Unary(unary), &[x]).unwrap()
}

/// A layer, offsets from a layer of its own, a deformable layer of eight channels, and a head.
fn deformed(seed: u64, shape: Shape) -> Graph {
    let random = &mut Random(seed);
    let mut graph = Graph::new("deformed");
    let x = graph.input("x", TensorType::f32([1, 7, 9, 3]));
    let f = layer(&mut graph, random, "stem", x, [8, 3, 3, 3], 2.0);
    let f = unary(&mut graph, "features", Unary::Relu, f);
    let channels = shape.sampling.channels([3, 3]);
    let o = layer(&mut graph, random, "offset", f, [channels, 1, 1, 8], 3.0);
    let (lo, hi) = shape.bounds;
    let mut o = unary(&mut graph, "bounded", Unary::Clip { lo, hi }, o);
    if shape.rounded {
        o = unary(&mut graph, "whole", Unary::Round, o);
    }
    let w = random.tensor(&[8, 3, 3, 8 / shape.groups], 2.0 / (9.0 * 8.0 / shape.groups as f32).sqrt());
    let b = random.tensor(&[8], 0.2);
    let (w, b) = (constant(&mut graph, w), constant(&mut graph, b));
    let op =
        DeformConv { geometry: geometry([1; 4], [1, 1], shape.groups), sampling: shape.sampling, modulated: false };
    let y = graph.add("deformed", Op::DeformConv(op), &[f, w, b, o]).unwrap();
    let y = unary(&mut graph, "relu", Unary::Relu, y);
    let y = layer(&mut graph, random, "head", y, [4, 1, 1, 8], 2.0);
    graph.set_outputs(vec![y]);
    graph
}

fn inputs(seed: u64, count: usize) -> Vec<Vec<Tensor>> {
    samples(&[1, 7, 9, 3], seed, count)
}

/// The deformable operator of an integer graph, and its node.
fn operator(graph: &Graph) -> (&QDeformConv, &lutweave_ir::Node) {
    let found = graph.nodes().iter().find_map(|node| match &node.op {
        Op::QDeformConv(conv) => Some((conv, node)),
        _ => None,
    });
    found.expect("a deformable layer is left")
}

#[test]
fn the_layer_before_the_offsets_gives_whole_pixels() {
    for (shape, reach, range) in [(SQUARE, 4, (0, 4)), (FREE, 2, (-2, 2))] {
        for rounded in [true, false] {
            let graph = deformed(3, Shape { rounded, ..shape });
            let quantized = quantize(&graph, &inputs(4, 8), &QuantizeOptions::default()).unwrap();
            lutweave_ir::split::split(&quantized.graph).unwrap();
            let (conv, node) = operator(&quantized.graph);
            assert_eq!((conv.reach, conv.sampling), (reach, shape.sampling));
            let offsets = quantized.graph.node(node.operands[3]);
            let Op::QConv(made) = &offsets.op else { panic!("offsets are made by `{}`", offsets.op.name()) };
            assert_eq!((made.requantize.lo, made.requantize.hi), range);
            assert_eq!(offsets.ty.quantization, Some(Quantization { scale: 1.0, zero_point: 0 }));
            let tables = quantized.graph.nodes().iter().filter(|node| matches!(node.op, Op::Table(_))).count();
            assert_eq!(tables, 0, "nothing stands between a layer and its offsets");
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn integers_follow_the_float_graph(seed in any::<u64>(), square in any::<bool>(), dense in any::<bool>()) {
        let shape = Shape { groups: if dense { 1 } else { 8 }, ..if square { SQUARE } else { FREE } };
        let graph = deformed(seed, shape);
        let quantized = quantize(&graph, &inputs(seed ^ 1, 16), &QuantizeOptions::default()).unwrap();
        lutweave_ir::validate::validate(&quantized.graph).unwrap();
        let reals = interpret::Interpreter::new(&graph);
        let integers = interpret::Interpreter::new(&quantized.graph);
        let id = |graph: &Graph, name: &str| graph.ids().find(|&id| graph.node(id).name == name).unwrap();
        let node = operator(&quantized.graph).1;
        let (mut same, mut pixels, mut signal, mut noise) = (0, 0, 0.0f64, 0.0f64);
        for input in inputs(seed ^ 2, 6) {
            let (real, integer) = (reals.run_all(&input).unwrap(), integers.run_all(&input).unwrap());
            let offsets = &real[id(&graph, "whole").index()];
            let found = &integer[node.operands[3].index()];
            let channels = offsets.shape[3];
            let (expected, result) = (&real[graph.outputs()[0].index()], &integer[quantized.graph.outputs()[0].index()]);
            for (index, row) in offsets.f32s().chunks_exact(channels).enumerate() {
                pixels += 1;
                let own = &found.ints()[index * channels..(index + 1) * channels];
                // Where a distance lies between two pixels it may fall either way.
                if row.iter().zip(own).any(|(&real, &q)| real != q as f32) {
                    continue;
                }
                same += 1;
                for place in index * 4..(index + 1) * 4 {
                    let (real, found) = (f64::from(expected.f32s()[place]), f64::from(result.f32s()[place]));
                    signal += real * real;
                    noise += (real - found) * (real - found);
                }
            }
        }
        prop_assert!(same * 10 >= pixels * if square { 8 } else { 4 }, "offsets agree on {same} of {pixels}");
        prop_assert!(noise * 40.0 <= signal, "noise {noise} of {signal}");
    }
}

#[test]
fn four_bits_are_rounded_on_what_the_taps_read() {
    let error = |seed: u64, rounding: Rounding| {
        let graph = deformed(seed, Shape { groups: 1, ..SQUARE });
        let options = QuantizeOptions { weight_bits: 4, rounding, ..QuantizeOptions::default() };
        let quantized = quantize(&graph, &inputs(seed ^ 1, 32), &options).unwrap();
        let layer = quantized.layers.iter().find(|layer| layer.operator == "qdeform_conv").unwrap();
        assert_eq!(layer.weight_bits, Some(4));
        assert!(layer.bias_corrected);
        let offset = quantized.layers.iter().find(|layer| layer.name == "offset").unwrap();
        assert_eq!(offset.weight_bits, Some(8), "what moves taps keeps 8 bits");
        layer.distortion.unwrap()
    };
    let total = |rounding: Rounding| (0..6).map(|seed| error(seed, rounding)).sum::<f64>();
    let (nearest, swept) = (total(Rounding::Nearest), total(Rounding::Gptq));
    assert!(swept < nearest * 0.95, "{swept} against {nearest}");
}

#[test]
fn weights_of_the_model_keep_their_scales() {
    let mut graph = deformed(11, SQUARE);
    // The same graph with the deformable layer's weights as 4-bit integers.
    let given: Vec<i32> = Random(12).ints(72, -8, 7);
    let scales: Vec<f32> = (0..8).map(|channel| 0.02 + 0.01 * channel as f32).collect();
    let mut rebuilt = Graph::new("given");
    for id in graph.ids() {
        let node = graph.node(id);
        match &node.op {
            Op::Input => rebuilt.input(&node.name, node.ty.clone()),
            Op::Constant(_) if node.ty.shape == [8, 3, 3, 1] => {
                let shape = [8, 3, 3, 1];
                let q = rebuilt.constant("q", Tensor::int(shape, given.clone()), TensorType::int(shape, Element::I4));
                let op = DequantizeWeights { axis: 0, scales: scales.clone(), zero_points: vec![0; 8] };
                // Later operands count the integers too.
                let real = rebuilt.add(&node.name, Op::DequantizeWeights(op), &[q]).unwrap();
                assert_eq!(real.index(), id.index() + 1);
                real
            }
            Op::Constant(value) => rebuilt.constant(&node.name, value.clone(), node.ty.clone()),
            op => {
                let shift = |operand: &NodeId| {
                    let name = &graph.node(*operand).name;
                    rebuilt.ids().find(|&id| rebuilt.node(id).name == *name).unwrap()
                };
                let operands: Vec<NodeId> = node.operands.iter().map(shift).collect();
                rebuilt.add(&node.name, op.clone(), &operands).unwrap()
            }
        };
    }
    let output = rebuilt.ids().last().unwrap();
    rebuilt.set_outputs(vec![output]);
    graph = rebuilt;
    let options = QuantizeOptions { weight_bits: 4, ..QuantizeOptions::default() };
    let quantized = quantize(&graph, &inputs(13, 16), &options).unwrap();
    let (conv, node) = operator(&quantized.graph);
    let weights = quantized.graph.constant_of(node.operands[1]).unwrap();
    assert_eq!(weights.ints(), given);
    let grid = |id: NodeId| f64::from(quantized.graph.node(id).ty.quantization.unwrap().scale);
    let output = f64::from(node.ty.quantization.unwrap().scale);
    for (channel, &scale) in scales.iter().enumerate() {
        let (multiplier, shift) = conv.requantize.factor(channel);
        let factor = f64::from(multiplier) / f64::from(shift).exp2();
        let expected = grid(node.operands[0]) * f64::from(scale) / output;
        assert!((factor / expected - 1.0).abs() < 1e-3, "{factor} for {expected}");
    }
    let report = quantized.layers.iter().find(|layer| layer.operator == "qdeform_conv").unwrap();
    assert_eq!((report.setting, report.weight_bits, report.scales.given), (None, Some(4), 8));
}

#[test]
fn what_the_chip_lacks_is_refused_with_a_remedy() {
    let refused = |change: &dyn Fn(&mut DeformConv, &mut Vec<NodeId>, &mut Graph)| {
        let graph = deformed(5, FREE);
        let mut other = Graph::new("refused");
        for node in graph.nodes() {
            match &node.op {
                Op::Input => other.input(&node.name, node.ty.clone()),
                Op::Constant(value) => other.constant(&node.name, value.clone(), node.ty.clone()),
                Op::DeformConv(conv) => {
                    let (mut conv, mut operands) = (*conv, node.operands.clone());
                    let before = other.nodes().len();
                    change(&mut conv, &mut operands, &mut other);
                    let id = other.add("deformed", Op::DeformConv(conv), &operands).unwrap();
                    // The rest of the graph is of no interest.
                    assert!(id.index() >= before);
                    other.set_outputs(vec![id]);
                    break;
                }
                op => other.add(&node.name, op.clone(), &node.operands).unwrap(),
            };
        }
        let faults = quantize(&other, &inputs(6, 2), &QuantizeOptions::default()).unwrap_err();
        let fault = faults.0[0].clone();
        assert_eq!((&fault.node[..], &fault.operator[..]), ("deformed", "deform_conv"), "{fault}");
        assert!(!fault.help.is_empty());
        fault.code
    };
    let masked = refused(&|conv, operands, graph| {
        conv.modulated = true;
        let mask = graph.add(
            "mask",
            Op::Slice(Slice { starts: vec![0; 4], sizes: vec![1, 7, 9, 9], steps: vec![1; 4] }),
            &[operands[3]],
        );
        operands.push(mask.unwrap());
    });
    assert_eq!(masked, "unsupported-mask");
    let grouped = refused(&|conv, operands, graph| {
        conv.sampling = Sampling::Free { offset_groups: 2 };
        operands[3] = graph.add("twice", Op::Concat(Concat { axis: 3 }), &[operands[3], operands[3]]).unwrap();
    });
    assert_eq!(grouped, "unsupported-offset-groups");
    let still = refused(&|_, operands, graph| operands[3] = constant(graph, Random(7).tensor(&[1, 7, 9, 18], 1.0)));
    assert_eq!(still, "constant-offsets");
}
