//! What graphs come out: layout, folding, names, quantized weights, and the numbers.

mod build;

use build::{Model, int, ints, network, quantized, sample, shape_arithmetic};
use lutweave_ir::op::{Dense, Slice, Transpose};
use lutweave_ir::{Data, Element, Graph, Op, Tensor, interpret, validate};
use lutweave_onnx::proto::data_type;
use lutweave_onnx::{ImportOptions, import};

fn graph(model: &Model) -> Graph {
    let imported = import(model.bytes(), &ImportOptions::default()).unwrap_or_else(|faults| panic!("{faults}"));
    validate::validate(&imported.graph).unwrap_or_else(|faults| panic!("{faults}"));
    imported.graph
}

fn count(graph: &Graph, is: impl Fn(&Op) -> bool) -> usize {
    graph.nodes().iter().filter(|node| is(&node.op)).count()
}

fn transposes(graph: &Graph) -> usize {
    count(graph, |op| matches!(op, Op::Transpose(_)))
}

#[test]
fn channels_first_exports_have_one_transpose_at_the_input() {
    let graph = graph(&network());
    assert_eq!(transposes(&graph), 1);
    // Flattening keeps the image's order; the weights of the matrix product are permuted instead.
    let dense = graph.nodes().iter().find(|node| node.op == Op::Dense(Dense)).unwrap();
    assert!(matches!(graph.node(dense.operands[0]).op, Op::Reshape(_)));
    assert_eq!(graph.node(graph.outputs()[0]).name, "y");
    assert_eq!(graph.node(graph.inputs()[0]).name, "x");
}

#[test]
fn channels_last_exports_have_none() {
    let model = Model::new(13)
        .input("x", &[1, 8, 8, 3])
        .floats("w", &[4, 3, 3, 3])
        .floats("b", &[4])
        .node("Transpose", &["x"], &["t"], vec![ints("perm", &[0, 3, 1, 2])])
        .node("Conv", &["t", "w"], &["c"], vec![])
        .node("Transpose", &["c"], &["u"], vec![ints("perm", &[0, 2, 3, 1])])
        .node("Add", &["u", "b"], &["a"], vec![])
        .node("Relu", &["a"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    assert_eq!(transposes(&graph), 0);
    assert_eq!(count(&graph, |op| matches!(op, Op::Reshape(_))), 0);
}

#[test]
fn channel_constants_follow_the_layout() {
    let model = Model::new(13)
        .input("x", &[1, 3, 4, 5])
        .floats("w", &[2, 3, 1, 1])
        .floats("k", &[2, 1, 1])
        .node("Conv", &["x", "w"], &["c"], vec![])
        .node("Mul", &["c", "k"], &["m"], vec![])
        .node("ReduceMean", &["m"], &["y"], vec![ints("axes", &[2, 3]), int("keepdims", 0)])
        .output("y");
    let graph = graph(&model);
    assert_eq!(transposes(&graph), 1);
    let x = sample(&[1, 3, 4, 5]);
    let y = interpret::run(&graph, std::slice::from_ref(&x)).unwrap();
    // The same by hand, from the constants as `Model::floats` makes them.
    let constant = |index: usize| ((index * 37 % 23) as f32 - 11.0) / 16.0;
    for output in 0..2 {
        let mut sum = 0.0;
        for place in 0..20 {
            let product: f32 = (0..3).map(|input| x.f32s()[input * 20 + place] * constant(output * 3 + input)).sum();
            sum += product * constant(output);
        }
        assert!((y[0].f32s()[output] - sum / 20.0).abs() < 1e-5, "{:?}", y[0]);
    }
}

#[test]
fn quantized_weights_stay_integers() {
    let graph = graph(&quantized());
    let input = &graph.node(graph.inputs()[0]).ty;
    assert_eq!(input.element, Element::U8);
    assert_eq!(input.quantization.map(|q| (q.scale, q.zero_point)), Some((0.05, 7)));
    let weights = graph.nodes().iter().find_map(|node| match &node.op {
        Op::DequantizeWeights(weights) => Some((weights, &graph.node(node.operands[0]).ty)),
        _ => None,
    });
    let (weights, ty) = weights.expect("the weights are dequantized in the graph");
    assert_eq!((weights.axis, weights.scales.len()), (0, 4));
    assert_eq!((ty.element, &ty.shape[..]), (Element::I8, &[4, 3, 3, 2][..]));
    assert_eq!(count(&graph, |op| matches!(op, Op::Quantize(_))), 1);
}

#[test]
fn weights_quantized_in_the_file_are_folded() {
    let model = Model::new(13)
        .input("x", &[1, 4])
        .floats("w", &[4, 3])
        .scalar("s", 0.01)
        .narrow("z", data_type::INT8, &[], &[0])
        .node("QuantizeLinear", &["w", "s", "z"], &["q"], vec![])
        .node("DequantizeLinear", &["q", "s", "z"], &["d"], vec![])
        .node("MatMul", &["x", "d"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    assert_eq!(count(&graph, |op| matches!(op, Op::Quantize(_))), 0);
    assert_eq!(count(&graph, |op| matches!(op, Op::DequantizeWeights(_))), 1);
}

#[test]
fn shape_arithmetic_disappears() {
    let graph = graph(&shape_arithmetic());
    let x = sample(&[1, 6, 4, 4]);
    let y = interpret::run(&graph, std::slice::from_ref(&x)).unwrap();
    assert_eq!(y[0].shape, [1, 96]);
    let expected: Vec<f32> =
        [1, 3, 5, 0, 2, 4].iter().flat_map(|channel| x.f32s()[channel * 16..(channel + 1) * 16].to_vec()).collect();
    assert_eq!(y[0].f32s(), expected);
}

#[test]
fn nodes_in_any_order() {
    let mut model = network();
    model.graph().node.reverse();
    assert_eq!(transposes(&graph(&model)), 1);
}

#[test]
fn channel_shuffles_stay_channels_last() {
    let model = Model::new(13)
        .input("x", &[1, 6, 4, 5])
        .floats("w", &[6, 6, 1, 1])
        .ints("five", &[1, 2, 3, 4, 5])
        .ints("four", &[1, 6, 4, 5])
        .node("Conv", &["x", "w"], &["c"], vec![])
        .node("Reshape", &["c", "five"], &["r"], vec![])
        .node("Transpose", &["r"], &["t"], vec![ints("perm", &[0, 2, 1, 3, 4])])
        .node("Reshape", &["t", "four"], &["s"], vec![])
        .node("Conv", &["s", "w"], &["d"], vec![])
        .node("GlobalAveragePool", &["d"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    for node in graph.nodes() {
        if let Op::Transpose(Transpose { permutation }) = &node.op
            && permutation.len() == 5
        {
            assert_eq!(permutation[..], [0, 1, 2, 4, 3], "only channels move");
        }
    }
}

#[test]
fn integer_convolutions_give_integers() {
    let model = Model::new(13)
        .typed_input("x", data_type::UINT8, &[1, 1, 3, 3])
        .narrow("w", data_type::UINT8, &[1, 1, 2, 2], &[1, 1, 1, 1])
        .narrow("z", data_type::UINT8, &[], &[1])
        .node("ConvInteger", &["x", "w", "z"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    let x = Tensor::int(vec![1, 1, 3, 3], (2..11).collect::<Vec<i32>>());
    let y = interpret::run(&graph, &[x]).unwrap();
    assert_eq!(y[0].f32s(), [12.0, 16.0, 24.0, 28.0]);
}

#[test]
fn four_bit_weights_and_activations() {
    let model = Model::new(21)
        .input("x", &[1, 4])
        .scalar("s", 0.25)
        .narrow("z", data_type::INT4, &[], &[0])
        .narrow("w", data_type::INT4, &[4, 2], &[0x21, 0xf3, 0x87, 0x10])
        .node("QuantizeLinear", &["x", "s", "z"], &["q"], vec![])
        .node("DequantizeLinear", &["q", "s", "z"], &["d"], vec![])
        .node("DequantizeLinear", &["w", "s", "z"], &["v"], vec![])
        .node("MatMul", &["d", "v"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    let int4 = graph.nodes().iter().filter(|node| node.ty.element == Element::I4).count();
    assert_eq!(int4, 2);
    let x = Tensor::f32(vec![1, 4], vec![0.25, 0.5, 100.0, -100.0]);
    let y = interpret::run(&graph, &[x]).unwrap();
    // x becomes 1, 2, 7, -8; the weights are 1 2, 3 -1, 7 -8, 0 1.
    assert_eq!(y[0].f32s(), [56.0 / 16.0, -64.0 / 16.0]);
}

#[test]
fn argmax_gives_integers() {
    let model = Model::new(13).input("x", &[1, 5]);
    let model = model.node("ArgMax", &["x"], &["y"], vec![int("axis", 1)]).integers("y");
    let y = interpret::run(&graph(&model), &[Tensor::f32(vec![1, 5], vec![0.0, 3.0, 1.0, 3.0, 2.0])]).unwrap();
    assert!(matches!(&y[0].data, Data::Int(data) if data[..] == [1]));
}

#[test]
fn the_input_is_transposed_before_it_is_quantized() {
    let model = Model::new(13)
        .input("x", &[1, 3, 4, 5])
        .floats("mean", &[3, 1, 1])
        .floats("w", &[2, 3, 1, 1])
        .scalar("s", 0.1)
        .narrow("z", data_type::INT8, &[], &[0])
        .node("Sub", &["x", "mean"], &["centred"], vec![])
        .node("QuantizeLinear", &["centred", "s", "z"], &["q"], vec![])
        .node("DequantizeLinear", &["q", "s", "z"], &["d"], vec![])
        .node("Conv", &["d", "w"], &["c"], vec![])
        .node("GlobalMaxPool", &["c"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    let first = graph.nodes().iter().find(|node| !matches!(node.op, Op::Input | Op::Constant(_))).unwrap();
    assert!(matches!(first.op, Op::Transpose(_)), "{first:?}");
    assert!(graph.nodes().iter().any(|node| node.name == "q"), "names survive");
    // One for the input, one for the output of extent [1,2,1,1].
    assert_eq!(transposes(&graph), 2);
}

#[test]
fn halves_of_shuffled_channels_are_strided_slices() {
    let model = Model::new(13)
        .input("x", &[1, 6, 4, 5])
        .floats("w", &[6, 6, 1, 1])
        .floats("v", &[3, 3, 1, 1])
        .ints("pairs", &[3, 2, 20])
        .ints("halves", &[2, -1, 3, 4, 5])
        .ints("first", &[0])
        .node("Conv", &["x", "w"], &["c"], vec![])
        .node("Reshape", &["c", "pairs"], &["r"], vec![])
        .node("Transpose", &["r"], &["t"], vec![ints("perm", &[1, 0, 2])])
        .node("Reshape", &["t", "halves"], &["h"], vec![])
        .node("Gather", &["h", "first"], &["g"], vec![])
        .node("Squeeze", &["g"], &["i"], vec![ints("axes", &[0])])
        .node("Conv", &["i", "v"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    let slices: Vec<&Op> = graph.nodes().iter().map(|node| &node.op).filter(|op| matches!(op, Op::Slice(_))).collect();
    let expected = Op::Slice(Slice { starts: vec![0; 4], sizes: vec![1, 4, 5, 3], steps: vec![1, 1, 1, 2] });
    assert_eq!(slices, [&expected]);
    assert_eq!(count(&graph, |op| matches!(op, Op::Reshape(_))), 0);
}

#[test]
fn indices_have_no_scale() {
    // The integers of ArgMax have no scale, and its operand is no integer input.
    let model = Model::new(13)
        .input("x", &[1, 5])
        .scalar("s", 0.5)
        .node("ArgMax", &["x"], &["a"], vec![int("axis", 1)])
        .node("DequantizeLinear", &["a", "s"], &["y"], vec![])
        .output("y");
    let faults = import(model.bytes(), &ImportOptions::default()).unwrap_err();
    assert_eq!(faults.0[0].code, "unknown-quantization", "{faults}");
}

#[test]
fn offsets_of_a_deformable_convolution_stay_channels_last() {
    let model = Model::new(22)
        .input("x", &[1, 4, 6, 5])
        .floats("v", &[36, 4, 3, 3])
        .floats("w", &[6, 2, 3, 3])
        .floats("mask", &[1, 18, 6, 5])
        .node("Conv", &["x", "v"], &["c"], vec![ints("pads", &[1, 1, 1, 1])])
        .node("Clip", &["c"], &["o"], vec![])
        .node(
            "DeformConv",
            &["x", "w", "o", "", "mask"],
            &["d"],
            vec![ints("pads", &[1, 1, 1, 1]), int("group", 2), int("offset_group", 2)],
        )
        .node("Relu", &["d"], &["y"], vec![])
        .output("y");
    let graph = graph(&model);
    // One for the input, shared by both convolutions, and one for the output.
    assert_eq!(transposes(&graph), 2);
    let node = graph.nodes().iter().find(|node| matches!(node.op, Op::DeformConv(_))).unwrap();
    let shapes: Vec<_> = node.operands.iter().map(|&id| graph.node(id).ty.shape.clone()).collect();
    let expected = [vec![1, 6, 5, 4], vec![6, 3, 3, 2], vec![6], vec![1, 6, 5, 36], vec![1, 6, 5, 18]];
    assert_eq!(shapes, expected);
}
