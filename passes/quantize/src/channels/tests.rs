use super::{Keep, Options, Removed, classes, prune, remove_dead};
use lutweave_ir::interpret::run;
use lutweave_ir::op::{Binary, Conv, Dense, Dequantize, DequantizeWeights, Geometry, Quantize, Reshape, Unary};
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, Tensor, TensorType};
use lutweave_testing::channels::{Recipe, random_graph, random_inputs};
use lutweave_testing::property::cases;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Adds a convolution with weights `[o][i]`, the same at every tap of a square window.
fn conv(
    graph: &mut Graph,
    name: &str,
    x: NodeId,
    kernel: usize,
    padded: bool,
    rows: &[&[f32]],
    bias: &[f32],
) -> NodeId {
    let taps = kernel * kernel;
    let elements: Vec<f32> = rows.iter().flat_map(|row| row.repeat(taps)).collect();
    let shape = [rows.len(), kernel, kernel, rows[0].len()];
    let weights = graph.constant(&format!("{name}.w"), Tensor::f32(shape, elements), TensorType::f32(shape));
    let bias = graph.constant(&format!("{name}.b"), Tensor::f32([rows.len()], bias), TensorType::f32([rows.len()]));
    let groups = graph.node(x).ty.shape[3] / rows[0].len();
    let pads = if padded { [1; 4] } else { [0; 4] };
    let op = Op::Conv(Conv { geometry: Geometry { pads, groups, ..Geometry::PLAIN } });
    graph.add(name, op, &[x, weights, bias]).expect("fits")
}

fn add(graph: &mut Graph, name: &str, op: Op, operands: &[NodeId]) -> NodeId {
    graph.add(name, op, operands).expect("fits")
}

fn relu(graph: &mut Graph, name: &str, x: NodeId) -> NodeId {
    add(graph, name, Op::Unary(Unary::Relu), &[x])
}

fn channels(removed: &Removed, name: &str) -> [usize; 2] {
    let layer = removed.layers.iter().find(|layer| layer.name == name).expect("a layer of this name");
    [layer.inputs.indices.len(), layer.outputs.indices.len()]
}

/// Largest difference of any output, relative to the largest magnitude, or to 1 if that is less.
fn distance(a: &Graph, b: &Graph, inputs: &[Tensor]) -> f32 {
    let (a, b) = (run(a, inputs).expect("runs"), run(b, inputs).expect("runs"));
    let distance = |(a, b): (&Tensor, &Tensor)| {
        assert_eq!(a.shape, b.shape);
        let magnitude = a.f32s().iter().fold(1f32, |most, a| most.max(a.abs()));
        a.f32s().iter().zip(b.f32s()).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / magnitude
    };
    a.iter().zip(&b).map(distance).fold(0.0, f32::max)
}

fn samples(graph: &Graph, count: u64) -> Vec<Vec<Tensor>> {
    (0..count).map(|seed| random_inputs(graph, seed)).collect()
}

/// Three channels, of which the second is dead and the third is 2 after its ReLU; a reader.
fn planted(kernel: usize, padded: bool) -> Graph {
    let mut graph = Graph::new("planted");
    let x = graph.input("x", TensorType::f32([1, 4, 4, 2]));
    let y = conv(&mut graph, "first", x, 1, false, &[&[1.0, -1.0], &[0.0, 0.0], &[0.0, 0.0]], &[0.5, -1.0, 2.0]);
    let y = relu(&mut graph, "relu", y);
    let rows: [&[f32]; 2] = [&[1.0, 2.0, 3.0], &[-1.0, 0.5, 1.0]];
    let y = conv(&mut graph, "second", y, kernel, padded, &rows, &[0.25, 0.0]);
    graph.set_outputs(vec![y]);
    graph
}

#[test]
fn a_constant_moves_into_the_next_bias() {
    let graph = planted(3, false);
    let removed = remove_dead(&graph, &[], &Options::default()).expect("removes");
    assert_eq!(channels(&removed, "first"), [2, 1]);
    assert_eq!(channels(&removed, "second"), [1, 2]);
    let bias = removed.graph.nodes().iter().find(|node| node.name == "second.b").expect("the bias keeps its name");
    // Nine taps of 2 times 3, and of 2 times 1.
    assert_eq!(bias.op, Op::Constant(Tensor::f32([2], vec![54.25, 18.0])));
    assert!(distance(&graph, &removed.graph, &random_inputs(&graph, 7)) < 1e-6);
}

#[test]
fn at_a_padded_border_only_zero_can_go() {
    let graph = planted(3, true);
    let removed = remove_dead(&graph, &[], &Options::default()).expect("removes");
    assert_eq!(channels(&removed, "first"), [2, 2], "the channel that is 2 stays");
    assert!(distance(&graph, &removed.graph, &random_inputs(&graph, 7)) < 1e-6);
}

#[test]
fn a_channel_goes_through_a_depthwise_convolution() {
    let mut graph = Graph::new("depthwise");
    let x = graph.input("x", TensorType::f32([1, 4, 4, 2]));
    let rows: [&[f32]; 3] = [&[1.0, 2.0], &[0.0, 0.0], &[2.0, 1.0]];
    let y = conv(&mut graph, "in", x, 1, false, &rows, &[0.1, -0.1, 0.2]);
    let y = relu(&mut graph, "relu", y);
    let y = conv(&mut graph, "depthwise", y, 3, true, &[&[1.0], &[1.0], &[1.0]], &[0.0, 0.5, 0.0]);
    let y = relu(&mut graph, "relu2", y);
    // The third channel is not read.
    let y = conv(&mut graph, "out", y, 1, false, &[&[1.0, 4.0, 0.0]], &[1.0]);
    graph.set_outputs(vec![y]);
    let removed = remove_dead(&graph, &[], &Options::default()).expect("removes");
    assert_eq!([channels(&removed, "in"), channels(&removed, "out")], [[2, 1], [1, 1]]);
    let depthwise = removed.graph.nodes().iter().find(|node| node.name == "depthwise").expect("stays");
    assert!(matches!(&depthwise.op, Op::Conv(conv) if conv.geometry.groups == 1));
    assert!(distance(&graph, &removed.graph, &random_inputs(&graph, 3)) < 1e-6);
}

/// Two convolutions whose sum is read by a third.
fn residual(second_dead: bool) -> Graph {
    let mut graph = Graph::new("residual");
    let x = graph.input("x", TensorType::f32([1, 2, 2, 2]));
    let a = conv(&mut graph, "a", x, 1, false, &[&[1.0, 1.0], &[0.0, 0.0]], &[0.0, 0.0]);
    let second: &[f32] = if second_dead { &[0.0, 0.0] } else { &[1.0, -1.0] };
    let b = conv(&mut graph, "b", x, 1, false, &[&[1.0, 2.0], second], &[0.0, 3.0]);
    let sum = add(&mut graph, "sum", Op::Binary(Binary::Add), &[a, b]);
    let y = conv(&mut graph, "out", sum, 1, false, &[&[1.0, 1.0]], &[0.0]);
    graph.set_outputs(vec![y]);
    graph
}

#[test]
fn a_sum_loses_a_channel_only_if_all_its_operands_do() {
    let live = remove_dead(&residual(false), &[], &Options::default()).expect("removes");
    assert_eq!(live.graph, residual(false));
    let graph = residual(true);
    let removed = remove_dead(&graph, &[], &Options::default()).expect("removes");
    assert_eq!([channels(&removed, "a"), channels(&removed, "b"), channels(&removed, "out")], [[2, 1], [2, 1], [1, 1]]);
    assert!(distance(&graph, &removed.graph, &random_inputs(&graph, 3)) < 1e-6);
}

/// A channel that is about -10 in front of its ReLU, whatever the input.
fn silent() -> Graph {
    let mut graph = Graph::new("silent");
    let x = graph.input("x", TensorType::f32([1, 4, 4, 1]));
    let y = conv(&mut graph, "first", x, 1, false, &[&[1.0], &[1.0]], &[0.0, -10.0]);
    let y = relu(&mut graph, "relu", y);
    let y = conv(&mut graph, "second", y, 3, true, &[&[1.0, 1.0]], &[0.0]);
    graph.set_outputs(vec![y]);
    graph
}

#[test]
fn a_channel_that_never_fires_goes_if_the_samples_say_so_by_a_margin() {
    let graph = silent();
    let outputs = |samples: &[Vec<Tensor>], options: Options| {
        let removed = remove_dead(&graph, samples, &options).expect("removes");
        assert_eq!(removed.change.iter().map(|change| change.largest).sum::<f64>(), 0.0);
        channels(&removed, "first")[1]
    };
    let standard = Options { negligible: 0.0, ..Options::default() };
    assert_eq!(outputs(&samples(&graph, 8), standard), 1);
    assert_eq!(outputs(&samples(&graph, 1), standard), 2, "one sample says nothing about the next");
    assert_eq!(outputs(&[], standard), 2);
    assert_eq!(outputs(&samples(&graph, 8), Options { never_firing: false, ..standard }), 2);
    assert_eq!(outputs(&samples(&graph, 8), Options { margin: 1e6, ..standard }), 2);
}

#[test]
fn a_channel_that_always_quantizes_to_zero_never_fires() {
    let mut graph = Graph::new("quantized");
    let x = graph.input("x", TensorType::f32([1, 4, 4, 1]));
    let y = conv(&mut graph, "first", x, 1, false, &[&[1.0], &[1.0]], &[0.0, -10.0]);
    let quantization = Quantization { scale: 0.01, zero_point: -128 };
    let y = add(&mut graph, "q", Op::Quantize(Quantize { element: Element::I8, quantization }), &[y]);
    let y = add(&mut graph, "dq", Op::Dequantize(Dequantize), &[y]);
    let y = conv(&mut graph, "second", y, 3, true, &[&[1.0, 1.0]], &[0.0]);
    graph.set_outputs(vec![y]);
    let removed = remove_dead(&graph, &samples(&graph, 8), &Options::default()).expect("removes");
    assert_eq!([channels(&removed, "first"), channels(&removed, "second")], [[1, 1], [1, 1]]);
    assert_eq!((removed.never_firing, removed.change[0].largest), (1, 0.0));
    let node = removed.graph.nodes().iter().find(|node| node.name == "q").expect("stays");
    assert_eq!(node.ty, TensorType::int([1, 4, 4, 1], Element::I8).quantized(quantization));
}

#[test]
fn weights_that_are_zero_but_for_rounding_count_as_zero() {
    let build = |tiny: f32| {
        let mut graph = Graph::new("tiny");
        let x = graph.input("x", TensorType::f32([1, 2, 2, 2]));
        // The first layer's second channel is tiny; the reader must not make it large again.
        let y = conv(&mut graph, "first", x, 1, false, &[&[1.0, tiny], &[tiny, tiny]], &[0.5, 0.0]);
        let y = conv(&mut graph, "second", y, 1, false, &[&[1.0, 1.0]], &[0.0]);
        graph.set_outputs(vec![y]);
        graph
    };
    let graph = build(1e-9);
    let removed = remove_dead(&graph, &samples(&graph, 4), &Options::default()).expect("removes");
    assert_eq!(channels(&removed, "first"), [2, 1]);
    assert_eq!(removed.layers[0].weights_zeroed, 1, "its own step is as tiny as the channel");
    assert!(removed.change[0].largest < 1e-6 && removed.change[0].magnitude > 0.5);
    let graph = build(1e-2);
    let removed = remove_dead(&graph, &samples(&graph, 4), &Options::default()).expect("removes");
    assert_eq!(removed.graph, graph);
}

#[test]
fn a_layer_without_any_needed_channel_keeps_one() {
    let mut graph = Graph::new("dead");
    let x = graph.input("x", TensorType::f32([1, 2, 2, 2]));
    let y = conv(&mut graph, "first", x, 1, false, &[&[1.0, 2.0], &[3.0, 4.0]], &[0.5, 0.0]);
    let y = conv(&mut graph, "second", y, 1, false, &[&[0.0, 0.0]], &[3.0]);
    graph.set_outputs(vec![y]);
    let removed = remove_dead(&graph, &[], &Options::default()).expect("removes");
    assert_eq!([channels(&removed, "first"), channels(&removed, "second")], [[2, 1], [1, 1]]);
    assert_eq!(distance(&graph, &removed.graph, &random_inputs(&graph, 3)), 0.0);
}

#[test]
fn integers_of_a_quantized_model_stay_integers() {
    let mut graph = Graph::new("integers");
    let x = graph.input("x", TensorType::f32([1, 2]));
    let mut dense = |name: &str, x: NodeId, integers: &[i32], outputs: usize, scales: Vec<f32>| {
        let shape = [outputs, integers.len() / outputs];
        let ty = TensorType::int(shape, Element::I8);
        let integers = graph.constant(&format!("{name}.q"), Tensor::int(shape, integers), ty);
        let op = Op::DequantizeWeights(DequantizeWeights { axis: 0, zero_points: vec![0; scales.len()], scales });
        let weights = add(&mut graph, &format!("{name}.w"), op, &[integers]);
        add(&mut graph, name, Op::Dense(Dense), &[x, weights])
    };
    let y = dense("first", x, &[1, 2, 0, 0, 3, 4], 3, vec![0.5, 0.25, 0.125]);
    let y = dense("second", y, &[5, 6, 7], 1, vec![0.5]);
    graph.set_outputs(vec![y]);
    let removed = remove_dead(&graph, &[], &Options::default()).expect("removes");
    let node = |name: &str| removed.graph.nodes().iter().find(|node| node.name == name).expect("stays");
    assert_eq!(node("first.q").op, Op::Constant(Tensor::int([2, 2], vec![1, 2, 3, 4])));
    assert_eq!(node("second.q").op, Op::Constant(Tensor::int([1, 2], vec![5, 7])));
    assert!(matches!(&node("first.w").op, Op::DequantizeWeights(weights) if weights.scales == [0.5, 0.125]));
    assert_eq!(distance(&graph, &removed.graph, &random_inputs(&graph, 3)), 0.0);
}

#[test]
fn options_out_of_range_are_refused() {
    for options in
        [Options { margin: -1.0, ..Options::default() }, Options { negligible: f64::NAN, ..Options::default() }]
    {
        let faults = remove_dead(&silent(), &[], &options).expect_err("refused");
        assert_eq!(faults.0[0].code, "invalid-option");
    }
    let wrong = vec![vec![Tensor::f32([1], vec![0.0])]];
    assert_eq!(remove_dead(&silent(), &wrong, &Options::default()).expect_err("refused").0[0].code, "invalid-input");
}

#[test]
fn layers_that_meet_in_a_sum_are_one_class() {
    let found = classes(&residual(false));
    assert_eq!(found.len(), 1, "the last layer feeds the output");
    assert_eq!(found[0].members, ["a", "b"]);
    let places: Vec<_> = found[0].channels.iter().map(|channel| channel.places.clone()).collect();
    assert_eq!(places, [[(0, 0), (1, 0)], [(0, 1), (1, 1)]]);
    // Per channel: 2 x 2 pixels of two inputs in `a` and in `b`, and of one in `out`.
    assert!(found[0].channels.iter().all(|channel| channel.macs == 8 + 8 + 4));
}

#[test]
fn a_pruned_class_shrinks_all_its_layers_and_their_readers() {
    let graph = residual(false);
    let keep = BTreeMap::from([("b".to_owned(), Keep::Channels(vec![1]))]);
    let removed = prune(&graph, &keep).expect("prunes");
    assert_eq!([channels(&removed, "a"), channels(&removed, "b"), channels(&removed, "out")], [[2, 1], [2, 1], [1, 1]]);
    let b = removed.layers.iter().find(|layer| layer.name == "b").expect("a layer");
    assert_eq!((b.outputs.before, &b.outputs.indices[..]), (2, &[1][..]));
    // By magnitude: relative to each layer's mean, channel 0 has 2 + 6/5, channel 1 has 0 + 4/5.
    for (keep, kept) in [
        (Keep::Largest(1), 0),
        (Keep::Best { count: 1, scores: vec![0.0, 1.0] }, 1),
        (Keep::Best { count: 1, scores: vec![1.0, 1.0] }, 0),
    ] {
        let removed = prune(&graph, &BTreeMap::from([("a".to_owned(), keep)])).expect("prunes");
        assert_eq!(removed.layers[0].outputs.indices, [kept]);
    }
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let code = |requests: &[(&str, Keep)]| {
        let keep = requests.iter().map(|(name, keep)| ((*name).to_owned(), keep.clone())).collect();
        prune(&residual(false), &keep).expect_err("refused").0[0].code
    };
    assert_eq!(code(&[("c", Keep::Largest(1))]), "unknown-layer");
    assert_eq!(code(&[("a", Keep::Largest(0))]), "invalid-channels");
    assert_eq!(code(&[("a", Keep::Largest(3))]), "invalid-channels");
    assert_eq!(code(&[("a", Keep::Channels(vec![]))]), "invalid-channels");
    assert_eq!(code(&[("a", Keep::Channels(vec![2]))]), "invalid-channels");
    assert_eq!(code(&[("a", Keep::Best { count: 1, scores: vec![1.0] })]), "invalid-channels");
    assert_eq!(code(&[("a", Keep::Best { count: 1, scores: vec![1.0, f64::NAN] })]), "invalid-channels");
    assert_eq!(code(&[("a", Keep::Channels(vec![0])), ("b", Keep::Channels(vec![1]))]), "conflicting-channels");
}

#[test]
fn channels_of_an_output_cannot_be_pruned() {
    let faults = prune(&planted(1, false), &BTreeMap::from([("second".to_owned(), Keep::Largest(1))]));
    assert_eq!(faults.expect_err("refused").0[0].code, "unremovable-channels");
}

/// The graph with weights and biases of a layer's channels set to zero.
fn zeroed(graph: &Graph, gone: &BTreeMap<String, Vec<usize>>) -> Graph {
    let mut copy = Graph::new(&graph.name);
    let users = graph.users();
    for id in graph.ids() {
        let node = graph.node(id);
        match &node.op {
            Op::Input => {
                copy.input(&node.name, node.ty.clone());
            }
            Op::Constant(value) => {
                let mut elements = value.f32s().to_vec();
                let layers = users[id.index()].iter().filter(|user| graph.node(**user).operands[0] != id);
                for gone in layers.filter_map(|user| gone.get(&graph.node(*user).name)) {
                    let row = value.count() / value.shape[0];
                    gone.iter().for_each(|&output| elements[output * row..][..row].fill(0.0));
                }
                copy.constant(&node.name, Tensor::f32(value.shape.clone(), elements), node.ty.clone());
            }
            op => {
                copy.add(&node.name, op.clone(), &node.operands).expect("as before");
            }
        }
    }
    copy.set_outputs(graph.outputs().to_vec());
    copy
}

fn steps() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((any::<u8>(), any::<u64>()), 1..14)
}

#[test]
fn weights_that_are_no_numbers_come_to_an_end() {
    let mut graph = Graph::new("no numbers");
    let x = graph.input("x", TensorType::f32([1, 2, 2, 2]));
    let y = conv(&mut graph, "first", x, 1, false, &[&[f32::NAN, 1.0], &[0.0, 0.0]], &[f32::NAN, 0.0]);
    let y = conv(&mut graph, "second", y, 1, false, &[&[1.0, 1.0]], &[0.0]);
    graph.set_outputs(vec![y]);
    let removed = remove_dead(&graph, &[], &Options::default()).unwrap();
    assert_eq!(channels(&removed, "first"), [2, 1]);
}

/// Where one channel is left of a value, more can be seen through, so that another is kept.
#[test]
fn nothing_is_left_to_remove() {
    let steps = [
        (0, 4232524868990480515),
        (0, 275416156),
        (0, 1217862313382166059),
        (3, 3583128408161895980),
        (20, 12101012482792578130),
        (6, 8576340661949044313),
    ];
    removal_is_exact(&steps, 20).unwrap();
    let mut graph = Graph::new("one channel");
    let x = graph.input("x", TensorType::f32([1, 2, 2, 1]));
    let y = conv(&mut graph, "first", x, 1, false, &[&[1.0], &[0.0]], &[0.0, 2.0]);
    let flat = add(&mut graph, "flat", Op::Reshape(Reshape { shape: vec![1, 8] }), &[y]);
    let shape = [1, 8];
    let weights = graph.constant("w", Tensor::f32(shape, vec![1.0; 8]), TensorType::f32(shape));
    let y = add(&mut graph, "second", Op::Dense(Dense), &[flat, weights]);
    graph.set_outputs(vec![y]);
    let removed = remove_dead(&graph, &[], &Options::default()).unwrap();
    assert_eq!([channels(&removed, "first"), channels(&removed, "second")], [[1, 1], [4, 1]]);
    assert!(classes(&removed.graph).iter().any(|class| class.members == ["first"]), "its channel is not pinned");
}

fn removal_is_exact(steps: &[(u8, u64)], dead: u64) -> Result<(), TestCaseError> {
    let graph = random_graph(steps, Recipe { dead, live: false });
    let removed = remove_dead(&graph, &[], &Options::default()).expect("removes");
    prop_assert!(removed.macs[1] <= removed.macs[0]);
    for seed in 0..3 {
        prop_assert!(distance(&graph, &removed.graph, &random_inputs(&graph, seed)) < 1e-4);
    }
    let names =
        |graph: &Graph, ids: &[NodeId]| -> Vec<String> { ids.iter().map(|&id| graph.node(id).name.clone()).collect() };
    prop_assert_eq!(names(&graph, graph.inputs()), names(&removed.graph, removed.graph.inputs()));
    prop_assert_eq!(names(&graph, graph.outputs()), names(&removed.graph, removed.graph.outputs()));
    let again = remove_dead(&removed.graph, &[], &Options::default()).expect("removes");
    prop_assert_eq!(&again.graph, &removed.graph);
    Ok(())
}

proptest! {
    #![proptest_config(cases(400))]

    /// Without samples the result equals the graph up to rounding, and is all there is to remove.
    #[test]
    fn what_the_weights_tell_is_exact(steps in steps(), dead in 20u64..70) {
        removal_is_exact(&steps, dead)?;
    }

    /// With samples the result equals the graph on the samples, and the report says how well.
    #[test]
    fn what_the_samples_tell_holds_on_the_samples(steps in steps(), dead in 0u64..70) {
        let graph = random_graph(&steps, Recipe { dead, live: false });
        let samples = samples(&graph, 4);
        let removed = remove_dead(&graph, &samples, &Options { margin: 0.0, ..Options::default() }).expect("removes");
        for change in &removed.change {
            prop_assert!(change.largest <= 1e-3 * change.magnitude.max(1.0), "{change:?}");
        }
        let largest = removed.change.iter().map(|change| change.largest / change.magnitude.max(1.0)).fold(0.0, f64::max);
        let measured = samples.iter().map(|sample| distance(&graph, &removed.graph, sample)).fold(0.0, f32::max);
        prop_assert!(f64::from(measured) >= largest * 0.999);
    }

    /// Nothing goes from a graph in which everything counts.
    #[test]
    fn live_channels_stay(steps in steps()) {
        let graph = random_graph(&steps, Recipe { dead: 0, live: true });
        let samples = samples(&graph, 3);
        prop_assert_eq!(remove_dead(&graph, &[], &Options::default()).expect("removes").graph, graph.clone());
        let removed = remove_dead(&graph, &samples, &Options::default()).expect("removes");
        prop_assert_eq!(removed.macs[0], removed.macs[1]);
    }

    /// Pruning computes what zeros in place of the channels would, wherever the class has them.
    #[test]
    fn pruning_is_zeroing(steps in steps(), dead in 0u64..40, seed in any::<u64>()) {
        let graph = random_graph(&steps, Recipe { dead, live: false });
        let classes = classes(&graph);
        prop_assume!(!classes.is_empty());
        let class = &classes[seed as usize % classes.len()];
        let mut gone: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let first: Vec<_> = class.channels.iter().filter(|channel| channel.places.iter().any(|place| place.0 == 0)).collect();
        let count = (first.len() / 2).max(1);
        let mut kept = Vec::new();
        for (index, channel) in first.iter().enumerate() {
            for &(member, output) in &channel.places {
                if index >= count {
                    gone.entry(class.members[member].clone()).or_default().push(output);
                } else if member == 0 {
                    kept.push(output);
                }
            }
        }
        let all = first.iter().flat_map(|channel| &channel.places).filter(|place| place.0 == 0).count();
        let layer = graph.nodes().iter().find(|node| node.name == class.members[0]).expect("a member");
        prop_assume!(layer.ty.shape.last() == Some(&all));
        let removed = prune(&graph, &BTreeMap::from([(class.members[0].clone(), Keep::Channels(kept))])).expect("prunes");
        let zeroed = zeroed(&graph, &gone);
        prop_assert!(distance(&zeroed, &removed.graph, &random_inputs(&graph, seed)) < 1e-4);
    }
}
