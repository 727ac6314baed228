//! Movement operators.

mod evaluate;

use evaluate::{evaluate, int_ramp, ints, ramp, reals, refusal};
use lutweave_ir::op::{Borders, Concat, Pad, Reshape, Resize, Select, Slice, Transpose};
use lutweave_ir::{Element, Op, Quantization, TensorType};
use proptest::prelude::*;

#[test]
fn transpose_permutes_axes() {
    let y = evaluate(Op::Transpose(Transpose { permutation: vec![2, 0, 1] }), &[int_ramp([2, 1, 3])]);
    assert_eq!((y.shape.as_slice(), y.ints()), ([3, 2, 1].as_slice(), [0, 3, 1, 4, 2, 5].as_slice()));
    assert!(
        refusal(Op::Transpose(Transpose { permutation: vec![0, 0] }), &[ramp([2, 2])]).contains("not a permutation")
    );
}

#[test]
fn slice_strides_per_axis() {
    let slice = |starts: [usize; 2], sizes: [usize; 2], steps: [usize; 2]| {
        Op::Slice(Slice { starts: starts.to_vec(), sizes: sizes.to_vec(), steps: steps.to_vec() })
    };
    let y = evaluate(slice([1, 0], [2, 2], [1, 3]), &[ramp([3, 4])]);
    assert_eq!(y.f32s(), [4.0, 7.0, 8.0, 11.0]);
    for wrong in [
        slice([1, 0], [3, 1], [1, 1]),
        slice([0, 0], [0, 1], [1, 1]),
        slice([0, 0], [2, 1], [0, 1]),
        slice([0, 0], [2, 1], [usize::MAX, 1]),
    ] {
        assert!(refusal(wrong, &[ramp([3, 4])]).contains("not inside"));
    }
}

#[test]
fn select_takes_channels_in_any_order() {
    let select = |channels: &[usize]| Op::Select(Select { channels: channels.to_vec() });
    let y = evaluate(select(&[2, 0, 0, 1]), &[ramp([2, 3])]);
    assert_eq!(
        (y.shape.as_slice(), y.f32s()),
        ([2, 4].as_slice(), [2.0, 0.0, 0.0, 1.0, 5.0, 3.0, 3.0, 4.0].as_slice())
    );
    assert_eq!(evaluate(select(&[1]), &[int_ramp([2, 1, 3])]).ints(), [1, 4]);
    assert!(refusal(select(&[0, 3]), &[ramp([2, 3])]).contains("channel 3 is not inside"));
    assert!(refusal(select(&[]), &[ramp([2, 3])]).contains("extent of 0"));
}

#[test]
fn pad_surrounds() {
    let pad = |value| Op::Pad(Pad { before: vec![0, 1], after: vec![1, 0], value });
    assert_eq!(evaluate(pad(-1.5), &[ramp([1, 2])]).f32s(), [-1.5, 0.0, 1.0, -1.5, -1.5, -1.5]);
    assert_eq!(evaluate(pad(-5.0), &[int_ramp([1, 2])]).ints(), [-5, 0, 1, -5, -5, -5]);
    assert!(refusal(pad(0.5), &[int_ramp([1, 2])]).contains("not a value of i8"));
    assert!(refusal(pad(200.0), &[int_ramp([1, 2])]).contains("not a value of i8"));
    let huge = Op::Pad(Pad { before: vec![usize::MAX, 1], after: vec![1, 0], value: 0.0 });
    assert!(refusal(huge, &[ramp([1, 2])]).contains("too large"));
}

#[test]
fn concat_joins_along_its_axis() {
    let y = evaluate(Op::Concat(Concat { axis: 1 }), &[ints([2, 1], &[1, 2]), ints([2, 2], &[3, 4, 5, 6])]);
    assert_eq!((y.shape.as_slice(), y.ints()), ([2, 3].as_slice(), [1, 3, 4, 2, 5, 6].as_slice()));
    assert!(refusal(Op::Concat(Concat { axis: 0 }), &[ramp([2, 1]), ramp([2, 2])]).contains("another axis"));
    assert!(refusal(Op::Concat(Concat { axis: 0 }), &[ramp([2]), int_ramp([2])]).contains("element type"));
    assert!(refusal(Op::Concat(Concat { axis: 2 }), &[ramp([2, 1])]).contains("not an axis"));
    assert!(refusal(Op::Concat(Concat { axis: 0 }), &[]).contains("at least one"));
}

#[test]
fn resize_repeats() {
    let y = evaluate(Op::Resize(Resize::by([2, 3])), &[reals([1, 1, 2, 1], &[1.0, 2.0])]);
    assert_eq!(y.shape, [1, 2, 6, 1]);
    assert_eq!(y.f32s(), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
}

#[test]
fn resize_copies_the_border() {
    let bordered = Resize { factors: [1, 2], borders: Borders([1, 0, 0, 3]) };
    let x = ints([1, 2, 2, 1], &[1, 2, 3, 4]);
    let y = evaluate(Op::Resize(bordered.clone()), std::slice::from_ref(&x));
    assert_eq!(y.shape, [1, 3, 7, 1]);
    assert_eq!(y.ints(), [1, 1, 2, 2, 2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4]);
    // One after the other is one.
    let outer = Resize { factors: [2, 1], borders: Borders([0, 1, 2, 0]) };
    let twice = evaluate(Op::Resize(outer.clone()), &[y]);
    let once = evaluate(Op::Resize(bordered.then(&outer)), &[x]);
    assert_eq!((&once.shape, once.ints()), (&twice.shape, twice.ints()));
    let wide = Resize { factors: [1, 1], borders: Borders([0, 0, 0, usize::MAX]) };
    assert!(refusal(Op::Resize(wide), &[ramp([1, 2, 2, 1])]).contains("borders"));
}

#[test]
fn reshape_keeps_the_count() {
    assert_eq!(evaluate(Op::Reshape(Reshape { shape: vec![3, 2] }), &[ramp([1, 6])]).shape, [3, 2]);
    assert!(refusal(Op::Reshape(Reshape { shape: vec![4] }), &[ramp([6])]).contains("element count"));
    assert!(refusal(Op::Reshape(Reshape { shape: vec![usize::MAX, 2, 0] }), &[ramp([6])]).contains("extent of 0"));
    assert!(refusal(Op::Reshape(Reshape { shape: vec![usize::MAX, 2] }), &[ramp([6])]).contains("2^31"));
}

#[test]
fn movement_keeps_quantization_and_concat_demands_a_common_one() {
    let q = |scale| TensorType::int([1, 4, 4, 2], Element::I8).quantized(Quantization { scale, zero_point: 3 });
    let (a, b) = (q(0.5), q(0.25));
    for op in [
        Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }),
        Op::Reshape(Reshape { shape: vec![32] }),
        Op::Resize(Resize::by([2, 2])),
        Op::Concat(Concat { axis: 3 }),
        Op::Pad(Pad { before: vec![0; 4], after: vec![0, 1, 0, 0], value: 3.0 }),
        Op::Slice(Slice { starts: vec![0; 4], sizes: vec![1, 2, 2, 1], steps: vec![1; 4] }),
        Op::Select(Select { channels: vec![1, 0] }),
    ] {
        assert_eq!(op.infer(&[&a]).unwrap().quantization, a.quantization, "{}", op.name());
    }
    assert!(Op::Concat(Concat { axis: 3 }).infer(&[&a, &b]).unwrap_err().contains("quantization"));
    assert_eq!(Op::Concat(Concat { axis: 3 }).infer(&[&a, &a]).unwrap().quantization, a.quantization);
}

proptest! {
    #[test]
    fn a_permutation_and_its_inverse_cancel(shape in prop::collection::vec(1usize..5, 1..5), seed in any::<u64>()) {
        let mut permutation: Vec<usize> = (0..shape.len()).collect();
        permutation.sort_by_key(|&axis| (seed >> (8 * axis)) & 0xff);
        let mut inverse = vec![0; shape.len()];
        for (to, &from) in permutation.iter().enumerate() {
            inverse[from] = to;
        }
        let x = ramp([shape.iter().product()]).reshaped(shape);
        let y = evaluate(Op::Transpose(Transpose { permutation }), std::slice::from_ref(&x));
        prop_assert_eq!(evaluate(Op::Transpose(Transpose { permutation: inverse }), &[y]), x);
    }

    #[test]
    fn slices_of_a_concatenation_are_its_parts(widths in prop::collection::vec(1usize..4, 1..4), axis in 0usize..3) {
        let parts: Vec<_> = widths.iter().enumerate().map(|(index, &width)| {
            let mut shape = [2, 3, 2];
            shape[axis] = width;
            let count: usize = shape.iter().product();
            reals(shape, &(0..count).map(|v| (index * 100 + v) as f32).collect::<Vec<_>>())
        }).collect();
        let joined = evaluate(Op::Concat(Concat { axis }), &parts);
        let mut start = 0;
        for part in parts {
            let mut starts = vec![0; 3];
            starts[axis] = start;
            start += part.shape[axis];
            let slice = Op::Slice(Slice { starts, sizes: part.shape.clone(), steps: vec![1; 3] });
            prop_assert_eq!(evaluate(slice, std::slice::from_ref(&joined)), part);
        }
    }
}
