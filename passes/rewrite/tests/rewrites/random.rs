//! Random tensors and small graphs with random attributes.

use lutweave_ir::op::{Binary, Conv, Dense, Geometry, Reshape, Transpose, Unary};
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, Tensor, TensorType};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `lo` to `hi`, both included.
    pub fn from(&mut self, lo: usize, hi: usize) -> usize {
        lo + (self.next() % (hi - lo + 1) as u64) as usize
    }

    pub fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.from(0, choices.len() - 1)]
    }

    /// From -2 to 2.
    pub fn real(&mut self) -> f32 {
        (self.next() % 4001) as f32 / 1000.0 - 2.0
    }

    pub fn permutation(&mut self, rank: usize) -> Vec<usize> {
        let mut permutation: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            permutation.swap(i, self.from(0, i));
        }
        permutation
    }

    /// A random value of a type.
    pub fn tensor(&mut self, ty: &TensorType) -> Tensor {
        let count = ty.count();
        match ty.element.range() {
            None => Tensor::f32(ty.shape.clone(), (0..count).map(|_| self.real()).collect::<Vec<_>>()),
            Some((lo, hi)) => {
                let (lo, hi) = (lo.max(-100_000), hi.min(100_000));
                let span = (hi - lo + 1) as u64;
                let elements: Vec<i32> = (0..count).map(|_| (lo + (self.next() % span) as i64) as i32).collect();
                Tensor::int(ty.shape.clone(), elements)
            }
        }
    }
}

/// A graph under construction.
pub struct Maker {
    pub graph: Graph,
    pub random: Random,
}

impl Maker {
    pub fn new(seed: u64) -> Self {
        Self { graph: Graph::new("case"), random: Random(seed) }
    }

    pub fn input(&mut self, shape: &[usize]) -> NodeId {
        self.graph.input("x", TensorType::f32(shape))
    }

    /// An image `[1,h,w,c]` of random extents.
    pub fn image(&mut self) -> NodeId {
        let shape = [1, self.random.from(3, 5), self.random.from(3, 5), self.random.from(1, 4)];
        self.input(&shape)
    }

    /// An integer input.
    pub fn integers(&mut self, shape: &[usize], element: Element, zero_point: i32) -> NodeId {
        let quantization = Quantization { scale: 0.5, zero_point };
        self.graph.input("q", TensorType::int(shape, element).quantized(quantization))
    }

    pub fn floats(&mut self, shape: &[usize], elements: Vec<f32>) -> NodeId {
        self.graph.constant("k", Tensor::f32(shape, elements), TensorType::f32(shape))
    }

    pub fn constant(&mut self, shape: &[usize]) -> NodeId {
        let ty = TensorType::f32(shape);
        let value = self.random.tensor(&ty);
        self.graph.constant("k", value, ty)
    }

    pub fn scalar(&mut self, value: f32) -> NodeId {
        self.floats(&[], vec![value])
    }

    /// A constant whose elements are positive, or not.
    pub fn factors(&mut self, count: usize) -> NodeId {
        let sign = self.random.flip();
        let elements = (0..count)
            .map(|_| {
                let real = self.random.real();
                if sign { real.abs() + 0.1 } else { real }
            })
            .collect();
        self.floats(&[count], elements)
    }

    pub fn shape(&self, id: NodeId) -> Vec<usize> {
        self.graph.node(id).ty.shape.clone()
    }

    pub fn channels(&self, id: NodeId) -> usize {
        *self.shape(id).last().expect("rank above 0")
    }

    pub fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.graph.add("n", op, operands).expect("cases are well-typed")
    }

    pub fn unary(&mut self, unary: Unary, x: NodeId) -> NodeId {
        self.add(Op::Unary(unary), &[x])
    }

    pub fn binary(&mut self, binary: Binary, x: NodeId, y: NodeId) -> NodeId {
        self.add(Op::Binary(binary), &[x, y])
    }

    pub fn transpose(&mut self, x: NodeId, permutation: &[usize]) -> NodeId {
        self.add(Op::Transpose(Transpose { permutation: permutation.to_vec() }), &[x])
    }

    pub fn shuffled(&mut self, x: NodeId) -> (NodeId, Vec<usize>) {
        let rank = self.shape(x).len();
        let permutation = self.random.permutation(rank);
        (self.transpose(x, &permutation), permutation)
    }

    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        self.add(Op::Reshape(Reshape { shape: shape.to_vec() }), &[x])
    }

    /// A convolution with random geometry.
    pub fn conv(&mut self, x: NodeId) -> NodeId {
        let pads = if self.random.flip() { [0; 4] } else { std::array::from_fn(|_| self.random.from(0, 1)) };
        let kernel = [self.random.from(1, 2), self.random.from(1, 2)];
        self.conv_with(x, kernel, pads)
    }

    pub fn conv_with(&mut self, x: NodeId, kernel: [usize; 2], pads: [usize; 4]) -> NodeId {
        let inputs = self.channels(x);
        let groups = if self.random.flip() { 1 } else { inputs };
        let outputs = groups * self.random.from(1, 3);
        let strides = if self.random.flip() { [1, 1] } else { [self.random.from(1, 2), self.random.from(1, 2)] };
        let geometry = Geometry { strides, dilations: [1, self.random.from(1, 2)], pads, groups };
        self.conv_of(x, kernel, outputs, geometry)
    }

    pub fn conv_of(&mut self, x: NodeId, kernel: [usize; 2], outputs: usize, geometry: Geometry) -> NodeId {
        let w = self.constant(&[outputs, kernel[0], kernel[1], self.channels(x) / geometry.groups]);
        let mut operands = vec![x, w];
        if self.random.flip() {
            operands.push(self.constant(&[outputs]));
        }
        self.add(Op::Conv(Conv { geometry }), &operands)
    }

    pub fn dense(&mut self, x: NodeId) -> NodeId {
        let outputs = self.random.from(1, 4);
        let w = self.constant(&[outputs, self.channels(x)]);
        let b = self.constant(&[outputs]);
        self.add(Op::Dense(Dense), &[x, w, b])
    }

    /// A function that no rule touches: keeps a value from being constant or fused away.
    pub fn opaque(&mut self, x: NodeId) -> NodeId {
        self.unary(Unary::Abs, x)
    }

    pub fn finish(mut self, outputs: &[NodeId]) -> Graph {
        self.graph.set_outputs(outputs.to_vec());
        self.graph
    }
}
