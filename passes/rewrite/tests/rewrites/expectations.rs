//! What becomes of the forms that exporters write.

use crate::random::Maker;
use crate::same_function;
use crate::soundness::Tolerance;
use lutweave_ir::op::{
    BatchNorm, Binary, Concat, DeformConv, Dequantize, Geometry, MaxPool, Quantize, ReduceMean, Resize, Sampling,
    Slice, Unary,
};
use lutweave_ir::{Graph, NodeId, Op};
use lutweave_rewrite::cleanup::simplify;

const TO_NCHW: [usize; 4] = [0, 3, 1, 2];
const TO_NHWC: [usize; 4] = [0, 2, 3, 1];

/// Names of the operators after clean-up, sorted, without leaves.
fn operators(graph: &Graph) -> Vec<&'static str> {
    let simplified = simplify(graph).expect("the rules agree").graph;
    same_function(graph, &simplified, Tolerance::Rounding, 7, "expectation");
    let leaf = |op: &Op| matches!(op, Op::Input | Op::Constant(_));
    let mut names: Vec<_> =
        simplified.nodes().iter().filter(|node| !leaf(&node.op)).map(|node| node.op.name()).collect();
    names.sort_unstable();
    names
}

fn channels_first_conv(m: &mut Maker, x: NodeId, outputs: usize) -> NodeId {
    let x = m.transpose(x, &TO_NHWC);
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 1 };
    let y = m.conv_of(x, [3, 3], outputs, geometry);
    m.transpose(y, &TO_NCHW)
}

fn channels_first_norm(m: &mut Maker, x: NodeId) -> NodeId {
    let c = m.shape(x)[1];
    let x = m.transpose(x, &TO_NHWC);
    let (scale, bias, mean) = (m.constant(&[c]), m.constant(&[c]), m.constant(&[c]));
    let variance = m.floats(&[c], vec![0.5; c]);
    let y = m.add(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, scale, bias, mean, variance]);
    m.transpose(y, &TO_NCHW)
}

#[test]
fn a_channels_first_residual_block_is_convolutions_and_one_sum() {
    let mut m = Maker::new(1);
    let x = m.input(&[1, 4, 6, 5]);
    let a = channels_first_conv(&mut m, x, 4);
    let a = channels_first_norm(&mut m, a);
    let a = m.unary(Unary::Relu, a);
    let b = channels_first_conv(&mut m, a, 4);
    let b = channels_first_norm(&mut m, b);
    let y = m.binary(Binary::Add, a, b);
    let y = m.unary(Unary::Relu, y);
    let y = m.add(Op::ReduceMean(ReduceMean { axes: vec![2, 3], keep: false }), &[y]);
    let y = m.dense(y);
    let graph = m.finish(&[y]);
    let expected = ["add", "average_pool", "conv", "conv", "dense", "relu", "relu", "reshape", "transpose"];
    assert_eq!(operators(&graph), expected);
}

#[test]
fn a_normalized_input_costs_nothing() {
    let mut m = Maker::new(2);
    let x = m.input(&[1, 3, 4, 4]);
    let (mean, deviation) = (m.constant(&[1, 3, 1, 1]), m.floats(&[1, 3, 1, 1], vec![0.2, 0.3, 0.4]));
    let x = m.binary(Binary::Sub, x, mean);
    let x = m.binary(Binary::Div, x, deviation);
    let x = m.transpose(x, &TO_NHWC);
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let y = m.conv_of(x, [3, 3], 2, geometry);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["conv", "transpose"]);
}

#[test]
fn a_flattened_channels_first_image_needs_no_transpose() {
    let mut m = Maker::new(3);
    let x = m.input(&[1, 3, 4, 2]);
    let x = m.unary(Unary::Tanh, x);
    let x = m.transpose(x, &TO_NCHW);
    let x = m.reshape(x, &[1, 24]);
    let x = m.unary(Unary::Relu, x);
    let y = m.dense(x);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["dense", "relu", "reshape", "tanh"]);
}

#[test]
fn a_hard_swish_in_parts_is_one_function() {
    let mut m = Maker::new(4);
    let x = m.input(&[1, 3, 4, 2]);
    let (three, six) = (m.scalar(3.0), m.scalar(6.0));
    let y = m.binary(Binary::Add, x, three);
    let y = m.unary(Unary::Clip { lo: 0.0, hi: 6.0 }, y);
    let y = m.binary(Binary::Mul, x, y);
    let y = m.binary(Binary::Div, y, six);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["hard_swish"]);
}

#[test]
fn a_channel_shuffle_is_strided_slices() {
    let mut m = Maker::new(5);
    let x = m.input(&[1, 3, 4, 8]);
    let x = m.unary(Unary::Tanh, x);
    let x = m.transpose(x, &TO_NCHW);
    let x = m.reshape(x, &[4, 2, 12]);
    let x = m.transpose(x, &[1, 0, 2]);
    let x = m.reshape(x, &[2, 1, 4, 3, 4]);
    let part = |m: &mut Maker, index: usize| {
        let op = Op::Slice(Slice { starts: vec![index, 0, 0, 0, 0], sizes: vec![1, 1, 4, 3, 4], steps: vec![1; 5] });
        let part = m.add(op, &[x]);
        let part = m.reshape(part, &[1, 4, 3, 4]);
        m.transpose(part, &TO_NHWC)
    };
    let (a, b) = (part(&mut m, 0), part(&mut m, 1));
    let graph = m.finish(&[a, b]);
    assert_eq!(operators(&graph), ["slice", "slice", "tanh"]);
}

#[test]
fn an_affine_function_of_an_image_is_a_depthwise_layer() {
    let mut m = Maker::new(6);
    let x = m.input(&[1, 3, 4, 2]);
    let x = m.unary(Unary::Tanh, x);
    let (g, h) = (m.constant(&[2]), m.constant(&[2]));
    let y = m.binary(Binary::Mul, x, g);
    let y = m.binary(Binary::Add, y, h);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["conv", "tanh"]);
}

#[test]
fn a_block_trained_in_branches_is_one_convolution() {
    let mut m = Maker::new(7);
    let x = m.input(&[1, 6, 5, 4]);
    let padded = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 1 };
    let normalized = |m: &mut Maker, x: NodeId| {
        let (scale, bias, mean) = (m.constant(&[4]), m.constant(&[4]), m.constant(&[4]));
        let variance = m.floats(&[4], vec![0.5; 4]);
        m.add(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, scale, bias, mean, variance])
    };
    let wide = m.conv_of(x, [3, 3], 4, padded);
    let wide = normalized(&mut m, wide);
    let thin = m.conv_of(x, [1, 1], 4, Geometry { pads: [0; 4], ..padded });
    let thin = normalized(&mut m, thin);
    let identity = normalized(&mut m, x);
    let y = m.binary(Binary::Add, wide, thin);
    let y = m.binary(Binary::Add, identity, y);
    let y = m.unary(Unary::Relu, y);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["conv", "relu"]);
}

#[test]
fn a_channel_shuffle_between_layers_vanishes() {
    let mut m = Maker::new(8);
    let x = m.input(&[1, 4, 3, 4]);
    let x = m.transpose(x, &TO_NCHW);
    let x = channels_first_conv(&mut m, x, 6);
    let x = m.unary(Unary::Relu, x);
    // As exporters write it, channels first.
    let x = m.reshape(x, &[1, 2, 3, 4, 3]);
    let x = m.transpose(x, &[0, 2, 1, 3, 4]);
    let x = m.reshape(x, &[1, 6, 4, 3]);
    let x = m.transpose(x, &TO_NHWC);
    let depthwise = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 6 };
    let y = m.conv_of(x, [3, 3], 6, depthwise);
    let y = m.unary(Unary::Tanh, y);
    let y = m.conv_of(y, [1, 1], 5, Geometry { pads: [0; 4], groups: 1, ..depthwise });
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["conv", "conv", "conv", "relu", "tanh"]);
}

#[test]
fn an_upsampled_head_runs_at_the_low_resolution() {
    let mut m = Maker::new(9);
    let x = m.input(&[1, 3, 4, 8]);
    let x = m.unary(Unary::Tanh, x);
    let y = m.add(Op::Resize(Resize::by([2, 2])), &[x]);
    let plain = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let y = m.conv_of(y, [1, 1], 2, plain);
    let y = m.unary(Unary::Sigmoid, y);
    let graph = m.finish(&[y]);
    let simplified = simplify(&graph).unwrap().graph;
    let macs = |graph: &Graph| -> u64 { graph.ids().map(|id| graph.macs(id)).sum() };
    assert_eq!((macs(&graph), macs(&simplified)), (4 * 192, 192));
    assert_eq!(operators(&graph), ["conv", "resize", "sigmoid", "tanh"]);
}

#[test]
fn a_layer_computes_no_position_that_the_next_one_drops() {
    let mut m = Maker::new(10);
    let x = m.input(&[1, 8, 8, 3]);
    let layer = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 1 };
    let y = m.conv_of(x, [3, 3], 4, layer);
    let y = m.unary(Unary::Relu, y);
    let y = m.conv_of(y, [1, 1], 4, Geometry { strides: [2, 2], pads: [0; 4], ..layer });
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["conv", "conv", "relu"]);
    let simplified = simplify(&graph).unwrap();
    let strides = simplified.graph.nodes().iter().filter_map(|node| match &node.op {
        Op::Conv(conv) => Some(conv.geometry.strides),
        _ => None,
    });
    assert_eq!(strides.collect::<Vec<_>>(), [[2, 2], [1, 1]]);
    assert!(simplified.report.saturated && !simplified.report.fuel_limited);
}

#[test]
fn layers_under_one_join_are_one_layer() {
    let mut m = Maker::new(11);
    let x = m.input(&[1, 5, 5, 3]);
    let layer = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 1 };
    let parts = [2, 3].map(|outputs| {
        let y = m.conv_of(x, [3, 3], outputs, layer);
        m.unary(Unary::Relu, y)
    });
    let y = m.add(Op::Concat(Concat { axis: 3 }), &parts);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["conv", "relu"]);
}

#[test]
fn a_pool_of_dequantized_integers_pools_integers() {
    let mut m = Maker::new(12);
    let q = m.integers(&[1, 4, 4, 2], lutweave_ir::Element::I8, 3);
    let x = m.add(Op::Dequantize(Dequantize), &[q]);
    let window = lutweave_ir::op::Window { kernel: [2, 2], strides: [2, 2], dilations: [1, 1], pads: [0; 4] };
    let y = m.add(Op::MaxPool(MaxPool { window }), &[x]);
    let quantization = m.graph.node(q).ty.quantization.unwrap();
    let y = m.add(Op::Quantize(Quantize { element: lutweave_ir::Element::I8, quantization }), &[y]);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["max_pool"]);
}

/// Offsets as exporters write the square form: a clamped (and rounded) distance less 1, times a
/// constant template of channels first.
fn square_offsets(m: &mut Maker, x: NodeId, rounded: bool) -> NodeId {
    let d = m.conv_of(x, [1, 1], 1, Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 });
    let d = m.transpose(d, &TO_NCHW);
    let d = m.unary(Unary::Clip { lo: 0.0, hi: 3.0 }, d);
    let d = if rounded { m.unary(Unary::Round, d) } else { d };
    let one = m.scalar(1.0);
    let e = m.binary(Binary::Sub, d, one);
    let steps = (0..9).flat_map(|tap| [tap / 3 - 1, tap % 3 - 1].map(|steps: i32| steps as f32)).collect();
    let template = m.floats(&[1, 18, 1, 1], steps);
    let offsets = m.binary(Binary::Mul, template, e);
    m.transpose(offsets, &TO_NHWC)
}

#[test]
fn an_exported_square_has_one_distance_a_pixel_and_takes_its_norm() {
    for rounded in [false, true] {
        let mut m = Maker::new(13);
        let x = m.input(&[1, 5, 6, 4]);
        let offsets = square_offsets(&mut m, x, rounded);
        let (w, b) = (m.constant(&[4, 3, 3, 1]), m.constant(&[4]));
        let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 4 };
        let layer = DeformConv { geometry, sampling: Sampling::Free { offset_groups: 1 }, modulated: false };
        let y = m.add(Op::DeformConv(layer), &[x, w, b, offsets]);
        let y = m.transpose(y, &TO_NCHW);
        let y = channels_first_norm(&mut m, y);
        let y = m.unary(Unary::Relu, y);
        let graph = m.finish(&[y]);
        let round = if rounded { vec!["round"] } else { Vec::new() };
        let expected = [vec!["clip", "conv", "deform_conv", "relu"], round, vec!["transpose"]].concat();
        assert_eq!(operators(&graph), expected);
        let simplified = simplify(&graph).unwrap().graph;
        let found = simplified.nodes().iter().find_map(|node| match &node.op {
            Op::DeformConv(layer) => Some((*layer, simplified.node(node.operands[3]).op.name())),
            _ => None,
        });
        let expected = DeformConv { geometry, sampling: Sampling::Square, modulated: false };
        assert_eq!(found, Some((expected, if rounded { "round" } else { "clip" })));
    }
}

#[test]
fn distances_counted_from_one_go_into_the_layer_that_makes_them() {
    let mut m = Maker::new(14);
    let x = m.input(&[1, 5, 6, 2]);
    let s = m.conv_of(x, [1, 1], 1, Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 });
    let s = m.unary(Unary::Clip { lo: 0.0, hi: 8.0 }, s);
    let steps = (0..9).flat_map(|tap| [tap / 3 - 1, tap % 3 - 1].map(|steps: i32| steps as f32)).collect();
    let template = m.floats(&[18], steps);
    let offsets = m.binary(Binary::Mul, s, template);
    let (w, b) = (m.constant(&[3, 3, 3, 2]), m.constant(&[3]));
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 1 };
    let layer = DeformConv { geometry, sampling: Sampling::Free { offset_groups: 1 }, modulated: false };
    let y = m.add(Op::DeformConv(layer), &[x, w, b, offsets]);
    let graph = m.finish(&[y]);
    assert_eq!(operators(&graph), ["clip", "conv", "deform_conv"]);
    let bounds = |graph: &Graph| {
        graph.nodes().iter().find_map(|node| match node.op {
            Op::Unary(Unary::Clip { lo, hi }) => Some((lo, hi)),
            _ => None,
        })
    };
    assert_eq!(bounds(&simplify(&graph).unwrap().graph), Some((1.0, 9.0)));
}

#[test]
fn a_square_is_found_however_it_is_written() {
    let steps: Vec<f32> = (0..9).flat_map(|tap| [tap / 3 - 1, tap % 3 - 1].map(|steps: i32| steps as f32)).collect();
    for spelling in 0..4 {
        let mut m = Maker::new(15);
        let x = m.input(&[1, 5, 6, 2]);
        let plain = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
        let template = m.floats(&[18], steps.clone());
        let offsets = if spelling == 3 {
            // A layer that holds the template itself.
            let weights = steps.iter().flat_map(|steps| [0.5 * steps, -0.25 * steps]).collect();
            let (w, b) = (m.floats(&[18, 1, 1, 2], weights), m.floats(&[18], steps.clone()));
            m.add(Op::Conv(lutweave_ir::op::Conv { geometry: plain }), &[x, w, b])
        } else {
            let e = m.conv_of(x, [1, 1], 1, plain);
            let offsets = m.binary(Binary::Mul, e, template);
            match spelling {
                0 => m.unary(Unary::Clip { lo: -2.0, hi: 2.0 }, offsets),
                1 => m.unary(Unary::Round, offsets),
                _ => m.binary(Binary::Sub, offsets, template),
            }
        };
        let (w, b) = (m.constant(&[3, 3, 3, 2]), m.constant(&[3]));
        let geometry = Geometry { pads: [1; 4], ..plain };
        let layer = DeformConv { geometry, sampling: Sampling::Free { offset_groups: 1 }, modulated: false };
        let y = m.add(Op::DeformConv(layer), &[x, w, b, offsets]);
        let graph = m.finish(&[y]);
        let names = operators(&graph);
        assert!(!names.contains(&"mul"), "{spelling}: {names:?}");
        let simplified = simplify(&graph).unwrap().graph;
        let square =
            |node: &lutweave_ir::Node| matches!(&node.op, Op::DeformConv(layer) if layer.sampling == Sampling::Square);
        assert!(simplified.nodes().iter().any(square), "{spelling}: {names:?}");
    }
}
