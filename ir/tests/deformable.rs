//! Deformable convolution against its definition, and against what it generalises.

mod evaluate;

use evaluate::{count, evaluate, geometries, identity, integers, ints, positions, reals, refusal};
use lutweave_ir::op::{Conv, DeformConv, Geometry, QConv, QDeformConv, Sampling};
use lutweave_ir::range::accumulator_range;
use lutweave_ir::validate::validate;
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, Requantize, Tensor, TensorType};
use proptest::prelude::*;

/// One problem; a square kernel wherever distances move the taps.
#[derive(Clone, Debug)]
struct Case {
    geometry: Geometry,
    sampling: Sampling,
    reach: i32,
    x_shape: [usize; 4],
    w_shape: [usize; 4],
    y_shape: [usize; 4],
    seed: u64,
}

impl Case {
    fn offsets_shape(&self) -> [usize; 4] {
        let [batch, height, width, _] = self.y_shape;
        [batch, height, width, self.sampling.channels([self.w_shape[1], self.w_shape[2]])]
    }

    /// Where a tap reads before it is rounded or refused, given a position's offsets.
    fn position(&self, at: [usize; 2], tap: [usize; 2], group: usize, offsets: &[f64]) -> [f64; 2] {
        let kernel = [self.w_shape[1], self.w_shape[2]];
        [0, 1].map(|axis| {
            let start = (at[axis] * self.geometry.strides[axis]) as f64 - self.geometry.pads[axis] as f64;
            match self.sampling {
                Sampling::Free { .. } => {
                    let number = group * kernel[0] * kernel[1] + tap[0] * kernel[1] + tap[1];
                    start + (tap[axis] * self.geometry.dilations[axis]) as f64 + offsets[2 * number + axis]
                }
                Sampling::Square => {
                    let centre = (kernel[axis] / 2) as f64;
                    start + centre + (tap[axis] as f64 - centre) * offsets[0]
                }
            }
        })
    }

    /// The definition: sums over taps and channels of weights times what `read` says, scaled by a
    /// mask if there is one.
    fn naive(
        &self,
        [offsets, bias, w]: [&[f64]; 3],
        mask: Option<&[f64]>,
        read: impl Fn(usize, [f64; 2], usize) -> f64,
    ) -> Vec<f64> {
        let [batch, height, width, outputs] = self.y_shape;
        let [_, kernel_height, kernel_width, depth] = self.w_shape;
        let moved = self.offsets_shape()[3];
        let per_offset_group = self.x_shape[3] / self.sampling.offset_groups();
        let mut y = Vec::new();
        for image in 0..batch {
            for row in 0..height {
                for column in 0..width {
                    let at = (image * height + row) * width + column;
                    let offsets = &offsets[at * moved..][..moved];
                    for o in 0..outputs {
                        let mut sum = bias[o];
                        for ky in 0..kernel_height {
                            for kx in 0..kernel_width {
                                for i in 0..depth {
                                    let channel = o / (outputs / self.geometry.groups) * depth + i;
                                    let group = channel / per_offset_group;
                                    let position = self.position([row, column], [ky, kx], group, offsets);
                                    let taps = kernel_height * kernel_width;
                                    let number = (at * self.sampling.offset_groups() + group) * taps;
                                    let scale = mask.map_or(1.0, |mask| mask[number + ky * kernel_width + kx]);
                                    sum += w[((o * kernel_height + ky) * kernel_width + kx) * depth + i]
                                        * scale
                                        * read(image, position, channel);
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

    fn pixel(&self, x: &[f64], image: usize, [row, column]: [f64; 2], channel: usize) -> Option<f64> {
        let [_, height, width, channels] = self.x_shape;
        let inside = (0.0..height as f64).contains(&row) && (0.0..width as f64).contains(&column);
        inside.then(|| x[((image * height + row as usize) * width + column as usize) * channels + channel])
    }
}

fn case(batch: usize, offset_groups: bool) -> impl Strategy<Value = Case> {
    let groups = prop_oneof![
        (Just(1usize), 1usize..5, 1usize..9),
        (2usize..4, 1usize..3, 1usize..4),
        (2usize..12).prop_map(|channels| (channels, 1, 1)),
    ];
    let sampling = (any::<bool>(), 1usize..4, 0i32..8);
    (groups, geometries(), sampling, [1usize..10, 1usize..10], 1..=batch, any::<u64>()).prop_filter_map(
        "the kernel must fit the padded image",
        move |((groups, depth, per_group), (mut kernel, geometry), sampling, [height, width], batch, seed)| {
            let (square, wanted, reach) = sampling;
            let mut geometry = Geometry { groups, ..geometry };
            if square {
                kernel = [kernel[0] / 2 * 2 + 1; 2];
                geometry.dilations = [1, 1];
            }
            let channels = groups * depth;
            let offset_groups = if offset_groups && channels % wanted == 0 { wanted } else { 1 };
            let sampling = if square { Sampling::Square } else { Sampling::Free { offset_groups } };
            let [rows, columns] = positions([height, width], kernel, &geometry)?;
            Some(Case {
                geometry,
                sampling,
                reach,
                x_shape: [batch, height, width, channels],
                w_shape: [groups * per_group, kernel[0], kernel[1], depth],
                y_shape: [batch, rows, columns, groups * per_group],
                seed,
            })
        },
    )
}

fn doubles(values: &[i32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn eval(op: &Op, types: &[TensorType], operands: &[Tensor]) -> Tensor {
    let types: Vec<&TensorType> = types.iter().collect();
    let ty = op.infer(&types).unwrap();
    op.eval(&ty, &types, &operands.iter().collect::<Vec<_>>())
}

fn float_types(operands: &[Tensor]) -> Vec<TensorType> {
    operands.iter().map(|operand| TensorType::f32(operand.shape.clone())).collect()
}

fn int_types(operands: &[Tensor]) -> Vec<TensorType> {
    let elements = [Element::I8, Element::I8, Element::I32, Element::I8];
    operands.iter().zip(elements).map(|(operand, element)| TensorType::int(operand.shape.clone(), element)).collect()
}

/// Operand, weights, bias and distances or offsets of an integer case.
fn int_operands(case: &Case, (lo, hi): (i64, i64)) -> [Tensor; 4] {
    let draw =
        |salt, shape: &[usize], lo, hi| Tensor::int(shape, integers(case.seed ^ salt, shape.iter().product(), lo, hi));
    [
        draw(1, &case.x_shape, -128, 127),
        draw(5, &case.w_shape, -128, 127),
        draw(9, &case.w_shape[..1], -100_000, 100_000),
        draw(7, &case.offsets_shape(), lo as i32, hi as i32),
    ]
}

fn int_op(case: &Case, pad_value: i32) -> QDeformConv {
    QDeformConv {
        geometry: case.geometry,
        sampling: case.sampling,
        reach: case.reach as u32,
        pad_value,
        requantize: Requantize { multipliers: vec![3], shifts: vec![9], zero_point: 3, lo: -100, hi: 120 },
        element: Element::I8,
    }
}

proptest! {
    #[test]
    fn integers_are_read_where_the_offsets_say(case in case(1, false), pad_value in -128i32..128) {
        let op = int_op(&case, pad_value);
        let operands = int_operands(&case, op.offset_range());
        let [x, w, b, offsets] = operands.each_ref().map(|operand| doubles(operand.ints()));
        let sums = case.naive([&offsets, &b, &w], None, |_, at, channel| {
            case.pixel(&x, 0, at, channel).unwrap_or(f64::from(pad_value))
        });
        let expected: Vec<i32> = sums.iter().map(|&sum| op.requantize.apply(0, sum as i32)).collect();
        let y = eval(&Op::QDeformConv(op), &int_types(&operands), &operands);
        prop_assert_eq!(y.ints(), &expected[..]);
    }

    /// The coordinates that [`QDeformConv::span`] promises are the extremes that offsets give.
    #[test]
    fn taps_stay_within_the_span(case in case(1, false)) {
        let op = int_op(&case, 0);
        let (lo, hi) = op.offset_range();
        for axis in [0, 1] {
            let mut extremes = (f64::MAX, f64::MIN);
            for offset in [lo, hi] {
                let offsets = vec![offset as f64; case.offsets_shape()[3]];
                for tap in 0..case.w_shape[1 + axis] {
                    let taps = if axis == 0 { [tap, 0] } else { [0, tap] };
                    let at = case.position([0, 0], taps, 0, &offsets)[axis] + case.geometry.pads[axis] as f64;
                    extremes = (extremes.0.min(at), extremes.1.max(at));
                }
            }
            let (first, last) = op.span(axis, case.w_shape[1 + axis]);
            prop_assert_eq!(extremes, (first as f64, last as f64));
        }
    }

    #[test]
    fn a_distance_of_one_is_the_ordinary_convolution(case in case(1, false), pad_value in -128i32..128) {
        let case = Case { reach: case.reach.max(1), ..case };
        let op = int_op(&case, pad_value);
        let still = i64::from(matches!(case.sampling, Sampling::Square));
        let operands = int_operands(&case, (still, still));
        let plain = QConv { geometry: case.geometry, pad_value, requantize: op.requantize.clone(), element: op.element };
        let y = eval(&Op::QDeformConv(op), &int_types(&operands), &operands);
        let ordinary = eval(&Op::QConv(plain), &int_types(&operands[..3]), &operands[..3]);
        prop_assert_eq!(y, ordinary);
    }

    #[test]
    fn reals_are_interpolated(case in case(2, true), modulated: bool) {
        let reals = |salt, count: usize, over: f32| -> Vec<f32> {
            integers(case.seed ^ salt, count, -1000, 1000).into_iter().map(|v| v as f32 / over).collect()
        };
        let [batch, height, width, moved] = case.offsets_shape();
        let taps = case.w_shape[1] * case.w_shape[2] * case.sampling.offset_groups();
        let mut operands = vec![
            Tensor::f32(case.x_shape, reals(1, count(case.x_shape), 37.0)),
            Tensor::f32(case.w_shape, reals(5, count(case.w_shape), 91.0)),
            Tensor::f32([case.w_shape[0]], reals(9, case.w_shape[0], 11.0)),
            Tensor::f32([batch, height, width, moved], reals(7, batch * height * width * moved, 256.0)),
        ];
        if modulated {
            operands.push(Tensor::f32([batch, height, width, taps], reals(3, batch * height * width * taps, 500.0)));
        }
        let wide = |index: usize| operands[index].f32s().iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let [x, w, b, offsets] = [0, 1, 2, 3].map(wide);
        let interpolated = |image: usize, [row, column]: [f64; 2], channel: usize| {
            let mut sum = 0.0;
            for near_row in [row.floor(), row.floor() + 1.0] {
                for near_column in [column.floor(), column.floor() + 1.0] {
                    let share = (1.0 - (row - near_row).abs()) * (1.0 - (column - near_column).abs());
                    sum += share * case.pixel(&x, image, [near_row, near_column], channel).unwrap_or(0.0);
                }
            }
            sum
        };
        let y = eval(
            &Op::DeformConv(DeformConv { geometry: case.geometry, sampling: case.sampling, modulated }),
            &float_types(&operands),
            &operands,
        );
        let mask = modulated.then(|| wide(4));
        let expected = case.naive([&offsets, &b, &w], mask.as_deref(), interpolated);
        for (y, expected) in y.f32s().iter().zip(expected) {
            prop_assert!((f64::from(*y) - expected).abs() < 1e-2 * (1.0 + expected.abs()), "{} {}", y, expected);
        }
    }

    #[test]
    fn reals_that_do_not_move_are_the_ordinary_convolution(case in case(2, true)) {
        let reals = |salt, count: usize| -> Vec<f32> {
            integers(case.seed ^ salt, count, -1000, 1000).into_iter().map(|v| v as f32 / 37.0).collect()
        };
        let still = if matches!(case.sampling, Sampling::Square) { 1.0 } else { 0.0 };
        let operands = [
            Tensor::f32(case.x_shape, reals(1, count(case.x_shape))),
            Tensor::f32(case.w_shape, reals(5, count(case.w_shape))),
            Tensor::f32([case.w_shape[0]], reals(9, case.w_shape[0])),
            Tensor::f32(case.offsets_shape(), vec![still; count(case.offsets_shape())]),
        ];
        let op = Op::DeformConv(DeformConv { geometry: case.geometry, sampling: case.sampling, modulated: false });
        let y = eval(&op, &float_types(&operands), &operands);
        let plain = Op::Conv(Conv { geometry: case.geometry });
        // Equal to the last bit: the same products in the same order.
        prop_assert_eq!(y, eval(&plain, &float_types(&operands[..3]), &operands[..3]));
    }
}

/// A centre tap on a row of three pixels, moved along the row.
fn row_of_three(offset: f32, mask: Option<f32>) -> f32 {
    let mut operands = vec![
        reals([1, 1, 3, 1], &[4.0, 8.0, 16.0]),
        reals([1, 1, 1, 1], &[1.0]),
        reals([1], &[0.5]),
        reals([1, 1, 3, 2], &[0.0, offset, 0.0, offset, 0.0, offset]),
    ];
    operands.extend(mask.map(|mask| reals([1, 1, 3, 1], &[mask; 3])));
    let sampling = Sampling::Free { offset_groups: 1 };
    evaluate(Op::DeformConv(DeformConv { geometry: Geometry::PLAIN, sampling, modulated: mask.is_some() }), &operands)
        .f32s()[1]
}

#[test]
fn pixels_outside_the_image_count_nothing() {
    assert_eq!(row_of_three(0.25, None), 10.5);
    assert_eq!(row_of_three(-1.25, None), 3.5);
    assert_eq!(row_of_three(-2.0, None), 0.5);
    assert_eq!(row_of_three(1.5, None), 8.5);
    assert_eq!(row_of_three(f32::NAN, None), 0.5);
    assert_eq!(row_of_three(f32::INFINITY, None), 0.5);
    assert_eq!(row_of_three(1.0, Some(0.25)), 4.5);
}

#[test]
fn borders_read_the_padding_value() {
    // Every weight is 1 but the centre's: a sum over the corners of a square of side 2 d.
    let x = ints([1, 3, 3, 1], &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let w = ints([1, 3, 3, 1], &[1, 0, 1, 0, 0, 0, 1, 0, 1]);
    let d = ints([1, 3, 3, 1], &[0, 1, 2, 3, 1, 0, 2, 1, 7]);
    let geometry = Geometry { pads: [1; 4], ..Geometry::PLAIN };
    let requantize = identity(0, -128, 127);
    let op = QDeformConv {
        geometry,
        sampling: Sampling::Square,
        reach: 7,
        pad_value: -10,
        requantize,
        element: Element::I8,
    };
    let y = evaluate(Op::QDeformConv(op), &[x, w, ints([1], &[0]), d]);
    assert_eq!(y.ints(), [4, -20 + 10, -30 + 7, -40, 20, 24, -30 + 3, -20 + 10, -40]);
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let op = |sampling, reach, geometry| {
        let requantize = identity(0, -128, 127);
        Op::QDeformConv(QDeformConv { geometry, sampling, reach, pad_value: 0, requantize, element: Element::I8 })
    };
    let padded = Geometry { pads: [1; 4], ..Geometry::PLAIN };
    let (x, w, b) = (ints([1, 3, 3, 1], &[0; 9]), ints([1, 3, 3, 1], &[0; 9]), ints([1], &[0]));
    let refused =
        |op: Op, x: &Tensor, w: &Tensor, offsets: Tensor| refusal(op, &[x.clone(), w.clone(), b.clone(), offsets]);
    let distances = ints([1, 3, 3, 1], &[0; 9]);
    assert!(
        refused(op(Sampling::Square, 1, Geometry::PLAIN), &x, &w, distances.clone()).contains("shape [1, 1, 1, 1]")
    );
    let free = |offset_groups| Sampling::Free { offset_groups };
    assert!(refused(op(free(1), 1, padded), &x, &w, distances.clone()).contains("shape [1, 3, 3, 18]"));
    assert!(refused(op(free(2), 1, padded), &x, &w, distances.clone()).contains("2 offset groups"));
    assert!(refused(op(Sampling::Square, 70_000, padded), &x, &w, distances.clone()).contains("70000"));
    let dilated = Geometry { dilations: [2, 2], pads: [2; 4], ..Geometry::PLAIN };
    assert!(refused(op(Sampling::Square, 1, dilated), &x, &w, distances.clone()).contains("dilations"));
    let even = ints([1, 2, 2, 1], &[0; 4]);
    assert!(refused(op(Sampling::Square, 1, padded), &x, &even, distances.clone()).contains("2 x 2"));
    assert!(refused(op(Sampling::Square, 1, padded), &x, &w, ints([1, 3, 3, 1], &[300; 9])).contains("8 bits"));
    let float = DeformConv { geometry: padded, sampling: free(0), modulated: false };
    let real = |shape: [usize; 4]| reals(shape, &vec![0.0; count(shape)]);
    let operands = [real([1, 3, 3, 1]), real([1, 3, 3, 1]), reals([1], &[0.0]), real([1, 3, 3, 18])];
    assert!(refusal(Op::DeformConv(float), &operands).contains("0 offset groups"));
    let modulated = DeformConv { sampling: free(1), modulated: true, ..float };
    assert!(refusal(Op::DeformConv(modulated), &operands).contains("5 operands"));
    let operands = [operands.to_vec(), vec![real([1, 3, 3, 1])]].concat();
    assert!(refusal(Op::DeformConv(modulated), &operands).contains("the mask must have shape [1, 3, 3, 9]"));
}

/// A graph of one square convolution with reach 3, whose distances come from `distances`.
fn square(distances: impl FnOnce(&mut Graph) -> NodeId) -> (Graph, NodeId) {
    let mut graph = Graph::new("square");
    let x = graph.input("x", TensorType::int([1, 4, 4, 2], Element::I8));
    let w = graph.constant("w", ints([2, 3, 3, 1], &[2; 18]), TensorType::int([2, 3, 3, 1], Element::I8));
    let b = graph.constant("b", ints([2], &[5, -5]), TensorType::int([2], Element::I32));
    let d = distances(&mut graph);
    let op = QDeformConv {
        geometry: Geometry { pads: [1; 4], groups: 2, ..Geometry::PLAIN },
        sampling: Sampling::Square,
        reach: 3,
        pad_value: 100,
        requantize: identity(0, -128, 127),
        element: Element::I8,
    };
    let y = graph.add("y", Op::QDeformConv(op), &[x, w, b, d]).unwrap();
    graph.set_outputs(vec![y]);
    (graph, y)
}

#[test]
fn offsets_are_proved_to_lie_within_reach() {
    let narrow = Element::Int { bits: 2, signed: false };
    let (graph, y) = square(|graph| graph.input("d", TensorType::int([1, 4, 4, 1], narrow)));
    validate(&graph).unwrap();
    assert_eq!(accumulator_range(&graph, y), (-128 * 18 - 5, 127 * 18 + 5));
    let (graph, _) = square(|graph| graph.input("d", TensorType::int([1, 4, 4, 1], Element::I4)));
    let faults = validate(&graph).unwrap_err().0;
    assert_eq!(faults[0].code, "offset-out-of-reach");
    assert!(faults[0].message.contains("-8 to 7, but must lie in 0 to 3"), "{}", faults[0].message);
    let constant = |value: i32| {
        square(|graph| {
            graph.constant("d", ints([1, 4, 4, 1], &[value; 16]), TensorType::int([1, 4, 4, 1], Element::I4))
        })
        .0
    };
    validate(&constant(3)).unwrap();
    assert_eq!(validate(&constant(4)).unwrap_err().0[0].code, "offset-out-of-reach");
}

#[test]
fn offsets_of_another_scale_are_refused() {
    let op = Op::QDeformConv(QDeformConv {
        geometry: Geometry::PLAIN,
        sampling: Sampling::Square,
        reach: 3,
        pad_value: 0,
        requantize: identity(0, -128, 127),
        element: Element::I8,
    });
    let image = TensorType::int([1, 4, 4, 1], Element::I8);
    let types = |scale, zero_point| {
        let distance = TensorType::int([1, 4, 4, 1], Element::I8).quantized(Quantization { scale, zero_point });
        let w = TensorType::int([1, 1, 1, 1], Element::I8);
        op.infer(&[&image, &w, &TensorType::int([1], Element::I32), &distance]).map(|ty| ty.shape)
    };
    assert_eq!(types(1.0, 0), Ok(vec![1, 4, 4, 1]));
    assert!(types(0.5, 0).unwrap_err().contains("whole pixels"));
    assert!(types(1.0, 1).unwrap_err().contains("whole pixels"));
}
