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
//!
//! A concatenation gives a part of each operand in turn. Its results come evenly too: so late that
//! the end of every part is there when its turn is over, and a part waits while those before it
//! come out. Along rows a part is all of an operand.
//!
//! A border that is repeated more often than other rows leaves the rows behind it waiting, beyond
//! the two that an upsampling keeps: they wait in a queue before it.

use super::{KernelNode, Sink};
use crate::block::top_peaks;
use crate::block::window::{Blocks, WeightSource};
use crate::frame::FrameTime;
use crate::kernel::Kernel;
use lutweave_ir::{Graph, NodeId};
use std::collections::BTreeMap;

/// Sets the latency of every kernel. Returns the elements that queues hold; others hold none.
pub fn assign(graph: &Graph, kernels: &mut [KernelNode]) -> BTreeMap<Sink, u64> {
    let mut depths = BTreeMap::new();
    let pace = kernels.iter().map(|node| node.interval).max().unwrap_or(1).max(1);
    // How late the results of each node are.
    let mut late = vec![Lateness::default(); graph.nodes().len()];
    for node in kernels {
        let (id, kernel) = (node.node, &node.kernel);
        let operands = kernel.streams(&graph.node(id).operands);
        let waits: Vec<Lateness> = (0..operands.len()).map(|position| waiting(node, position)).collect();
        // When the kernel takes each operand, and the last of them.
        let lateness = |(operand, wait): (&NodeId, &Lateness)| late[operand.index()].plus(*wait);
        let mut together = operands.iter().zip(&waits).map(lateness).reduce(Lateness::together).unwrap_or_default();
        if let Kernel::Concat { .. } = kernel {
            // Its queues hold what comes early, so that its results come at an even pace.
            together.least = together.most;
        }
        for (position, operand) in operands.iter().enumerate() {
            let held = if operands.len() > 1 {
                let early = late[operand.index()].least + taken_early(kernel, position);
                together.most + taken_late(kernel, position) - early
            } else {
                overflow(kernel)
            };
            let alone = operands.len() == 1;
            if alone && held <= FrameTime::ZERO {
                continue;
            }
            let ty = &graph.node(*operand).ty;
            let pixel = ty.shape.last().map_or(1, |&channels| channels as u64);
            let one_more = if held > FrameTime::ZERO { pixel } else { 0 };
            depths.insert(Sink::Kernel(id, position), held.of(ty.count() as u64) + one_more + MARGIN);
        }
        let own = delay(node, pace);
        let waited = waits.iter().map(|wait| wait.most).fold(FrameTime::ZERO, FrameTime::max);
        node.latency = (waited + own).of(pace.max(LATENCY));
        late[id.index()] = together.plus(Lateness::always(own));
    }
    depths
}

/// Bounds of how late results come.
#[derive(Clone, Copy, Debug, Default)]
struct Lateness {
    least: FrameTime,
    most: FrameTime,
}

impl Lateness {
    fn always(time: FrameTime) -> Self {
        Self { least: time, most: time }
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
const LATENCY: u64 = 64;

/// Part of a frame of an operand that a stage waits for before it gives the result that has the
/// same place in the frame: for what keeps the operand meanwhile, at most.
fn waiting(node: &KernelNode, position: usize) -> Lateness {
    let source = node.folding.map(|folding| folding.source);
    Lateness::always(match &node.kernel {
        Kernel::Convolution { extent, .. } if extent.displacement.is_some() && position > 0 => FrameTime::ZERO,
        Kernel::Convolution { extent, .. } if let Some(WeightSource::Streamed { rows, .. }) = source => {
            extent.block_lead(Blocks::new(extent.output[0], rows))
        }
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => extent.lead(),
        Kernel::GlobalAveragePool { .. } => FrameTime::at_most(1, 1),
        Kernel::Upsample { input, factors, borders } => Repeated::new(*input, *factors, *borders).waiting(),
        // A peak is known two pixels into the row below it; what maps hold there is not waited for.
        Kernel::TopPeaks { image: [height, width, _], .. } if position == 0 => {
            let [height, width] = [height, width].map(|extent| u64::from(*extent));
            FrameTime::at_most(width + 2, height * width).min(FrameTime::at_most(1, 1))
        }
        // A pixel that comes in, and one that waits or is read.
        Kernel::Select { pixels, .. } => FrameTime::at_most(2, *pixels),
        Kernel::Crop(axes) => return cropped(axes),
        Kernel::Pad(axes) => return padded(axes),
        // The last of its elements of a unit: what it brings less what comes out before.
        Kernel::Concat { units, parts } => {
            let (before, all) = (sum(&parts[..=position]), sum(parts));
            FrameTime::at_most(all - before + 1, all * u64::from(*units))
        }
        // A number is known with the last channel.
        Kernel::ArgMax { pixels, .. } => FrameTime::at_most(1, *pixels),
        Kernel::Table
        | Kernel::Elementwise { .. }
        | Kernel::Input
        | Kernel::Constant
        | Kernel::Reshape
        | Kernel::TopPeaks { .. } => FrameTime::ZERO,
    })
}

/// A result comes with the element that it is, and the next one not before that.
fn cropped(axes: &[[u32; 4]; 3]) -> Lateness {
    let all = axes.map(|[extent, ..]| extent);
    let kept = axes.map(|[_, _, size, _]| size);
    at_corners(kept, |at| {
        let came = place(all, [0, 1, 2].map(|axis| axes[axis][1] + at[axis] * axes[axis][3])) + 1;
        let own = place(kept, at);
        Lateness {
            least: FrameTime::at_least(came, elements(all)) - FrameTime::at_most(own + 1, elements(kept)),
            most: FrameTime::at_most(came, elements(all)) - FrameTime::at_least(own, elements(kept)),
        }
    })
}

/// What lies before an element of the operand comes before it.
fn padded(axes: &[[u32; 3]; 3]) -> Lateness {
    let all = axes.map(|[extent, ..]| extent);
    let inner = axes.map(|[.., size]| size);
    at_corners(inner, |at| {
        let source = place(inner, at);
        let own = place(all, [0, 1, 2].map(|axis| axes[axis][1] + at[axis]));
        Lateness {
            least: FrameTime::at_least(source, elements(inner)) - FrameTime::at_most(own, elements(all)),
            most: FrameTime::at_most(source + 1, elements(inner)) - FrameTime::at_least(own, elements(all)),
        }
    })
}

/// Bounds over a box of positions of what is linear in each of them.
fn at_corners(size: [u32; 3], lateness: impl Fn([u32; 3]) -> Lateness) -> Lateness {
    let corner = |corner: u32| lateness([0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { size[axis] - 1 } else { 0 }));
    let wider = |a: Lateness, b: Lateness| Lateness { least: a.least.min(b.least), most: a.most.max(b.most) };
    (1..8).map(corner).fold(corner(0), wider)
}

/// Elements of an image that come before one.
fn place(extents: [u32; 3], at: [u32; 3]) -> u64 {
    extents.iter().zip(at).fold(0, |place, (&extent, at)| place * u64::from(extent) + u64::from(at))
}

fn elements(extents: [u32; 3]) -> u64 {
    extents.map(u64::from).iter().product()
}

/// An image whose rows and columns are repeated, the outermost ones more often.
struct Repeated {
    rows: Axis,
    columns: Axis,
}

/// Rows or columns that are repeated.
struct Axis {
    extent: u64,
    before: u64,
    factor: u64,
    after: u64,
}

impl Axis {
    /// How many the results have.
    fn all(&self) -> u64 {
        self.before + self.extent * self.factor + self.after
    }

    /// How many of the results come before those of a place.
    fn first(&self, at: u64) -> u64 {
        if at == 0 { 0 } else { self.before + at * self.factor }
    }

    /// How many of the results come before the last of a place is over.
    fn end(&self, at: u64) -> u64 {
        if at + 1 == self.extent { self.all() } else { self.first(at + 1) }
    }
}

impl Repeated {
    fn new([rows, columns, _]: [u32; 3], factors: [u32; 2], borders: [u32; 4]) -> Self {
        let axis = |axis: usize, extent: u32| Axis {
            extent: extent.into(),
            before: borders[axis].into(),
            factor: factors[axis].into(),
            after: borders[axis + 2].into(),
        };
        Self { rows: axis(0, rows), columns: axis(1, columns) }
    }

    /// The first of several equal rows comes with the input, a pixel after it.
    fn waiting(&self) -> FrameTime {
        let Self { rows, columns } = self;
        let late = |row: u64, column: u64| {
            let came = row * columns.extent + column + 1;
            let own = rows.first(row) * columns.all() + columns.first(column);
            FrameTime::at_most(came, rows.extent * columns.extent)
                - FrameTime::at_least(own, rows.all() * columns.all())
        };
        // Linear but for the first row and column.
        let rows_of = [0, 1, rows.extent - 1].into_iter().filter(|&row| row < rows.extent);
        let columns_of = [0, 1, columns.extent];
        let times = rows_of.flat_map(|row| columns_of.map(|column| late(row, column)));
        times.fold(FrameTime::ZERO, FrameTime::max)
    }

    /// How long a row waits at most for its place among the two that are kept.
    fn overflow(&self) -> FrameTime {
        let Axis { extent, .. } = self.rows;
        let late = |row: u64| {
            let freed = FrameTime::at_most(self.rows.end(row), self.rows.all());
            self.waiting() + freed - FrameTime::at_least(row + 2, extent)
        };
        let rows = [0, extent.saturating_sub(2), extent - 1];
        rows.map(late).into_iter().fold(FrameTime::ZERO, FrameTime::max)
    }
}

/// How much longer than others a stage leaves an operand waiting.
fn taken_late(kernel: &Kernel, position: usize) -> FrameTime {
    match kernel {
        // What comes out before it.
        Kernel::Concat { units, parts } => FrameTime::at_most(sum(&parts[..position]), sum(parts) * u64::from(*units)),
        _ => FrameTime::ZERO,
    }
}

/// How long a stage of one operand leaves it waiting.
fn overflow(kernel: &Kernel) -> FrameTime {
    match kernel {
        Kernel::Upsample { input, factors, borders } => Repeated::new(*input, *factors, *borders).overflow(),
        _ => FrameTime::ZERO,
    }
}

fn sum(parts: &[u32]) -> u64 {
    parts.iter().map(|&part| u64::from(part)).sum()
}

/// Part of a frame of an operand that a stage takes in, at least, while it waits for another.
fn taken_early(kernel: &Kernel, position: usize) -> FrameTime {
    match kernel {
        Kernel::Convolution { extent, .. } if extent.displacement.is_some() && position == 0 => {
            FrameTime::at_least(extent.rows_of_lead(), extent.input[0])
        }
        Kernel::TopPeaks { image: [height, ..], .. } if position == 0 => FrameTime::at_least(1, *height),
        _ => FrameTime::ZERO,
    }
}

/// Frames from the last input that a result needs to the result.
fn delay(node: &KernelNode, pace: u64) -> FrameTime {
    let frame = pace.max(LATENCY);
    let pixel = |pixels: u64| FrameTime::at_most(node.interval, i128::from(pixels) * i128::from(frame));
    match &node.kernel {
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => {
            // A pixel is written, then results of a pixel are computed.
            let written = u64::from(extent.input[2].div_ceil(node.lanes[0]));
            let pixels = u64::from(extent.output[0]) * u64::from(extent.output[1]);
            pixel(pixels) + FrameTime::at_most(written + LATENCY, frame)
        }
        Kernel::GlobalAveragePool { pixels, .. } => pixel((*pixels).into()) + FrameTime::at_most(LATENCY, frame),
        // The best may be the last.
        Kernel::TopPeaks { count, .. } => FrameTime::at_most(pace + top_peaks::turnaround(*count) + LATENCY, frame),
        _ => FrameTime::at_most(LATENCY, frame),
    }
}
