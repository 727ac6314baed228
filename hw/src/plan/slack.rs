//! Queue depths at joins.
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

use super::Stage;
use crate::block::top_peaks;
use crate::kernel::Kernel;
use lutweave_ir::Graph;

/// Sets [`Stage::slack`] of every stage.
pub fn assign(graph: &Graph, stages: &mut [Stage]) {
    let pace = stages.iter().map(|stage| stage.cycles).max().unwrap_or(1).max(1) as f64;
    // How late the results of each node are, in frames.
    let mut late = vec![0.0f64; graph.nodes().len()];
    for stage in stages.iter_mut() {
        let id = stage.node;
        let operands = stage.kernel.streams(&graph.node(id).operands);
        let before: Vec<f64> = operands.iter().map(|operand| late[operand.index()]).collect();
        // When the stage takes the last of its operands.
        let together = before.iter().enumerate().map(|(at, before)| before + waiting(&stage.kernel, at));
        let together = together.fold(0.0, f64::max);
        if operands.len() > 1 {
            for (position, operand) in operands.iter().enumerate() {
                let frames = together + turn(&stage.kernel) - before[position] - taken_early(&stage.kernel, position);
                let ty = &graph.node(*operand).ty;
                let pixel = ty.shape.last().map_or(1, |&channels| channels as u64);
                let difference = (frames.max(0.0) * ty.count() as f64).ceil() as u64;
                stage.slack[position] = difference + if frames > 0.0 { pixel } else { 0 } + MARGIN;
            }
        }
        late[id.index()] = together + turn(&stage.kernel) + delay(stage, pace);
    }
}

/// Elements added to every queue at a join for the registers and small queues of the blocks.
const MARGIN: u64 = 64;

/// Cycles that the registers and small queues of a block delay a beat, at most.
const LATENCY: f64 = 64.0;

/// Part of a frame of an operand that a stage waits for, at most, before it gives the result that
/// has the same place in the frame.
fn waiting(kernel: &Kernel, position: usize) -> f64 {
    match kernel {
        Kernel::Convolution { extent, .. } if extent.displacement.is_some() && position > 0 => 0.0,
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => extent.lead(),
        Kernel::Global { .. } => 1.0,
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
        Kernel::Pad(_) | Kernel::Crop(_) => row_share(kernel).min(1.0),
        Kernel::Table
        | Kernel::Pair { .. }
        | Kernel::Concat { .. }
        | Kernel::Input
        | Kernel::Constant
        | Kernel::Reshape
        | Kernel::TopPeaks { .. } => 0.0,
    }
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
fn delay(stage: &Stage, pace: f64) -> f64 {
    let cycles = match &stage.kernel {
        Kernel::Convolution { extent, .. } | Kernel::Pool { extent, .. } => {
            // A pixel is written, then results of a pixel are computed.
            let written = extent.input[2].div_ceil(stage.input_lanes[0]);
            f64::from(written) + stage.cycles as f64 / (f64::from(extent.output[0]) * f64::from(extent.output[1]))
        }
        Kernel::Global { pixels, .. } => stage.cycles as f64 / f64::from(*pixels),
        // The best may be the last.
        Kernel::TopPeaks { count, .. } => pace + top_peaks::turnaround(*count) as f64,
        _ => 0.0,
    };
    (cycles + LATENCY) / pace.max(LATENCY)
}

/// Largest part of a frame that a crop swallows, or a padding adds, in one piece.
fn row_share(kernel: &Kernel) -> f64 {
    match kernel {
        Kernel::Crop(axes) => {
            let [extent, start, size, step] = axes[0];
            let end = start + (size - 1) * step + 1;
            f64::from(start.max(extent - end) + 1) / f64::from(extent)
        }
        Kernel::Pad(axes) => {
            let [outer, before, inner] = axes[0];
            f64::from(before.max(outer - before - inner) + 1) / f64::from(outer)
        }
        _ => 0.0,
    }
}
