//! Networks whose structure is dangerous for streaming circuits.

use crate::network::{Network, Shape};
use crate::stages::{float_samples, lower};
use lutweave::options::Weights;
use lutweave_ir::Graph;
use lutweave_ir::op::Unary;
use lutweave_ir::text::parse;
use lutweave_testing::random::Step;
use lutweave_testing::random::{RandomOptions, random_graph};

/// A float network by name.
type Build = fn(&mut Network) -> Vec<lutweave_ir::NodeId>;

const NETWORKS: &[(&str, Build)] = &[
    ("long_skip", long_skip),
    ("skip_over_mean", skip_over_mean),
    ("nested_residuals", nested_residuals),
    ("concat_of_rows", concat_of_rows),
    ("concat_of_columns", concat_of_columns),
    ("concat_of_depths", concat_of_depths),
    ("stride_beyond_kernel", stride_beyond_kernel),
    ("huge_pads", huge_pads),
    ("one_row", one_row),
    ("one_column", one_column),
    ("one_pixel", one_pixel),
    ("odd_channels", odd_channels),
    ("padded_means", padded_means),
    ("depthwise_multiplier", depthwise_multiplier),
    ("two_inputs", two_inputs),
    ("used_four_times", used_four_times),
    ("pyramid", pyramid),
    ("early_output", early_output),
    ("slice_of_slices", slice_of_slices),
    ("dilated", dilated),
    ("dense_chain", dense_chain),
    ("gates_in_a_row", gates_in_a_row),
];

/// Integer graphs that once failed, as small as they would go.
const REGRESSIONS: &[&str] = &[
    // Sums of signed elements that are never negative: the accumulator was too narrow for -128.
    r#"graph "positive_mean"
%0 "x" = input : i8[1,3,4,2]@(0.0625,0)
%1 "weights" = constant [90, -17, -60, 101] : i8[2,1,1,2]
%2 "bias" = constant [40, -9] : i32[2]
%3 "positive" = qconv %0, %1, %2 {strides=[1, 1], dilations=[1, 1], pads=[0, 0, 0, 0], groups=1, pad_value=0, multipliers=[40000], shifts=[22], zero_point=0, lo=0, hi=127, element=i8} : i8[1,3,4,2]@(0.0625,0)
%4 "mean" = qaverage_pool %3 {kernel=[1, 3], strides=[2, 1], dilations=[1, 1], pads=[0, 1, 0, 1], pad_value=0, bias=0, multipliers=[43691], shifts=[17], zero_point=-51, lo=-51, hi=127, element=i8} : i8[1,2,4,2]@(0.0625,-51)
outputs %4
"#,
];

/// The core graphs of all networks.
///
/// # Errors
/// What a pass refuses, with the network's name.
pub fn graphs() -> Result<Vec<(String, Graph)>, String> {
    let mut graphs = Vec::new();
    for (name, build) in NETWORKS {
        let mut network = Network::new(name);
        let outputs = build(&mut network);
        let float = network.finish(&outputs);
        let samples = float_samples(&float, 6);
        let stages = lower(float, &samples, Weights::Eight).map_err(|error| format!("{name}: {error}"))?;
        graphs.push(((*name).to_owned(), stages.lowered.split.core));
    }
    // Weights of 9 bits come from models with asymmetric weights only.
    let nine_bits = RandomOptions {
        operators: 3..=5,
        weight_bits: vec![9],
        steps: vec![Step::Convolution, Step::Residual],
        ..RandomOptions::default()
    };
    graphs.extend((0..3).map(|seed| (format!("nine_bits_{seed}"), random_graph(seed, &nine_bits))));
    for text in REGRESSIONS {
        let graph = parse(text).map_err(|error| error.to_string())?;
        graphs.push((graph.name.clone(), graph));
    }
    Ok(graphs)
}

/// Several convolutions with rows to wait for, beside a path without any.
fn long_skip(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(9, 9, 4);
    let mut y = x;
    for kernel in [5, 3, 5, 3] {
        y = n.conv_relu(y, 4, Shape::square(kernel));
    }
    vec![n.sum(y, x)]
}

/// The whole image waits for its mean, and the skip waits for both.
fn skip_over_mean(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(7, 6, 5);
    let y = n.conv_relu(x, 5, Shape::square(3));
    let y = n.squeeze_excite(y, 3);
    let y = n.conv(y, 5, Shape::square(3));
    let z = n.sum(y, x);
    let z = n.relu(z);
    vec![n.conv(z, 2, Shape::square(1))]
}

fn nested_residuals(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(8, 8, 4);
    let a = n.conv_relu(x, 4, Shape::square(3));
    let b = n.conv_relu(a, 4, Shape::square(3));
    let c = n.conv_relu(b, 4, Shape::square(3));
    let c = n.sum(c, b);
    let d = n.conv_relu(c, 4, Shape::square(5));
    let d = n.sum(d, a);
    vec![n.sum(d, x)]
}

/// The second part waits for the whole of the first.
fn concat_of_rows(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(6, 5, 3);
    let a = n.conv_relu(x, 4, Shape::square(3));
    let b = n.conv_relu(x, 4, Shape::square(1));
    let joined = n.concat(1, &[a, b, a]);
    vec![n.conv(joined, 3, Shape::square(3))]
}

fn concat_of_columns(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(6, 5, 3);
    let a = n.conv_relu(x, 4, Shape::square(5));
    let b = n.conv_relu(x, 4, Shape::square(1));
    let joined = n.concat(2, &[b, a, b]);
    vec![n.conv(joined, 3, Shape::square(3))]
}

/// Paths of different depth, as an inception block has them.
fn concat_of_depths(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(8, 7, 4);
    let a = n.conv_relu(x, 3, Shape::square(1));
    let b = n.conv_relu(x, 2, Shape::square(3));
    let b = n.conv_relu(b, 5, Shape::square(3));
    let c = n.max_pool(x, Shape::square(3));
    let joined = n.concat(3, &[a, b, c, x]);
    vec![n.conv(joined, 4, Shape::square(1))]
}

fn stride_beyond_kernel(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(11, 10, 3);
    let a = n.conv_relu(x, 4, Shape::valid(2, 2).stride(3));
    let b = n.conv(x, 4, Shape::valid(1, 1).stride(3));
    let b = n.slice(b, [0, 0, 0], [4, 3, 4], [1, 1, 1]);
    let y = n.sum(a, b);
    vec![n.max_pool(y, Shape::valid(1, 1).stride(2))]
}

/// Windows that lie wholly in the padding.
fn huge_pads(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(3, 2, 3);
    let a = n.conv_relu(x, 4, Shape::valid(5, 5).pad(6));
    let b = n.conv_relu(a, 2, Shape { pads: [0, 4, 3, 0], ..Shape::valid(3, 3).stride(2) });
    vec![n.conv(b, 2, Shape { pads: [0, 0, 2, 5], ..Shape::valid(2, 3) })]
}

fn one_row(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(1, 13, 3);
    let y = n.conv_relu(x, 4, Shape { pads: [0, 1, 0, 1], ..Shape::valid(1, 3) });
    let y = n.conv_relu(y, 4, Shape::square(3));
    let skip = n.conv(x, 4, Shape::square(1));
    let y = n.sum(y, skip);
    vec![n.average_pool(y, Shape { strides: [1, 2], ..Shape::valid(1, 2) })]
}

fn one_column(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(13, 1, 3);
    let y = n.conv_relu(x, 4, Shape { pads: [2, 0, 2, 0], ..Shape::valid(5, 1) });
    let y = n.conv_relu(y, 4, Shape::square(3));
    let skip = n.conv(x, 4, Shape::square(1));
    let y = n.sum(y, skip);
    vec![n.max_pool(y, Shape { strides: [2, 1], ..Shape::valid(3, 1) })]
}

fn one_pixel(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(1, 1, 7);
    let y = n.conv_relu(x, 5, Shape::square(3));
    let y = n.squeeze_excite(y, 2);
    let z = n.upsample(y, [3, 2]);
    vec![n.conv(z, 3, Shape::square(3)), y]
}

/// Channel counts without common divisors.
fn odd_channels(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(5, 5, 13);
    let y = n.conv_relu(x, 17, Shape::square(3));
    let y = n.conv_relu(y, 11, Shape::square(1));
    let z = n.conv_relu(x, 11, Shape::square(1));
    let y = n.sum(y, z);
    let y = n.concat(3, &[y, x]);
    vec![n.conv(y, 7, Shape::square(1).stride(2))]
}

fn padded_means(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(7, 7, 3);
    let a = n.average_pool(x, Shape::square(3));
    let b = n.conv_relu(x, 3, Shape::square(3));
    let y = n.sum(a, b);
    let y = n.average_pool(y, Shape::valid(3, 3).stride(2).pad(1));
    vec![n.global_mean(y)]
}

fn depthwise_multiplier(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(6, 6, 4);
    let y = n.conv_relu(x, 8, Shape::square(3).groups(4));
    let y = n.conv_relu(y, 24, Shape::square(3).stride(2).groups(8));
    let y = n.conv_relu(y, 6, Shape::square(1).groups(2));
    vec![y]
}

fn two_inputs(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(6, 6, 3);
    let y = n.input(3, 3, 4);
    let a = n.conv_relu(x, 4, Shape::square(3).stride(2));
    let sum = n.sum(a, y);
    let late = n.conv(sum, 2, Shape::square(3));
    vec![late, a]
}

fn used_four_times(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(6, 7, 4);
    let x = n.conv_relu(x, 4, Shape::square(3));
    let a = n.conv_relu(x, 4, Shape::square(5));
    let b = n.max_pool(x, Shape::square(3));
    let c = n.squeeze_excite(x, 2);
    let y = n.sum(a, b);
    let y = n.sum(y, c);
    vec![n.sum(y, x), x]
}

/// Down by 4 and up again, joined with what was there before.
fn pyramid(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(12, 8, 3);
    let one = n.conv_relu(x, 4, Shape::square(3));
    let two = n.conv_relu(one, 4, Shape::square(3).stride(2));
    let four = n.conv_relu(two, 6, Shape::square(3).stride(2));
    let up = n.upsample(four, [2, 2]);
    let joined = n.concat(3, &[up, two]);
    let joined = n.conv_relu(joined, 4, Shape::square(3));
    let up = n.upsample(joined, [2, 2]);
    let sum = n.sum(up, one);
    vec![n.conv(sum, 2, Shape::square(1)), four]
}

/// An output that is complete long before the other.
fn early_output(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(8, 8, 2);
    let early = n.slice(x, [0, 0, 0], [2, 2, 2], [1, 1, 1]);
    let y = n.conv_relu(x, 4, Shape::square(5));
    let y = n.conv_relu(y, 4, Shape::square(5));
    let y = n.global_mean(y);
    let early = n.conv(early, 2, Shape::square(1));
    vec![early, y]
}

fn slice_of_slices(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(9, 8, 7);
    let x = n.conv_relu(x, 7, Shape::square(1));
    let even = n.slice(x, [0, 0, 0], [4, 4, 3], [2, 2, 2]);
    let odd = n.slice(x, [1, 1, 1], [4, 4, 3], [2, 2, 2]);
    let last = n.slice(x, [5, 4, 4], [4, 4, 3], [1, 1, 1]);
    let sum = n.sum(even, odd);
    vec![n.product(sum, last)]
}

fn dilated(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(11, 9, 3);
    let y = n.conv_relu(x, 4, Shape { dilations: [2, 3], pads: [2, 3, 2, 3], ..Shape::valid(3, 3) });
    let y = n.conv_relu(y, 4, Shape { dilations: [3, 1], ..Shape::valid(3, 1).stride(2).groups(2) });
    vec![y]
}

fn dense_chain(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(3, 4, 5);
    let y = n.dense(x, 19);
    let y = n.relu(y);
    let y = n.dense(y, 7);
    let y = n.relu(y);
    vec![n.dense(y, 23)]
}

fn gates_in_a_row(n: &mut Network) -> Vec<lutweave_ir::NodeId> {
    let x = n.input(5, 4, 6);
    let y = n.conv(x, 6, Shape::square(3).groups(6));
    let y = n.add(lutweave_ir::Op::Unary(Unary::HardSwish), &[y]);
    let y = n.squeeze_excite(y, 2);
    let y = n.squeeze_excite(y, 3);
    vec![n.sum(y, x)]
}
