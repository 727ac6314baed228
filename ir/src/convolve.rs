//! Windows of an image times weights, for floats and integers.
//!
//! Every output is `bias + x0*w0 + x1*w1 + ..`, summed in the order of the taps (row, column,
//! channel) with one rounding per product and one per sum, whatever the CPU: the vectors run
//! over output channels, and no fused multiply-add is used.

use crate::op::Geometry;
use crate::op::shape::Sweep;
use std::ops::Range;

/// Widest block of output channels that is computed together.
const WIDE: usize = 16;
/// Narrow block, for few output channels.
const NARROW: usize = 8;
/// Output positions that are computed together.
const ROWS: usize = 4;

/// An accumulator's arithmetic.
pub(crate) trait Number: Copy + Default {
    /// `self + x * w`.
    fn accumulate(self, x: Self, w: Self) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn accumulate(self, x: Self, w: Self) -> Self {
        self + x * w
    }
}

impl Number for i32 {
    /// Wraps: graphs whose sums may leave 32 bits are refused by validation.
    #[inline(always)]
    fn accumulate(self, x: Self, w: Self) -> Self {
        self.wrapping_add(x.wrapping_mul(w))
    }
}

/// Convolution weights in the order in which the kernel reads them.
#[derive(Clone, Debug)]
pub(crate) struct Packed<T> {
    /// `[o, kh, kw, i/groups]`.
    shape: [usize; 4],
    groups: usize,
    /// Depthwise: `[tap][channel]`. Otherwise per group, per block of channels: `[tap][lane]`,
    /// lanes past the last channel being 0.
    weights: Vec<T>,
}

/// Constant weights in the order in which an evaluation reads them.
pub(crate) enum Weights {
    /// Of a layer of reals.
    Reals(Packed<f32>),
    /// Of a layer of integers.
    Integers(Packed<i32>),
}

impl Weights {
    /// Those of a layer of reals.
    pub fn reals(&self) -> &Packed<f32> {
        match self {
            Self::Reals(packed) => packed,
            Self::Integers(_) => unreachable!("invariant: a layer is given the weights that it packed"),
        }
    }

    /// Those of a layer of integers.
    pub fn integers(&self) -> &Packed<i32> {
        match self {
            Self::Integers(packed) => packed,
            Self::Reals(_) => unreachable!("invariant: a layer is given the weights that it packed"),
        }
    }
}

/// The four extents of a shape that inference has checked.
pub(crate) fn extents(shape: &[usize]) -> [usize; 4] {
    shape.try_into().expect("invariant: inference demands 4 axes")
}

/// Splits a group's output channels into `(first channel, lanes)` blocks.
fn blocks(channels: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..channels).step_by(WIDE).map(move |first| (first, if channels - first <= NARROW { NARROW } else { WIDE }))
}

impl<T: Number> Packed<T> {
    /// Packs weights `[o, kh, kw, i/groups]`.
    pub fn new(weights: &[T], shape: [usize; 4], groups: usize) -> Self {
        let [outputs, kernel_height, kernel_width, depth] = shape;
        let taps = kernel_height * kernel_width * depth;
        let mut packed = Self { shape, groups, weights: Vec::with_capacity(weights.len()) };
        if packed.is_depthwise() {
            packed.weights.extend((0..taps * outputs).map(|at| weights[at % outputs * taps + at / outputs]));
            return packed;
        }
        let per_group = outputs / groups;
        for group in 0..groups {
            for (first, lanes) in blocks(per_group) {
                for tap in 0..taps {
                    packed.weights.extend((first..first + lanes).map(|channel| {
                        if channel < per_group {
                            weights[(group * per_group + channel) * taps + tap]
                        } else {
                            T::default()
                        }
                    }));
                }
            }
        }
        packed
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.shape[0] && self.shape[3] == 1
    }

    fn taps(&self) -> usize {
        self.shape[1] * self.shape[2] * self.shape[3]
    }
}

/// The result `[n,h',w',o]` of a convolution of `x [n,h,w,i]`, where positions outside the image
/// read `pad`.
pub(crate) fn convolve<T: Number>(
    x: &[T],
    x_shape: [usize; 4],
    packed: &Packed<T>,
    geometry: &Geometry,
    bias: Option<&[T]>,
    pad: T,
) -> Vec<T> {
    let [vertical, horizontal] = geometry.sweeps([x_shape[1], x_shape[2]], [packed.shape[1], packed.shape[2]]);
    let taps = |sweep: Sweep| {
        let positions = sweep.positions().expect("invariant: inference has counted the windows");
        (0..positions).map(|position| sweep.taps(position)).collect()
    };
    let (rows, columns) = (taps(vertical), taps(horizontal));
    Job { x, x_shape, packed, bias, pad, vertical, horizontal, rows, columns }.run()
}

/// The product of `x [rows, k]` and the transpose of weights `[o, 1, 1, k]`.
pub(crate) fn multiply<T: Number>(x: &[T], packed: &Packed<T>, bias: Option<&[T]>) -> Vec<T> {
    let depth = packed.shape[3];
    convolve(x, [1, 1, x.len() / depth, depth], packed, &Geometry::PLAIN, bias, T::default())
}

struct Job<'a, T> {
    x: &'a [T],
    x_shape: [usize; 4],
    packed: &'a Packed<T>,
    bias: Option<&'a [T]>,
    pad: T,
    vertical: Sweep,
    horizontal: Sweep,
    /// For each row and each column of the result, the taps that fall on the image.
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

/// An output position.
#[derive(Clone, Copy, Default)]
struct Place {
    image: usize,
    row: usize,
    column: usize,
}

/// Up to [`ROWS`] windows, in the order of their taps.
#[derive(Clone, Copy)]
struct Windows<'a, T> {
    data: &'a [T],
    /// Where each begins.
    starts: [usize; ROWS],
    count: usize,
    /// Taps that lie side by side, and elements from the first of them to the first of the next ones.
    run: usize,
    pitch: usize,
}

impl<'a, T> Windows<'a, T> {
    /// Windows that were copied, one behind the other.
    fn copied(data: &'a [T], taps: usize) -> Self {
        let starts = std::array::from_fn(|index| index * taps);
        Self { data, starts, count: data.len() / taps, run: taps, pitch: 0 }
    }

    /// The taps of a window that lie side by side, by number.
    #[inline(always)]
    fn taps(&self, window: usize, run: usize) -> &'a [T] {
        &self.data[self.starts[window] + run * self.pitch..][..self.run]
    }
}

impl<T: Number> Job<'_, T> {
    fn run(&self) -> Vec<T> {
        let mut y = vec![T::default(); self.x_shape[0] * self.rows.len() * self.columns.len() * self.packed.shape[0]];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has AVX-512.
            unsafe { self.fill_avx512(&mut y) };
            return y;
        } else if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            unsafe { self.fill_avx2(&mut y) };
            return y;
        }
        self.fill(&mut y);
        y
    }

    /// The same code, compiled for AVX-512; products and sums stay apart.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn fill_avx512(&self, y: &mut [T]) {
        self.fill(y);
    }

    /// The same code, compiled for AVX2 (which does not include fused multiply-add).
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_avx2(&self, y: &mut [T]) {
        self.fill(y);
    }

    #[inline(always)]
    fn fill(&self, y: &mut [T]) {
        if self.packed.is_depthwise() { self.depthwise(y) } else { self.grouped(y) }
    }

    /// The position after one.
    #[inline(always)]
    fn next(&self, Place { image, row, column }: Place) -> Place {
        if column + 1 < self.columns.len() {
            Place { image, row, column: column + 1 }
        } else if row + 1 < self.rows.len() {
            Place { image, row: row + 1, column: 0 }
        } else {
            Place { image: image + 1, row: 0, column: 0 }
        }
    }

    #[inline(always)]
    fn depthwise(&self, y: &mut [T]) {
        let [_, height, width, channels] = self.x_shape;
        let kernel_width = self.packed.shape[2];
        let zeros = vec![T::default(); channels];
        let outside = vec![self.pad; channels];
        let initial = self.bias.unwrap_or(&zeros);
        let mut place = Place::default();
        for out in y.chunks_exact_mut(channels) {
            let Place { image, row, column } = place;
            place = self.next(place);
            let image = &self.x[image * height * width * channels..][..height * width * channels];
            let (rows, columns) = (&self.rows[row], &self.columns[column]);
            out.copy_from_slice(initial);
            for (tap, weights) in self.packed.weights.chunks_exact(channels).enumerate() {
                let (ky, kx) = (tap / kernel_width, tap % kernel_width);
                let pixel = if rows.contains(&ky) && columns.contains(&kx) {
                    let start =
                        (self.vertical.coordinate(row, ky) * width + self.horizontal.coordinate(column, kx)) * channels;
                    &image[start..start + channels]
                } else {
                    &outside
                };
                for ((out, &x), &w) in out.iter_mut().zip(pixel).zip(weights) {
                    *out = out.accumulate(x, w);
                }
            }
        }
    }

    #[inline(always)]
    fn grouped(&self, y: &mut [T]) {
        let outputs = self.packed.shape[0];
        let groups = self.packed.groups;
        let per_group = outputs / groups;
        let taps = self.packed.taps();
        let group_weights = blocks(per_group).map(|(_, lanes)| lanes * taps).sum::<usize>();
        let mut patches = vec![T::default(); ROWS * taps];
        let positions = y.len() / outputs;
        for group in 0..groups {
            let weights = &self.packed.weights[group * group_weights..][..group_weights];
            let mut place = Place::default();
            for start in (0..positions).step_by(ROWS) {
                let count = ROWS.min(positions - start);
                let mut places = [Place::default(); ROWS];
                for own in &mut places[..count] {
                    (*own, place) = (place, self.next(place));
                }
                let windows = match self.inside(&places[..count]) {
                    Some(windows) => windows,
                    None => {
                        for (place, patch) in places[..count].iter().zip(patches.chunks_exact_mut(taps)) {
                            self.copy_patch(*place, group, patch);
                        }
                        Windows::copied(&patches[..count * taps], taps)
                    }
                };
                let mut rest = weights;
                for (first, lanes) in blocks(per_group) {
                    let (block, tail) = rest.split_at(lanes * taps);
                    rest = tail;
                    let first_output = group * per_group + first;
                    let used = lanes.min(per_group - first);
                    let bias = self.bias.map(|bias| &bias[first_output..first_output + used]);
                    let out = &mut y[start * outputs + first_output..];
                    match (lanes, count) {
                        (WIDE, ROWS) => tile::<T, WIDE>(&windows, block, bias, out, outputs, used),
                        (WIDE, _) => strip::<T, WIDE>(&windows, block, bias, out, outputs, used),
                        (_, ROWS) => tile::<T, NARROW>(&windows, block, bias, out, outputs, used),
                        (_, _) => strip::<T, NARROW>(&windows, block, bias, out, outputs, used),
                    }
                }
            }
        }
    }

    /// True if the taps of a kernel's row lie side by side in the image.
    #[inline(always)]
    fn contiguous(&self) -> bool {
        self.packed.shape[3] == self.x_shape[3] && (self.horizontal.dilation == 1 || self.packed.shape[2] == 1)
    }

    /// Windows of all channels as they lie in the image, where none of their taps falls outside.
    #[inline(always)]
    fn inside(&self, places: &[Place]) -> Option<Windows<'_, T>> {
        let [_, height, width, channels] = self.x_shape;
        let [_, kernel_height, kernel_width, depth] = self.packed.shape;
        let whole = |place: &Place| {
            self.rows[place.row].len() == kernel_height && self.columns[place.column].len() == kernel_width
        };
        if !self.contiguous() || !places.iter().all(whole) {
            return None;
        }
        let mut starts = [0; ROWS];
        for (start, &Place { image, row, column }) in starts.iter_mut().zip(places) {
            let line = image * height + self.vertical.coordinate(row, 0);
            *start = (line * width + self.horizontal.coordinate(column, 0)) * channels;
        }
        let (run, pitch) = (kernel_width * depth, self.vertical.dilation * width * channels);
        Some(Windows { data: self.x, starts, count: places.len(), run, pitch })
    }

    /// Copies the window of an output position, in the order of the taps.
    #[inline(always)]
    fn copy_patch(&self, Place { image, row, column }: Place, group: usize, patch: &mut [T]) {
        let [_, height, width, channels] = self.x_shape;
        let [_, _, kernel_width, depth] = self.packed.shape;
        let image = &self.x[image * height * width * channels..][..height * width * channels];
        let (rows, columns) = (&self.rows[row], &self.columns[column]);
        let contiguous = self.contiguous();
        for (ky, line) in patch.chunks_exact_mut(kernel_width * depth).enumerate() {
            if !rows.contains(&ky) || columns.is_empty() {
                line.fill(self.pad);
                continue;
            }
            line[..columns.start * depth].fill(self.pad);
            line[columns.end * depth..].fill(self.pad);
            let source = self.vertical.coordinate(row, ky) * width;
            if contiguous {
                let start = (source + self.horizontal.coordinate(column, columns.start)) * channels;
                line[columns.start * depth..columns.end * depth]
                    .copy_from_slice(&image[start..][..columns.len() * depth]);
            } else {
                for kx in columns.clone() {
                    let start = (source + self.horizontal.coordinate(column, kx)) * channels + group * depth;
                    line[kx * depth..(kx + 1) * depth].copy_from_slice(&image[start..start + depth]);
                }
            }
        }
    }
}

#[inline(always)]
fn initial<T: Number, const LANES: usize>(bias: Option<&[T]>) -> [T; LANES] {
    let mut lanes = [T::default(); LANES];
    if let Some(bias) = bias {
        lanes[..bias.len()].copy_from_slice(bias);
    }
    lanes
}

/// [`ROWS`] windows times one block of channels.
#[inline(always)]
fn tile<T: Number, const LANES: usize>(
    windows: &Windows<T>,
    block: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
    stride: usize,
    used: usize,
) {
    let mut sums = [initial::<T, LANES>(bias); ROWS];
    for (run, block) in block.chunks_exact(windows.run * LANES).enumerate() {
        let x = |window: usize| windows.taps(window, run);
        let columns = x(0).iter().zip(x(1)).zip(x(2)).zip(x(3));
        for (w, (((&x0, &x1), &x2), &x3)) in block.chunks_exact(LANES).zip(columns) {
            for lane in 0..LANES {
                sums[0][lane] = sums[0][lane].accumulate(x0, w[lane]);
                sums[1][lane] = sums[1][lane].accumulate(x1, w[lane]);
                sums[2][lane] = sums[2][lane].accumulate(x2, w[lane]);
                sums[3][lane] = sums[3][lane].accumulate(x3, w[lane]);
            }
        }
    }
    for (index, sums) in sums.iter().enumerate() {
        out[index * stride..][..used].copy_from_slice(&sums[..used]);
    }
}

/// Fewer windows times one block of channels.
#[inline(always)]
fn strip<T: Number, const LANES: usize>(
    windows: &Windows<T>,
    block: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
    stride: usize,
    used: usize,
) {
    for index in 0..windows.count {
        let mut sums = initial::<T, LANES>(bias);
        for (run, block) in block.chunks_exact(windows.run * LANES).enumerate() {
            for (w, &x) in block.chunks_exact(LANES).zip(windows.taps(index, run)) {
                for lane in 0..LANES {
                    sums[lane] = sums[lane].accumulate(x, w[lane]);
                }
            }
        }
        out[index * stride..][..used].copy_from_slice(&sums[..used]);
    }
}
