//! Fifo depths at joins.
//!
//! Frames come at an even pace: one in as many cycles as the slowest stage takes. What reaches a
//! node is late by some part of a frame against that pace, because results need input that comes
//! after their own place in the frame: a window the rows below it, a mean the whole image. Where
//! paths of different lateness meet, the earlier ones get queues that hold the difference. Then
//! no path has to wait for another's queue, so the network cannot deadlock and the join does not
//! slow it down. (Stages are never slower than the pace, so that lateness does not grow within a
//! frame; it is that of the worst element.)
//!
//! A convolution whose taps a second stream moves is a join that takes its image in for some rows
//! before it needs the first offsets, and must have all rows within reach before it takes them:
//! the offsets' queue holds what is computed meanwhile.
//!
//! What a window waits for lies in its own ring while it waits. A crop and a padding hold nothing,
//! and their lateness changes within a frame: cut from the end, the first results are late and the
//! last ones are not. So two bounds are kept, and a queue holds what lies between the latest of
//! the paths and the earliest of its own.

use super::{KernelNode, Sink};
use crate::block::top_peaks;
use crate::kernel::Kernel;
use lutweave_ir::{Graph, NodeId};
use std::collections::BTreeMap;

/// Sets the latency of every kernel. Returns the elements that the queues at joins hold; others hold none.
pub fn assign(graph: &Graph, kernels: &mut [KernelNode]) -> BTreeMap<Sink, u64> {
    let mut depths = BTreeMap::new();
    let pace = kernels.iter().map(|node| node.interval).max().unwrap_or(1).max(1) as f64;
    // How late the results of each node are, in frames.
    let mut late = vec![Lateness::default(); graph.nodes().len()];
    for node in kernels {
        let (id, kernel) = (node.node, &node.kernel);
        let operands = kernel.streams(&graph.node(id).operands);
        let waits: Vec<Lateness> = (0..operands.len()).map(|position| waiting(kernel, position)).collect();
        // When the kernel takes each operand, and the last of them.
        let lateness = |(operand, wait): (&NodeId, &Lateness)| late[operand.index()].plus(*wait);
        let together = operands.iter().zip(&waits).map(lateness).reduce(Lateness::together).unwrap_or_default();
        if operands.len() > 1 {
            for (position, operand) in operands.iter().enumerate() {
                let early = late[operand.index()].least + taken_early(kernel, position);
                let frames = together.most + turn(kernel) - early;
                let ty = &graph.node(*operand).ty;
                let pixel = ty.shape.last().map_or(1, |&channels| channels as u64);
                let difference = (frames.max(0.0) * ty.count() as f64).ceil() as u64;
                let held = difference + if frames > 0.0 { pixel } else { 0 } + MARGIN;
                depths.insert(Sink::Kernel(id, position), held);
            }
        }
        let own = turn(kernel) + delay(node, pace);
        let waited = waits.iter().map(|wait| wait.most).fold(0.0, f64::max);
        node.latency = (waited * pace + own * pace.max(LATENCY)).ceil() as u64;
        late[id.index()] = together.plus(Lateness::always(own));
    }
    depths
}

/// Bounds of how late results come, in frames.
#[derive(Clone, Copy, Debug, Default)]
struct Lateness {
    least: f64,
    most: f64,
}

impl Lateness {
    fn always(frames: f64) -> Self {
        Self { least: frames, most: frames }
    }

    fn plus(self, other: Self) -> Self {
        Self { least: self.least + other.least, most: self.most + other.most }
    }

    /// Of what needs both.
    fn together(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.max(other.most) }
    }
}

/// Elements added to every queue at a join for the registers and small queues of the blocks.
const MARGIN: u64 = 64;

/// Cycles that the registers and small queues of a block delay a beat, at most.
const LATENCY: f64 = 64.0;

/// Part of a frame of an operand that a stage waits for before it gives the result that has the
/// same place in the frame: for what keeps the operand meanwhile, at most.
fn waiting(kernel: &Kernel, position: usize) -> Lateness {
    Lateness::always(match kernel {
        Kernel::Convolution { extent, .. } if extent.displacement.is_some() && position > 0 => 0.0,
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => extent.lead(),
        Kernel::GlobalAveragePool { .. } => 1.0,
        // The first of several equal rows comes with the input, in the time of one.
        Kernel::Upsample { input: [height, width, _], factors } => {
            (1.0 - 1.0 / f64::from(factors[0])) / f64::from(*height) + 1.0 / (f64::from(*height) * f64::from(*width))
        }
        // A peak is known two pixels into the row below it; what maps hold there is not waited for.
        Kernel::TopPeaks { image: [height, width, _], .. } if position == 0 => {
            let [height, width] = [height, width].map(|extent| f64::from(*extent));
            ((width + 2.0) / (height * width)).min(1.0)
        }
        // A pixel that comes in, and one that waits or is read.
        Kernel::Select { pixels, .. } => 2.0 / f64::from(*pixels),
        Kernel::Crop(axes) => return cropped(axes),
        Kernel::Pad(axes) => return padded(axes),
        // A number is known with the last channel.
        Kernel::ArgMax { pixels, .. } => 1.0 / f64::from(*pixels),
        Kernel::Table
        | Kernel::Elementwise { .. }
        | Kernel::Concat { .. }
        | Kernel::Input
        | Kernel::Constant
        | Kernel::Reshape
        | Kernel::TopPeaks { .. } => 0.0,
    })
}

/// A result comes with the element that it is, and the next one not before that.
fn cropped(axes: &[[u32; 4]; 3]) -> Lateness {
    let all = axes.map(|[extent, ..]| extent);
    let kept = axes.map(|[_, _, size, _]| size);
    at_corners(kept, |at| {
        let source = place(all, [0, 1, 2].map(|axis| axes[axis][1] + at[axis] * axes[axis][3]));
        let own = place(kept, at);
        let came = (source + 1.0) / elements(all);
        Lateness { least: came - (own + 1.0) / elements(kept), most: came - own / elements(kept) }
    })
}

/// What lies before an element of the operand comes before it.
fn padded(axes: &[[u32; 3]; 3]) -> Lateness {
    let all = axes.map(|[extent, ..]| extent);
    let inner = axes.map(|[.., size]| size);
    at_corners(inner, |at| {
        let source = place(inner, at);
        let own = place(all, [0, 1, 2].map(|axis| axes[axis][1] + at[axis])) / elements(all);
        Lateness { least: source / elements(inner) - own, most: (source + 1.0) / elements(inner) - own }
    })
}

/// Bounds over a box of positions of what is linear in each of them.
fn at_corners(size: [u32; 3], lateness: impl Fn([u32; 3]) -> Lateness) -> Lateness {
    let corner = |corner: u32| lateness([0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { size[axis] - 1 } else { 0 }));
    let wider = |a: Lateness, b: Lateness| Lateness { least: a.least.min(b.least), most: a.most.max(b.most) };
    (1..8).map(corner).fold(corner(0), wider)
}

/// Elements of an image that come before one.
fn place(extents: [u32; 3], at: [u32; 3]) -> f64 {
    extents.iter().zip(at).fold(0.0, |place, (&extent, at)| place * f64::from(extent) + f64::from(at))
}

fn elements(extents: [u32; 3]) -> f64 {
    extents.map(f64::from).iter().product()
}

/// Part of a frame of an operand that a stage takes in, at least, while it waits for another.
fn taken_early(kernel: &Kernel, position: usize) -> f64 {
    match kernel {
        Kernel::Convolution { extent, .. } if extent.displacement.is_some() && position == 0 => {
            f64::from(extent.rows_of_lead()) / f64::from(extent.input[0])
        }
        Kernel::TopPeaks { image: [height, ..], .. } if position == 0 => 1.0 / f64::from(*height),
        _ => 0.0,
    }
}

/// What every operand of a join leaves waiting while the others give their part.
fn turn(kernel: &Kernel) -> f64 {
    match kernel {
        Kernel::Concat { units, .. } => 1.0 / f64::from(*units),
        _ => 0.0,
    }
}

/// Frames from the last input that a result needs to the result.
fn delay(node: &KernelNode, pace: f64) -> f64 {
    let interval = node.interval as f64;
    let cycles = match &node.kernel {
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => {
            // A pixel is written, then results of a pixel are computed.
            let written = extent.input[2].div_ceil(node.lanes[0]);
            f64::from(written) + interval / (f64::from(extent.output[0]) * f64::from(extent.output[1]))
        }
        Kernel::GlobalAveragePool { pixels, .. } => interval / f64::from(*pixels),
        // The best may be the last.
        Kernel::TopPeaks { count, .. } => pace + top_peaks::turnaround(*count) as f64,
        _ => 0.0,
    };
    (cycles + LATENCY) / pace.max(LATENCY)
}
