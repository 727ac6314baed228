//! Pointwise operators, reductions and the way between reals and integers.

mod evaluate;

use evaluate::{evaluate, identity, int_ramp, ints, ramp, reals, refusal};
use lutweave_ir::op::{
    ArgMax, BatchNorm, Binary, Dequantize, DequantizeWeights, PRelu, QAdd, QMul, Quantize, ReduceMean, Softmax, Table,
    Unary,
};
use lutweave_ir::{Element, Op, Quantization, Requantize, Tensor, TensorType};
use proptest::prelude::*;

fn close(actual: f32, expected: f64) -> bool {
    (f64::from(actual) - expected).abs() <= 1e-6 * expected.abs().max(1e-3)
}

#[test]
fn unary_functions_have_their_textbook_values() {
    let cases = [
        (Unary::Relu, -1.0, 0.0),
        (Unary::Clip { lo: -0.5, hi: 6.0 }, 7.0, 6.0),
        (Unary::LeakyRelu { alpha: 0.25 }, -2.0, -0.5),
        (Unary::Elu { alpha: 2.0 }, -1.0, 2.0 * (1f64.exp().recip() - 1.0)),
        (Unary::Sigmoid, 0.5, 0.622_459_331_201_854_6),
        (Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, 1.0, 0.7),
        (Unary::HardSwish, 1.5, 1.125),
        (Unary::HardSwish, 4.0, 4.0),
        (Unary::Silu, 0.5, 0.311_229_665_600_927_3),
        (Unary::Tanh, 0.5, 0.462_117_157_260_009_8),
        (Unary::Mish, 1.0, 0.865_098_388_267_300_6),
        (Unary::Softplus, 0.5, 0.974_076_984_180_107_2),
        (Unary::Softplus, 100.0, 100.0),
        (Unary::Gelu, 0.5, 0.345_731_230_630_064_8),
        (Unary::Erf, 0.5, 0.520_499_877_813_046_5),
        (Unary::Erf, -2.5, -0.999_593_047_982_555),
        (Unary::Erf, 9.0, 1.0),
        (Unary::Exp, 1.0, std::f64::consts::E),
        (Unary::Log, 10.0, std::f64::consts::LN_10),
        (Unary::Sqrt, 2.0, std::f64::consts::SQRT_2),
        (Unary::Reciprocal, 4.0, 0.25),
        (Unary::Abs, -4.0, 4.0),
        (Unary::Neg, -4.0, 4.0),
        (Unary::Round, 2.5, 2.0),
        (Unary::Round, -1.5, -2.0),
        (Unary::Floor, -1.5, -2.0),
        (Unary::Ceil, -1.5, -1.0),
    ];
    for (unary, x, expected) in cases {
        let y = evaluate(Op::Unary(unary), &[reals([1], &[x])]).f32s()[0];
        assert!(close(y, expected), "{} of {x} is {y}, not {expected}", unary.name());
    }
}

#[test]
fn operands_broadcast_as_in_numpy() {
    let y = evaluate(Op::Binary(Binary::Sub), &[ramp([2, 3]), reals([2, 1], &[10.0, 20.0])]);
    assert_eq!(y.f32s(), [-10.0, -9.0, -8.0, -17.0, -16.0, -15.0]);
    let y = evaluate(Op::Binary(Binary::Mul), &[reals([3, 1], &[1.0, 2.0, 3.0]), reals([1, 1, 2], &[1.0, 10.0])]);
    assert_eq!((y.shape.as_slice(), y.f32s()), ([1, 3, 2].as_slice(), [1.0, 10.0, 2.0, 20.0, 3.0, 30.0].as_slice()));
    let y = evaluate(Op::Binary(Binary::Add), &[reals([], &[1.0]), reals([], &[2.0])]);
    assert_eq!((y.shape.as_slice(), y.f32s()), ([].as_slice(), [3.0].as_slice()));
    assert!(refusal(Op::Binary(Binary::Add), &[ramp([2, 3]), ramp([2])]).contains("do not broadcast"));
    assert!(refusal(Op::Binary(Binary::Add), &[ramp([2])]).contains("2 operands"));
}

#[test]
fn max_and_min_propagate_nan() {
    for binary in [Binary::Max, Binary::Min] {
        assert!(binary.apply(f32::NAN, 1.0).is_nan() && binary.apply(1.0, f32::NAN).is_nan());
    }
    assert_eq!((Binary::Max.apply(1.0, 2.0), Binary::Min.apply(1.0, 2.0)), (2.0, 1.0));
}

#[test]
fn prelu_and_normalization_work_per_channel() {
    let x = || reals([1, 1, 2, 2], &[-1.0, -1.0, 2.0, -4.0]);
    assert_eq!(evaluate(Op::PRelu(PRelu), &[x(), reals([2], &[0.5, 2.0])]).f32s(), [-0.5, -2.0, 2.0, -8.0]);
    let [scale, bias, mean, variance] =
        [[2.0, 1.0], [0.0, 10.0], [1.0, 0.0], [3.0, 0.0]].map(|parameter| reals([2], &parameter));
    let y = evaluate(Op::BatchNorm(BatchNorm { epsilon: 1.0 }), &[x(), scale, bias, mean, variance]);
    assert_eq!(y.f32s(), [-2.0, 9.0, 1.0, 6.0]);
}

#[test]
fn mean_softmax_and_argmax_reduce_the_right_axis() {
    let x = ramp([2, 2, 3]);
    let mean = |axes: &[usize], keep| {
        evaluate(Op::ReduceMean(ReduceMean { axes: axes.to_vec(), keep }), std::slice::from_ref(&x))
    };
    assert_eq!(mean(&[1], false).f32s(), [1.5, 2.5, 3.5, 7.5, 8.5, 9.5]);
    assert_eq!((mean(&[0, 2], true).shape, mean(&[0, 2], true).f32s()), (vec![1, 2, 1], [4.0, 7.0].as_slice()));
    assert_eq!(mean(&[0, 1, 2], false).f32s(), [5.5]);
    assert!(
        refusal(Op::ReduceMean(ReduceMean { axes: vec![1, 0], keep: true }), std::slice::from_ref(&x))
            .contains("ascending")
    );

    let y = evaluate(Op::Softmax(Softmax { axis: 0 }), &[reals([2, 2], &[1000.0, 0.0, 1000.0, f32::ln(3.0)])]);
    assert!(y.f32s().iter().zip([0.5, 0.25, 0.5, 0.75]).all(|(&y, expected)| close(y, expected)), "{y:?}");

    let argmax = |last| Op::ArgMax(ArgMax { axis: 1, keep: false, last });
    let x = reals([2, 3], &[1.0, 3.0, 3.0, 5.0, f32::NAN, 6.0]);
    assert_eq!(evaluate(argmax(false), std::slice::from_ref(&x)).ints(), [1, 1]);
    assert_eq!(evaluate(argmax(true), &[x]).ints(), [2, 1]);
    assert_eq!(evaluate(argmax(false), &[int_ramp([1, 3])]).ints(), [2]);
}

#[test]
fn quantization_rounds_half_to_even_and_saturates() {
    let quantization = Quantization { scale: 0.5, zero_point: 10 };
    let x = reals([7], &[0.25, 0.75, -0.25, 1e30, f32::NEG_INFINITY, f32::NAN, -3.0]);
    let q = evaluate(Op::Quantize(Quantize { element: Element::U8, quantization }), &[x]);
    assert_eq!(q.ints(), [10, 12, 10, 255, 0, 10, 4]);
    let ty = TensorType::int([7], Element::U8).quantized(quantization);
    let y = Op::Dequantize(Dequantize).eval(&TensorType::f32([7]), &[&ty], &[&q]);
    assert_eq!(y.f32s(), [0.0, 1.0, 0.0, 122.5, -5.0, 0.0, -3.0]);
    let wrong = Quantization { scale: 0.0, zero_point: 10 };
    assert!(
        refusal(Op::Quantize(Quantize { element: Element::U8, quantization: wrong }), &[ramp([1])]).contains("scale")
    );
    let wrong = Quantization { scale: 1.0, zero_point: 256 };
    assert!(
        refusal(Op::Quantize(Quantize { element: Element::U8, quantization: wrong }), &[ramp([1])])
            .contains("zero point")
    );
    assert!(refusal(Op::Dequantize(Dequantize), &[ints([1], &[3])]).contains("no quantization"));
}

#[test]
fn weights_dequantize_along_an_axis() {
    let weights = DequantizeWeights { axis: 1, scales: vec![1.0, 0.5], zero_points: vec![0, 2] };
    assert_eq!(evaluate(Op::DequantizeWeights(weights), &[ints([2, 2], &[1, 2, 3, 4])]).f32s(), [1.0, 0.0, 3.0, 1.0]);
    let weights = DequantizeWeights { axis: 0, scales: vec![2.0], zero_points: vec![1] };
    assert_eq!(evaluate(Op::DequantizeWeights(weights), &[ints([2], &[1, -1])]).f32s(), [0.0, -4.0]);
    let weights = DequantizeWeights { axis: 0, scales: vec![2.0, 1.0, 1.0], zero_points: vec![1; 3] };
    assert!(refusal(Op::DequantizeWeights(weights), &[ints([2], &[1, -1])]).contains("3 scales"));
}

#[test]
fn integer_sum_rounds_once() {
    let add = QAdd { multipliers: [3, -2], offset: 1, shift: 2, zero_point: -1, lo: -8, hi: 7, element: Element::I4 };
    let y = evaluate(Op::QAdd(add.clone()), &[ints([1, 1, 2, 2], &[1, 2, 3, 100]), ints([1, 1, 1, 2], &[1, -4])]);
    // (3 - 2 + 1 + 2) >> 2, (6 + 8 + 1 + 2) >> 2, (9 - 2 + 1 + 2) >> 2, large.
    assert_eq!(y.ints(), [1 - 1, 4 - 1, 2 - 1, 7]);
    assert!(refusal(Op::QAdd(add.clone()), &[ints([1, 2], &[1, 2]), ints([2, 1], &[1, 2])]).contains("neither"));
    assert!(refusal(Op::QAdd(QAdd { shift: 32, ..add }), &[ints([1, 1], &[1]), ints([1, 1], &[1])]).contains("shift"));
}

#[test]
fn integer_product_subtracts_zero_points() {
    let requantize = Requantize { shifts: vec![1], ..identity(1, -128, 127) };
    let mul = QMul { zero_points: [1, -2], requantize, element: Element::I8 };
    let y = evaluate(Op::QMul(mul), &[ints([1, 3], &[2, -3, 1]), ints([1, 3], &[3, 1, 9])]);
    assert_eq!(y.ints(), [3 + 1, -6 + 1, 1]);
}

#[test]
fn tables_start_at_the_smallest_operand() {
    let entries: Vec<i32> = (-128..128).map(|x: i32| x.abs().min(100)).collect();
    let table = Table { entries: entries.into(), element: Element::I8 };
    assert_eq!(evaluate(Op::Table(table), &[ints([3], &[-128, -1, 127])]).ints(), [100, 1, 100]);
    let short = Table { entries: vec![0; 16].into(), element: Element::I8 };
    assert!(refusal(Op::Table(short), &[ints([1], &[0])]).contains("256 entries"));
    let wide = Table { entries: vec![128; 256].into(), element: Element::I8 };
    assert!(refusal(Op::Table(wide), &[ints([1], &[0])]).contains("entry 128"));
}

proptest! {
    #[test]
    fn broadcasting_equals_indexing(a in prop::collection::vec(1usize..4, 0..4), mask in any::<u8>(), drop in 0usize..4) {
        // `b` has extents 1 where the mask says so, and fewer axes.
        let b: Vec<usize> = a.iter().enumerate().map(|(axis, &extent)| if mask >> axis & 1 == 1 { 1 } else { extent }).collect();
        let b = b[drop.min(b.len())..].to_vec();
        let tensor = |shape: &[usize], factor: f32| {
            let count: usize = shape.iter().product();
            Tensor::f32(shape.to_vec(), (0..count).map(|v| v as f32 * factor).collect::<Vec<_>>())
        };
        let y = evaluate(Op::Binary(Binary::Add), &[tensor(&a, 1.0), tensor(&b, 100.0)]);
        prop_assert_eq!(&y.shape, &a);
        for (position, &value) in y.f32s().iter().enumerate() {
            let (mut rest, mut at, mut stride) = (position, 0, 1);
            for axis in (0..a.len()).rev() {
                let index = rest % a[axis];
                rest /= a[axis];
                if let Some(own) = (axis + b.len()).checked_sub(a.len()) {
                    at += if b[own] == 1 { 0 } else { index * stride };
                    stride *= b[own];
                }
            }
            prop_assert_eq!(value, position as f32 + at as f32 * 100.0);
        }
    }

    #[test]
    fn requantization_of_a_quotient_is_its_rounding(accumulator in any::<i32>(), shift in 1u8..=47, multiplier in any::<u16>()) {
        let requantize = Requantize { multipliers: vec![multiplier], shifts: vec![shift], zero_point: 0, lo: i32::MIN, hi: i32::MAX };
        let exact = (f64::from(accumulator) * f64::from(multiplier) / f64::from(shift).exp2() + 0.5).floor();
        prop_assert_eq!(f64::from(requantize.apply(0, accumulator)), exact.clamp(f64::from(i32::MIN), f64::from(i32::MAX)));
    }
}
