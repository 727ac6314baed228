//! Graphs at the edges of what a graph can be, and refusals.

use lutweave_cpu::{ObjectOptions, compile_jit, compile_object};
use lutweave_ir::op::{Dequantize, Geometry, Op, QConv, Reshape, Unary};
use lutweave_ir::{Element, Graph, Quantization, Requantize, Tensor, TensorType, interpret};

fn ramp(shape: [usize; 4]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::int(shape, (0..count as i32).map(|index| (index * 7) % 256 - 128).collect::<Vec<_>>())
}

fn image(shape: [usize; 4]) -> TensorType {
    TensorType::int(shape, Element::I8)
}

/// A convolution with weights of a value over the whole image.
fn extreme(graph: &mut Graph, shape: [usize; 4], outputs: usize, bits: u8, weight: i32) {
    let x = graph.input("x", TensorType::int(shape, Element::U8));
    let weight_type = TensorType::int([outputs, shape[1], shape[2], shape[3]], Element::Int { bits, signed: true });
    let weights = Tensor::int(weight_type.shape.clone(), vec![weight; weight_type.count()]);
    let weights = graph.constant("weights", weights, weight_type);
    let bias = Tensor::int([outputs], vec![0; outputs]);
    let bias = graph.constant("bias", bias, TensorType::int([outputs], Element::I32));
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let requantize = Requantize { multipliers: vec![40_000], shifts: vec![34], zero_point: 3, lo: -128, hi: 127 };
    let conv = QConv { geometry, pad_value: 0, requantize, element: Element::I8 };
    let y = graph.add("y", Op::QConv(conv), &[x, weights, bias]).unwrap();
    graph.set_outputs(vec![y]);
}

#[test]
fn inputs_may_be_outputs_and_outputs_may_repeat() {
    let mut graph = Graph::new("identity");
    let x = graph.input("x", image([1, 2, 3, 5]));
    let unused = graph.input("unused", image([1, 1, 1, 1]));
    let y = graph.add("y", Op::Reshape(Reshape { shape: vec![1, 30] }), &[x]).unwrap();
    let c = graph.constant("c", Tensor::int([1, 3], vec![-8, 0, 7]), TensorType::int([1, 3], Element::I4));
    graph.set_outputs(vec![y, x, y, x, c]);
    assert_eq!(graph.inputs(), [x, unused]);
    let inputs = [ramp([1, 2, 3, 5]), ramp([1, 1, 1, 1])];
    let jit = compile_jit(&graph).unwrap();
    assert_eq!(jit.run(&inputs).unwrap(), interpret::run(&graph, &inputs).unwrap());
}

#[test]
fn long_sums_saturate_nowhere() {
    for (bits, weight) in [(8, -128), (8, 127), (9, 255), (9, -256)] {
        let mut graph = Graph::new("extreme");
        let shape = [1, 8, 8, 64];
        extreme(&mut graph, shape, 19, bits, weight);
        let jit = compile_jit(&graph).unwrap();
        for value in [0, 1, 255] {
            let inputs = [Tensor::int(shape, vec![value; 4096])];
            assert_eq!(jit.run(&inputs).unwrap(), interpret::run(&graph, &inputs).unwrap(), "{bits} {weight} {value}");
        }
    }
}

#[test]
fn threads_share_the_code() {
    let mut graph = Graph::new("shared");
    extreme(&mut graph, [1, 6, 7, 5], 33, 8, 77);
    let jit = compile_jit(&graph).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (graph, jit) = (&graph, &jit);
            scope.spawn(move || {
                for sample in 0..50 {
                    let data: Vec<i32> = (0..210).map(|index| (index * (thread + 3) + sample) % 256).collect();
                    let inputs = [Tensor::int([1, 6, 7, 5], data)];
                    assert_eq!(jit.run(&inputs).unwrap(), interpret::run(graph, &inputs).unwrap());
                }
            });
        }
    });
}

#[test]
fn bytes_run_without_tensors() {
    let mut graph = Graph::new("bytes");
    extreme(&mut graph, [1, 2, 2, 3], 2, 8, 5);
    let jit = compile_jit(&graph).unwrap();
    let mut workspace = jit.workspace();
    let mut output = [0u8; 2];
    jit.run_bytes(&[&[200; 12]], &mut [&mut output], &mut workspace).unwrap();
    let expected = interpret::run(&graph, &[Tensor::int([1, 2, 2, 3], vec![200; 12])]).unwrap();
    assert_eq!(output.map(|byte| i32::from(byte.cast_signed())).to_vec(), expected[0].ints());
    assert!(jit.run_bytes(&[&[200; 11]], &mut [&mut output], &mut workspace).is_err());
}

#[test]
fn nothing_around_the_outputs_is_written() {
    for length in 1..70 {
        let mut graph = Graph::new("bounds");
        let x = graph.input("x", image([1, 1, 1, length]));
        graph.set_outputs(vec![x]);
        let jit = compile_jit(&graph).unwrap();
        let input: Vec<u8> = (0..length as u8).collect();
        let mut memory = vec![0xa5; length + 64];
        jit.run_bytes(&[&input], &mut [&mut memory[32..32 + length]], &mut jit.workspace()).unwrap();
        assert_eq!(memory[32..32 + length], input);
        assert!(memory[..32].iter().chain(&memory[32 + length..]).all(|&byte| byte == 0xa5), "{length}");
    }
}

#[test]
fn inputs_are_checked() {
    let mut graph = Graph::new("checked");
    extreme(&mut graph, [1, 2, 2, 3], 2, 8, 5);
    let jit = compile_jit(&graph).unwrap();
    assert!(jit.run(&[]).unwrap_err().message.contains("1 inputs"));
    let wrong = [
        Tensor::int([1, 2, 3, 2], vec![0; 12]),
        Tensor::int([1, 2, 2, 3], vec![256; 12]),
        Tensor::int([1, 2, 2, 3], vec![-1; 12]),
        Tensor::f32([1, 2, 2, 3], vec![0.0; 12]),
    ];
    for wrong in wrong {
        let diagnostic = jit.run(&[wrong]).unwrap_err();
        assert_eq!((diagnostic.code, diagnostic.node.as_str()), ("invalid-input", "x"));
    }
}

#[test]
fn float_operators_are_refused_by_name() {
    let mut graph = Graph::new("float");
    let quantization = Quantization { scale: 0.5, zero_point: 3 };
    let x = graph.input("x", image([1, 1, 1, 4]).quantized(quantization));
    let y = graph.add("real", Op::Dequantize(Dequantize), &[x]).unwrap();
    let z = graph.add("root", Op::Unary(Unary::Sqrt), &[y]).unwrap();
    graph.set_outputs(vec![z]);
    let diagnostics = compile_jit(&graph).unwrap_err();
    assert_eq!(diagnostics.0[0].node, "real");
    assert!(!diagnostics.0[0].help.is_empty());
    assert_eq!(compile_object(&graph, &ObjectOptions::default()).unwrap_err(), diagnostics);
}

#[test]
fn accumulators_that_overflow_are_refused() {
    let mut graph = Graph::new("overflow");
    extreme(&mut graph, [1, 200, 200, 2], 1, 9, 255);
    let diagnostics = compile_jit(&graph).unwrap_err();
    assert_eq!((diagnostics.0[0].code, diagnostics.0[0].node.as_str()), ("accumulator-overflow", "y"));
}

#[test]
fn wide_activations_and_computed_weights_are_refused() {
    let mut graph = Graph::new("wide");
    let x = graph.input("x", TensorType::int([1, 1, 1, 4], Element::I32));
    let y = graph.add("y", Op::Reshape(Reshape { shape: vec![4] }), &[x]).unwrap();
    graph.set_outputs(vec![y]);
    let diagnostics = compile_jit(&graph).unwrap_err();
    assert_eq!((diagnostics.0[0].code, diagnostics.0[0].node.as_str()), ("unsupported-element", "x"));

    let mut graph = Graph::new("computed");
    let x = graph.input("x", image([1, 1, 1, 4]));
    let weights = graph.input("weights", TensorType::int([2, 1, 1, 4], Element::I8));
    let bias = graph.constant("bias", Tensor::int([2], vec![0, 0]), TensorType::int([2], Element::I32));
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let requantize = Requantize { multipliers: vec![1], shifts: vec![0], zero_point: 0, lo: -128, hi: 127 };
    let conv = QConv { geometry, pad_value: 0, requantize, element: Element::I8 };
    let y = graph.add("y", Op::QConv(conv), &[x, weights, bias]).unwrap();
    graph.set_outputs(vec![y]);
    let diagnostics = compile_jit(&graph).unwrap_err();
    assert_eq!((diagnostics.0[0].code, diagnostics.0[0].node.as_str()), ("unsupported-operand", "y"));
}
