//! What each step makes of small networks, and what it says that it costs.

use super::*;
use crate::sensitivity::measure;
use lutweave_ir::TensorType;
use lutweave_ir::op::{Conv, DeformConv, Geometry, Slice, Unary};
use lutweave_quantize::compress::WeightConfig;
use lutweave_quantize::{NormalizedLayer, normalized_network};
use lutweave_rewrite::cleanup::simplify;
use lutweave_testing::property::cases;
use proptest::prelude::*;

const PADDED: Geometry = Geometry { pads: [1; 4], ..Geometry::PLAIN };

/// Numbers that look random, by position.
fn reals(seed: usize, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|i| (((i + 7) * (seed * 37 + 91) % 199) as f32 / 99.5 - 1.0) * scale).collect()
}

fn floats(graph: &mut Graph, shape: &[usize], elements: Vec<f32>) -> NodeId {
    graph.constant("k", Tensor::f32(shape, elements), TensorType::f32(shape))
}

/// A network of one deformable layer of four channels and three outputs, whose offsets a pointwise
/// layer of given weights `[18,4]` and bias makes.
fn network(weights: Vec<f32>, bias: Vec<f32>, filters: Vec<f32>, mask: bool) -> Graph {
    let mut graph = Graph::new("network");
    let x = graph.input("x", TensorType::f32([1, 6, 7, 4]));
    let plain = Op::Conv(Conv { geometry: Geometry::PLAIN });
    let (v, a) = (floats(&mut graph, &[18, 1, 1, 4], weights), floats(&mut graph, &[18], bias));
    let offsets = graph.add("offsets", plain, &[x, v, a]).unwrap();
    let (w, b) = (floats(&mut graph, &[3, 3, 3, 4], filters), floats(&mut graph, &[3], vec![0.1, -0.2, 0.3]));
    let mut operands = vec![x, w, b, offsets];
    if mask {
        let part = Op::Slice(Slice { starts: vec![0; 4], sizes: vec![1, 6, 7, 9], steps: vec![1; 4] });
        let part = graph.add("part", part, &[offsets]).unwrap();
        operands.push(graph.add("mask", Op::Unary(Unary::Sigmoid), &[part]).unwrap());
    }
    let op = DeformConv { geometry: PADDED, sampling: Sampling::Free { offset_groups: 1 }, modulated: mask };
    let y = graph.add("deformed", Op::DeformConv(op), &operands).unwrap();
    graph.set_outputs(vec![y]);
    graph
}

fn samples(count: usize) -> Vec<Vec<Tensor>> {
    (0..count).map(|index| vec![Tensor::f32([1, 6, 7, 4], reals(index + 3, 168, 1.0))]).collect()
}

fn taken(graph: &Graph, request: Request) -> Reshaped {
    let reshaped = reshape(graph, &samples(8), Loss::SquaredError, &request).unwrap();
    lutweave_ir::validate::validate(&reshaped.graph).unwrap();
    reshaped
}

fn price(report: &Report, step: Step) -> f64 {
    let price = report.prices.iter().find(|price| price.step == step);
    price.unwrap_or_else(|| panic!("{step:?} is not in {report:?}")).distortion.unwrap()
}

fn request(variant: Variant) -> Request {
    Request { variant, reach: None, depthwise: false }
}

/// Weights and bias of offsets that are a square already, at a distance of about two.
fn square_offsets() -> (Vec<f32>, Vec<f32>) {
    let row = [0.3, -0.2, 0.25, 0.1];
    let template = lutweave_rewrite::rules::template::template(3, 1);
    (template.iter().flat_map(|steps| row.map(|w| w * steps)).collect(), template.clone())
}

#[test]
fn a_square_that_is_one_already_costs_nothing_and_goes_into_one_channel() {
    let (weights, bias) = square_offsets();
    let graph = network(weights, bias, reals(5, 108, 0.3), false);
    let reshaped = taken(&graph, request(Variant::Square));
    assert!(price(&reshaped.report, Step::Bounded) < 1e-9, "{:?}", reshaped.report);
    assert!(price(&reshaped.report, Step::Square) < 1e-9, "{:?}", reshaped.report);
    assert!(price(&reshaped.report, Step::Whole) > 1e-4);
    let layer = &reshaped.report.layers[0];
    assert_eq!((layer.sampling, layer.bounds, &layer.note), ("square", Some([0, 7]), &None));
    let clean = simplify(&reshaped.graph).unwrap().graph;
    let outputs: Vec<usize> = clean
        .nodes()
        .iter()
        .filter(|node| matches!(node.op, Op::Conv(_)))
        .map(|node| *node.ty.shape.last().unwrap())
        .collect();
    assert_eq!(outputs, [1], "the projection is in the weights of the layer before it");
}

#[test]
fn free_taps_cost_more_the_less_they_may() {
    let graph = network(reals(2, 72, 0.8), reals(3, 18, 1.5), reals(5, 108, 0.3), false);
    let full = taken(&graph, request(Variant::Full));
    let [lo, hi] = full.report.layers[0].seen.unwrap();
    let reach = lo.abs().max(hi.abs()).round() as i32;
    assert_eq!(full.report.layers[0].bounds, Some([-reach, reach]));
    // What no sample exceeds costs nothing on them, but for halves.
    assert!(price(&full.report, Step::Bounded) < 1e-2, "{:?}", full.report);
    let bounded = taken(&graph, Request { reach: Some(1), ..request(Variant::Bounded) });
    assert_eq!(bounded.report.layers[0].bounds, Some([-1, 1]));
    let square = taken(&graph, request(Variant::Square));
    let steps = |report: &Report| report.prices.iter().map(|price| price.step).collect::<Vec<_>>();
    assert_eq!(steps(&bounded.report), [Step::Bounded, Step::Whole]);
    assert_eq!(steps(&square.report), [Step::Bounded, Step::Square, Step::Whole]);
    let total = |report: &Report| report.prices.last().unwrap().distortion.unwrap();
    assert!(total(&full.report) < total(&bounded.report), "{full:?} {bounded:?}");
    assert!(total(&full.report) < total(&square.report), "{full:?} {square:?}");
}

#[test]
fn a_dense_layer_of_rank_one_filters_is_depthwise_and_pointwise() {
    let (weights, bias) = (reals(2, 72, 0.4), reals(3, 18, 0.5));
    let filter = |tap: usize, channel: usize| ((tap * 5 + channel * 3) % 7) as f32 / 7.0 - 0.4;
    let gain = |output: usize, channel: usize| ((output * 2 + channel) % 5) as f32 / 5.0 - 0.3;
    let separable: Vec<f32> =
        (0..108).map(|index| gain(index / 36, index % 4) * filter(index / 4 % 9, index % 4)).collect();
    for (filters, free) in [(separable, true), (reals(5, 108, 0.3), false)] {
        let graph = network(weights.clone(), bias.clone(), filters, false);
        let reshaped = taken(&graph, Request { depthwise: true, ..request(Variant::Full) });
        let price = price(&reshaped.report, Step::Depthwise);
        assert_eq!(price < 1e-9, free, "{price}");
        assert!(price < 1.0, "worse than nothing: {price}");
        assert!(reshaped.report.layers[0].depthwise);
        let again = taken(&reshaped.graph, Request { depthwise: true, ..request(Variant::Full) });
        assert!(again.report.prices.is_empty(), "nothing is left to do: {:?}", again.report);
    }
}

#[test]
fn what_has_no_square_stays_and_says_why() {
    let graph = network(reals(2, 72, 0.4), reals(3, 18, 0.5), reals(5, 108, 0.3), true);
    let reshaped = taken(&graph, request(Variant::Square));
    let layer = &reshaped.report.layers[0];
    assert_eq!((layer.sampling, layer.note.as_deref()), ("free", Some("it has a mask")));
}

#[test]
fn distances_below_zero_are_cut_off_at_a_price() {
    let (weights, bias) = square_offsets();
    let graph = network(weights, bias, reals(5, 108, 0.3), false);
    let square = edit::rebuild(&graph, &mut |edit, layer| project::project(edit, layer, 7)).unwrap().unwrap();
    // The same with distances on either side of 0, as CenterNet's Hardtanh gives them.
    let mut centred = Graph::new("centred");
    for node in square.nodes() {
        match &node.op {
            Op::Input => centred.input(&node.name, node.ty.clone()),
            Op::Constant(value) => centred.constant(&node.name, value.clone(), node.ty.clone()),
            Op::Unary(Unary::Clip { .. }) => {
                centred.add(&node.name, Op::Unary(Unary::Clip { lo: -7.0, hi: 8.0 }), &node.operands).unwrap()
            }
            op => centred.add(&node.name, op.clone(), &node.operands).unwrap(),
        };
    }
    centred.set_outputs(square.outputs().to_vec());
    let reshaped = taken(&centred, request(Variant::Full));
    assert_eq!(reshaped.report.layers[0].bounds, Some([0, 8]));
    assert!(reshaped.report.prices.iter().any(|price| price.step == Step::Bounded));
}

#[test]
fn a_reach_beyond_eight_bits_is_refused() {
    let (weights, bias) = square_offsets();
    let graph = network(weights, bias, reals(5, 108, 0.3), false);
    for reach in [0, 128] {
        let request = Request { reach: Some(reach), ..request(Variant::Bounded) };
        let fault = reshape(&graph, &[], Loss::SquaredError, &request).unwrap_err();
        assert_eq!(fault.code, "invalid-option");
    }
    let unmeasured = reshape(&graph, &[], Loss::SquaredError, &request(Variant::Square)).unwrap();
    assert!(unmeasured.report.prices.iter().all(|price| price.distortion.is_none()));
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn no_other_distance_is_nearer_to_the_offsets(seed in 1usize..5000) {
        let graph = network(reals(seed, 72, 0.5), reals(seed + 1, 18, 1.0), reals(5, 108, 0.3), false);
        let rebuilt = edit::rebuild(&graph, &mut |edit, layer| project::project(edit, layer, 7)).unwrap().unwrap();
        let input = samples(1).remove(0);
        let value = |graph: &Graph, name: &str| {
            let id = graph.ids().find(|&id| graph.node(id).name == name).unwrap();
            Interpreter::new(graph).run_all(&input).unwrap()[id.index()].clone()
        };
        let (offsets, distances) = (value(&graph, "offsets"), value(&rebuilt, "deformed.distance"));
        let template = lutweave_rewrite::rules::template::template(3, 1);
        for (row, &d) in offsets.f32s().chunks_exact(18).zip(distances.f32s()) {
            let error = |d: f32| -> f64 {
                row.iter().zip(&template).map(|(o, t)| f64::from(o - t * (d - 1.0)).powi(2)).sum()
            };
            prop_assert!(error(d) <= error(d + 0.05) + 1e-5 && error(d) <= error(d - 0.05) + 1e-5);
        }
    }
}

#[test]
fn prices_of_a_deformable_layer_are_measured() {
    let (weights, bias) = square_offsets();
    let graph = network(weights, bias, reals(5, 108, 0.3), false);
    let graph = simplify(&taken(&graph, request(Variant::Square)).graph).unwrap().graph;
    let subject = normalized_network(&graph).unwrap();
    let study = Study::new(&subject.graph, &samples(12), Loss::SquaredError).unwrap();
    let open: Vec<&NormalizedLayer> = subject.layers.iter().filter(|layer| layer.info.name == "deformed").collect();
    let settings = |_: &NormalizedLayer| [8, 4, 2].map(WeightConfig::dense).to_vec();
    let tables = measure(&study, &open, &settings, &|_| Ok(())).unwrap();
    let prices: Vec<u64> = tables[0].prices.iter().map(|price| price.distortion).collect();
    assert!(prices[0] * 20 < prices[1] && prices[1] * 2 < prices[2], "{prices:?}");
    assert_eq!(subject.layers.iter().filter(|layer| layer.info.steers).count(), 1);
}
