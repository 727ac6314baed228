//! Graphs for the rules about deformable convolutions.

use crate::Case;
use crate::random::Maker;
use lutweave_ir::op::{Binary, Conv, DeformConv, Geometry, Pad, Sampling, Unary};
use lutweave_ir::{Graph, NodeId, Op};

pub const CASES: &[Case] = &[
    Case { name: "deformable with a constant mask", rules: &["deform-still-mask"], build: still_mask },
    Case { name: "deformable with constant offsets", rules: &["deform-still-offsets"], build: still_offsets },
    Case { name: "square with a constant distance", rules: &["deform-one-distance"], build: one_distance },
    Case { name: "offsets by a template", rules: &["deform-square", "template-after-bias"], build: by_template },
    Case { name: "offsets by a layer of multiples", rules: &["deform-square-layer"], build: by_layer },
    Case { name: "functions of widened products", rules: &["template-after-function"], build: widened },
    Case { name: "terms on widened products", rules: &["template-after-bias"], build: shifted },
    Case {
        name: "deformable between scales and biases",
        rules: &["deform-scale-out", "deform-bias-out", "deform-scale-in"],
        build: between_scales,
    },
    Case { name: "deformable on a padded image", rules: &["deform-pad"], build: padded },
];

/// A deformable layer under construction: its operand, kernel, geometry and offset groups.
struct Layer {
    x: NodeId,
    kernel: [usize; 2],
    outputs: usize,
    geometry: Geometry,
    sampling: Sampling,
}

impl Layer {
    fn random(m: &mut Maker, kernel: [usize; 2]) -> Self {
        let channels = m.random.pick(&[1, 2, 4]);
        let (height, width) = (m.random.from(4, 6), m.random.from(4, 6));
        let x = m.input(&[1, height, width, channels]);
        let groups = m.random.pick(&[1, channels]);
        let outputs = groups * m.random.from(1, 2);
        let strides = m.random.pick(&[[1, 1], [1, 1], [2, 1]]);
        let pads = [0, 1, 2, 3].map(|_| m.random.from(1, 2));
        let geometry = Geometry { strides, dilations: [1, 1], pads, groups };
        let offset_groups = if m.random.flip() { 1 } else { channels };
        Self { x, kernel, outputs, geometry, sampling: Sampling::Free { offset_groups } }
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.sampling.offset_groups()
    }

    /// Extents `[1,h',w',c]` of a field over the positions.
    fn field(&self, m: &Maker, channels: usize) -> [usize; 4] {
        let shape = m.shape(self.x);
        let extent = |axis: usize| {
            let padded = shape[axis + 1] + self.geometry.pads[axis] + self.geometry.pads[axis + 2];
            (padded - (self.kernel[axis] - 1) * self.geometry.dilations[axis] - 1) / self.geometry.strides[axis] + 1
        };
        [1, extent(0), extent(1), channels]
    }

    fn add(&self, m: &mut Maker, x: NodeId, offsets: NodeId, mask: Option<NodeId>) -> NodeId {
        let inputs = m.channels(x);
        let w = m.constant(&[self.outputs, self.kernel[0], self.kernel[1], inputs / self.geometry.groups]);
        let b = m.constant(&[self.outputs]);
        let operands: Vec<NodeId> = [x, w, b, offsets].into_iter().chain(mask).collect();
        let (geometry, sampling) = (self.geometry, self.sampling);
        m.add(Op::DeformConv(DeformConv { geometry, sampling, modulated: mask.is_some() }), &operands)
    }
}

/// A field with the same values at every position.
fn repeated(m: &mut Maker, shape: [usize; 4], row: &[f32]) -> NodeId {
    let elements = row.iter().copied().cycle().take(shape.iter().product()).collect();
    m.floats(&shape, elements)
}

/// At most one value of a field becomes another.
fn disturbed(m: &mut Maker, shape: [usize; 4], row: &[f32]) -> NodeId {
    let count = shape.iter().product();
    let mut elements: Vec<f32> = row.iter().copied().cycle().take(count).collect();
    let at = m.random.from(0, count - 1);
    elements[at] += m.random.pick(&[0.0, 0.0, 1.0, 0.5]);
    m.floats(&shape, elements)
}

fn still_mask(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let kernel = m.random.pick(&[[3, 3], [1, 2], [1, 1]]);
    let layer = Layer::random(&mut m, kernel);
    let taps = layer.taps();
    let row: Vec<f32> = match m.random.from(0, 2) {
        0 => vec![1.0; taps],
        _ => (0..taps).map(|_| m.random.real()).collect(),
    };
    let shape = layer.field(&m, taps);
    let mask = disturbed(&mut m, shape, &row);
    let offsets = layer.field(&m, 2 * taps);
    let offsets = m.input(&offsets);
    let y = layer.add(&mut m, layer.x, offsets, Some(mask));
    m.finish(&[y])
}

fn still_offsets(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let kernel = m.random.pick(&[[3, 3], [3, 1], [2, 2]]);
    let mut layer = Layer::random(&mut m, kernel);
    layer.geometry.dilations = m.random.pick(&[[1, 1], [1, 1], [2, 1]]);
    layer.geometry.pads = [3, 2, 3, 2];
    let shift = [0, 1].map(|_| m.random.from(0, 3) as f32 - 1.0);
    let apart = [0, 1].map(|_| m.random.from(0, 2) as f32 - 0.5);
    let spread = [0, 1].map(|axis| if m.random.flip() { 0.0 } else { apart[axis].round() });
    let offset = |number: usize, axis: usize| {
        let tap = [number / kernel[1] % kernel[0], number % kernel[1]][axis];
        shift[axis] + spread[axis] * tap as f32
    };
    let mut row: Vec<f32> = (0..layer.taps()).flat_map(|number| [offset(number, 0), offset(number, 1)]).collect();
    if m.random.from(0, 3) == 0 {
        // One tap off the grid.
        let at = m.random.from(0, row.len() - 1);
        row[at] += m.random.pick(&[0.5, 1.0]);
    }
    let shape = layer.field(&m, 2 * layer.taps());
    let offsets = disturbed(&mut m, shape, &row);
    let y = layer.add(&mut m, layer.x, offsets, None);
    m.finish(&[y])
}

fn one_distance(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let side = m.random.pick(&[3, 3, 5, 1]);
    let mut layer = Layer::random(&mut m, [side, side]);
    layer.sampling = Sampling::Square;
    layer.geometry.pads = [side / 2 + 1, side / 2, side / 2, side / 2];
    let shape = layer.field(&m, 1);
    let distance = m.random.pick(&[0.0, 1.0, 2.0, 3.0, 1.5]);
    let d = if m.random.flip() { repeated(&mut m, shape, &[distance]) } else { disturbed(&mut m, shape, &[distance]) };
    let y = layer.add(&mut m, layer.x, d, None);
    m.finish(&[y])
}

fn by_template(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let side = m.random.pick(&[3, 3, 5]);
    let mut layer = Layer::random(&mut m, [side, side]);
    layer.geometry.dilations = m.random.pick(&[[1, 1], [1, 1], [2, 2], [2, 1]]);
    layer.geometry.pads = [4; 4];
    let centre = (side / 2) as f32;
    let unit = m.random.pick(&[1.0, 1.0, -0.5]);
    let template = |number: usize| [number / side % side, number % side].map(|tap| (tap as f32 - centre) * unit);
    let mut factors: Vec<f32> = (0..layer.taps()).flat_map(template).collect();
    if m.random.from(0, 3) == 0 {
        let at = m.random.from(0, factors.len() - 1);
        factors[at] += 1.0;
    }
    let distances = layer.field(&m, 1);
    let d = m.input(&distances);
    let d = m.unary(Unary::Clip { lo: 0.0, hi: 2.0 }, d);
    let one = m.scalar(1.0);
    let e = if m.random.flip() { m.binary(Binary::Sub, d, one) } else { d };
    let t = m.floats(&[1, 1, 1, factors.len()], factors);
    let offsets = if m.random.flip() { m.binary(Binary::Mul, t, e) } else { m.binary(Binary::Mul, e, t) };
    let y = layer.add(&mut m, layer.x, offsets, None);
    m.finish(&[y])
}

fn by_layer(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let side = m.random.pick(&[3, 3, 5]);
    let mut layer = Layer::random(&mut m, [side, side]);
    layer.geometry.strides = [1, 1];
    layer.geometry.dilations = [m.random.from(1, 2); 2];
    let even = layer.geometry.dilations[0] * (side / 2);
    layer.geometry.pads = [even; 4];
    let (centre, depth) = ((side / 2) as f32, m.channels(layer.x));
    let template = |number: usize| [number / side % side, number % side].map(|tap| tap as f32 - centre);
    let steps: Vec<f32> = (0..layer.taps()).flat_map(template).collect();
    let filter: Vec<f32> = (0..depth).map(|_| m.random.pick(&[0.25, -0.5, 0.125])).collect();
    let mut filters: Vec<f32> = steps.iter().flat_map(|steps| filter.iter().map(move |w| w * steps)).collect();
    let mut bias: Vec<f32> = steps.iter().map(|steps| steps * 0.5).collect();
    match m.random.from(0, 5) {
        0 => {
            let at = m.random.from(0, filters.len() - 1);
            filters[at] += 0.5;
        }
        1 => {
            let at = m.random.from(0, bias.len() - 1);
            bias[at] += 0.5;
        }
        _ => {}
    }
    let v = m.floats(&[steps.len(), 1, 1, depth], filters);
    let a = m.floats(&[steps.len()], bias);
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let offsets = m.add(Op::Conv(Conv { geometry }), &[layer.x, v, a]);
    let y = layer.add(&mut m, layer.x, offsets, None);
    m.finish(&[y])
}

/// A product of one channel and a constant of several.
fn product(m: &mut Maker, choices: &[f32]) -> (NodeId, usize) {
    let (height, width, channels) = (m.random.from(2, 3), m.random.from(2, 3), m.random.from(2, 6));
    let e = m.input(&[1, height, width, 1]);
    let factors = (0..channels).map(|_| m.random.pick(choices)).collect();
    let t = m.floats(&[1, 1, 1, channels], factors);
    (m.binary(Binary::Mul, e, t), channels)
}

fn widened(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let choices = m.random.pick(&[&[-1.0, 0.0, 1.0][..], &[-1.0, 1.0, 0.5]]);
    let (y, _) = product(&mut m, choices);
    let hi = m.random.pick(&[1.0, 0.75]);
    let y = if m.random.flip() { m.unary(Unary::Round, y) } else { m.unary(Unary::Clip { lo: -1.0, hi }, y) };
    m.finish(&[y])
}

fn shifted(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (y, channels) = product(&mut m, &[-1.0, 0.0, 1.0, 2.0]);
    let t = m.graph.node(m.graph.node(y).operands[1]).op.clone();
    let Op::Constant(t) = t else { unreachable!("the second operand is constant") };
    let mut terms: Vec<f32> = t.f32s().iter().map(|t| t * -0.5).collect();
    if m.random.flip() {
        let at = m.random.from(0, channels - 1);
        terms[at] += 1.0;
    }
    let h = m.floats(&[channels], terms);
    let y = m.binary(Binary::Add, y, h);
    m.finish(&[y])
}

fn padded(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let mut layer = Layer::random(&mut m, [3, 3]);
    let value = m.random.pick(&[0.0, 0.0, 1.0]);
    let op = Op::Pad(Pad { before: vec![0, 1, 2, 0], after: vec![0, 0, 1, 0], value });
    layer.x = m.add(op, &[layer.x]);
    let offsets = layer.field(&m, 2 * layer.taps());
    let offsets = m.input(&offsets);
    let y = layer.add(&mut m, layer.x, offsets, None);
    m.finish(&[y])
}

fn between_scales(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let kernel = m.random.pick(&[[3, 3], [2, 1]]);
    let mut layer = Layer::random(&mut m, kernel);
    let offsets = if kernel == [3, 3] && m.random.flip() {
        layer.sampling = Sampling::Square;
        layer.field(&m, 1)
    } else {
        layer.field(&m, 2 * layer.taps())
    };
    let offsets = m.input(&offsets);
    let channels = m.channels(layer.x);
    let g = m.factors(channels);
    let scaled = m.binary(Binary::Mul, layer.x, g);
    let y = layer.add(&mut m, scaled, offsets, None);
    let (g, h) = (m.constant(&[layer.outputs]), m.constant(&[layer.outputs]));
    let y = m.binary(Binary::Mul, y, g);
    let y = m.binary(Binary::Add, y, h);
    m.finish(&[y])
}
