//! Convolution-shaped operators: everything whose output is a weighted sum of its input.

use super::constant::{Folded, Given};
use super::forms::Fault;
use super::movement::{self, Movement};
use lutweave_ir::op::Geometry;
use lutweave_ir::{Graph, NodeId, Op};

/// A linear operator as a convolution of an image.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// The operand.
    pub input: NodeId,
    /// The operand's shape as an image `[1,h,w,i]`.
    pub view: [usize; 4],
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
    /// Weights and bias.
    pub weights: Weights,
}

/// Weights and bias of a convolution.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// `[o,kh,kw,i/groups]`.
    pub shape: [usize; 4],
    /// The real weights.
    pub real: Vec<f32>,
    /// The integers behind them, where the model states them.
    pub given: Option<GivenWeights>,
    /// The real bias, one per output channel.
    pub bias: Vec<f64>,
}

/// Weights as integers with a scale an output channel.
#[derive(Clone, Debug)]
pub(super) struct GivenWeights {
    /// The integers, their zero point subtracted.
    pub integers: Vec<i32>,
    /// One scale an output channel.
    pub scales: Vec<f32>,
    /// Width of the integers in the model.
    pub bits: u8,
}

impl Weights {
    /// Number of output channels.
    pub fn outputs(&self) -> usize {
        self.shape[0]
    }

    /// Number of weights of an output channel.
    pub fn taps(&self) -> usize {
        self.shape[1..].iter().product()
    }

    fn from_folded(folded: &Folded, shape: [usize; 4]) -> Self {
        let outputs = shape[0];
        let given = folded.given.as_ref().and_then(|given| GivenWeights::new(given, outputs));
        Self { shape, real: folded.tensor.f32s().to_vec(), given, bias: vec![0.0; outputs] }
    }
}

impl GivenWeights {
    fn new(given: &Given, outputs: usize) -> Option<Self> {
        let (scales, zero_points) = given.per_output(outputs)?;
        let integers = given.integers.ints();
        let taps = integers.len() / outputs;
        let integers: Vec<i32> =
            integers.iter().enumerate().map(|(index, &q)| q.saturating_sub(zero_points[index / taps])).collect();
        // Wider integers than nine bits have no place in the hardware: their real values are
        // quantized like any other weights.
        integers.iter().all(|q| (-256..256).contains(q)).then_some(Self { integers, scales, bits: given.bits })
    }
}

const POINTWISE: Geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };

/// The real value of a bias, as exactly as the model states it.
fn bias_of(folded: &Folded, outputs: usize) -> Result<Vec<f64>, Fault> {
    let exact = folded.given.as_ref().and_then(|given| {
        let (scales, zero_points) = given.per_output(outputs)?;
        let integers = given.integers.ints();
        (integers.len() == outputs).then(|| {
            (0..outputs)
                .map(|o| f64::from(scales[o]) * (i64::from(integers[o]) - i64::from(zero_points[o])) as f64)
                .collect::<Vec<f64>>()
        })
    });
    let bias = match exact {
        Some(bias) => bias,
        None => folded.tensor.f32s().iter().map(|&value| f64::from(value)).collect(),
    };
    match bias.len() {
        1 => Ok(vec![bias[0]; outputs]),
        n if n == outputs => Ok(bias),
        n => Err(Fault::new("invalid-operands", format!("the bias has {n} elements for {outputs} output channels"))),
    }
}

fn constant_operand<'a>(
    graph: &Graph,
    folded: &'a [Option<Folded>],
    id: NodeId,
    position: usize,
    what: &str,
) -> Result<&'a Folded, Fault> {
    let operand = graph.node(id).operands[position];
    folded[operand.index()].as_ref().ok_or_else(|| {
        Fault::new("dynamic-weights", format!("the {what} `{}` is computed at run time", graph.node(operand).name))
            .help("only constant weights can be held on the chip; export the model with constants folded")
    })
}

fn finite(weights: Weights) -> Result<Weights, Fault> {
    if weights.real.iter().all(|w| w.is_finite()) && weights.bias.iter().all(|b| b.is_finite()) {
        Ok(weights)
    } else {
        Err(Fault::new("non-finite-weights", "weights or bias hold a NaN or an infinity"))
    }
}

/// A `Conv` node.
pub(super) fn conv(graph: &Graph, folded: &[Option<Folded>], id: NodeId, geometry: Geometry) -> Result<Linear, Fault> {
    let node = graph.node(id);
    let constant = constant_operand(graph, folded, id, 1, "weight")?;
    let (&[n, h, w, i], &[o, kh, kw, per_group]) =
        (&graph.node(node.operands[0]).ty.shape[..], &constant.tensor.shape[..])
    else {
        return Err(Fault::new("unsupported-rank", "only two-dimensional convolutions are supported"));
    };
    if n != 1 {
        return Err(Fault::batch(n));
    }
    let mut weights = Weights::from_folded(constant, [o, kh, kw, per_group]);
    if node.operands.len() > 2 {
        weights.bias = bias_of(constant_operand(graph, folded, id, 2, "bias")?, o)?;
    }
    Ok(Linear { input: node.operands[0], view: [n, h, w, i], geometry, weights: finite(weights)? })
}

/// A `Dense` node: a 1x1 convolution. A permutation of the elements just before it goes into the
/// order of its weights.
pub(super) fn dense(graph: &Graph, folded: &[Option<Folded>], id: NodeId) -> Result<Linear, Fault> {
    let node = graph.node(id);
    let constant = constant_operand(graph, folded, id, 1, "weight")?;
    let x = &graph.node(node.operands[0]).ty;
    let [o, k] = constant.tensor.shape[..] else {
        return Err(Fault::new("unsupported-rank", "the weights of a matrix product must be a matrix"));
    };
    let mut weights = Weights::from_folded(constant, [o, 1, 1, k]);
    if node.operands.len() > 2 {
        weights.bias = bias_of(constant_operand(graph, folded, id, 2, "bias")?, o)?;
    }
    let weights = finite(weights)?;
    if x.count() == k {
        let (source, effect) = movement::chain(graph, node.operands[0]);
        let view = [1, 1, 1, k];
        let order = match effect {
            Movement::Reshape => {
                return Ok(Linear { input: source, view, geometry: POINTWISE, weights });
            }
            Movement::Channels(channels) => {
                (0..k).map(|e| e / channels.len() * channels.len() + channels[e % channels.len()]).collect()
            }
            Movement::Elements(order) => order,
        };
        if order.len() == k {
            let weights = permuted_columns(weights, &order);
            return Ok(Linear { input: source, view, geometry: POINTWISE, weights });
        }
    }
    let (h, w, c) = x.image().ok_or_else(|| Fault::rank(x))?;
    Ok(Linear { input: node.operands[0], view: [1, h, w, c], geometry: POINTWISE, weights })
}

/// The weights for an input whose element `order[j]` is what used to be element `j`.
fn permuted_columns(mut weights: Weights, order: &[usize]) -> Weights {
    let k = order.len();
    let permute = |index: usize| index / k * k + order[index % k];
    let mut real = vec![0.0; weights.real.len()];
    for (index, &value) in weights.real.iter().enumerate() {
        real[permute(index)] = value;
    }
    weights.real = real;
    if let Some(given) = &mut weights.given {
        let mut integers = vec![0; given.integers.len()];
        for (index, &value) in given.integers.iter().enumerate() {
            integers[permute(index)] = value;
        }
        given.integers = integers;
    }
    weights
}

/// A `BatchNorm` node that no convolution took up: a depthwise 1x1 convolution.
pub(super) fn batch_norm(graph: &Graph, folded: &[Option<Folded>], id: NodeId, epsilon: f32) -> Result<Linear, Fault> {
    let constants: Vec<&[f32]> = ["scale", "bias", "mean", "variance"]
        .iter()
        .enumerate()
        .map(|(index, what)| Ok(constant_operand(graph, folded, id, index + 1, what)?.tensor.f32s()))
        .collect::<Result<_, Fault>>()?;
    let factors: Vec<f32> =
        constants[0].iter().zip(constants[3]).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();
    let bias = (0..factors.len())
        .map(|c| f64::from(constants[1][c]) - f64::from(constants[2][c]) * f64::from(factors[c]))
        .collect();
    affine(graph, graph.node(id).operands[0], factors, bias)
}

/// `x * factor + bias` per channel: a depthwise 1x1 convolution. An image of one channel is
/// broadcast over the factors.
pub(super) fn affine(graph: &Graph, input: NodeId, factors: Vec<f32>, bias: Vec<f64>) -> Result<Linear, Fault> {
    let x = &graph.node(input).ty;
    let (h, w, c) = x.image().ok_or_else(|| Fault::rank(x))?;
    let weights = finite(Weights { shape: [factors.len(), 1, 1, 1], real: factors, given: None, bias })?;
    let geometry = Geometry { groups: c, ..POINTWISE };
    Ok(Linear { input, view: [1, h, w, c], geometry, weights })
}

/// The mean over the channels.
pub(super) fn channel_mean(graph: &Graph, input: NodeId) -> Result<Linear, Fault> {
    let x = &graph.node(input).ty;
    let (h, w, c) = x.image().ok_or_else(|| Fault::rank(x))?;
    let weights = Weights { shape: [1, 1, 1, c], real: vec![1.0 / c as f32; c], given: None, bias: vec![0.0] };
    Ok(Linear { input, view: [1, h, w, c], geometry: POINTWISE, weights })
}

/// The same operator with a constant added per output channel.
pub(super) fn with_bias(mut linear: Linear, bias: &Folded, sign: f64) -> Result<Linear, Fault> {
    let added = bias_of(bias, linear.weights.outputs())?;
    for (total, value) in linear.weights.bias.iter_mut().zip(added) {
        *total += sign * value;
    }
    linear.weights = finite(linear.weights)?;
    Ok(linear)
}

/// True if the node computes a linear form that a following constant can be added to.
pub(super) fn takes_bias(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::Dense(_))
}
