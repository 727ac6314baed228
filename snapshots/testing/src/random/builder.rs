//! The graph under construction, and the choices that all steps share.

use super::spread::{Spread, range};
use super::{RandomOptions, Step};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, Tensor, TensorType};

/// The scale of every value. Integer graphs compute without scales, but joined values must
/// have the same.
const SCALE: f32 = 0.0625;

/// Most channels that joining, grouping and reshaping give.
pub const MOST_CHANNELS: usize = 40;

/// Element and quantization wanted of a result.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Element type.
    pub element: Element,
    /// Scale and zero point.
    pub quantization: Quantization,
}

/// Position of an activation in [`Builder::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// An activation of the graph.
#[derive(Clone, Debug)]
pub struct Activation {
    node: NodeId,
    spread: Spread,
    used: bool,
    /// An input, perhaps in another shape or order: nothing that a device would compute.
    raw: bool,
}

/// The graph under construction.
pub struct Builder<'o> {
    pub random: SplitMix64,
    pub options: &'o RandomOptions,
    graph: Graph,
    values: Vec<Activation>,
    inputs: usize,
    operators: usize,
}

impl<'o> Builder<'o> {
    /// An empty graph.
    pub fn new(seed: u64, options: &'o RandomOptions) -> Self {
        Self {
            random: SplitMix64::new(seed),
            options,
            graph: Graph::new(format!("random_{seed}")),
            values: Vec::new(),
            inputs: 0,
            operators: 0,
        }
    }

    /// Adds inputs and steps and chooses outputs.
    pub fn build(mut self) -> Graph {
        // Drawn apart from the rest: the bound decides where the graph ends, not how it begins.
        let bound = {
            let (least, most) = (*self.options.operators.start(), *self.options.operators.end());
            self.random.clone().between(least.max(1), most.max(1))
        };
        self.random.bits();
        self.inputs = self.random.between(1, self.options.inputs);
        for _ in 0..self.inputs {
            self.input();
        }
        while self.operators < bound {
            let step = self.choose(bound - self.operators);
            self.step(step);
        }
        let outputs = self.outputs();
        rebuilt(&self.graph, &outputs)
    }

    fn input(&mut self) {
        let target = self.target();
        let channels = self.channels();
        let extents = [0, 1].map(|_| self.random.between(1, self.options.extent));
        // Inputs of equal size meet in sums and joins.
        let shape = match self.values.first() {
            Some(first) if self.random.chance(50) => self.graph.node(first.node).ty.shape.clone(),
            Some(_) | None => vec![1, extents[0], extents[1], channels],
        };
        let ty = TensorType::int(shape, target.element).quantized(target.quantization);
        let node = self.graph.input(&format!("input{}", self.values.len()), ty);
        self.values.push(Activation { node, spread: Spread::uniform(target.element), used: false, raw: true });
    }

    fn choose(&mut self, remaining: usize) -> Step {
        let fitting: Vec<Step> = self
            .options
            .steps
            .iter()
            .copied()
            .filter(|step| step.most_operators() <= remaining && (self.operators > 0 || !step.is_layout()))
            .collect();
        let steps = if fitting.is_empty() { &self.options.steps } else { &fitting };
        let mut ticket = self.random.below(steps.iter().map(|step| step.weight()).sum());
        for &step in steps {
            match ticket.checked_sub(step.weight()) {
                None => return step,
                Some(rest) => ticket = rest,
            }
        }
        unreachable!("the ticket is below the sum of the weights")
    }

    fn step(&mut self, step: Step) {
        let x = match step {
            Step::Add | Step::Multiply | Step::Table | Step::ArgMax => self.find(|_, _| true),
            // On an input it would be the host's work.
            Step::Reshape => self.find(|x, _| !x.raw).or_else(|| self.find(|_, _| true)),
            Step::Transpose => self.find(|x, ty| !x.raw && ty.shape.len() == 4).or_else(|| self.image()),
            Step::Convolution
            | Step::Deformable
            | Step::Dense
            | Step::AveragePool
            | Step::MaxPool
            | Step::Residual
            | Step::SqueezeExcite
            | Step::Concat
            | Step::Slice
            | Step::Select
            | Step::Pad
            | Step::Resize
            | Step::TopPeaks => self.image(),
        };
        let x = x.expect("invariant: the first input is an image");
        match step {
            Step::Convolution => self.convolution(x),
            Step::Deformable => self.deformable(x),
            Step::Dense => self.dense(x),
            Step::AveragePool => self.average_pool(x),
            Step::MaxPool => self.max_pool(x),
            Step::Add => self.sum(x),
            Step::Multiply => self.product(x),
            Step::Residual => self.residual(x),
            Step::SqueezeExcite => self.squeeze_excite(x),
            Step::Table => self.table(x),
            Step::Concat => self.concat(x),
            Step::Slice => self.slice(x),
            Step::Select => self.select(x),
            Step::Pad => self.pad(x),
            Step::Resize => self.resize(x),
            Step::Reshape => self.reshape(x),
            Step::ArgMax => self.argmax(x),
            Step::TopPeaks => self.top_peaks(x),
            Step::Transpose => self.transpose(x),
        };
    }

    /// The type of a value.
    pub fn ty(&self, x: Value) -> &TensorType {
        &self.graph.node(self.values[x.0].node).ty
    }

    /// Height, width and channels of an image.
    pub fn extents(&self, x: Value) -> [usize; 3] {
        self.ty(x).shape[1..].try_into().expect("invariant: only images are asked for their extents")
    }

    /// The zero point of a value.
    pub fn zero_point(&self, x: Value) -> i32 {
        self.ty(x).quantization.expect("invariant: every value is quantized").zero_point
    }

    /// The estimated spread of a value.
    pub fn spread(&self, x: Value) -> Spread {
        self.values[x.0].spread
    }

    /// An element type and quantization.
    pub fn target(&mut self) -> Target {
        let element = self.random.pick(&self.options.elements);
        let (lo, hi) = range(element);
        let zero_point = match self.random.below(4) {
            0 => self.random.integer(lo, hi),
            1 => lo + (hi - lo) / 2,
            _ => 0,
        };
        Target { element, quantization: Quantization { scale: SCALE, zero_point } }
    }

    /// A number of channels.
    pub fn channels(&mut self) -> usize {
        if self.random.chance(8) {
            return self.options.wide_channels;
        }
        let channels = self.random.between(1, self.options.channels);
        // Runs of four channels, in which weights have patterns, occur more often than by chance.
        if self.random.chance(25) { channels.next_multiple_of(4).min(self.options.channels.max(4)) } else { channels }
    }

    /// An image `[1,h,w,c]`, if possible one without a user.
    fn image(&mut self) -> Option<Value> {
        self.find(|_, ty| ty.shape.len() == 4)
    }

    /// A suitable value, if there is one; mostly one without a user.
    pub fn find(&mut self, suitable: impl Fn(&Activation, &TensorType) -> bool) -> Option<Value> {
        let all: Vec<Value> =
            (0..self.values.len()).map(Value).filter(|&x| suitable(&self.values[x.0], self.ty(x))).collect();
        let unused: Vec<Value> = all.iter().copied().filter(|x| !self.values[x.0].used).collect();
        let choices = if unused.is_empty() || self.random.chance(25) { all } else { unused };
        if choices.is_empty() { None } else { Some(self.random.pick(&choices)) }
    }

    /// The other values of a value's shape.
    pub fn others(&self, x: Value) -> Vec<Value> {
        (0..self.values.len()).map(Value).filter(|&y| y != x && self.ty(y).shape == self.ty(x).shape).collect()
    }

    /// A constant operand.
    pub fn constant(&mut self, name: &str, tensor: Tensor, element: Element) -> NodeId {
        let ty = TensorType::int(tensor.shape.clone(), element);
        self.graph.constant(&format!("{name}{}", self.operators), tensor, ty)
    }

    /// Adds an operator on values and constants. Its result has the target's quantization, or
    /// without one what inference says.
    pub fn apply(
        &mut self,
        op: Op,
        values: &[Value],
        constants: &[NodeId],
        target: Option<Target>,
        spread: Spread,
    ) -> Value {
        let operands: Vec<NodeId> =
            values.iter().map(|x| self.values[x.0].node).chain(constants.iter().copied()).collect();
        let types = self.graph.types(&operands);
        let mut ty = op.infer(&types).unwrap_or_else(|message| unreachable!("operands of {op:?} fit: {message}"));
        ty.quantization = target.map_or(ty.quantization, |target| Some(target.quantization));
        let name = format!("{}{}", op.name(), self.operators);
        let layout = matches!(op, Op::Reshape(_) | Op::Transpose(_));
        let node = self.graph.add_typed(&name, op, &operands, ty).expect("invariant: the type was inferred");
        for x in values {
            self.values[x.0].used = true;
        }
        self.operators += 1;
        let raw = layout && self.values[values[0].0].raw;
        self.values.push(Activation { node, spread, used: false, raw });
        Value(self.values.len() - 1)
    }

    /// Images of the same height and width as a value, itself among them.
    pub fn of_one_size(&self, x: Value) -> Vec<Value> {
        let size = &self.ty(x).shape[1..3];
        let same = |y: &Value| self.ty(*y).shape.len() == 4 && self.ty(*y).shape[1..3] == *size;
        (0..self.values.len()).map(Value).filter(same).collect()
    }

    /// Takes the value that was computed last out of those that steps choose from.
    pub fn withdraw(&mut self) -> NodeId {
        self.values.pop().expect("invariant: there are inputs").node
    }

    /// The last values and some that are used further. No input is an output.
    fn outputs(&mut self) -> Vec<NodeId> {
        let mut computed: Vec<Activation> = self.values.iter().filter(|value| !value.raw).cloned().collect();
        if computed.is_empty() {
            computed = self.values[self.inputs..].to_vec();
        }
        let mut outputs: Vec<NodeId> =
            computed.iter().rev().filter(|value| !value.used).map(|value| value.node).collect();
        outputs.truncate(self.options.outputs);
        let used: Vec<NodeId> = computed.iter().filter(|value| value.used).map(|value| value.node).collect();
        if outputs.len() < self.options.outputs && !used.is_empty() && self.random.chance(30) {
            outputs.push(self.random.pick(&used));
        }
        if outputs.len() < self.options.outputs && self.options.repeated_outputs && self.random.chance(4) {
            outputs.push(self.random.pick(&outputs));
        }
        if self.random.chance(70) {
            outputs.reverse();
        }
        outputs
    }
}

/// The part of a graph that the outputs depend on. Unlike [`Graph::without_dead_nodes`] it keeps
/// no unused input.
fn rebuilt(graph: &Graph, outputs: &[NodeId]) -> Graph {
    let mut live = vec![false; graph.nodes().len()];
    for id in outputs {
        live[id.index()] = true;
    }
    for id in graph.ids().rev() {
        if live[id.index()] {
            for operand in &graph.node(id).operands {
                live[operand.index()] = true;
            }
        }
    }
    let mut result = Graph::new(&graph.name);
    let mut map = vec![NodeId(u32::MAX); graph.nodes().len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        map[id.index()] = match &node.op {
            Op::Input => result.input(&node.name, node.ty.clone()),
            Op::Constant(tensor) => result.constant(&node.name, tensor.clone(), node.ty.clone()),
            op => {
                let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand.index()]).collect();
                result
                    .add_typed(&node.name, op.clone(), &operands, node.ty.clone())
                    .expect("invariant: it was added before")
            }
        };
    }
    result.set_outputs(outputs.iter().map(|id| map[id.index()]).collect());
    result
}
