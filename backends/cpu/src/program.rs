//! What lowering decides and emission writes out: loop kernels over bytes at known places.
//!
//! Every activation is held as one byte, its distance from the smallest value of its element
//! type, so that kernels see unsigned numbers only. Buffers have [`SLACK`] readable and
//! writable bytes after their end: kernels read, and pointwise kernels write, whole vectors.

/// Bytes after the end of every buffer that a kernel may touch.
pub(crate) const SLACK: usize = 16;

/// Alignment of the arena, of every buffer and of every table.
pub(crate) const ALIGNMENT: usize = 64;

/// Channels that a kernel works on at once: one vector of bytes.
pub(crate) const BLOCK: usize = 16;

/// Memory that a kernel reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// A buffer in the arena, by index.
    Buffer(usize),
    /// Constants; offsets count from the start of the ROM.
    Rom,
    /// An input of the caller.
    Input(usize),
    /// An output of the caller.
    Output(usize),
}

/// A place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub space: Space,
    pub offset: usize,
}

impl Location {
    pub fn buffer(index: usize) -> Self {
        Self { space: Space::Buffer(index), offset: 0 }
    }

    pub fn rom(offset: usize) -> Self {
        Self { space: Space::Rom, offset }
    }

    #[must_use]
    pub fn plus(self, offset: usize) -> Self {
        Self { offset: self.offset + offset, ..self }
    }
}

/// One level of a loop nest over two arrays; strides count elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dimension {
    pub count: usize,
    pub source: usize,
    pub target: usize,
}

/// Copies a box of elements; outermost dimension first.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub source: Location,
    pub target: Location,
    pub dimensions: Vec<Dimension>,
    /// Added to every byte, modulo 256.
    pub add: u8,
    /// The target holds 16-bit elements.
    pub widen: bool,
}

/// Fills runs of elements with a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub target: Location,
    pub rows: usize,
    /// Distance between runs, in elements.
    pub stride: usize,
    /// Elements of a run.
    pub run: usize,
    pub value: u8,
    /// The target holds 16-bit elements.
    pub widen: bool,
}

/// How offsets move taps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moves {
    /// Every tap has a vertical and a horizontal offset.
    ByTap { dilations: [usize; 2] },
    /// One distance a window: taps lie that far from each other around the window's centre.
    ByDistance,
}

/// Copies what the moved taps of every window read, side by side: for each output pixel all taps
/// in turn, each with all channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather {
    pub source: Location,
    pub offsets: Location,
    pub target: Location,
    /// Rows and columns of the image.
    pub image: [usize; 2],
    pub channels: usize,
    /// Rows and columns of windows.
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    /// Padding at the top and left.
    pub pads: [usize; 2],
    pub moves: Moves,
    /// What the byte 0 of an offset stands for.
    pub least: i32,
    /// ROM offset of the pixel that is read outside the image.
    pub border: usize,
}

impl Gather {
    /// Offsets of a pixel.
    pub fn lanes(&self) -> usize {
        match self.moves {
            Moves::ByTap { .. } => 2 * self.kernel[0] * self.kernel[1],
            Moves::ByDistance => 1,
        }
    }
}

/// How accumulators become output bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requantizer {
    /// Offset in the ROM of one `f64` factor per channel, padded to whole blocks of 16.
    pub factors: usize,
    pub rounding: Rounding,
    /// Zero point as a byte.
    pub zero_point: i32,
    /// Smallest output byte.
    pub lo: u8,
    /// Largest output byte.
    pub hi: u8,
}

/// How the product of accumulator and factor is rounded half up; see `emit::requantize`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rounding {
    /// All shifts are at most 32. `clamp` if products may exceed 2^17.
    Fixed { clamp: bool },
    /// All shifts are 16 to 32, and the accumulators carry 2^31 more, modulo 2^32. `addends` is
    /// the offset in the ROM of one `f64` per channel, laid out as factors.
    Fused { addends: usize, clamp: bool },
    /// Any shifts; offset in the ROM of one `f64` tie breaker per channel, laid out as factors.
    TieBreak { ties: usize },
}

/// A strided walk over the taps of a window: `[(count, byte stride); 2]`, outer first.
pub(crate) type Taps = [(usize, usize); 2];

/// Distances in bytes of a walk over output pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub rows: usize,
    pub columns: usize,
    pub source_row: usize,
    pub source_column: usize,
    pub target_row: usize,
    pub target_column: usize,
}

impl Walk {
    /// The same pixels with as many as possible in a row.
    #[must_use]
    pub fn flattened(self) -> Self {
        if self.columns == 1 {
            Self { rows: 1, columns: self.rows, source_column: self.source_row, target_column: self.target_row, ..self }
        } else if self.source_row == self.columns * self.source_column
            && self.target_row == self.columns * self.target_column
        {
            Self { rows: 1, columns: self.rows * self.columns, ..self }
        } else {
            self
        }
    }
}

impl Walk {
    /// The same walk with neighbouring pixels of few channels taken together, for kernels that
    /// treat channels alike: the walk, and how many pixels are one.
    #[must_use]
    pub fn folded(self, channels: usize) -> (Self, usize) {
        let pixels = BLOCK / channels.min(BLOCK);
        let dense = self.source_column == channels && self.target_column == channels;
        if !BLOCK.is_multiple_of(channels) || !dense || !self.columns.is_multiple_of(pixels) {
            return (self, 1);
        }
        let walk = Self {
            columns: self.columns / pixels,
            source_column: self.source_column * pixels,
            target_column: self.target_column * pixels,
            ..self
        };
        (walk, pixels)
    }
}

/// Convolution that sums over channels: a dot product per output over runs of input bytes.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub source: Location,
    pub target: Location,
    pub walk: Walk,
    pub groups: usize,
    /// Bytes between the groups' planes in the source.
    pub group_stride: usize,
    /// Output channels of a group.
    pub channels: usize,
    pub taps: Taps,
    /// 4-byte units in the run of every tap.
    pub units: usize,
    /// Units hold four bytes if true, else two 16-bit elements.
    pub dot4: bool,
    /// ROM offset: group, block of 16 channels, tap, unit, channel, element.
    pub weights: usize,
    /// ROM offset of `i32` biases: group, channels padded to 16.
    pub biases: usize,
    pub requantizer: Requantizer,
}

/// Convolution of every channel with its own window.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    pub source: Location,
    pub target: Location,
    pub walk: Walk,
    pub channels: usize,
    /// Byte offsets of the taps that share a lane of a dot product, at most as many as it takes.
    pub groups: Vec<Vec<usize>>,
    /// How often the groups repeat, and the bytes between repetitions.
    pub rows: (usize, usize),
    /// Pixels of a tile.
    pub pixels: usize,
    /// Taps go to the dot product in fours if true, else in pairs of 16-bit elements.
    pub dot4: bool,
    /// ROM offset: block of 16 channels, repetition, group, channel, tap.
    pub weights: usize,
    /// ROM offset of `i32` biases, padded to 16 channels.
    pub biases: usize,
    pub requantizer: Requantizer,
}

/// What a pool computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pooling {
    Max,
    /// Requantized sum plus bias.
    Sum {
        bias: i32,
        requantizer: Requantizer,
    },
}

/// Pooling of every channel over windows.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub source: Location,
    pub target: Location,
    pub walk: Walk,
    pub channels: usize,
    pub taps: Taps,
    pub pooling: Pooling,
}

/// A function of bytes at equal positions, the second operand repeated for every row.
#[derive(Clone, Debug)]
pub(crate) struct Pointwise {
    pub sources: [Location; 2],
    pub target: Location,
    /// 1 if the operands have the same shape.
    pub rows: usize,
    pub length: usize,
    pub function: PointwiseFunction,
}

/// `clamp(((x0 * multipliers[0] + x1 * multipliers[1] + offset) >> shift) + zero_point, lo, hi)`;
/// the sum fits 32 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    pub multipliers: [i32; 2],
    /// With the rounding term.
    pub offset: i32,
    pub shift: u8,
    pub zero_point: i32,
    /// What the shifted sum is confined to where adding the zero point could overflow.
    pub limits: Option<(i32, i32)>,
    pub lo: u8,
    pub hi: u8,
}

/// What a pointwise kernel computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PointwiseFunction {
    Add(Sum),
    /// Requantized `(x0 - zero_points[0]) * (x1 - zero_points[1])`.
    Multiply {
        zero_points: [i32; 2],
        requantizer: Requantizer,
    },
}

/// A byte function by a table of 256 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    pub source: Location,
    pub target: Location,
    pub length: usize,
    /// ROM offset.
    pub table: usize,
}

/// The place of the largest byte of each pixel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArgMax {
    pub source: Location,
    pub target: Location,
    pub pixels: usize,
    pub channels: usize,
    /// Bytes of a place, low byte first.
    pub bytes: usize,
    /// The last of equals instead of the first.
    pub last: bool,
}

/// The largest peaks of an image, with bytes of other images there, over records of absent ones.
#[derive(Clone, Debug)]
pub(crate) struct TopPeaks {
    pub heatmap: Location,
    /// Other images with their channels.
    pub maps: Vec<(Location, usize)>,
    pub target: Location,
    /// Rows, columns and channels of the heatmap.
    pub image: [usize; 3],
    /// Records.
    pub count: usize,
    /// Bytes of a record that say where the peak is.
    pub index_bytes: usize,
}

impl TopPeaks {
    /// Bytes of a record.
    pub fn fields(&self) -> usize {
        1 + self.index_bytes + self.maps.iter().map(|(_, channels)| channels).sum::<usize>()
    }
}

/// One loop nest.
#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    Copy(Copy),
    Fill(Fill),
    Gather(Gather),
    Dense(Dense),
    Depthwise(Depthwise),
    Pool(Pool),
    Pointwise(Pointwise),
    Lookup(Lookup),
    ArgMax(ArgMax),
    TopPeaks(TopPeaks),
}

/// The kernels of one node; they become one function.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub kernels: Vec<Kernel>,
}

impl Kernel {
    /// The places it touches.
    pub fn locations(&self) -> Vec<Location> {
        match self {
            Self::Copy(copy) => vec![copy.source, copy.target],
            Self::Fill(fill) => vec![fill.target],
            Self::Gather(gather) => vec![gather.source, gather.offsets, gather.target],
            Self::Dense(dense) => vec![dense.source, dense.target],
            Self::Depthwise(depthwise) => vec![depthwise.source, depthwise.target],
            Self::Pool(pool) => vec![pool.source, pool.target],
            Self::Pointwise(pointwise) => vec![pointwise.sources[0], pointwise.sources[1], pointwise.target],
            Self::Lookup(lookup) => vec![lookup.source, lookup.target],
            Self::ArgMax(argmax) => vec![argmax.source, argmax.target],
            Self::TopPeaks(peaks) => {
                let maps = peaks.maps.iter().map(|&(map, _)| map);
                [peaks.heatmap, peaks.target].into_iter().chain(maps).collect()
            }
        }
    }
}

/// A graph as kernels, constants and buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub steps: Vec<Step>,
    /// All constants; every table starts at a multiple of [`ALIGNMENT`].
    pub rom: Vec<u8>,
    /// Sizes of the buffers in bytes, without slack.
    pub buffers: Vec<usize>,
}

impl Program {
    /// A new buffer.
    pub fn buffer(&mut self, size: usize) -> usize {
        self.buffers.push(size);
        self.buffers.len() - 1
    }

    /// Adds a table to the ROM and returns its offset.
    pub fn table(&mut self, bytes: impl IntoIterator<Item = u8>) -> usize {
        let offset = self.rom.len();
        self.rom.extend(bytes);
        self.rom.resize((self.rom.len() + SLACK).next_multiple_of(ALIGNMENT), 0);
        offset
    }
}
