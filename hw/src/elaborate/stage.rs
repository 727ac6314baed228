//! A node to its module.

use crate::block::argmax::ArgMax;
use crate::block::concat;
use crate::block::crop_pad::{Axis, crop, pad};
use crate::block::global::Global;
use crate::block::pointwise::{self, Operands};
use crate::block::requantize::Parameters;
use crate::block::select::Select;
use crate::block::top_peaks::TopPeaks;
use crate::block::upsample::Upsample;
use crate::block::window::{Computation, Folding, Window, WindowGeometry};
use crate::family::HardMultiplier;
use crate::kernel::Kernel;
use crate::rtl::{Module, Ty};
use lutweave_ir::op::{Pad, QConv, QDeformConv};
use lutweave_ir::range::accumulator_range;
use lutweave_ir::{Element, Graph, NodeId, Op};

/// What a window kernel is assumed to hold instead of its weights.
#[derive(Clone, Copy, Debug)]
pub struct Assumption {
    /// Width of a weight.
    pub weight_bits: u32,
    /// Lane type of the accumulators.
    pub accumulator: Ty,
}

/// What the window operation of a node needs beside its folding.
#[derive(Clone, Debug)]
pub struct WindowParts<'a> {
    graph: &'a Graph,
    node: NodeId,
    extent: WindowGeometry,
    groups: u32,
    biases: Vec<i64>,
    weight_bits: u32,
    symmetric: bool,
    accumulator: Ty,
    assumed: bool,
    hard: HardMultiplier,
}

impl<'a> WindowParts<'a> {
    /// The parts of a convolution or pool; `None` for other kernels.
    pub fn new(graph: &'a Graph, id: NodeId, kernel: &Kernel, hard: HardMultiplier) -> Option<Self> {
        let node = graph.node(id);
        let input = lane_type(graph.node(*node.operands.first()?).ty.element);
        let (extent, groups) = match kernel {
            Kernel::Convolution { extent, groups } => (*extent, *groups),
            Kernel::Pool { extent, .. } => (*extent, 1),
            Kernel::Input
            | Kernel::Constant
            | Kernel::GlobalAveragePool { .. }
            | Kernel::Table
            | Kernel::Elementwise { .. }
            | Kernel::Concat { .. }
            | Kernel::Crop(_)
            | Kernel::Select { .. }
            | Kernel::Pad(_)
            | Kernel::Upsample { .. }
            | Kernel::Reshape
            | Kernel::ArgMax { .. }
            | Kernel::TopPeaks { .. } => return None,
        };
        let (biases, accumulator) = match &node.op {
            Op::QConv(_) | Op::QDeformConv(_) => {
                let biases = graph.constant_of(node.operands[2]).expect("invariant: biases are constant");
                let (lo, hi) = accumulator_range(graph, id);
                // Products are signed where a factor is, also where no sum is negative.
                let weights = graph.constant_of(node.operands[1]).map_or(&[][..], |weights| weights.ints());
                let least = if input.signed || weights.iter().any(|&weight| weight < 0) { -1 } else { 0 };
                (biases.ints().iter().map(|&bias| i64::from(bias)).collect(), Ty::range(lo.min(least), hi.max(0)))
            }
            Op::QAveragePool(pool) => {
                // The adders take any element of the stream's type, also those that never come.
                let (lo, hi) = accumulator_range(graph, id);
                let (least, most) = input.bounds();
                (vec![i64::from(pool.bias)], Ty::range(lo.min(least), hi.max(most)))
            }
            _ => (Vec::new(), lane_type(node.ty.element)),
        };
        let (weight_bits, symmetric) = match node.op {
            Op::QConv(_) | Op::QDeformConv(_) => graph.constant_of(node.operands[1]).map_or((2, true), |weights| {
                let bits = weight_bits(weights.ints());
                let least = Ty::signed(bits).bounds().0;
                (bits, weights.ints().iter().all(|&weight| i64::from(weight) > least))
            }),
            _ => (0, true),
        };
        Some(Self {
            graph,
            node: id,
            extent,
            groups,
            biases,
            weight_bits,
            symmetric,
            accumulator,
            assumed: false,
            hard,
        })
    }

    /// Width of a weight; 0 without weights.
    pub fn weight_bits(&self) -> u32 {
        self.weight_bits
    }

    /// Lane type of the accumulators.
    pub fn accumulator(&self) -> Ty {
        self.accumulator
    }

    /// The same without the values of the weights: a module that only serves to be counted.
    pub fn assuming(mut self, assumption: Assumption) -> Self {
        // Weights to come are symmetric.
        self.symmetric |= assumption.weight_bits != self.weight_bits;
        self.weight_bits = assumption.weight_bits;
        self.accumulator = assumption.accumulator;
        self.assumed = true;
        self
    }

    /// The window operation.
    pub fn window<'w>(&'w self, name: &'w str, folding: Folding) -> Window<'w> {
        let node = self.graph.node(self.node);
        let parameters = |requantize: &'w lutweave_ir::Requantize, channels: usize| Parameters {
            biases: &self.biases,
            requantize,
            channels,
            in_logic: folding.tables_in_logic,
        };
        let input = lane_type(self.graph.node(node.operands[0]).ty.element);
        let (computation, pad_value) = match &node.op {
            Op::QConv(QConv { requantize, pad_value, .. })
            | Op::QDeformConv(QDeformConv { requantize, pad_value, .. }) => {
                let weights = self.graph.constant_of(node.operands[1]).map(|weights| weights.ints());
                let computation = Computation::Convolution {
                    groups: self.groups,
                    weights: if self.assumed { None } else { weights },
                    weight_bits: self.weight_bits,
                    symmetric: self.symmetric,
                    parameters: parameters(requantize, self.biases.len()),
                };
                (computation, i64::from(*pad_value))
            }
            Op::QAveragePool(pool) => {
                let channels = self.extent.input[2] as usize;
                (Computation::Sum(parameters(&pool.requantize, channels)), i64::from(pool.pad_value))
            }
            _ => (Computation::Max, input.bounds().0),
        };
        Window {
            name,
            summary: format!(
                "{} `{}`: {} -> {}",
                node.op.name(),
                node.name,
                shape(self.extent.input),
                shape(self.extent.output)
            ),
            extent: if folding.pixel_by_pixel { self.extent.of_a_pixel() } else { self.extent },
            folding,
            computation,
            pad_value,
            input,
            offsets: node.operands.get(3).map_or(input, |&offsets| lane_type(self.graph.node(offsets).ty.element)),
            output: lane_type(node.ty.element),
            // Of weights that are loaded the circuit knows no bounds: they may be negative.
            accumulator: match self.accumulator {
                Ty { signed: false, bits, .. } if !folding.source.is_constant() => Ty::signed(bits + 1),
                accumulator => accumulator,
            },
            hard: self.hard,
        }
    }
}

/// The module of a node that is one. Window kernels have a folding; `lanes` are those of the first
/// operand and of the result.
pub fn module(
    graph: &Graph,
    id: NodeId,
    kernel: &Kernel,
    folding: Option<Folding>,
    [input_lanes, lanes]: [u32; 2],
    name: &str,
    hard: HardMultiplier,
) -> Module {
    let node = graph.node(id);
    let element = lane_type(node.ty.element);
    let operand = |position: usize| lane_type(graph.node(node.operands[position]).ty.element);
    match (kernel, &node.op) {
        (Kernel::Convolution { .. } | Kernel::Pool { .. }, _) => {
            let parts = WindowParts::new(graph, id, kernel, hard).expect("invariant: a window kernel");
            parts.window(name, folding.expect("invariant: window kernels are folded")).generate()
        }
        (Kernel::GlobalAveragePool { pixels, channels }, Op::QAveragePool(pool)) => {
            let biases = [i64::from(pool.bias)];
            let parameters = Parameters {
                biases: &biases,
                requantize: &pool.requantize,
                channels: *channels as usize,
                in_logic: false,
            };
            let (lo, hi) = accumulator_range(graph, id);
            let global = Global {
                input: operand(0),
                output: element,
                accumulator: Ty::range(lo.min(0), hi.max(0)),
                lanes,
                words: channels / lanes,
                pixels: *pixels,
                multiplier_width: hard.widths[0],
            };
            global.generate(name, &parameters)
        }
        (Kernel::Table, Op::Table(table)) => pointwise::table(name, operand(0), element, lanes, &table.entries),
        (Kernel::Elementwise { broadcast }, op) => {
            let beats = node.ty.count() as u32 / lanes;
            let words = node.ty.shape.last().map_or(1, |&channels| channels as u32) / lanes;
            let operands = Operands {
                inputs: [operand(0), operand(1)],
                output: element,
                lanes,
                beats,
                broadcast: broadcast.then_some(words),
                multiplier_width: hard.widths[0],
            };
            match op {
                Op::QMul(mul) => pointwise::product(name, &operands, mul),
                Op::QAdd(add) => pointwise::sum(name, &operands, add),
                _ => unreachable!("kernel_of makes pairs of sums and products only"),
            }
        }
        (Kernel::Concat { parts, .. }, _) => {
            let beats: Vec<u32> = parts.iter().map(|part| part / lanes).collect();
            concat::concat(name, element.by(lanes), &beats)
        }
        (Kernel::Crop(axes), _) => {
            let axes = [0, 1, 2].map(|axis| {
                let [outer, start, size, step] = axes[axis];
                let unit = if axis == 2 { lanes } else { 1 };
                Axis { outer: outer / unit, start: start / unit, size: size / unit, step }
            });
            crop(name, element.by(lanes), axes)
        }
        (Kernel::Select { inputs, channels, .. }, _) => {
            Select { element, lanes, inputs: *inputs, channels }.generate(name)
        }
        (Kernel::Pad(axes), Op::Pad(Pad { value, .. })) => {
            let axes = [0, 1, 2].map(|axis| {
                let [outer, before, inner] = axes[axis];
                let unit = if axis == 2 { lanes } else { 1 };
                Axis { outer: outer / unit, start: before / unit, size: inner / unit, step: 1 }
            });
            pad(name, element.by(lanes), axes, *value as i64)
        }
        (&Kernel::Upsample { input: [rows, columns, channels], factors, borders }, _) => {
            let ty = element.by(lanes);
            Upsample { ty, image: [rows, columns], words: channels / lanes, factors, borders }.generate(name)
        }
        (Kernel::ArgMax { channels, .. }, Op::QArgMax(argmax)) => {
            let (element, number, last) = (operand(0), element.by(lanes), argmax.last);
            ArgMax { element, lanes: input_lanes, channels: *channels, number, last }.generate(name)
        }
        (Kernel::TopPeaks { image, maps, count }, _) => {
            let maps: Vec<Ty> = (1..).zip(maps).map(|(position, &lanes)| operand(position).by(lanes)).collect();
            TopPeaks { heatmap: operand(0), image: *image, maps: &maps, count: *count }.generate(name)
        }
        (
            Kernel::Input
            | Kernel::Constant
            | Kernel::Reshape
            | Kernel::GlobalAveragePool { .. }
            | Kernel::Table
            | Kernel::ArgMax { .. }
            | Kernel::Pad(_),
            _,
        ) => unreachable!("kernel_of pairs kernels with their operators, and these are no modules"),
    }
}

/// The type of one element of a core graph.
pub fn lane_type(element: Element) -> Ty {
    let (lo, hi) = element.range().expect("invariant: the core of a graph is integer");
    Ty::range(lo, hi)
}

/// Bits of the narrowest signed type that holds all weights, at least 2.
pub fn weight_bits(weights: &[i32]) -> u32 {
    let lo = weights.iter().copied().min().unwrap_or(0).min(-1);
    let hi = weights.iter().copied().max().unwrap_or(0);
    Ty::range(i64::from(lo), i64::from(hi)).bits.max(2)
}

fn shape([height, width, channels]: [u32; 3]) -> String {
    format!("{height}x{width}x{channels}")
}
