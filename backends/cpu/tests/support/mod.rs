//! Random small integer graphs with inputs that reach the extremes of their types.

use lutweave_ir::op::{
    Borders, Concat, Geometry, MaxPool, Op, Pad, QAdd, QAveragePool, QConv, QDeformConv, QMul, Reshape, Resize,
    Sampling, Select, Slice, Table, TopPeaks, Transpose, Window,
};
use lutweave_ir::{Element, Graph, NodeId, Requantize, Tensor, TensorType};

/// Choices made from a list of numbers, so that a shorter list is a simpler graph.
pub struct Choices<'a> {
    numbers: &'a [u32],
    position: usize,
    state: u64,
}

impl<'a> Choices<'a> {
    pub fn new(numbers: &'a [u32], seed: u64) -> Self {
        Self { numbers, position: 0, state: seed }
    }

    /// A number below `bound`, 0 when the list has ended.
    fn below(&mut self, bound: usize) -> usize {
        let number = self.numbers.get(self.position).copied().unwrap_or(0);
        self.position += 1;
        number as usize % bound
    }

    fn from(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform, with the bounds more often than that.
    fn value(&mut self, (lo, hi): (i64, i64)) -> i32 {
        let random = self.random();
        (match random % 16 {
            0 => lo,
            1 => hi,
            _ => lo + ((random >> 8) % (hi - lo + 1) as u64) as i64,
        }) as i32
    }

    pub fn tensor(&mut self, ty: &TensorType) -> Tensor {
        let range = ty.element.range().expect("integer type");
        Tensor::int(ty.shape.clone(), (0..ty.count()).map(|_| self.value(range)).collect::<Vec<_>>())
    }

    fn element(&mut self) -> Element {
        let bits = self.pick(&[8, 8, 8, 4, 5, 1]);
        Element::Int { bits, signed: bits > 1 && self.below(2) == 0 }
    }

    /// Factors that map accumulators of a magnitude to the whole range, most of the time.
    fn requantize(&mut self, element: Element, channels: usize, magnitude: f64) -> Requantize {
        let (least, most) = element.range().expect("integer type");
        let count = if self.below(3) == 0 { 1 } else { channels };
        let wild = self.below(6) == 0;
        let mut factors = Vec::new();
        for _ in 0..count {
            let random = self.random();
            factors.push(if wild {
                ((random >> 8) as u16, (random % 48) as u8)
            } else {
                let spread = 0.25 + (random % 1000) as f64 / 250.0;
                lutweave_ir::quant::factor((most - least) as f64 * spread / magnitude).expect("small factor")
            });
        }
        let (a, b) = (self.value((least, most)), self.value((least, most)));
        let full = self.below(2) == 0;
        Requantize {
            multipliers: factors.iter().map(|factor| factor.0).collect(),
            shifts: factors.iter().map(|factor| factor.1).collect(),
            zero_point: self.value((least, most)),
            lo: if full { least as i32 } else { a.min(b) },
            hi: if full { most as i32 } else { a.max(b) },
        }
    }

    fn window(&mut self, dilated: bool) -> Window {
        Window {
            kernel: [self.from(1, 4), self.from(1, 4)],
            strides: [self.from(1, 3), self.from(1, 3)],
            dilations: if dilated { [self.from(1, 2), self.from(1, 2)] } else { [1, 1] },
            pads: [self.below(3), self.below(3), self.below(3), self.below(3)],
        }
    }
}

/// A graph of a few operators; the operators that do not fit their operands are left out.
pub fn graph(choices: &mut Choices) -> Graph {
    let mut graph = Graph::new("random graph");
    let mut values = Vec::new();
    for index in 0..choices.from(1, 2) {
        let shape = vec![1, choices.from(1, 9), choices.from(1, 9), choices.pick(&[1, 3, 4, 8, 16, 17, 20, 33, 48])];
        let element = choices.element();
        values.push(graph.input(&format!("x{index}"), TensorType::int(shape, element)));
    }
    for index in 0..choices.from(1, 7) {
        let recent = choices.below(3) > 0;
        let operand = if recent { values[values.len() - 1] } else { choices.pick(&values) };
        if let Some(value) = node(&mut graph, choices, &values, operand, &format!("node {index}")) {
            values.push(value);
        }
    }
    let mut outputs = vec![values[values.len() - 1]];
    for _ in 0..choices.below(3) {
        outputs.push(choices.pick(&values));
    }
    graph.set_outputs(outputs);
    graph
}

fn node(graph: &mut Graph, choices: &mut Choices, values: &[NodeId], x: NodeId, name: &str) -> Option<NodeId> {
    let ty = graph.node(x).ty.clone();
    let range = ty.element.range()?;
    match choices.below(18) {
        0..=3 => convolution(graph, choices, x, None, name),
        14 => convolution(graph, choices, x, Some(Sampling::Square), name),
        15 => convolution(graph, choices, x, Some(Sampling::Free { offset_groups: 1 }), name),
        16 => {
            let mut operands = vec![x];
            for _ in 0..choices.below(3) {
                operands.push(second(graph, choices, values, x, name));
            }
            let count = choices.from(1, 9);
            graph.add(name, Op::TopPeaks(TopPeaks { count }), &operands).ok()
        }
        4 => {
            let element = choices.element();
            let requantize = choices.requantize(element, 1, 255.0 * 9.0);
            let pad_value = choices.value(range);
            let bias = choices.value((-2000, 2000));
            let window = choices.window(false);
            let pool = QAveragePool { window, pad_value, bias, requantize, element };
            graph.add(name, Op::QAveragePool(pool), &[x]).ok()
        }
        5 => graph.add(name, Op::MaxPool(MaxPool { window: choices.window(true) }), &[x]).ok(),
        6 | 7 => {
            let other = second(graph, choices, values, x, name);
            binary(graph, choices, x, other, name)
        }
        8 => {
            let element = choices.element();
            let target = element.range()?;
            let entries: Vec<i32> = (range.0..=range.1).map(|_| choices.value(target)).collect();
            graph.add(name, Op::Table(Table { entries: entries.into(), element }), &[x]).ok()
        }
        9 => {
            let axis = choices.below(ty.shape.len());
            let other = choices.pick(values);
            let operands = if choices.below(2) == 0 { vec![x, other, x] } else { vec![other, x] };
            graph
                .add(name, Op::Concat(Concat { axis }), &operands)
                .or_else(|_| graph.add(name, Op::Concat(Concat { axis }), &[x, x]))
                .ok()
        }
        10 => {
            let steps: Vec<usize> = ty.shape.iter().map(|_| choices.from(1, 2)).collect();
            let starts: Vec<usize> = ty.shape.iter().map(|&extent| choices.below(extent)).collect();
            let sizes = (0..ty.shape.len())
                .map(|axis| choices.from(1, (ty.shape[axis] - starts[axis]).div_ceil(steps[axis])))
                .collect();
            graph.add(name, Op::Slice(Slice { starts, sizes, steps }), &[x]).ok()
        }
        11 => {
            let channels = ty.shape.last().copied().unwrap_or(1);
            let count = choices.from(1, 2 * channels);
            let runs = choices.from(1, 3);
            let start = choices.below(channels);
            let channels = (0..count)
                .map(|at| if at % 4 < runs { (start + runs * at) % channels } else { choices.below(channels) })
                .collect();
            graph.add(name, Op::Select(Select { channels }), &[x]).ok()
        }
        12 => {
            let amounts = |choices: &mut Choices| -> Vec<usize> {
                (0..ty.shape.len()).map(|axis| if axis == 0 { 0 } else { choices.below(3) }).collect()
            };
            let (before, after) = (amounts(choices), amounts(choices));
            let value = choices.value(range) as f32;
            graph.add(name, Op::Pad(Pad { before, after, value }), &[x]).ok()
        }
        13 => {
            let factors = [choices.from(1, 3), choices.from(1, 3)];
            let borders = Borders([0; 4].map(|_: usize| choices.below(3)));
            let resize = Op::Resize(Resize { factors, borders });
            graph.add(name, resize, &[x]).ok().filter(|&id| graph.node(id).ty.count() < 20_000)
        }
        _ => {
            if choices.below(2) == 0 {
                let mut permutation: Vec<usize> = (0..ty.shape.len()).collect();
                let rotation = choices.from(1, 2);
                permutation[1..].rotate_left(rotation);
                graph.add(name, Op::Transpose(Transpose { permutation }), &[x]).ok()
            } else {
                let [_, h, w, c] = ty.shape[..] else { return None };
                let shape = choices.pick(&[[1, 1, 1, h * w * c], [1, w, h, c], [1, 1, h * w, c]]).to_vec();
                graph.add(name, Op::Reshape(Reshape { shape }), &[x]).ok()
            }
        }
    }
}

/// A convolution, perhaps with taps that constants move.
fn convolution(
    graph: &mut Graph,
    choices: &mut Choices,
    x: NodeId,
    moved: Option<Sampling>,
    name: &str,
) -> Option<NodeId> {
    let ty = graph.node(x).ty.clone();
    let [_, _, _, channels] = ty.shape[..] else { return None };
    let mut window = choices.window(true);
    if matches!(moved, Some(Sampling::Square)) {
        window = Window { kernel: [choices.pick(&[1, 3, 3, 5, 7]); 2], dilations: [1, 1], ..window };
    }
    let divisors: Vec<usize> = (1..=channels).filter(|groups| channels % groups == 0).collect();
    let groups = match choices.below(4) {
        0 => channels,
        1 => choices.pick(&divisors),
        _ => 1,
    };
    let per_group = if groups == channels && choices.below(4) > 0 { 1 } else { choices.from(1, 40) };
    let outputs = (groups * per_group).min(200) / groups * groups;
    if outputs == 0 {
        return None;
    }
    let depth = channels / groups;
    let bits = choices.pick(&[8, 8, 8, 4, 2, 9]);
    let weight_type =
        TensorType::int([outputs, window.kernel[0], window.kernel[1], depth], Element::Int { bits, signed: true });
    let weights = choices.tensor(&weight_type);
    let bias_type = TensorType::int([outputs], Element::I32);
    let biases: Vec<i32> = (0..outputs).map(|_| choices.value((-100_000, 100_000))).collect();
    let taps = (window.kernel[0] * window.kernel[1] * depth) as f64;
    let element = choices.element();
    let magnitude = 60.0 * f64::from(1u32 << bits) * taps.sqrt() + 50_000.0;
    let requantize = choices.requantize(element, outputs, magnitude);
    let pad_value = choices.value(ty.element.range()?);
    let geometry = Geometry { strides: window.strides, dilations: window.dilations, pads: window.pads, groups };
    let weights = graph.constant(&format!("{name} weights"), weights, weight_type);
    let bias = graph.constant(&format!("{name} bias"), Tensor::int([outputs], biases), bias_type);
    let plain = Op::QConv(QConv { geometry, pad_value, requantize: requantize.clone(), element });
    let Some(sampling) = moved else {
        return graph.add(name, plain, &[x, weights, bias]).ok();
    };
    let types = [x, weights, bias].map(|id| &graph.node(id).ty);
    let mut shape = plain.infer(&types).ok()?.shape;
    shape[3] = sampling.channels(window.kernel);
    let reach = choices.pick(&[0, 1, 2, 7, 20]);
    let op = QDeformConv { geometry, sampling, reach, pad_value, requantize, element };
    let offsets: Vec<i32> = (0..shape.iter().product()).map(|_| choices.value(op.offset_range())).collect();
    let narrow = reach < 8 && !matches!(sampling, Sampling::Square);
    let offset_type = TensorType::int(shape.clone(), if narrow { Element::I4 } else { Element::I8 });
    let offsets = graph.constant(&format!("{name} offsets"), Tensor::int(shape, offsets), offset_type);
    graph.add(name, Op::QDeformConv(op), &[x, weights, bias, offsets]).ok()
}

/// A second operand: another value, a constant, or one value per channel.
fn second(graph: &mut Graph, choices: &mut Choices, values: &[NodeId], x: NodeId, name: &str) -> NodeId {
    let ty = graph.node(x).ty.clone();
    let mut shape = ty.shape.clone();
    match choices.below(4) {
        0 => return x,
        1 => {
            let same: Vec<NodeId> = values.iter().copied().filter(|&id| graph.node(id).ty.shape == ty.shape).collect();
            return choices.pick(&same);
        }
        2 => {
            let last = shape.len() - 1;
            shape[..last].fill(1);
        }
        _ => {}
    }
    let element = choices.element();
    let ty = TensorType::int(shape, element);
    let value = choices.tensor(&ty);
    graph.constant(&format!("{name} constant"), value, ty)
}

fn binary(graph: &mut Graph, choices: &mut Choices, x: NodeId, other: NodeId, name: &str) -> Option<NodeId> {
    let element = choices.element();
    if choices.below(2) == 0 {
        let mut zero_points = [0, 0];
        for (zero_point, id) in zero_points.iter_mut().zip([x, other]) {
            *zero_point = choices.value(graph.node(id).ty.element.range()?);
        }
        let requantize = choices.requantize(element, 1, 16_000.0);
        return graph.add(name, Op::QMul(QMul { zero_points, requantize, element }), &[x, other]).ok();
    }
    let Requantize { zero_point, lo, hi, .. } = choices.requantize(element, 1, 1.0);
    let multipliers = [choices.value((-65_535, 65_535)), choices.value((-65_535, 65_535))];
    let shift = choices.pick(&[16, 17, 18, 0, 24, 31]);
    let offset = choices.value((-1_000_000, 1_000_000));
    let add = QAdd { multipliers, offset, shift, zero_point, lo, hi, element };
    // The contract of QAdd, rounding included: the sum fits 32 bits.
    let rounding = if shift == 0 { 0 } else { 1i64 << (shift - 1) };
    let mut reach = i64::from(offset).abs() + rounding;
    for (multiplier, id) in multipliers.into_iter().zip([x, other]) {
        let (least, most) = graph.node(id).ty.element.range()?;
        reach += i64::from(multiplier).abs() * least.abs().max(most);
    }
    if reach >= 1 << 31 {
        return None;
    }
    graph.add(name, Op::QAdd(add), &[x, other]).ok()
}
