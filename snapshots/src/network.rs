//! Small float networks, written down in a few lines.

use lutweave_ir::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv, Dense, Geometry, MaxPool, Pad, ReduceMean, Reshape, Resize, Slice,
    Unary, Window,
};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Graph, NodeId, Op, Tensor, TensorType};

/// A network under construction. Weights are random, the same at each call.
#[derive(Debug)]
pub struct Network {
    graph: Graph,
    random: SplitMix64,
}

/// A window and how it moves.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub strides: [usize; 2],
    /// Padding at top, left, bottom, right.
    pub pads: [usize; 4],
    /// Vertical and horizontal dilation.
    pub dilations: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

impl Shape {
    /// A square kernel with stride 1, padded so that the extents stay.
    pub fn square(kernel: usize) -> Self {
        let before = (kernel - 1) / 2;
        let after = kernel - 1 - before;
        Self {
            kernel: [kernel; 2],
            strides: [1; 2],
            pads: [before, before, after, after],
            dilations: [1; 2],
            groups: 1,
        }
    }

    /// Any kernel, without padding.
    pub fn valid(height: usize, width: usize) -> Self {
        Self { kernel: [height, width], pads: [0; 4], ..Self::square(1) }
    }

    /// With another stride.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Self { strides: [stride; 2], ..self }
    }

    /// With the same padding on all sides.
    #[must_use]
    pub fn pad(self, pad: usize) -> Self {
        Self { pads: [pad; 4], ..self }
    }

    /// With channel groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    fn window(self) -> Window {
        Window { kernel: self.kernel, strides: self.strides, dilations: self.dilations, pads: self.pads }
    }
}

impl Network {
    /// An empty network.
    pub fn new(name: &str) -> Self {
        let seed = name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self { graph: Graph::new(name), random: SplitMix64::new(seed) }
    }

    /// The network with its outputs.
    pub fn finish(mut self, outputs: &[NodeId]) -> Graph {
        self.graph.set_outputs(outputs.to_vec());
        self.graph
    }

    /// An image input.
    pub fn input(&mut self, height: usize, width: usize, channels: usize) -> NodeId {
        let name = format!("input{}", self.graph.inputs().len());
        self.graph.input(&name, TensorType::f32([1, height, width, channels]))
    }

    /// Any operator.
    ///
    /// # Panics
    /// If the operands do not fit: the networks here are fixed.
    pub fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let name = format!("{}{}", op.name(), self.graph.nodes().len());
        self.graph.add(&name, op, operands).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A constant of uniform random values around 0.
    pub fn random(&mut self, shape: Vec<usize>, amplitude: f64) -> NodeId {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.random.real(-amplitude, amplitude) as f32).collect();
        let name = format!("constant{}", self.graph.nodes().len());
        self.graph.constant(&name, Tensor::f32(shape.clone(), values), TensorType::f32(shape))
    }

    fn channels(&self, x: NodeId) -> usize {
        *self.graph.node(x).ty.shape.last().unwrap_or(&1)
    }

    /// A convolution with a bias.
    pub fn conv(&mut self, x: NodeId, channels: usize, shape: Shape) -> NodeId {
        let depth = self.channels(x) / shape.groups;
        let [height, width] = shape.kernel;
        let amplitude = 1.7 / ((height * width * depth) as f64).sqrt();
        let weights = self.random(vec![channels, height, width, depth], amplitude);
        let bias = self.random(vec![channels], 0.3);
        let Shape { strides, dilations, pads, groups, .. } = shape;
        let geometry = Geometry { strides, dilations, pads, groups };
        self.add(Op::Conv(Conv { geometry }), &[x, weights, bias])
    }

    /// A convolution and a ReLU.
    pub fn conv_relu(&mut self, x: NodeId, channels: usize, shape: Shape) -> NodeId {
        let y = self.conv(x, channels, shape);
        self.relu(y)
    }

    /// Batch normalization with random parameters.
    pub fn batch_norm(&mut self, x: NodeId) -> NodeId {
        let channels = self.channels(x);
        let [scale, bias, mean] = [1.0, 0.5, 0.3].map(|amplitude| self.random(vec![channels], amplitude));
        let variance: Vec<f32> = (0..channels).map(|_| self.random.real(0.2, 1.5) as f32).collect();
        let variance = self.graph.constant("variance", Tensor::f32([channels], variance), TensorType::f32([channels]));
        self.add(Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &[x, scale, bias, mean, variance])
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: NodeId) -> NodeId {
        self.add(Op::Unary(Unary::Relu), &[x])
    }

    /// `x + y`.
    pub fn sum(&mut self, x: NodeId, y: NodeId) -> NodeId {
        self.add(Op::Binary(Binary::Add), &[x, y])
    }

    /// `x * y`.
    pub fn product(&mut self, x: NodeId, y: NodeId) -> NodeId {
        self.add(Op::Binary(Binary::Mul), &[x, y])
    }

    /// Largest of each window.
    pub fn max_pool(&mut self, x: NodeId, shape: Shape) -> NodeId {
        self.add(Op::MaxPool(MaxPool { window: shape.window() }), &[x])
    }

    /// Mean of each window; padding counts as zeros.
    pub fn average_pool(&mut self, x: NodeId, shape: Shape) -> NodeId {
        self.add(Op::AveragePool(AveragePool { window: shape.window(), counted_pads: Some(shape.pads) }), &[x])
    }

    /// Mean over the image.
    pub fn global_mean(&mut self, x: NodeId) -> NodeId {
        self.add(Op::ReduceMean(ReduceMean { axes: vec![1, 2], keep: true }), &[x])
    }

    /// Scales channels by a gate made of their means.
    pub fn squeeze_excite(&mut self, x: NodeId, hidden: usize) -> NodeId {
        let channels = self.channels(x);
        let mean = self.global_mean(x);
        let hidden = self.conv_relu(mean, hidden, Shape::square(1));
        let gate = self.conv(hidden, channels, Shape::square(1));
        let gate = self.add(Op::Unary(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }), &[gate]);
        self.product(x, gate)
    }

    /// Joined along an axis.
    pub fn concat(&mut self, axis: usize, parts: &[NodeId]) -> NodeId {
        self.add(Op::Concat(Concat { axis }), parts)
    }

    /// A strided box of height, width and channels.
    pub fn slice(&mut self, x: NodeId, starts: [usize; 3], sizes: [usize; 3], steps: [usize; 3]) -> NodeId {
        let with = |first: usize, rest: [usize; 3]| [&[first], &rest[..]].concat();
        self.add(Op::Slice(Slice { starts: with(0, starts), sizes: with(1, sizes), steps: with(1, steps) }), &[x])
    }

    /// A frame of zeros at top, left, bottom, right.
    pub fn pad(&mut self, x: NodeId, [top, left, bottom, right]: [usize; 4]) -> NodeId {
        self.add(Op::Pad(Pad { before: vec![0, top, left, 0], after: vec![0, bottom, right, 0], value: 0.0 }), &[x])
    }

    /// Nearest-neighbour upsampling.
    pub fn upsample(&mut self, x: NodeId, factors: [usize; 2]) -> NodeId {
        self.add(Op::Resize(Resize::by(factors)), &[x])
    }

    /// The image as a vector, and a dense layer on it.
    pub fn dense(&mut self, x: NodeId, outputs: usize) -> NodeId {
        let count = self.graph.node(x).ty.count();
        let flat = self.add(Op::Reshape(Reshape { shape: vec![1, count] }), &[x]);
        let weights = self.random(vec![outputs, count], 1.7 / (count as f64).sqrt());
        let bias = self.random(vec![outputs], 0.3);
        self.add(Op::Dense(Dense), &[flat, weights, bias])
    }
}
