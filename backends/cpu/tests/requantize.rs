//! Requantization of any accumulator by any factor: the accumulators are the biases of a
//! convolution whose input is 0.

use lutweave_cpu::{Features, Options, compile_jit_with};
use lutweave_ir::op::{Geometry, Op, QConv};
use lutweave_ir::{Element, Graph, Requantize, Tensor, TensorType};
use proptest::prelude::*;

/// Accumulators of all magnitudes, and multiples of powers of two, which make ties.
fn accumulator() -> impl Strategy<Value = i32> {
    prop_oneof![
        any::<i32>(),
        prop::sample::select(vec![i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX]),
        (any::<i32>(), 0u32..31).prop_map(|(value, shift)| value >> shift),
        (-300i32..300, 0u32..20).prop_map(|(value, shift)| value << shift),
    ]
}

fn multiplier() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), 0x8000u16.., (0u32..16).prop_map(|shift| 1 << shift)]
}

/// Shifts that reach every way of rounding, which is chosen for all channels at once.
fn shifts(channels: usize) -> impl Strategy<Value = Vec<u8>> {
    let ranges = prop::sample::select(vec![(0u8, 47u8), (0, 32), (16, 32), (28, 32), (33, 47), (0, 4)]);
    ranges.prop_flat_map(move |(lo, hi)| prop::collection::vec(lo..=hi, channels))
}

fn graph(biases: &[i32], requantize: Requantize, element: Element) -> Graph {
    let channels = biases.len();
    let mut graph = Graph::new("requantize");
    let x = graph.input("x", TensorType::int([1, 1, 1, 1], Element::U8));
    let shape = [channels, 1, 1, 1];
    let weights = graph.constant("weights", Tensor::int(shape, vec![0; channels]), TensorType::int(shape, Element::I8));
    let bias_type = TensorType::int([channels], Element::I32);
    let bias = graph.constant("bias", Tensor::int([channels], biases.to_vec()), bias_type);
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let conv = QConv { geometry, pad_value: 0, requantize, element };
    let y = graph.add("y", Op::QConv(conv), &[x, weights, bias]).expect("valid convolution");
    graph.set_outputs(vec![y]);
    graph
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_definition(
        biases in prop::collection::vec(accumulator(), 32),
        multipliers in prop::collection::vec(multiplier(), 32),
        shifts in shifts(32),
        (bits, signed) in prop::sample::select(vec![(8u8, true), (8, false), (4, true), (2, false)]),
        (zero_point, a, b) in any::<(u8, u8, u8)>(),
    ) {
        let element = Element::Int { bits, signed };
        let (least, most) = element.range().expect("integer type");
        let inside = |byte: u8| (least + i64::from(byte) % (most - least + 1)) as i32;
        let (a, b) = (inside(a), inside(b));
        let requantize =
            Requantize { multipliers, shifts, zero_point: inside(zero_point), lo: a.min(b), hi: a.max(b) };
        let graph = graph(&biases, requantize.clone(), element);
        let expected: Vec<i32> =
            biases.iter().enumerate().map(|(channel, &bias)| requantize.apply(channel, bias)).collect();
        for features in [Features::Baseline, Features::Avx2, Features::Native] {
            let Ok(jit) = compile_jit_with(&graph, Options { features, verify: true }) else { continue };
            let found = jit.run(&[Tensor::int([1, 1, 1, 1], vec![0])]).expect("input matches");
            prop_assert_eq!(found[0].ints(), &expected[..], "{:?}", features);
        }
    }
}
