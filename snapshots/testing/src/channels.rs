//! Random small float graphs, with channels that are dead on purpose.

use lutweave_ir::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv, Dense, Geometry, MaxPool, PRelu, Pad, ReduceMean, Reshape, Resize,
    Select, Slice, Transpose, Unary, Window,
};
use lutweave_ir::{Graph, NodeId, Op, Tensor, TensorType};

/// What a random graph is made of.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Percent of the rows and columns of weights that are zero.
    pub dead: u64,
    /// Only operators in which every channel of every value counts.
    pub live: bool,
}

/// A graph under construction. Every value is an image.
pub struct Draft {
    graph: Graph,
    values: Vec<NodeId>,
    state: u64,
    recipe: Recipe,
}

/// A graph of one operator per step; each step is a kind and a seed.
pub fn random_graph(steps: &[(u8, u64)], recipe: Recipe) -> Graph {
    let mut draft = Draft { graph: Graph::new("random"), values: Vec::new(), state: 1, recipe };
    let input = draft.graph.input("x", TensorType::f32([1, 4, 4, 3]));
    draft.values.push(input);
    draft.convolution(input);
    for &(kind, seed) in steps {
        draft.state = seed;
        let pick = draft.below(3).min(draft.values.len() - 1);
        let x = draft.values[draft.values.len() - 1 - pick];
        draft.step(kind, x);
    }
    draft.finish()
}

/// Inputs of a graph with elements from -1 to 1.
pub fn random_inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut state = seed;
    let input = |id: &NodeId| {
        let shape = graph.node(*id).ty.shape.clone();
        let elements: Vec<f32> = (0..shape.iter().product()).map(|_| real(&mut state)).collect();
        Tensor::f32(shape, elements)
    };
    graph.inputs().iter().map(input).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn bits(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// From -1 to 1.
fn real(state: &mut u64) -> f32 {
    (bits(state) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

impl Draft {
    fn below(&mut self, bound: usize) -> usize {
        (bits(&mut self.state) % bound as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        bits(&mut self.state) % 100 < percent
    }

    /// Magnitude from 1/4 to 1: nothing that is not planted is negligible.
    fn weight(&mut self) -> f32 {
        let real = real(&mut self.state);
        (real.abs() * 0.75 + 0.25).copysign(real)
    }

    fn floats(&mut self, shape: &[usize], element: impl FnMut(&mut Self) -> f32) -> NodeId {
        let mut element = element;
        let elements: Vec<f32> = (0..shape.iter().product()).map(|_| element(self)).collect();
        self.constant(Tensor::f32(shape, elements))
    }

    fn constant(&mut self, tensor: Tensor) -> NodeId {
        let ty = TensorType::f32(tensor.shape.clone());
        self.graph.constant("constant", tensor, ty)
    }

    fn shape(&self, x: NodeId) -> [usize; 4] {
        let shape = &self.graph.node(x).ty.shape;
        [shape[0], shape[1], shape[2], shape[3]]
    }

    fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let name = op.name();
        self.graph.add(name, op, operands).expect("invariant: the draft fits operands to operators")
    }

    fn push(&mut self, op: Op, operands: &[NodeId]) {
        let id = self.add(op, operands);
        self.values.push(id);
    }

    fn step(&mut self, kind: u8, x: NodeId) {
        let [_, h, w, c] = self.shape(x);
        let live = self.recipe.live;
        match kind % if live { 6 } else { 21 } {
            0 => self.convolution(x),
            1 => self.grouped(x, c),
            2 => self.sum(x),
            3 if h >= 2 && w >= 2 => {
                let window = Window { kernel: [2, 2], strides: [1, 2], dilations: [1, 1], pads: [0, 0, 1, 0] };
                let counted_pads = self.chance(50).then_some([0, 0, 1, 0]);
                let average = Op::AveragePool(AveragePool { window, counted_pads });
                let op = if live || self.chance(50) { average } else { Op::MaxPool(MaxPool { window }) };
                self.push(op, &[x]);
            }
            4 => self.push(Op::Unary(Unary::LeakyRelu { alpha: 0.5 }), &[x]),
            5 => self.concat(x),
            6..=8 => self.push(Op::Unary(Unary::Relu), &[x]),
            9 => {
                let functions = [Unary::Sigmoid, Unary::HardSwish, Unary::Clip { lo: -0.5, hi: 0.5 }];
                let function = functions[self.below(3)];
                self.push(Op::Unary(function), &[x]);
            }
            10 if c % 2 == 0 => self.grouped(x, 2),
            11 if h < 8 => {
                let value = [0.0, 0.0, 0.5][self.below(3)];
                let (front, back) = (self.below(2), self.below(2));
                let op = Op::Pad(Pad { before: vec![0, 1, 0, front], after: vec![0, 0, 1, back], value });
                self.push(op, &[x]);
            }
            12 if c > 1 => {
                let size = 1 + self.below(c - 1);
                let start = self.below(c - size + 1);
                let op =
                    Op::Slice(Slice { starts: vec![0, 0, 0, start], sizes: vec![1, h, w, size], steps: vec![1; 4] });
                self.push(op, &[x]);
            }
            20 => {
                let count = 1 + self.below(c + 2);
                let channels = (0..count).map(|_| self.below(c)).collect();
                self.push(Op::Select(Select { channels }), &[x]);
            }
            13 => {
                let parameters: Vec<NodeId> = (0..4).map(|_| self.floats(&[c], |draft| draft.weight().abs())).collect();
                let operands = [&[x][..], &parameters].concat();
                self.push(Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &operands);
            }
            14 => {
                let slope = self.floats(&[c], Self::weight);
                self.push(Op::PRelu(PRelu), &[x, slope]);
            }
            15 if h < 6 => self.push(Op::Resize(Resize::by([1, 2])), &[x]),
            16 => {
                let flat = self.add(Op::Reshape(Reshape { shape: vec![1, h * w * c] }), &[x]);
                let turned = self.add(Op::Reshape(Reshape { shape: vec![1, w, h, c] }), &[flat]);
                self.push(Op::Transpose(Transpose { permutation: vec![0, 2, 1, 3] }), &[turned]);
            }
            17 => {
                let first = self.add(Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[x]);
                let factor = self.floats(&[c, 1, 1], Self::weight);
                let scaled = self.add(Op::Binary(Binary::Mul), &[first, factor]);
                self.push(Op::Transpose(Transpose { permutation: vec![0, 2, 3, 1] }), &[scaled]);
            }
            18 => {
                let mean = self.add(Op::ReduceMean(ReduceMean { axes: vec![1, 2], keep: true }), &[x]);
                let (weights, bias) = self.weights([c, 1, 1, c]);
                let gate = self.add(Op::Conv(Conv { geometry: Geometry::PLAIN }), &[mean, weights, bias]);
                let gate = self.add(Op::Unary(Unary::Sigmoid), &[gate]);
                self.push(Op::Binary(Binary::Mul), &[x, gate]);
            }
            19 => {
                let mean = self.add(Op::ReduceMean(ReduceMean { axes: vec![3], keep: true }), &[x]);
                self.push(Op::Binary(Binary::Sub), &[x, mean]);
            }
            _ => self.push(Op::Unary(Unary::Tanh), &[x]),
        }
    }

    /// Weights and bias with rows and columns of zeros.
    fn weights(&mut self, [o, kh, kw, i]: [usize; 4]) -> (NodeId, NodeId) {
        let rows: Vec<bool> = (0..o).map(|_| self.chance(self.recipe.dead)).collect();
        let columns: Vec<bool> = (0..i).map(|_| self.chance(self.recipe.dead)).collect();
        let mut position = 0;
        let weights = self.floats(&[o, kh, kw, i], |draft| {
            let dead = rows[position / (kh * kw * i)] || columns[position % i];
            position += 1;
            if dead { 0.0 } else { draft.weight() }
        });
        let mut row = 0;
        let bias = self.floats(&[o], |draft| {
            row += 1;
            if rows[row - 1] && draft.chance(50) { 0.0 } else { draft.weight() }
        });
        (weights, bias)
    }

    fn convolution(&mut self, x: NodeId) {
        let c = self.shape(x)[3];
        let (outputs, wide) = (1 + self.below(5), self.chance(50));
        let kernel = if wide { 3 } else { 1 };
        let (weights, bias) = self.weights([outputs, kernel, kernel, c]);
        let pads = if wide { [1; 4] } else { [0; 4] };
        let conv = Op::Conv(Conv { geometry: Geometry { pads, ..Geometry::PLAIN } });
        let biased = self.recipe.live || self.chance(70);
        let operands = [x, weights, bias];
        self.push(conv, &operands[..if biased { 3 } else { 2 }]);
    }

    fn grouped(&mut self, x: NodeId, groups: usize) {
        let [_, h, _, c] = self.shape(x);
        let outputs = groups * (1 + self.below(2));
        let (weights, bias) = self.weights([outputs, 2, 1, c / groups]);
        let pads = if h < 2 || self.chance(50) { [1, 0, 0, 0] } else { [0; 4] };
        let geometry = Geometry { pads, groups, ..Geometry::PLAIN };
        self.push(Op::Conv(Conv { geometry }), &[x, weights, bias]);
    }

    fn sum(&mut self, x: NodeId) {
        let shape = self.shape(x);
        let same: Vec<NodeId> = self.values.iter().copied().filter(|&y| y != x && self.shape(y) == shape).collect();
        let other = match same.last() {
            Some(&other) => other,
            None => self.floats(&[shape[3]], Self::weight),
        };
        self.push(Op::Binary(Binary::Add), &[x, other]);
    }

    fn concat(&mut self, x: NodeId) {
        let [_, h, w, c] = self.shape(x);
        let fits = |draft: &Self, y: NodeId| draft.shape(y)[1..3] == [h, w] && draft.shape(y)[3] + c < 12;
        let others: Vec<NodeId> = self.values.iter().copied().filter(|&y| y != x && fits(self, y)).collect();
        match others.last() {
            Some(&other) => self.push(Op::Concat(Concat { axis: 3 }), &[x, other]),
            None if self.recipe.live || c > 8 => self.push(Op::Unary(Unary::Tanh), &[x]),
            None => {
                let constant = self.constant(Tensor::f32([1, h, w, 2], vec![0.5; h * w * 2]));
                self.push(Op::Concat(Concat { axis: 3 }), &[constant, x]);
            }
        }
    }

    /// Every value that nothing reads goes into a matrix product; the last is an output itself.
    fn finish(mut self) -> Graph {
        let users = self.graph.users();
        let unread: Vec<NodeId> = self.values.iter().copied().filter(|id| users[id.index()].is_empty()).collect();
        let mut outputs = Vec::new();
        for x in unread {
            let count = self.shape(x).iter().product();
            let flat = self.add(Op::Reshape(Reshape { shape: vec![1, count] }), &[x]);
            let weights = self.floats(&[2, count], Self::weight);
            outputs.push(self.add(Op::Dense(Dense), &[flat, weights]));
        }
        self.graph.set_outputs(outputs);
        self.graph
    }
}
