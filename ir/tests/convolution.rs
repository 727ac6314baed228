//! The convolution kernels against the textbook's loops.

mod evaluate;

use evaluate::{count, geometries, integers, positions};
use lutweave_ir::op::{Conv, Geometry, QConv};
use lutweave_ir::{Element, Op, Requantize, Tensor, TensorType};
use proptest::prelude::*;

/// One convolution problem.
#[derive(Clone, Debug)]
struct Case {
    geometry: Geometry,
    x_shape: [usize; 4],
    w_shape: [usize; 4],
    seed: u64,
}

fn case(batch: usize) -> impl Strategy<Value = Case> {
    let groups = prop_oneof![
        (Just(1usize), 1usize..20, 1usize..40),
        (2usize..5, 1usize..4, 1usize..4),
        (2usize..40).prop_map(|channels| (channels, 1, 1)),
    ];
    (groups, geometries(), [1usize..9, 1usize..9], 1..=batch, any::<u64>()).prop_filter_map(
        "the kernel must fit the padded image",
        |((groups, depth, per_group), (kernel, geometry), [height, width], batch, seed)| {
            positions([height, width], kernel, &geometry).map(|_| Case {
                geometry: Geometry { groups, ..geometry },
                x_shape: [batch, height, width, groups * depth],
                w_shape: [groups * per_group, kernel[0], kernel[1], depth],
                seed,
            })
        },
    )
}

/// The definition of convolution, tap by tap; `pad` outside the image.
fn naive<T: Copy>(
    case: &Case,
    y_shape: &[usize],
    x: &[T],
    w: &[T],
    b: &[T],
    pad: T,
    mul_add: impl Fn(T, T, T) -> T,
) -> Vec<T> {
    let [_, height, width, inputs] = case.x_shape;
    let [outputs, kernel_height, kernel_width, depth] = case.w_shape;
    let g = &case.geometry;
    let mut y = Vec::new();
    for n in 0..y_shape[0] {
        for row in 0..y_shape[1] {
            for column in 0..y_shape[2] {
                for o in 0..outputs {
                    let mut sum = b[o];
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            for i in 0..depth {
                                let line = (row * g.strides[0] + ky * g.dilations[0]) as isize - g.pads[0] as isize;
                                let place = (column * g.strides[1] + kx * g.dilations[1]) as isize - g.pads[1] as isize;
                                let inside =
                                    (0..height as isize).contains(&line) && (0..width as isize).contains(&place);
                                let channel = o / (outputs / g.groups) * depth + i;
                                let value = if inside {
                                    x[((n * height + line as usize) * width + place as usize) * inputs + channel]
                                } else {
                                    pad
                                };
                                sum =
                                    mul_add(sum, value, w[((o * kernel_height + ky) * kernel_width + kx) * depth + i]);
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

proptest! {
    #[test]
    fn float_convolution_equals_its_definition(case in case(2)) {
        let reals = |seed, count| integers(seed, count, -1000, 1000).into_iter().map(|v| v as f32 / 37.0).collect::<Vec<f32>>();
        let (x, w, b) = (reals(case.seed, count(case.x_shape)), reals(case.seed ^ 5, count(case.w_shape)), reals(case.seed ^ 9, case.w_shape[0]));
        let op = Op::Conv(Conv { geometry: case.geometry });
        let types = [TensorType::f32(case.x_shape), TensorType::f32(case.w_shape), TensorType::f32([case.w_shape[0]])];
        let types: Vec<&TensorType> = types.iter().collect();
        let ty = op.infer(&types).unwrap();
        let expected = naive(&case, &ty.shape, &x, &w, &b, 0.0, |sum, x, w| sum + x * w);
        let operands = [Tensor::f32(case.x_shape, x), Tensor::f32(case.w_shape, w), Tensor::f32([case.w_shape[0]], b)];
        let y = op.eval(&ty, &types, &operands.iter().collect::<Vec<_>>());
        // Equal to the last bit: same order of summation, no fused multiply-add.
        prop_assert_eq!(y.f32s(), &expected[..]);
    }

    #[test]
    fn integer_convolution_equals_its_definition(case in case(1), pad_value in -128i32..128, shift in 0u8..20) {
        let (x, w) = (integers(case.seed, count(case.x_shape), -128, 127), integers(case.seed ^ 5, count(case.w_shape), -255, 255));
        let b = integers(case.seed ^ 9, case.w_shape[0], -100_000, 100_000);
        let requantize = Requantize {
            multipliers: integers(case.seed ^ 7, case.w_shape[0], 0, 65535).into_iter().map(|m| m as u16).collect(),
            shifts: vec![shift],
            zero_point: 3,
            lo: -100,
            hi: 120,
        };
        let op = Op::QConv(QConv { geometry: case.geometry, pad_value, requantize: requantize.clone(), element: Element::I8 });
        let types = [
            TensorType::int(case.x_shape, Element::I8),
            TensorType::int(case.w_shape, Element::Int { bits: 9, signed: true }),
            TensorType::int([case.w_shape[0]], Element::I32),
        ];
        let types: Vec<&TensorType> = types.iter().collect();
        let ty = op.infer(&types).unwrap();
        let sums = naive(&case, &ty.shape, &x, &w, &b, pad_value, |sum, x, w| sum + x * w);
        let expected: Vec<i32> = sums.iter().enumerate().map(|(at, &sum)| requantize.apply(at % case.w_shape[0], sum)).collect();
        let operands = [Tensor::int(case.x_shape, x), Tensor::int(case.w_shape, w), Tensor::int([case.w_shape[0]], b)];
        let y = op.eval(&ty, &types, &operands.iter().collect::<Vec<_>>());
        prop_assert_eq!(y.ints(), &expected[..]);
    }
}
