//! Whole graphs: interpretation, validation, and the cut into host and core.

mod evaluate;
mod every_operator;

use evaluate::{geometry, identity, window};
use lutweave_ir::interpret::{Interpreter, run, run_all};
use lutweave_ir::op::{
    ArgMax, Concat, Dequantize, Geometry, MaxPool, QAdd, QAveragePool, QConv, Quantize, Reshape, Softmax, Table,
    Transpose, Unary,
};
use lutweave_ir::split::{Split, host_ops, split};
use lutweave_ir::validate::validate;
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, Requantize, Tensor, TensorType};

const STEP: Quantization = Quantization { scale: 0.25, zero_point: 0 };

fn int(shape: impl Into<Vec<usize>>) -> TensorType {
    TensorType::int(shape, Element::I8).quantized(STEP)
}

/// A pointwise integer convolution from 2 to 2 channels.
fn qconv(graph: &mut Graph, name: &str, x: NodeId, zero_point: i32) -> NodeId {
    let w = Tensor::int([2, 1, 1, 2], vec![1, 2, -1, 3]);
    let w = graph.constant(&format!("{name}.w"), w, TensorType::int([2, 1, 1, 2], Element::I8));
    let b = graph.constant(&format!("{name}.b"), Tensor::int([2], vec![1, -1]), TensorType::int([2], Element::I32));
    let requantize = Requantize { shifts: vec![2], ..identity(zero_point, -128, 127) };
    let op = QConv { geometry: Geometry::PLAIN, pad_value: 0, requantize, element: Element::I8 };
    let ty = int(graph.node(x).ty.shape.clone());
    graph.add_typed(name, Op::QConv(op), &[x, w, b], ty).unwrap()
}

fn transpose(graph: &mut Graph, name: &str, x: NodeId, permutation: [usize; 4]) -> NodeId {
    graph.add(name, Op::Transpose(Transpose { permutation: permutation.to_vec() }), &[x]).unwrap()
}

/// An image in NCHW through a small quantized network to a softmax.
fn classifier() -> Graph {
    let mut graph = Graph::new("classifier");
    let x = graph.input("image", TensorType::f32([1, 2, 4, 4]));
    let quantize = Op::Quantize(Quantize { element: Element::I8, quantization: STEP });
    let q = graph.add("quantize", quantize, &[x]).unwrap();
    let q = transpose(&mut graph, "to_nhwc", q, [0, 2, 3, 1]);
    let a = qconv(&mut graph, "a", q, 0);
    let m = graph.add("max", Op::MaxPool(MaxPool { window: window([2, 2], [2, 2], [0; 4]) }), &[a]).unwrap();
    let b = qconv(&mut graph, "b", m, 0);
    let t = transpose(&mut graph, "to_nchw", b, [0, 3, 1, 2]);
    let r = graph.add("flatten", Op::Reshape(Reshape { shape: vec![1, 8] }), &[t]).unwrap();
    let d = graph.add("dequantize", Op::Dequantize(Dequantize), &[r]).unwrap();
    let s = graph.add("softmax", Op::Softmax(Softmax { axis: 1 }), &[d]).unwrap();
    let label = graph.add("label", Op::ArgMax(ArgMax { axis: 1, keep: false, last: false }), &[s]).unwrap();
    graph.set_outputs(vec![s, label, r]);
    graph
}

fn image() -> Tensor {
    Tensor::f32([1, 2, 4, 4], (0..32).map(|v| (v * 7 % 32) as f32 / 2.0 - 8.0).collect::<Vec<_>>())
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes().iter().filter(|node| !matches!(node.op, Op::Constant(_))).map(|node| node.name.as_str()).collect()
}

fn assert_equal_to_whole(graph: &Graph, parts: &Split, inputs: &[Tensor]) {
    for part in [&parts.prologue, &parts.core, &parts.epilogue] {
        validate(part).unwrap();
    }
    let outputs = parts.run(inputs, |inputs| run(&parts.core, inputs)).unwrap();
    assert_eq!(outputs, run(graph, inputs).unwrap());
}

#[test]
fn the_interpreter_frees_values_but_returns_the_same() {
    let graph = every_operator::graph();
    validate(&graph).unwrap();
    let x = Tensor::f32([1, 4, 4, 4], (0..64).map(|v| v as f32 / 40.0 - 0.8).collect::<Vec<_>>());
    let all = run_all(&graph, std::slice::from_ref(&x)).unwrap();
    let interpreter = Interpreter::new(&graph);
    for _ in 0..2 {
        let outputs = interpreter.run(std::slice::from_ref(&x)).unwrap();
        for (id, output) in graph.outputs().iter().zip(outputs) {
            // Bits, because NaN (the logarithm of a negative number) differs from itself.
            assert_eq!(format!("{output:?}"), format!("{:?}", all[id.index()]));
        }
    }
}

#[test]
fn wrong_inputs_are_refused() {
    let graph = classifier();
    let refuse = |inputs: &[Tensor]| run(&graph, inputs).unwrap_err();
    assert!(refuse(&[]).message.contains("1 inputs, but 0"));
    assert_eq!(refuse(&[Tensor::f32([1], vec![0.0])]).node, "image");
    assert!(refuse(&[Tensor::int([1, 2, 4, 4], vec![0; 32])]).message.contains("integer value"));
    let core = split(&graph).unwrap().core;
    let refused = run(&core, &[Tensor::int([1, 4, 4, 2], vec![128; 32])]).unwrap_err();
    assert!(refused.message.contains("outside i8"), "{refused}");
}

#[test]
fn the_core_has_the_integers_without_outer_transposes() {
    let graph = classifier();
    validate(&graph).unwrap();
    let parts = split(&graph).unwrap();
    assert_eq!(names(&parts.prologue), ["image", "quantize", "to_nhwc"]);
    assert_eq!(names(&parts.core), ["to_nhwc", "a", "max", "b"]);
    assert_eq!(names(&parts.epilogue), ["b", "to_nchw", "flatten", "dequantize", "softmax", "label"]);
    assert_eq!(parts.bypassed(), 0);
    assert_eq!(host_ops(&parts), ["quantize", "transpose", "reshape", "dequantize", "softmax", "argmax"]);
    assert_equal_to_whole(&graph, &parts, &[image()]);
}

#[test]
fn an_integer_graph_has_empty_host_parts() {
    let mut graph = Graph::new("integers");
    let x = graph.input("x", int([1, 2, 2, 2]));
    let y = qconv(&mut graph, "y", x, 0);
    graph.set_outputs(vec![y]);
    let parts = split(&graph).unwrap();
    assert_eq!(parts.core, graph);
    assert_eq!((names(&parts.prologue), names(&parts.epilogue)), (vec!["x"], vec!["y"]));
    assert!(host_ops(&parts).is_empty());
    assert_equal_to_whole(&graph, &parts, &[Tensor::int([1, 2, 2, 2], vec![1, -2, 3, 50, 60, -70, 80, 127])]);
}

#[test]
fn values_may_bypass_the_core_and_outputs_may_repeat() {
    let mut graph = Graph::new("bypass");
    let x = graph.input("x", TensorType::f32([1, 1, 1, 2]));
    let unused = graph.input("unused", TensorType::f32([3]));
    let q = graph.add("q", Op::Quantize(Quantize { element: Element::I8, quantization: STEP }), &[x]).unwrap();
    let y = qconv(&mut graph, "y", q, 0);
    let d = graph.add("d", Op::Dequantize(Dequantize), &[y]).unwrap();
    let sum = graph.add("sum", Op::Binary(lutweave_ir::op::Binary::Add), &[d, x]).unwrap();
    let two = graph.constant("two", Tensor::f32([1], vec![2.0]), TensorType::f32([1]));
    let root = graph.add("root", Op::Unary(Unary::Sqrt), &[two]).unwrap();
    graph.set_outputs(vec![sum, y, sum, unused, root]);
    validate(&graph).unwrap();
    let parts = split(&graph).unwrap();
    assert_eq!(parts.bypassed(), 2);
    assert_equal_to_whole(&graph, &parts, &[Tensor::f32([1, 1, 1, 2], vec![1.0, 3.0]), Tensor::f32([3], vec![0.0; 3])]);
}

#[test]
fn detection_heads_are_joined_where_they_are_transposed() {
    let mut graph = Graph::new("heads");
    let x = graph.input("x", int([1, 2, 2, 2]));
    let a = qconv(&mut graph, "a", x, 0);
    let b = qconv(&mut graph, "b", a, 0);
    let [a, b] = [("a.t", a), ("b.t", b)].map(|(name, x)| transpose(&mut graph, name, x, [0, 3, 1, 2]));
    let joined = graph.add("joined", Op::Concat(Concat { axis: 1 }), &[a, b]).unwrap();
    graph.set_outputs(vec![joined]);
    let parts = split(&graph).unwrap();
    assert_eq!(names(&parts.core), ["x", "a", "b"]);
    assert_eq!(names(&parts.epilogue), ["a", "b", "a.t", "b.t", "joined"]);
    assert_equal_to_whole(&graph, &parts, &[Tensor::int([1, 2, 2, 2], vec![1, -2, 3, 50, 60, -70, 80, 127])]);
}

#[test]
fn a_reshape_between_integer_operators_stays() {
    let mut graph = Graph::new("between");
    let x = graph.input("x", int([1, 2, 2, 2]));
    let y = qconv(&mut graph, "y", x, 0);
    let r = graph.add("r", Op::Reshape(Reshape { shape: vec![1, 1, 4, 2] }), &[y]).unwrap();
    let z = qconv(&mut graph, "z", r, 0);
    graph.set_outputs(vec![z]);
    assert_eq!(names(&split(&graph).unwrap().core), ["x", "y", "r", "z"]);
}

#[test]
fn float_between_integers_is_refused_once() {
    let mut graph = Graph::new("between");
    let x = graph.input("x", int([1, 2, 2, 2]));
    let y = qconv(&mut graph, "y", x, 0);
    let d = graph.add("d", Op::Dequantize(Dequantize), &[y]).unwrap();
    let e = graph.add("erf", Op::Unary(Unary::Erf), &[d]).unwrap();
    let q = graph.add("q", Op::Quantize(Quantize { element: Element::I8, quantization: STEP }), &[e]).unwrap();
    let z0 = qconv(&mut graph, "z0", q, 0);
    let z1 = qconv(&mut graph, "z1", q, 0);
    graph.set_outputs(vec![z0, z1]);
    let faults = split(&graph).unwrap_err().0;
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!((faults[0].code, faults[0].node.as_str()), ("float-between-integer", "erf"));
    assert!(faults[0].message.contains("`z0` (qconv)"), "{}", faults[0]);
}

#[test]
fn a_requantized_softmax_is_an_epilogue() {
    let mut graph = Graph::new("requantized");
    let x = graph.input("x", int([1, 1, 1, 2]));
    let y = qconv(&mut graph, "y", x, 0);
    let d = graph.add("d", Op::Dequantize(Dequantize), &[y]).unwrap();
    let s = graph.add("s", Op::Softmax(Softmax { axis: 3 }), &[d]).unwrap();
    let q = graph.add("q", Op::Quantize(Quantize { element: Element::I8, quantization: STEP }), &[s]).unwrap();
    let r = graph.add("r", Op::Reshape(Reshape { shape: vec![2] }), &[q]).unwrap();
    graph.set_outputs(vec![r]);
    let parts = split(&graph).unwrap();
    assert_eq!(names(&parts.epilogue), ["y", "d", "s", "q", "r"]);
    assert_equal_to_whole(&graph, &parts, &[Tensor::int([1, 1, 1, 2], vec![40, -7])]);
}

#[test]
fn a_float_graph_has_no_core() {
    let mut graph = Graph::new("float");
    let x = graph.input("x", TensorType::f32([3]));
    let y = graph.add("y", Op::Unary(Unary::Relu), &[x]).unwrap();
    graph.set_outputs(vec![y]);
    assert_eq!(split(&graph).unwrap_err().0[0].code, "no-integer-core");
}

#[test]
fn validation_collects_every_fault() {
    let mut graph = Graph::new("faulty");
    let x = graph.input("x", TensorType::int([0, 3], Element::I8));
    graph.input("wide", TensorType::int([3], Element::Int { bits: 32, signed: false }));
    graph.constant("big", Tensor::int([2], vec![1, 300]), TensorType::int([2], Element::I8));
    graph.constant("real", Tensor::f32([2], vec![1.0, 3.0]), TensorType::int([2], Element::I8));
    graph.constant(
        "scale",
        Tensor::int([1], vec![1]),
        TensorType::int([1], Element::I8).quantized(Quantization { scale: f32::NAN, zero_point: 0 }),
    );
    let _ = x;
    let faults = validate(&graph).unwrap_err().0;
    let about: Vec<&str> = faults.iter().map(|fault| fault.node.as_str()).collect();
    assert_eq!(about, ["x", "wide", "big", "real", "scale", "faulty"], "{faults:?}");
}

#[test]
fn validation_checks_stated_types() {
    let mut graph = Graph::new("stated");
    let x = graph.input("x", int([1, 2, 2, 2]));
    let y = qconv(&mut graph, "y", x, 5);
    let other = TensorType::int([8], Element::I8).quantized(Quantization { scale: 3.0, zero_point: 0 });
    let z = graph.add_typed("z", Op::Reshape(Reshape { shape: vec![8] }), &[x], other).unwrap();
    let real = graph.input("f", TensorType::f32([1]));
    let fault = graph.add("c", Op::Unary(Unary::Clip { lo: f32::NAN, hi: 0.0 }), &[real]).unwrap_err();
    assert!(fault.message.contains("not a number"), "{fault}");
    graph.set_outputs(vec![y, z, real]);
    let faults = validate(&graph).unwrap_err().0;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].message.contains("adds zero point 5"), "{}", faults[0]);
    assert!(faults[1].message.contains("is not the inferred"), "{}", faults[1]);
}

#[test]
fn validation_proves_that_accumulators_fit() {
    let with_bias = |bias: i32| {
        let mut graph = Graph::new("accumulator");
        let x = graph.input("x", TensorType::int([1, 1, 1, 1], Element::U8));
        let w = graph.constant("w", Tensor::int([1, 1, 1, 1], vec![127]), TensorType::int([1, 1, 1, 1], Element::I8));
        let b = graph.constant("b", Tensor::int([1], vec![bias]), TensorType::int([1], Element::I32));
        let op = QConv {
            geometry: geometry([1, 1], [0; 4]),
            pad_value: 0,
            requantize: identity(0, 0, 255),
            element: Element::U8,
        };
        let y = graph.add("y", Op::QConv(op), &[x, w, b]).unwrap();
        graph.set_outputs(vec![y]);
        validate(&graph)
    };
    let largest = i32::MAX - 127 * 255;
    with_bias(largest).unwrap();
    let fault = &with_bias(largest + 1).unwrap_err().0[0];
    assert_eq!((fault.code, fault.node.as_str(), fault.operator.as_str()), ("accumulator-overflow", "y", "qconv"));
}

#[test]
fn validation_counts_the_zero_point_of_an_unshifted_sum() {
    let with_zero_point = |zero_point: i32| {
        let mut graph = Graph::new("sum");
        let x = graph.input("x", TensorType::int([1], Element::U8));
        let op = QAdd {
            multipliers: [1, 0],
            offset: i32::MAX - 255 - 20,
            shift: 0,
            zero_point,
            lo: 0,
            hi: 255,
            element: Element::U8,
        };
        let y = graph.add("y", Op::QAdd(op), &[x, x]).unwrap();
        graph.set_outputs(vec![y]);
        validate(&graph)
    };
    with_zero_point(20).unwrap();
    assert_eq!(with_zero_point(21).unwrap_err().0[0].code, "accumulator-overflow");
}

#[test]
fn validation_bounds_weights_and_wants_them_constant() {
    let mut graph = Graph::new("weights");
    let x = graph.input("x", TensorType::int([1, 1, 1, 1], Element::I8));
    let w = graph.constant("w", Tensor::int([1, 1, 1, 1], vec![256]), TensorType::int([1, 1, 1, 1], Element::I32));
    let b = graph.constant("b", Tensor::int([1], vec![0]), TensorType::int([1], Element::I32));
    let op = QConv { geometry: Geometry::PLAIN, pad_value: 0, requantize: identity(0, 0, 1), element: Element::I8 };
    let y = graph.add("y", Op::QConv(op.clone()), &[x, w, b]).unwrap();
    let z = graph.add("z", Op::QConv(op), &[x, x, b]).unwrap();
    graph.set_outputs(vec![y, z]);
    let faults = validate(&graph).unwrap_err().0;
    assert!(faults[0].message.contains("256 has more than 9 bits"), "{}", faults[0]);
    assert!(faults[1].message.contains("weights are not a constant"), "{}", faults[1]);
}

#[test]
fn a_global_pool_of_a_large_image_still_fits() {
    let mut graph = Graph::new("pool");
    let x = graph.input("x", TensorType::int([1, 512, 512, 1], Element::U8));
    let op = QAveragePool {
        window: window([512, 512], [1, 1], [0; 4]),
        pad_value: 0,
        bias: 0,
        requantize: Requantize { multipliers: vec![32768], shifts: vec![33], ..identity(0, 0, 255) },
        element: Element::U8,
    };
    let y = graph.add("y", Op::QAveragePool(op), &[x]).unwrap();
    let half = Table { entries: (0..256).map(|v| v / 2).collect(), element: Element::U8 };
    let z = graph.add("z", Op::Table(half), &[y]).unwrap();
    graph.set_outputs(vec![z]);
    validate(&graph).unwrap();
    let outputs = run(&graph, &[Tensor::int([1, 512, 512, 1], vec![255; 512 * 512])]).unwrap();
    assert_eq!(outputs[0].ints(), [127]);
}
