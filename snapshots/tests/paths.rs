//! Paths that part, cut, pad, upsample and look around, and meet again: their queues must hold
//! what the others wait for.

use lutweave_ir::op::{Borders, Concat, MaxPool, Pad, Resize, Slice, Window};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Element, Graph, NodeId, Op, TensorType, text};
use lutweave_snapshots::cases::{all_pass, seeds};
use lutweave_snapshots::executors::{agree, circuit, samples};

/// Paths from one image to a box of common rows and columns.
struct Paths {
    graph: Graph,
    random: SplitMix64,
}

impl Paths {
    fn graph(seed: u64) -> Graph {
        let mut random = SplitMix64::new(seed);
        let most = if random.chance(20) { 24 } else { 12 };
        let image = [1, random.between(1, most), random.between(1, most), random.between(1, 4)];
        let size = [random.between(1, image[1]), random.between(1, image[2])];
        let mut paths = Self { graph: Graph::new("paths"), random };
        let input = paths.graph.input("image", TensorType::int(image, Element::I8));
        let mut ends: Vec<NodeId> = (0..paths.random.between(2, 4)).map(|_| paths.path(input, size)).collect();
        // Along rows or columns channels have to be as many.
        let axis = if paths.random.chance(60) { 3 } else { paths.random.between(1, 2) };
        if axis < 3 {
            let channels = ends.iter().map(|&end| paths.graph.node(end).ty.shape[3]).min().unwrap_or(1);
            ends = ends.into_iter().map(|end| paths.first_channels(end, channels)).collect();
        }
        let joined = paths.apply(Op::Concat(Concat { axis }), &ends);
        paths.graph.set_outputs(vec![joined]);
        paths.graph
    }

    fn path(&mut self, mut from: NodeId, size: [usize; 2]) -> NodeId {
        for _ in 0..self.random.below(3) {
            from = match self.random.below(3) {
                0 => self.pad(from),
                1 => self.window(from),
                _ => self.upsample(from),
            };
        }
        let [height, width] = self.extents(from);
        // Too small for the box: what is missing is added around.
        let kept = [size[0].min(height), size[1].min(width)];
        let cut = self.cut(from, kept);
        if kept == size {
            return cut;
        }
        let missing = [size[0] - kept[0], size[1] - kept[1]];
        let before = missing.map(|missing| self.random.below(missing + 1));
        let after = [missing[0] - before[0], missing[1] - before[1]];
        self.padded(cut, before, after)
    }

    fn first_channels(&mut self, from: NodeId, channels: usize) -> NodeId {
        let mut sizes = self.graph.node(from).ty.shape.clone();
        if sizes[3] == channels {
            return from;
        }
        sizes[3] = channels;
        self.apply(Op::Slice(Slice { starts: vec![0; 4], sizes, steps: vec![1; 4] }), &[from])
    }

    fn cut(&mut self, from: NodeId, size: [usize; 2]) -> NodeId {
        let shape = self.graph.node(from).ty.shape.clone();
        let channels = self.random.between(1, shape[3]);
        let sizes = vec![1, size[0], size[1], channels];
        let (mut starts, mut steps) = (vec![0; 4], vec![1; 4]);
        for axis in 1..4 {
            let room = if sizes[axis] > 1 { (shape[axis] - 1) / (sizes[axis] - 1) } else { 1 };
            steps[axis] = self.random.between(1, room.min(3));
            starts[axis] = self.random.below(shape[axis] - (sizes[axis] - 1) * steps[axis]);
        }
        self.apply(Op::Slice(Slice { starts, sizes, steps }), &[from])
    }

    fn pad(&mut self, from: NodeId) -> NodeId {
        let mut some = || [self.random.below(3), self.random.below(3)];
        let (before, after) = (some(), some());
        self.padded(from, before, after)
    }

    fn padded(&mut self, from: NodeId, before: [usize; 2], after: [usize; 2]) -> NodeId {
        let [before, after] = [before, after].map(|[rows, columns]| vec![0, rows, columns, 0]);
        self.apply(Op::Pad(Pad { before, after, value: 3.0 }), &[from])
    }

    fn window(&mut self, from: NodeId) -> NodeId {
        let [height, width] = self.extents(from);
        let kernel = [self.random.between(1, height.min(4)), self.random.between(1, width.min(4))];
        let strides = [self.random.between(1, 2), self.random.between(1, 2)];
        let before = kernel.map(|kernel| self.random.below(kernel));
        let after = kernel.map(|kernel| self.random.below(kernel));
        let pads = [before[0], before[1], after[0], after[1]];
        self.apply(Op::MaxPool(MaxPool { window: Window { kernel, strides, dilations: [1, 1], pads } }), &[from])
    }

    fn upsample(&mut self, from: NodeId) -> NodeId {
        let factors = [self.random.between(1, 3), self.random.between(1, 2)];
        let borders = if self.random.chance(40) { [0; 4].map(|_: usize| self.random.below(4)) } else { [0; 4] };
        self.apply(Op::Resize(Resize { factors, borders: Borders(borders) }), &[from])
    }

    fn extents(&self, node: NodeId) -> [usize; 2] {
        let shape = &self.graph.node(node).ty.shape;
        [shape[1], shape[2]]
    }

    fn apply(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.graph.add("step", op, operands).expect("the operands fit")
    }
}

#[test]
fn paths_agree() {
    let check = |&seed: &u64| {
        let graph = Paths::graph(seed);
        let circuit = circuit(&graph, 0.5, 4)?;
        agree(&graph, &circuit, &samples(&graph, 3, seed), seed as u32).map(drop)
    };
    all_pass(seeds(300, 5000), check, |seed| format!("seed {seed}\n{}", text::print_summary(&Paths::graph(*seed))));
}
