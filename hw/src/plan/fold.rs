//! The foldings a kernel may have, with their cycles and what they cost.

use crate::block::window::{Extent, Folding};
use crate::kernel::{Kernel, elements};
use crate::rtl::engine::ParallelTaps;
use lutweave_ir::{Graph, NodeId};

/// One way to fold a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Folding of a window kernel.
    pub folding: Option<Folding>,
    /// Lanes of the operand streams.
    pub input_lanes: u32,
    /// Lanes of the result stream.
    pub output_lanes: u32,
    /// Cycles that a frame keeps the kernel busy.
    pub cycles: u64,
    /// Multipliers of processing elements.
    pub multipliers: u32,
    /// Relative area beside the multipliers, about a LUT.
    pub area: u64,
}

/// All foldings of a kernel that are worth considering.
pub fn choices(graph: &Graph, id: NodeId, kernel: &Kernel, multiplier_width: u32) -> Vec<Choice> {
    let node = graph.node(id);
    let bits = |position: usize| {
        let (lo, hi) = graph.node(node.operands[position]).ty.element.range().unwrap_or((0, 255));
        u64::from(crate::rtl::Ty::range(lo, hi).bits)
    };
    match kernel {
        Kernel::Input | Kernel::Reshape => streams(elements(node), elements(node), last_extent(graph, id)),
        Kernel::Constant => Vec::new(),
        Kernel::Convolution { extent, groups } => {
            let weight_bits = bits(1).min(9);
            windows(extent, *groups, true, bits(0), weight_bits, multiplier_width)
        }
        Kernel::Pool { extent, .. } => windows(extent, extent.input[2], false, bits(0), 0, multiplier_width),
        Kernel::Global { pixels, channels } => streams(u64::from(*pixels) * u64::from(*channels), 0, *channels),
        Kernel::Table | Kernel::Pair { .. } => streams(elements(node), elements(node), last_extent(graph, id)),
        Kernel::Concat { parts, .. } => {
            let common = parts.iter().copied().fold(0, gcd);
            streams(elements(node), elements(node), common)
        }
        Kernel::Crop(axes) => {
            let [extent, start, size, step] = axes[2];
            let common = if step == 1 { gcd(gcd(extent, start), size) } else { 1 };
            let input = axes.iter().map(|axis| u64::from(axis[0])).product();
            streams(input, elements(node), common)
        }
        Kernel::Pad(axes) => {
            let [outer, before, inner] = axes[2];
            streams(elements(node), elements(node), gcd(gcd(outer, before), inner))
        }
        Kernel::Upsample { input, .. } => streams(elements(node), elements(node), input[2]),
    }
}

/// The choice of least area among those of fewest multipliers that keep a target.
pub fn cheapest(table: &[Choice], target: u64) -> Option<&Choice> {
    table
        .iter()
        .filter(|choice| choice.cycles <= target)
        .min_by_key(|choice| (choice.multipliers, choice.area, choice.input_lanes, choice.output_lanes, choice.cycles))
}

/// A choice like `choice` whose input lanes are the producer's, where that saves a converter and
/// is not much larger.
pub fn aligned<'a>(table: &'a [Choice], choice: &'a Choice, target: u64, producer: Option<u32>) -> &'a Choice {
    let Some(lanes) = producer else { return choice };
    let same = table.iter().filter(|other| {
        other.cycles <= target
            && other.input_lanes == lanes
            && other.multipliers == choice.multipliers
            && other.area <= choice.area * 2 + 64
    });
    same.min_by_key(|other| (other.area, other.output_lanes)).unwrap_or(choice)
}

fn last_extent(graph: &Graph, id: NodeId) -> u32 {
    graph.node(id).ty.shape.last().map_or(1, |&extent| extent as u32)
}

fn streams(input: u64, output: u64, channels: u32) -> Vec<Choice> {
    divisors(channels)
        .into_iter()
        .map(|lanes| Choice {
            folding: None,
            input_lanes: lanes,
            output_lanes: lanes,
            cycles: input.max(output) / u64::from(lanes),
            multipliers: 0,
            area: u64::from(lanes) * 32,
        })
        .collect()
}

/// Most elements that a step may read or that a result may have.
const WIDEST: u32 = 2048;

fn windows(
    extent: &Extent,
    groups: u32,
    multiplies: bool,
    bits: u64,
    weight_bits: u64,
    multiplier_width: u32,
) -> Vec<Choice> {
    let [height, width, channels] = extent.input;
    let [out_height, out_width, out_channels] = extent.output;
    let [kernel_height, kernel_width] = extent.kernel;
    let depthwise = !multiplies || (groups > 1 && groups == channels && groups == out_channels);
    let positions = u64::from(out_height) * u64::from(out_width);
    let mut parallels = vec![ParallelTaps::One];
    if kernel_width > 1 {
        parallels.push(ParallelTaps::Row);
    }
    if kernel_height > 1 {
        parallels.push(ParallelTaps::All);
    }
    let mut table = Vec::new();
    let lane_choices = divisors(if depthwise { channels } else { channels / groups });
    let output_choices = if depthwise { vec![0] } else { divisors(out_channels / groups) };
    for &parallel in &parallels {
        let taps = match parallel {
            ParallelTaps::One => 1,
            ParallelTaps::Row => kernel_width,
            ParallelTaps::All => kernel_height * kernel_width,
        };
        let tap_steps = kernel_height * kernel_width / taps;
        for &lanes in &lane_choices {
            if taps * lanes > WIDEST {
                continue;
            }
            for &outputs in &output_choices {
                let outputs = if depthwise { lanes } else { outputs };
                let (steps, results) = if depthwise {
                    (tap_steps, channels / lanes)
                } else {
                    (tap_steps * (channels / groups / lanes), out_channels / outputs)
                };
                let products = if depthwise { taps * lanes } else { taps * lanes * outputs };
                if products > 8 * WIDEST {
                    continue;
                }
                let pooled_max = !multiplies;
                let stream = if pooled_max {
                    lanes
                } else {
                    *divisors(outputs).iter().find(|&&stream| outputs / stream <= steps).unwrap_or(&outputs)
                };
                let reader = positions * u64::from(results) * u64::from(steps);
                let writer = u64::from(height) * u64::from(width) * u64::from(channels / lanes);
                let folding = Folding { parallel, lanes, outputs, stream };
                table.push(Choice {
                    folding: Some(folding),
                    input_lanes: lanes,
                    output_lanes: stream,
                    cycles: reader.max(writer),
                    multipliers: if multiplies { products } else { 0 },
                    area: area(extent, &folding, taps, steps * results, bits, weight_bits, multiplier_width),
                });
            }
        }
    }
    table
}

/// Rough area of a window kernel without its products: banks and tap selection, weights in LUT
/// RAM where they are shallow, accumulators, requantizers.
fn area(
    extent: &Extent,
    folding: &Folding,
    taps: u32,
    weight_depth: u32,
    bits: u64,
    weight_bits: u64,
    multiplier_width: u32,
) -> u64 {
    let (row_banks, column_banks) = match folding.parallel {
        ParallelTaps::One => (1, 1),
        ParallelTaps::Row => (1, extent.kernel[1].next_power_of_two()),
        ParallelTaps::All => (extent.ring_rows(), extent.kernel[1].next_power_of_two()),
    };
    let banks = u64::from(row_banks * column_banks);
    let word = u64::from(folding.lanes) * bits;
    let window_bits = u64::from(extent.ring_rows() * extent.input[1] * extent.input[2]) * bits;
    let memory = banks * (word / 2 + 8) + if window_bits / banks < 4096 { window_bits / 48 } else { 0 };
    let select =
        u64::from(taps) * word * (u64::from(row_banks).ilog2() as u64 + u64::from(column_banks).ilog2() as u64 + 1) / 2;
    let products = u64::from(taps) * word * u64::from(folding.outputs) / bits.max(1);
    let weights =
        if weight_depth < 128 { products * weight_bits * u64::from(weight_depth.div_ceil(64)) / 2 } else { 0 };
    let wide = if multiplier_width < 24 { 2 } else { 1 };
    let results = u64::from(folding.outputs) * 24 + u64::from(folding.stream) * 120 * wide;
    memory + select + weights + results
}

/// The divisors of a number, ascending.
pub fn divisors(number: u32) -> Vec<u32> {
    (1..=number).filter(|divisor| number.is_multiple_of(*divisor)).collect()
}

/// Greatest common divisor; `gcd(0, x) = x`.
pub fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
