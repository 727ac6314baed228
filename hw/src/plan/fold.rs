//! The foldings a kernel may have.

use super::form::WeightForm;
use crate::block::top_peaks;
use crate::block::window::{Folding, WeightSource, WindowGeometry};
use crate::cost::pairs_fit;
use crate::dataflow::KernelNode;
use crate::device::Device;
use crate::elaborate::lane_type;
use crate::kernel::{Kernel, elements};
use crate::rtl::engine::{Multiplier, ParallelTaps};
use crate::rtl::{MemoryStyle, NofM, Ty};
use lutweave_ir::{Graph, NodeId};
use serde::{Deserialize, Serialize};

/// A way to fold a kernel, without its price.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// Folding of a window kernel.
    pub folding: Option<Folding>,
    /// Lanes of the operand streams.
    pub input_lanes: u32,
    /// Lanes of the result stream.
    pub output_lanes: u32,
    /// Cycles that a frame keeps the kernel busy.
    pub cycles: u64,
    /// Multipliers of processing elements, in hardware or in logic.
    pub multipliers: u32,
    /// Products that they form in a cycle.
    pub products: u32,
}

/// How the kernel of a network is folded.
impl From<&KernelNode> for Fold {
    fn from(kernel: &KernelNode) -> Self {
        Self {
            folding: kernel.folding,
            input_lanes: kernel.lanes[0],
            output_lanes: kernel.lanes[1],
            cycles: kernel.interval,
            multipliers: kernel.multipliers,
            products: kernel.products(),
        }
    }
}

/// Which foldings to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Styles {
    /// Hardware multipliers only, and weights where they usually belong.
    Usual,
    /// Multipliers in logic also, and weights in either kind of memory.
    All,
}

/// All foldings of a kernel that are worth considering; none of a constant.
pub fn folds(
    graph: &Graph,
    id: NodeId,
    kernel: &Kernel,
    form: &WeightForm,
    device: &Device,
    styles: Styles,
) -> Vec<Fold> {
    let node = graph.node(id);
    match kernel {
        Kernel::Input | Kernel::Reshape => streams(elements(node), elements(node), last_extent(graph, id)),
        Kernel::Constant => Vec::new(),
        Kernel::Convolution { extent, groups } => {
            let element = lane_type(graph.node(node.operands[0]).ty.element);
            Convolution { extent, groups: *groups, element, form, device, styles }.folds()
        }
        Kernel::Pool { extent, .. } => pools(extent),
        Kernel::GlobalAveragePool { pixels, channels } => {
            streams(u64::from(*pixels) * u64::from(*channels), 0, *channels)
        }
        Kernel::Table | Kernel::Elementwise { .. } => streams(elements(node), elements(node), last_extent(graph, id)),
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
        Kernel::Select { pixels, inputs, channels } => {
            let outputs = channels.len() as u32;
            let frame = |channels: u32| u64::from(*pixels) * u64::from(channels);
            streams(frame(*inputs), frame(outputs), gcd(*inputs, outputs))
        }
        Kernel::Pad(axes) => {
            let [outer, before, inner] = axes[2];
            streams(elements(node), elements(node), gcd(gcd(outer, before), inner))
        }
        Kernel::Upsample { input, .. } => streams(elements(node), elements(node), input[2]),
        Kernel::ArgMax { pixels, channels } => {
            let number = last_extent(graph, id);
            let narrow = |fold| Fold { output_lanes: number, ..fold };
            let frame = u64::from(*pixels) * u64::from(*channels);
            streams(frame, u64::from(*pixels), *channels).into_iter().map(narrow).collect()
        }
        Kernel::TopPeaks { image, maps, count } => vec![Fold {
            folding: None,
            input_lanes: 1,
            output_lanes: last_extent(graph, id),
            cycles: top_peaks::cycles(*image, maps.len(), *count),
            multipliers: 0,
            products: 0,
        }],
    }
}

fn last_extent(graph: &Graph, id: NodeId) -> u32 {
    graph.node(id).ty.shape.last().map_or(1, |&extent| extent as u32)
}

fn streams(input: u64, output: u64, channels: u32) -> Vec<Fold> {
    let fold = |lanes: u32| Fold {
        folding: None,
        input_lanes: lanes,
        output_lanes: lanes,
        cycles: input.max(output) / u64::from(lanes),
        multipliers: 0,
        products: 0,
    };
    divisors(channels).into_iter().map(fold).collect()
}

/// Most elements that a step may read or that a result may have.
const WIDEST: u32 = 2048;

/// Most products in a cycle of one engine.
const MOST_PRODUCTS: u32 = 8 * WIDEST;

/// Taps of a step for each way to read several. Taps that are moved are read one at a time.
fn parallels(extent: &WindowGeometry) -> Vec<(ParallelTaps, u32)> {
    let [height, width] = extent.kernel;
    let mut parallels = vec![(ParallelTaps::One, 1)];
    if extent.displacement.is_some() {
        return parallels;
    }
    if width > 1 {
        parallels.push((ParallelTaps::Row, width));
    }
    if height > 1 {
        parallels.push((ParallelTaps::All, height * width));
    }
    parallels
}

/// Cycles to write a frame into the window memory, or to read its windows.
fn busy(extent: &WindowGeometry, lanes: u32, steps_of_pixel: u32) -> u64 {
    let area = |[height, width, _]: [u32; 3]| u64::from(height) * u64::from(width);
    let writer = area(extent.input) * u64::from(extent.input[2] / lanes);
    // Offsets come every second cycle at most.
    let steps_of_pixel = if extent.displacement.is_some() { steps_of_pixel.max(2) } else { steps_of_pixel };
    writer.max(area(extent.output) * u64::from(steps_of_pixel))
}

fn pools(extent: &WindowGeometry) -> Vec<Fold> {
    let channels = extent.input[2];
    let mut table = Vec::new();
    for (parallel, taps) in parallels(extent) {
        let tap_steps = extent.kernel[0] * extent.kernel[1] / taps;
        for lanes in divisors(channels) {
            if taps * lanes <= WIDEST {
                table.push(Fold {
                    folding: Some(Folding::without_products(parallel, lanes)),
                    input_lanes: lanes,
                    output_lanes: lanes,
                    cycles: busy(extent, lanes, tap_steps * (channels / lanes)),
                    multipliers: 0,
                    products: 0,
                });
            }
        }
    }
    table
}

struct Convolution<'a> {
    extent: &'a WindowGeometry,
    groups: u32,
    element: Ty,
    form: &'a WeightForm,
    device: &'a Device,
    styles: Styles,
}

impl Convolution<'_> {
    fn folds(&self) -> Vec<Fold> {
        let channels = self.extent.input[2];
        let depthwise = self.extent.is_depthwise(self.groups);
        let mut table = Vec::new();
        for (parallel, taps) in parallels(self.extent) {
            if depthwise {
                for lanes in divisors(channels).into_iter().filter(|lanes| taps * lanes <= WIDEST) {
                    self.add(&mut table, parallel, taps, lanes, lanes, true);
                }
                continue;
            }
            for lanes in divisors(channels / self.groups).into_iter().filter(|lanes| taps * lanes <= WIDEST) {
                for outputs in divisors(self.extent.output[2] / self.groups) {
                    if taps * lanes * outputs <= MOST_PRODUCTS {
                        self.add(&mut table, parallel, taps, lanes, outputs, false);
                    }
                }
            }
        }
        table
    }

    /// Adds the variants of a folding: multipliers, patterns and weight memories.
    fn add(&self, table: &mut Vec<Fold>, parallel: ParallelTaps, taps: u32, lanes: u32, outputs: u32, depthwise: bool) {
        let WindowGeometry { input: [_, _, channels], output: [_, _, out_channels], kernel, .. } = *self.extent;
        let tap_steps = kernel[0] * kernel[1] / taps;
        let (steps, results) = if depthwise {
            (tap_steps, channels / lanes)
        } else {
            (tap_steps * (channels / self.groups / lanes), out_channels / outputs)
        };
        let stream = *divisors(outputs).iter().find(|&&stream| outputs / stream <= steps).unwrap_or(&outputs);
        let paired = !depthwise && outputs.is_multiple_of(2) && pairs_fit(self.element, self.form.bits, self.device);
        let multipliers = [
            paired.then_some(Multiplier::Paired),
            Some(Multiplier::Single).filter(|_| !paired || self.styles == Styles::All),
            Some(Multiplier::Logic).filter(|_| self.styles == Styles::All),
        ];
        let elements = taps * if depthwise { 1 } else { lanes };
        for multiplier in multipliers.into_iter().flatten() {
            let shared = if multiplier == Multiplier::Paired { 2 } else { 1 };
            let fitting =
                self.form.worthwhile(shared == 2).filter(|pattern| lanes.is_multiple_of(u32::from(pattern.of)));
            let patterns = std::iter::once(None).chain(fitting.filter(|_| !depthwise).map(Some));
            for pattern in patterns {
                let products = outputs * pattern.map_or(elements, |pattern| pattern.kept_of(elements));
                let field = self.form.bits * shared + (shared - 1) + pattern.map_or(0, NofM::index_bits);
                let addresses = steps * results;
                for weight_memory in self.memories(products / shared * field, addresses) {
                    let (source, tables_in_logic) = (WeightSource::Constant, false);
                    let folding = Folding {
                        parallel,
                        lanes,
                        outputs,
                        stream,
                        pattern,
                        multiplier,
                        weight_memory,
                        source,
                        tables_in_logic,
                        pixel_by_pixel: false,
                        large_from: None,
                    };
                    table.push(Fold {
                        folding: Some(folding),
                        input_lanes: lanes,
                        output_lanes: stream,
                        cycles: busy(self.extent, lanes, results * steps),
                        multipliers: products / shared,
                        products,
                    });
                }
            }
        }
    }

    /// Where weights may live.
    fn memories(&self, width: u32, depth: u32) -> impl Iterator<Item = MemoryStyle> {
        let usual = MemoryStyle::usual(u64::from(width), u64::from(depth));
        let other = match usual {
            MemoryStyle::Block => (MemoryStyle::Distributed, depth <= DEEPEST_LOGIC),
            MemoryStyle::Distributed | MemoryStyle::Registers | MemoryStyle::Large => {
                (MemoryStyle::Block, depth >= SHALLOWEST_BLOCK)
            }
        };
        let other = (self.styles == Styles::All && other.1).then_some(other.0);
        std::iter::once(usual).chain(other)
    }
}

/// Most words of a weight memory that may be logic instead of block RAM.
const DEEPEST_LOGIC: u32 = 512;

/// Fewest words of a weight memory that may be block RAM where logic is usual.
const SHALLOWEST_BLOCK: u32 = 16;

/// The divisors of a number, ascending.
pub fn divisors(number: u32) -> Vec<u32> {
    (1..=number).filter(|divisor| number.is_multiple_of(*divisor)).collect()
}

/// Greatest common divisor; `gcd(0, x) = x`.
pub fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
