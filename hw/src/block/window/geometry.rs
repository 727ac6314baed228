//! Sizes of window operations, and the rows that their rings keep.

use super::streamed::Blocks;
use crate::frame::FrameTime;
use lutweave_ir::op::Sampling;

/// Sizes of a window operation. Vertical before horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowGeometry {
    /// Rows, columns and channels of the input.
    pub input: [u32; 3],
    /// Rows, columns and channels of the output.
    pub output: [u32; 3],
    /// Kernel.
    pub kernel: [u32; 2],
    /// Distance between windows.
    pub strides: [u32; 2],
    /// Distance between taps.
    pub dilations: [u32; 2],
    /// Padding at top and left.
    pub pads: [u32; 2],
    /// What moves the taps, if an offsets stream does.
    pub displacement: Option<Displacement>,
}

/// How an offsets stream, one beat an output pixel, moves the taps of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displacement {
    /// What the offsets mean; one offset group.
    pub sampling: Sampling,
    /// Per axis, first and last coordinate that taps can read, from the start of their window.
    pub span: [(i64, i64); 2],
}

impl WindowGeometry {
    /// The row of the image at which the windows of an output row begin; negative in the padding.
    pub fn top(&self, y: u32) -> i64 {
        i64::from(y * self.strides[0]) - i64::from(self.pads[0])
    }

    /// The column of the image at which the windows of an output column begin.
    pub fn left(&self, x: u32) -> i64 {
        i64::from(x * self.strides[1]) - i64::from(self.pads[1])
    }

    /// Whether windows leave the image, by rows and by columns.
    pub fn leaves(&self) -> [bool; 2] {
        let ends = [[self.top(0), self.top(self.output[0] - 1)], [self.left(0), self.left(self.output[1] - 1)]];
        [0, 1].map(|axis| {
            let ([first, last], extent) = (ends[axis], i64::from(self.input[axis]));
            self.displacement.is_some() || first < 0 || last + self.span(axis).1 >= extent
        })
    }

    /// The fewest complete rows from the first needed one on, if each of some runs of windows needs so many rows beyond
    /// its first one to end, and gives back so many. Rows that are skipped before they come count as negative.
    pub fn least_ahead(&self, runs: impl IntoIterator<Item = [i64; 2]>) -> i64 {
        let unbounded = -i64::from(self.input[0].max(self.strides[0]));
        let least = |[needed, freed]: [i64; 2]| if needed < 0 { unbounded } else { needed - freed };
        runs.into_iter().map(least).fold(0, i64::min).max(unbounded)
    }

    /// First and last coordinate along an axis for which the memory holds pixels while a window
    /// is read, from the window's start: those of unmoved taps are among them.
    pub(super) fn span(&self, axis: usize) -> (i64, i64) {
        let still = i64::from(self.kernel[axis] - 1) * i64::from(self.dilations[axis]);
        match self.displacement {
            None => (0, still),
            Some(displacement) => {
                let (first, last) = displacement.span[axis];
                (first.min(0), last.max(still))
            }
        }
    }

    /// Elements of an offsets beat; 0 without an offsets stream.
    pub fn offset_lanes(&self) -> u32 {
        let kernel = self.kernel.map(|extent| extent as usize);
        self.displacement.map_or(0, |displacement| displacement.sampling.channels(kernel) as u32)
    }

    /// Where taps are moved, rows of the image beyond that of an output row's own position that
    /// its windows need, and that the ring takes in before the offsets come.
    pub fn rows_of_lead(&self) -> u32 {
        (self.span(0).1 - i64::from(self.pads[0])).clamp(0, i64::from(self.input[0])) as u32
    }

    /// What windows need of the input beyond their own place in the frame: the largest difference
    /// between the part of the input that a result needs, counted in whole pixels, and the part
    /// of the results that come before it.
    pub fn lead(&self) -> FrameTime {
        let along = |axis: usize, beyond: i64, most: i64, of_input: i64, of_output: i64| {
            let last = self.span(axis).1 - i64::from(self.pads[axis]) + beyond;
            let difference = |at: u32| {
                let needed = (i64::from(at * self.strides[axis]) + last).clamp(0, most);
                FrameTime::at_most(needed, of_input) - FrameTime::at_least(at, of_output)
            };
            (0..self.output[axis]).map(difference).fold(FrameTime::ZERO, FrameTime::max)
        };
        let [height, width, _] = self.input.map(i64::from);
        let [rows, columns, _] = self.output.map(i64::from);
        // Rows above the one that is being written, and pixels of that one.
        along(0, 0, height - 1, height, rows) + along(1, 1, width, height * width, rows * columns)
    }

    /// The same for an image of one pixel.
    pub fn of_a_pixel(self) -> Self {
        let [_, _, channels] = self.input;
        let [_, _, outputs] = self.output;
        Self { input: [1, 1, channels], output: [1, 1, outputs], ..self }
    }

    /// Whether a convolution with so many groups computes every channel from itself alone.
    pub fn is_depthwise(&self, groups: u32) -> bool {
        groups > 1 && groups == self.input[2] && groups == self.output[2]
    }

    /// Rows of the ring, where writing a pixel takes so many cycles and reading a window so many.
    ///
    /// Where taps lie still: those of a window and those of a stride, less one, because pixels are
    /// given back as the windows pass them. That one is kept where a row is too short to hide the
    /// cycles between, or where output rows come less often than the input rows that they stride.
    /// Where taps are moved: those of a window within reach and those of a stride, and no more than
    /// the last windows of a frame need together with the first ones of the next.
    pub fn ring_rows(&self, write: u32, read: u32) -> u32 {
        let (first, last) = self.span(0);
        let window = self.window_rows();
        let [height, out_height] = [self.input[0], self.output[0]].map(i64::from);
        let stride = i64::from(self.strides[0]);
        let rows = if self.displacement.is_some() {
            let top = |y: i64| y * stride - i64::from(self.pads[0]);
            let at_end = height - (top(out_height - 1) + first).clamp(0, height);
            let at_start = (top(0) + last).clamp(-1, height - 1) + 1;
            window.min(height.max(at_end + at_start)) + stride
        } else {
            let pixel = (i64::from(read) / (stride * i64::from(self.strides[1]))).max(i64::from(write));
            let apart = i64::from(self.input[1]) - self.span(1).1 - 1 - 2 * i64::from(self.strides[1]);
            let hidden = apart * pixel >= i64::from(read) + i64::from(write) + ISSUE_TO_WRITE;
            let even = out_height * stride >= height && window > 1;
            window + stride - i64::from(hidden && even)
        };
        rows as u32
    }

    /// Rows of the ring where all windows of a block of output rows are read many times: those of a block, and
    /// those that come for the next one meanwhile.
    pub fn block_rows(&self, blocks: Blocks) -> u32 {
        let height = i64::from(self.input[0]);
        let top = |block: u32| i64::from(block * blocks.rows * self.strides[0]) - i64::from(self.pads[0]);
        let both = (0..blocks.count).map(|block| {
            let next = block + 1;
            let end =
                if next == blocks.count { height + self.block_end(blocks, 0) } else { self.block_end(blocks, next) };
            end - top(block).clamp(0, height)
        });
        both.fold(self.span(0).1 + 1, i64::max) as u32
    }

    /// Rows of the image up to the last one that a block's windows need.
    fn block_end(&self, blocks: Blocks, block: u32) -> i64 {
        let last = (block + 1) * blocks.rows - 1;
        let bottom = i64::from(last * self.strides[0]) - i64::from(self.pads[0]) + self.span(0).1;
        bottom.clamp(-1, i64::from(self.input[0]) - 1) + 1
    }

    /// [`WindowGeometry::lead`] where results leave block by block: the whole block comes in, then it is computed.
    pub fn block_lead(&self, blocks: Blocks) -> FrameTime {
        let [height, out_height] = [self.input[0], self.output[0]].map(i64::from);
        let late = |block: u32| {
            FrameTime::at_most(self.block_end(blocks, block), height)
                + FrameTime::at_most(i64::from(blocks.rows), out_height)
                - FrameTime::at_least(block * blocks.rows, out_height)
        };
        (0..blocks.count).map(late).fold(FrameTime::ZERO, FrameTime::max)
    }

    /// Whether a ring of so many rows needs pixels that are given back as the windows pass them.
    pub(super) fn saves_row(&self, rows: u32) -> bool {
        self.displacement.is_none() && i64::from(rows) < self.window_rows() + i64::from(self.strides[0])
    }

    /// Rows from the first to the last that a window can read.
    fn window_rows(&self) -> i64 {
        let (first, last) = self.span(0);
        last - first + 1
    }
}

/// Cycles, at most, from the issue of a window to a write where it was read, and back.
const ISSUE_TO_WRITE: i64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::op::{Geometry, QDeformConv};
    use lutweave_ir::{Element, Requantize};

    fn extent(sampling: Sampling, reach: u32, rows: u32, kernel: u32) -> WindowGeometry {
        let pad = kernel / 2;
        let requantize = Requantize { multipliers: vec![1], shifts: vec![0], zero_point: 0, lo: 0, hi: 1 };
        let geometry = Geometry { pads: [pad as usize; 4], ..Geometry::PLAIN };
        let conv = QDeformConv { geometry, sampling, reach, pad_value: 0, requantize, element: Element::I8 };
        let displacement = Displacement { sampling, span: [0, 1].map(|axis| conv.span(axis, kernel as usize)) };
        WindowGeometry {
            input: [rows, 9, 4],
            output: [rows, 9, 4],
            kernel: [kernel; 2],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [pad; 2],
            displacement: Some(displacement),
        }
    }

    const FREE: Sampling = Sampling::Free { offset_groups: 1 };

    #[test]
    fn a_square_of_three_keeps_two_rows_more_than_twice_its_reach() {
        for reach in 1..=7 {
            let square = extent(Sampling::Square, reach, 40, 3);
            assert_eq!((square.ring_rows(1, 1), square.rows_of_lead()), (2 * reach + 2, reach));
            let free = extent(FREE, reach, 40, 3);
            assert_eq!((free.ring_rows(1, 1), free.rows_of_lead()), (2 * reach + 4, reach + 1));
        }
        let plain = WindowGeometry { displacement: None, ..extent(FREE, 0, 40, 3) };
        assert_eq!(plain.ring_rows(1, 1), extent(Sampling::Square, 1, 40, 3).ring_rows(1, 1));
        assert_eq!(plain.ring_rows(1, 1), extent(FREE, 0, 40, 3).ring_rows(1, 1));
        // Nothing moves, but as many rows are left behind at the end of a frame.
        assert_eq!(extent(Sampling::Square, 0, 40, 5).ring_rows(1, 1), 6);
    }

    #[test]
    fn the_lead_is_what_lies_below_and_right_of_a_pixel() {
        let plain = WindowGeometry { displacement: None, ..extent(FREE, 0, 40, 3) };
        let near = |extent: WindowGeometry, rows: i64, pixels: i64| {
            let [height, width, _] = extent.input.map(i64::from);
            let pixels = rows * width + pixels;
            let bounds = [FrameTime::at_least(pixels, height * width), FrameTime::at_most(pixels + 1, height * width)];
            assert!(bounds[0] <= extent.lead() && extent.lead() < bounds[1], "{extent:?}");
        };
        near(plain, 1, 2);
        near(WindowGeometry { kernel: [1, 1], pads: [0, 0], ..plain }, 0, 1);
        near(extent(Sampling::Square, 3, 40, 3), 3, 4);
        // Every second row and column: the same below the first window.
        near(WindowGeometry { strides: [2, 2], output: [20, 5, 4], ..plain }, 1, 2);
        // Without padding the last window is as far ahead as the paddings together.
        near(WindowGeometry { pads: [0, 0], output: [38, 7, 4], ..plain }, 2, 3);
        // All of the image for one result.
        let whole = WindowGeometry { kernel: [40, 9], pads: [0, 0], output: [1, 1, 4], ..plain };
        assert_eq!(whole.lead().of(360), 360);
    }

    #[test]
    fn rows_that_take_long_enough_save_one() {
        let plain =
            WindowGeometry { displacement: None, input: [40, 16, 4], output: [40, 16, 4], ..extent(FREE, 0, 40, 3) };
        assert_eq!([plain.ring_rows(1, 1), plain.ring_rows(4, 36)], [4, 3]);
        let halved = WindowGeometry { strides: [2, 2], output: [20, 8, 4], ..plain };
        assert_eq!([halved.ring_rows(1, 1), halved.ring_rows(4, 36)], [5, 4]);
        let unpadded = WindowGeometry { pads: [0, 0], output: [38, 14, 4], ..plain };
        assert_eq!(unpadded.ring_rows(4, 36), 4);
        let pointwise = WindowGeometry { kernel: [1, 1], pads: [0, 0], ..plain };
        assert_eq!(pointwise.ring_rows(4, 36), 2);
    }

    #[test]
    fn a_reach_beyond_the_image_keeps_two_images() {
        assert_eq!(extent(FREE, 20, 8, 3).ring_rows(1, 1), 17);
        assert_eq!(extent(Sampling::Square, 7, 6, 3).ring_rows(1, 1), 13);
        assert_eq!(extent(FREE, 20, 8, 3).rows_of_lead(), 8);
    }
}
