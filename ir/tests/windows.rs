//! Convolution and pooling: small cases computed by hand.

mod evaluate;

use evaluate::{evaluate, geometry, identity, int_ramp, ints, ramp, reals, refusal, window};
use lutweave_ir::op::{AveragePool, Conv, Dense, Geometry, MaxPool, QAveragePool, QConv};
use lutweave_ir::{Element, Op, Requantize};

#[test]
fn asymmetric_padding_stride_two_and_odd_size() {
    // 3x3 image 0..9, 2x2 kernel of ones, one row of padding on top, one column on the right.
    let conv = Op::Conv(Conv { geometry: geometry([2, 2], [1, 0, 0, 1]) });
    let y = evaluate(conv, &[ramp([1, 3, 3, 1]), reals([1, 2, 2, 1], &[1.0; 4]), reals([1], &[0.5])]);
    assert_eq!(y.shape, [1, 2, 2, 1]);
    // Rows -1,0 | 1,2 and columns 0,1 | 2,pad.
    assert_eq!(y.f32s(), [1.5, 2.5, 3.0 + 4.0 + 6.0 + 7.0 + 0.5, 5.0 + 8.0 + 0.5]);
}

#[test]
fn dilation_skips_elements() {
    let conv = Op::Conv(Conv { geometry: Geometry { dilations: [2, 1], ..Geometry::PLAIN } });
    let y = evaluate(conv, &[ramp([1, 3, 2, 1]), reals([1, 2, 2, 1], &[1.0, 2.0, 3.0, 4.0])]);
    assert_eq!(y.f32s(), [0.0 + 2.0 + 12.0 + 20.0]);
}

#[test]
fn kernels_are_not_flipped_and_channels_are_innermost() {
    let conv = Op::Conv(Conv { geometry: Geometry::PLAIN });
    // One pixel, two channels, two outputs.
    let y = evaluate(conv, &[reals([1, 1, 1, 2], &[10.0, 1.0]), reals([2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0])]);
    assert_eq!(y.f32s(), [12.0, 34.0]);
}

#[test]
fn groups_see_their_own_channels() {
    let conv = Op::Conv(Conv { geometry: Geometry { groups: 2, ..Geometry::PLAIN } });
    let x = reals([1, 1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let y = evaluate(conv, &[x, reals([4, 1, 1, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 10.0, 100.0])]);
    assert_eq!(y.f32s(), [1.0, 2.0, 3.0, 430.0]);
}

#[test]
fn depthwise_batches() {
    let conv = Op::Conv(Conv { geometry: Geometry { groups: 2, ..Geometry::PLAIN } });
    let y = evaluate(conv, &[ramp([2, 1, 2, 2]), reals([2, 1, 2, 1], &[1.0, 2.0, 3.0, 4.0]), reals([2], &[0.0, 1.0])]);
    assert_eq!(y.f32s(), [0.0 + 4.0, 3.0 + 12.0 + 1.0, 4.0 + 12.0, 15.0 + 28.0 + 1.0]);
}

#[test]
fn dense_works_on_the_last_axis() {
    let y = evaluate(
        Op::Dense(Dense),
        &[ramp([2, 1, 2]), reals([3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]), reals([3], &[0.0, 0.0, 9.0])],
    );
    assert_eq!(y.shape, [2, 1, 3]);
    assert_eq!(y.f32s(), [0.0, 1.0, 10.0, 2.0, 3.0, 14.0]);
}

#[test]
fn integer_padding_reads_the_zero_point() {
    // The operand's zero point is 5: it is folded into the bias, and padding reads 5.
    let conv = QConv {
        geometry: geometry([1, 1], [0, 1, 0, 0]),
        pad_value: 5,
        requantize: identity(1, -128, 127),
        element: Element::I8,
    };
    let (w, x) = ([2, 3], [7, 9]);
    let bias = 11 - 5 * (w[0] + w[1]);
    let y = evaluate(Op::QConv(conv), &[ints([1, 1, 2, 1], &x), ints([1, 1, 2, 1], &w), ints([1], &[bias])]);
    assert_eq!(y.ints(), [3 * (7 - 5) + 11 + 1, 2 * (7 - 5) + 3 * (9 - 5) + 11 + 1]);
}

#[test]
fn depthwise_integer_padding_reads_the_zero_point() {
    let geometry = Geometry { groups: 2, pads: [1, 0, 0, 0], ..Geometry::PLAIN };
    let conv = QConv { geometry, pad_value: -4, requantize: identity(0, -128, 127), element: Element::I8 };
    let y = evaluate(
        Op::QConv(conv),
        &[ints([1, 1, 1, 2], &[10, 20]), ints([2, 2, 1, 1], &[1, 2, 3, -1]), ints([2], &[0, 100])],
    );
    assert_eq!(y.ints(), [-4 + 20, -12 - 20 + 100]);
}

#[test]
fn requantization_is_per_channel_rounds_half_up_and_clamps() {
    let requantize = Requantize { multipliers: vec![1, 3], shifts: vec![1, 2], zero_point: -1, lo: -1, hi: 6 };
    let conv = QConv { geometry: Geometry::PLAIN, pad_value: 0, requantize, element: Element::I4 };
    let accumulators = |v: i32| {
        evaluate(Op::QConv(conv.clone()), &[ints([1, 1, 1, 1], &[v]), ints([2, 1, 1, 1], &[1, 1]), ints([2], &[0, 0])])
    };
    // 3/2 = 1.5 -> 2; 3*3/4 = 2.25 -> 2; both minus 1.
    assert_eq!(accumulators(3).ints(), [1, 1]);
    assert_eq!(accumulators(-3).ints(), [-1, -1]);
    assert_eq!(accumulators(100).ints(), [6, 6]);
    assert_eq!(accumulators(2).ints(), [0, 1]);
}

#[test]
fn max_pooling_never_takes_padding() {
    let x = reals([1, 2, 2, 1], &[-5.0, -6.0, -7.0, -8.0]);
    let y = evaluate(Op::MaxPool(MaxPool { window: window([2, 2], [2, 2], [1, 1, 1, 1]) }), &[x]);
    assert_eq!(y.f32s(), [-5.0, -6.0, -7.0, -8.0]);
    let y = evaluate(
        Op::MaxPool(MaxPool { window: window([2, 2], [2, 2], [0, 0, 0, 0]) }),
        &[ints([1, 3, 2, 1], &[-5, -6, -7, -3, 9, 9])],
    );
    assert_eq!(y.ints(), [-3]);
    let nan = evaluate(
        Op::MaxPool(MaxPool { window: window([1, 2], [1, 1], [0; 4]) }),
        &[reals([1, 1, 3, 1], &[f32::NAN, 1.0, 2.0])],
    );
    assert!(nan.f32s()[0].is_nan() && nan.f32s()[1] == 2.0);
}

#[test]
fn average_pooling_counts_padding_only_where_told() {
    let x = || ramp([1, 2, 2, 1]);
    let pool = |counted_pads, pads| Op::AveragePool(AveragePool { window: window([2, 2], [2, 2], pads), counted_pads });
    assert_eq!(evaluate(pool(None, [1, 1, 1, 1]), &[x()]).f32s(), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(evaluate(pool(Some([1; 4]), [1, 1, 1, 1]), &[x()]).f32s(), [0.0, 0.25, 0.5, 0.75]);
    // The padding of ceil_mode (bottom and right) does not count, the model's own does.
    let y = evaluate(pool(Some([1, 1, 0, 0]), [1, 1, 1, 1]), &[x()]);
    assert_eq!(y.f32s(), [0.0, 0.5, 1.0, 3.0]);
}

#[test]
fn integer_average_pooling_pads_with_the_zero_point() {
    let pool = QAveragePool {
        window: window([2, 2], [2, 2], [1, 1, 0, 0]),
        pad_value: 3,
        bias: -12,
        requantize: Requantize { multipliers: vec![1], shifts: vec![2], zero_point: 3, lo: -128, hi: 127 },
        element: Element::I8,
    };
    let y = evaluate(Op::QAveragePool(pool), &[int_ramp([1, 3, 3, 1])]);
    // Windows: (pad, pad, pad, 0), (pad, pad, 1, 2), (pad, 3, pad, 6), (4, 5, 7, 8).
    // Sums less 12: -3, -3, 3, 12; quarters, half up: -1, -1, 1, 3; plus 3.
    assert_eq!(y.ints(), [2, 2, 4, 6]);
}

#[test]
fn wrong_geometry_is_refused() {
    let x = || ramp([1, 3, 3, 2]);
    let conv = |geometry| Op::Conv(Conv { geometry });
    let w = |shape: [usize; 4]| ramp(shape);
    let refuse = |geometry, shape| refusal(conv(geometry), &[x(), w(shape)]);
    assert!(refuse(Geometry { groups: 0, ..Geometry::PLAIN }, [2, 1, 1, 2]).contains("0 groups"));
    assert!(refuse(Geometry::PLAIN, [2, 1, 1, 3]).contains("do not match"));
    assert!(refuse(Geometry::PLAIN, [2, 4, 1, 2]).contains("does not fit"));
    assert!(refuse(geometry([0, 1], [0; 4]), [2, 1, 1, 2]).contains("stride 0"));
    assert!(refuse(geometry([1, 1], [usize::MAX, 0, 0, 0]), [2, 1, 1, 2]).contains("padding"));
    let pool = Op::MaxPool(MaxPool { window: window([2, 2], [1, 1], [2, 0, 0, 0]) });
    assert!(refusal(pool, &[x()]).contains("wholly in the padding"));
    let pool = Op::AveragePool(AveragePool { window: window([2, 2], [1, 1], [0; 4]), counted_pads: Some([1; 4]) });
    assert!(refusal(pool, &[x()]).contains("counted padding"));
}

#[test]
fn wrong_requantization_is_refused() {
    let refuse = |requantize: Requantize| {
        let conv = QConv { geometry: Geometry::PLAIN, pad_value: 0, requantize, element: Element::I8 };
        refusal(Op::QConv(conv), &[ints([1, 1, 1, 1], &[1]), ints([3, 1, 1, 1], &[1, 1, 1]), ints([3], &[0, 0, 0])])
    };
    assert!(refuse(Requantize { multipliers: vec![1, 2], ..identity(0, 0, 1) }).contains("2 multipliers"));
    assert!(refuse(Requantize { shifts: vec![], ..identity(0, 0, 1) }).contains("0 shifts"));
    assert!(refuse(Requantize { shifts: vec![48], ..identity(0, 0, 1) }).contains("exceeds 47"));
    assert!(refuse(identity(0, 2, 1)).contains("not a range"));
    assert!(refuse(identity(0, 0, 128)).contains("not a range"));
    assert!(refuse(identity(128, 0, 127)).contains("zero point"));
}
