//! Copies of an image with its border, so that no kernel tests for the edge.

use super::Lowering;
use crate::program::{Copy, Dimension, Fill, Kernel, Location};

/// A window that slides over an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sliding {
    /// Extents `(h, w, c)` of the image.
    pub image: [usize; 3],
    /// Extents of the output.
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Padding at the top and left; the bottom and right follow from the output.
    pub pads: [usize; 2],
}

impl Sliding {
    /// Extent of the padded image that the windows touch.
    fn touched(&self, axis: usize) -> usize {
        (self.output[axis] - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }
}

/// How the copy is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// One plane per group of channels.
    pub groups: usize,
    /// 16-bit elements.
    pub widen: bool,
    /// What the border reads.
    pub border: u8,
}

/// An image with its border in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bordered {
    pub location: Location,
    /// Pixels of a row.
    pub width: usize,
    /// Bytes of a pixel in a plane.
    pub pixel: usize,
    /// Bytes of a plane.
    pub plane: usize,
}

impl Lowering<'_> {
    /// Makes the image with its border; the image itself where it has none and no other layout
    /// is asked for.
    pub(super) fn bordered(
        &mut self,
        kernels: &mut Vec<Kernel>,
        source: Location,
        sliding: &Sliding,
        layout: Layout,
    ) -> Bordered {
        let [h, w, c] = sliding.image;
        let [height, width] = [sliding.touched(0), sliding.touched(1)];
        let [top, left] = [sliding.pads[0].min(height), sliding.pads[1].min(width)];
        if top == 0 && left == 0 && height <= h && width <= w && layout.groups == 1 && !layout.widen {
            return Bordered { location: source, width: w, pixel: c, plane: h * w * c };
        }
        let element = if layout.widen { 2 } else { 1 };
        let depth = c / layout.groups;
        let plane = height * width * depth;
        let location = Location::buffer(self.program.buffer(plane * layout.groups * element));
        let [rows, columns] = [h.min(height - top), w.min(width - left)];
        let fill = |offset: usize, rows: usize, run: usize| Fill {
            target: location.plus(offset * depth * element),
            rows,
            stride: width * depth,
            run: run * depth,
            value: layout.border,
            widen: layout.widen,
        };
        let fills = if layout.groups > 1 && (rows, columns) != (height, width) {
            vec![fill(0, 1, plane * layout.groups / depth)]
        } else if rows == 0 || columns == 0 {
            vec![fill(0, 1, height * width)]
        } else {
            let first = top * width + left;
            let end = (top + rows - 1) * width + left + columns;
            vec![
                fill(0, 1, first),
                fill(first + columns, rows - 1, width - columns),
                fill(end, 1, height * width - end),
            ]
        };
        kernels.extend(fills.into_iter().filter(|fill| fill.rows > 0 && fill.run > 0).map(Kernel::Fill));
        if rows > 0 && columns > 0 {
            kernels.push(Kernel::Copy(Copy {
                source,
                target: location.plus((top * width + left) * depth * element),
                dimensions: vec![
                    Dimension { count: layout.groups, source: depth, target: plane },
                    Dimension { count: rows, source: w * c, target: width * depth },
                    Dimension { count: columns, source: c, target: depth },
                    Dimension { count: depth, source: 1, target: 1 },
                ],
                add: 0,
                widen: layout.widen,
            }));
        }
        Bordered { location, width, pixel: depth * element, plane: plane * element }
    }
}
