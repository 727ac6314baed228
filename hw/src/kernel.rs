//! The closed set of kernels that hardware is planned in, and the one place that says what the
//! hardware refuses.

use crate::block::window::{Displacement, Folding, WeightSource, WindowGeometry, ring_rows};
use crate::rtl::NofM;
use lutweave_ir::op::{Concat, Geometry, MaxPool, Pad, Resize, Select, Slice, Window as PoolWindow};
use lutweave_ir::{Diagnostic, Graph, Node, NodeId, Op, TensorType};

/// What a node of an integer graph is to the hardware. Extents are in elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Kernel {
    /// A stream input.
    Input,
    /// Weights and biases: part of the kernels that read them.
    Constant,
    /// Convolution over windows, of taps at fixed places or at those that an offsets stream says.
    Convolution {
        /// Sizes; a convolution that sees its whole input at once, or one pixel at a time, has
        /// been reshaped to the smallest window memory.
        extent: WindowGeometry,
        /// Channel groups.
        groups: u32,
    },
    /// Sum or maximum over windows.
    Pool {
        /// Sizes.
        extent: WindowGeometry,
        /// Maximum instead of sum.
        max: bool,
    },
    /// Sum over the whole image.
    GlobalAveragePool {
        /// Pixels.
        pixels: u32,
        /// Channels.
        channels: u32,
    },
    /// Function by table.
    Table,
    /// Sum or product of two streams.
    Elementwise {
        /// The second operand is one pixel for all positions.
        broadcast: bool,
    },
    /// Unit-by-unit concatenation.
    Concat {
        /// Units of a frame.
        units: u32,
        /// Elements that each operand gives to a unit.
        parts: Vec<u32>,
    },
    /// Strided box. Per axis (rows, columns, channels): extent, start, size, step.
    Crop([[u32; 4]; 3]),
    /// Channels of each pixel in another order.
    Select {
        /// Pixels.
        pixels: u32,
        /// Channels of the operand.
        inputs: u32,
        /// The operand's channel for each of the result.
        channels: Vec<u32>,
    },
    /// Padding. Per axis: extent of the result, elements before, extent of the operand.
    Pad([[u32; 3]; 3]),
    /// Nearest-neighbour upsampling of an image of rows, columns and channels.
    Upsample {
        /// Extents of the operand.
        input: [u32; 3],
        /// Vertical and horizontal factor.
        factors: [u32; 2],
        /// Further copies of the outermost rows and columns: top, left, bottom, right.
        borders: [u32; 4],
    },
    /// The same stream under another shape.
    Reshape,
    /// The place of the largest channel.
    ArgMax {
        /// Pixels.
        pixels: u32,
        /// Channels of the operand.
        channels: u32,
    },
    /// The largest peaks of a heatmap.
    TopPeaks {
        /// Rows, columns and channels of the heatmap.
        image: [u32; 3],
        /// Channels of each map that is read at the peaks.
        maps: Vec<u32>,
        /// Records of a frame.
        count: u32,
    },
}

/// The kernel of a node of a core graph.
///
/// # Errors
/// A diagnostic if the node has no hardware.
pub fn kernel_of(graph: &Graph, id: NodeId) -> Result<Kernel, Diagnostic> {
    let node = graph.node(id);
    let refuse = |message: String, help: &str| {
        Err(Diagnostic::error("no-hardware", message).at(&node.name).operator(node.op.name()).help(help))
    };
    let Some(output) = image(&node.ty) else {
        return match node.op {
            Op::Constant(_) => Ok(Kernel::Constant),
            _ => refuse(
                format!("the shape of {} is not an image, a row or a vector of batch 1", node.ty),
                "export the model with a batch size of 1 and tensors of at most 4 axes",
            ),
        };
    };
    if node.ty.element.range().is_none() && !matches!(node.op, Op::Constant(_)) {
        return refuse(
            format!("its result is {}", node.ty.element),
            "only the integer core of a model becomes hardware",
        );
    }
    let streams = match node.op {
        Op::QConv(_) => vec![0],
        Op::QDeformConv(_) => vec![0, 3],
        Op::Input | Op::Constant(_) => Vec::new(),
        _ => (0..node.operands.len()).collect(),
    };
    for operand in streams.into_iter().map(|position| node.operands[position]) {
        if matches!(graph.node(operand).op, Op::Constant(_)) {
            return refuse(
                format!("operand `{}` is a constant", graph.node(operand).name),
                "constants that act on data must be per channel, so that they fold into a convolution",
            );
        }
    }
    let operand = |position: usize| -> [u32; 3] { image(&graph.node(node.operands[position]).ty).unwrap_or([1, 1, 1]) };
    Ok(match &node.op {
        Op::Input => Kernel::Input,
        Op::Constant(_) => Kernel::Constant,
        Op::QConv(conv) => {
            let weights = &graph.node(node.operands[1]).ty.shape;
            let kernel = [weights[1] as u32, weights[2] as u32];
            convolution(operand(0), output, kernel, &conv.geometry)
        }
        Op::QDeformConv(conv) => {
            let weights = &graph.node(node.operands[1]).ty.shape;
            let kernel = [weights[1] as u32, weights[2] as u32];
            let span = [0, 1].map(|axis| conv.span(axis, weights[axis + 1]));
            let displacement = Some(Displacement { sampling: conv.sampling, span });
            let extent = WindowGeometry { displacement, ..window_extent(operand(0), output, kernel, &conv.geometry) };
            Kernel::Convolution { extent, groups: conv.geometry.groups as u32 }
        }
        Op::MaxPool(MaxPool { window }) => Kernel::Pool { extent: pool_extent(operand(0), output, window), max: true },
        Op::QAveragePool(pool) => {
            let input = operand(0);
            let whole = pool.window.pads == [0; 4]
                && [input[0] as usize, input[1] as usize] == pool.window.kernel
                && output[0] * output[1] == 1;
            if whole {
                Kernel::GlobalAveragePool { pixels: input[0] * input[1], channels: input[2] }
            } else {
                Kernel::Pool { extent: pool_extent(input, output, &pool.window), max: false }
            }
        }
        Op::Table(_) => Kernel::Table,
        Op::QAdd(_) | Op::QMul(_) => Kernel::Elementwise { broadcast: operand(0) != operand(1) },
        Op::Concat(Concat { axis }) => {
            let inner = |id: &NodeId| graph.node(*id).ty.shape[*axis..].iter().product::<usize>() as u32;
            Kernel::Concat {
                units: node.ty.shape[..*axis].iter().product::<usize>() as u32,
                parts: node.operands.iter().map(inner).collect(),
            }
        }
        Op::Slice(Slice { starts, sizes, steps }) => {
            let input = operand(0);
            let [starts, sizes, steps] = [last_three(starts, 0), last_three(sizes, 1), last_three(steps, 1)];
            Kernel::Crop([0, 1, 2].map(|axis| [input[axis], starts[axis], sizes[axis], steps[axis]]))
        }
        Op::Select(Select { channels }) => {
            let [height, width, inputs] = operand(0);
            let channels = channels.iter().map(|&channel| channel as u32).collect();
            Kernel::Select { pixels: height * width, inputs, channels }
        }
        Op::Pad(Pad { before, after, .. }) => {
            let input = operand(0);
            let batch = node.ty.shape.len() == 4 && before[0] + after[0] > 0;
            if batch {
                return refuse("it pads the batch axis".into(), "pad rows, columns or channels only");
            }
            let before = last_three(before, 0);
            Kernel::Pad([0, 1, 2].map(|axis| [output[axis], before[axis], input[axis]]))
        }
        Op::Resize(Resize { factors, borders }) => Kernel::Upsample {
            input: operand(0),
            factors: factors.map(|factor| factor as u32),
            borders: borders.0.map(|copies| copies as u32),
        },
        Op::Reshape(_) => Kernel::Reshape,
        Op::QArgMax(_) => {
            let [height, width, channels] = operand(0);
            Kernel::ArgMax { pixels: height * width, channels }
        }
        Op::TopPeaks(peaks) => {
            let maps = (1..node.operands.len()).map(|position| operand(position)[2]).collect();
            Kernel::TopPeaks { image: operand(0), maps, count: peaks.count as u32 }
        }
        Op::Transpose(_) => {
            return refuse(
                "a transposition would have to keep a whole image".into(),
                "move the transposition to the start or end of the model, where the host does it",
            );
        }
        Op::Conv(_)
        | Op::DeformConv(_)
        | Op::Dense(_)
        | Op::BatchNorm(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::PRelu(_)
        | Op::Site(_)
        | Op::AveragePool(_)
        | Op::ReduceMean(_)
        | Op::Softmax(_)
        | Op::ArgMax(_)
        | Op::Quantize(_)
        | Op::Dequantize(_)
        | Op::DequantizeWeights(_)
        | Op::JoinBytes(_) => {
            return refuse("it is not an integer operator".into(), "quantize the model before planning hardware");
        }
    })
}

impl Kernel {
    /// The operands of its node that are streams: weights and biases are not.
    pub fn streams(&self, operands: &[NodeId]) -> Vec<NodeId> {
        match self {
            Self::Input | Self::Constant => Vec::new(),
            Self::Convolution { extent, .. } if extent.displacement.is_some() => {
                operands.first().into_iter().chain(operands.get(3)).copied().collect()
            }
            Self::Convolution { .. } => operands.first().copied().into_iter().collect(),
            Self::Pool { .. }
            | Self::GlobalAveragePool { .. }
            | Self::Table
            | Self::Elementwise { .. }
            | Self::Concat { .. }
            | Self::Crop(_)
            | Self::Select { .. }
            | Self::Pad(_)
            | Self::Upsample { .. }
            | Self::Reshape
            | Self::ArgMax { .. }
            | Self::TopPeaks { .. } => operands.to_vec(),
        }
    }

    /// Lanes of the offsets stream, one pixel per beat, where a second stream moves the
    /// taps of a convolution.
    pub fn offset_lanes(&self) -> Option<u32> {
        self.extent().filter(|extent| extent.displacement.is_some()).map(WindowGeometry::offset_lanes)
    }

    /// Rows of the window memory of a folded window kernel.
    pub fn line_buffer_rows(&self, folding: &Folding) -> Option<u32> {
        let groups = if let Self::Convolution { groups, .. } = self { Some(*groups) } else { None };
        self.extent().map(|extent| ring_rows(extent, folding, groups))
    }

    /// What slides over the image, where the kernel has a window memory.
    fn extent(&self) -> Option<&WindowGeometry> {
        match self {
            Self::Convolution { extent, .. } | Self::Pool { extent, .. } => Some(extent),
            _ => None,
        }
    }

    /// Whether its windows are single pixels, one after the other, so that it may go pixel by pixel.
    pub fn is_pointwise(&self, source: WeightSource) -> bool {
        let Self::Convolution { extent, .. } = self else { return false };
        let WindowGeometry { kernel, strides, input, output, displacement, .. } = extent;
        let streamed = matches!(source, WeightSource::Streamed { .. });
        !streamed && displacement.is_none() && [kernel, strides] == [&[1, 1]; 2] && input[..2] == output[..2]
    }

    /// Whether the kernel may have that folding, as far as weights and pixels are concerned.
    ///
    /// # Errors
    /// Why not.
    pub fn takes_folding(&self, folding: &Folding) -> Result<(), String> {
        self.takes_weights(folding.source, folding.pattern)?;
        if folding.pixel_by_pixel && !self.is_pointwise(folding.source) {
            return Err("its windows are no pixels".to_owned());
        }
        Ok(())
    }

    /// Whether the weights of the kernel may come from there, if they keep to a pattern or to none.
    ///
    /// # Errors
    /// Why not.
    pub fn takes_weights(&self, source: WeightSource, pattern: Option<NofM>) -> Result<(), String> {
        let Some(bus) = source.bus() else { return Ok(()) };
        bus.check()?;
        let Self::Convolution { extent, groups } = self else {
            return Err("it has no weights that may come from outside".to_owned());
        };
        match source {
            _ if pattern.is_some() => Err("weights in a pattern are not loaded".to_owned()),
            WeightSource::Streamed { .. } if !bus.port.is_memory() => {
                Err("weights that a stream brings once cannot come again".to_owned())
            }
            WeightSource::Streamed { .. } if extent.is_depthwise(*groups) || extent.displacement.is_some() => {
                Err("weights of depthwise and of deformable convolutions are not streamed".to_owned())
            }
            WeightSource::Streamed { rows, .. } if rows == 0 || extent.output[0] % rows != 0 => {
                Err(format!("blocks of {rows} rows do not divide {}", extent.output[0]))
            }
            WeightSource::Constant | WeightSource::Loaded(_) | WeightSource::Streamed { .. } => Ok(()),
        }
    }

    /// Lanes of an operand stream, by number, that every folding gives it.
    pub fn fixed_lanes(&self, stream: usize) -> Option<u32> {
        match (self, stream) {
            (Self::TopPeaks { .. }, 0) => Some(1),
            (Self::TopPeaks { maps, .. }, _) => maps.get(stream - 1).copied(),
            (_, 0) => None,
            (_, _) => self.offset_lanes(),
        }
    }

    /// Lanes of an operand stream, by number, where the first has so many.
    pub fn stream_lanes(&self, stream: usize, first: u32) -> u32 {
        self.fixed_lanes(stream).unwrap_or(first)
    }
}

/// Elements of a node's result.
pub fn elements(node: &Node) -> u64 {
    node.ty.count() as u64
}

fn image(ty: &TensorType) -> Option<[u32; 3]> {
    ty.image().map(|(height, width, channels)| [height as u32, width as u32, channels as u32])
}

fn last_three(values: &[usize], default: u32) -> [u32; 3] {
    let mut result = [default; 3];
    for (place, value) in result.iter_mut().rev().zip(values.iter().rev()) {
        *place = *value as u32;
    }
    result
}

fn convolution(input: [u32; 3], output: [u32; 3], kernel: [u32; 2], geometry: &Geometry) -> Kernel {
    let groups = geometry.groups as u32;
    let unpadded = geometry.pads == [0; 4];
    let (input, output, kernel, geometry) =
        if unpadded && groups == 1 && kernel == [input[0], input[1]] && geometry.dilations == [1, 1] {
            // Sees everything at once: a vector times a matrix.
            let all = input[0] * input[1] * input[2];
            ([1, 1, all], output, [1, 1], Geometry { strides: [1, 1], ..*geometry })
        } else if unpadded && kernel == [1, 1] && geometry.strides == [1, 1] {
            // One pixel at a time: rows of one pixel.
            ([input[0] * input[1], 1, input[2]], [output[0] * output[1], 1, output[2]], kernel, *geometry)
        } else {
            (input, output, kernel, *geometry)
        };
    Kernel::Convolution { extent: window_extent(input, output, kernel, &geometry), groups }
}

fn window_extent(input: [u32; 3], output: [u32; 3], kernel: [u32; 2], geometry: &Geometry) -> WindowGeometry {
    let pair = |values: [usize; 2]| [values[0] as u32, values[1] as u32];
    WindowGeometry {
        input,
        output,
        kernel,
        strides: pair(geometry.strides),
        dilations: pair(geometry.dilations),
        pads: [geometry.pads[0] as u32, geometry.pads[1] as u32],
        displacement: None,
    }
}

fn pool_extent(input: [u32; 3], output: [u32; 3], window: &PoolWindow) -> WindowGeometry {
    let pair = |values: [usize; 2]| [values[0] as u32, values[1] as u32];
    WindowGeometry {
        input,
        output,
        kernel: pair(window.kernel),
        strides: pair(window.strides),
        dilations: pair(window.dilations),
        pads: [window.pads[0] as u32, window.pads[1] as u32],
        displacement: None,
    }
}
