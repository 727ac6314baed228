//! Cross-layer equalization: factors of single channels move from one layer's weights to the
//! next one's, so that the channels of the activation between them use more of its one range
//! (Nagel et al., "Data-Free Quantization", 2019; here only where it lowers the measured error).

use super::QuantizeOptions;
use super::fuse::Fusion;
use super::linear::Weights;
use super::normalise::Model;
use super::range::{Observed, RangeMethod};
use crate::compress::{self, LayerWeights, Patch, Rounding, ScaleMethod, Statistics, WeightConfig, Windows};
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Graph, NodeId, Op, Tensor};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Samples on which factors are judged.
const SAMPLES: usize = 16;
/// Windows of a layer on which factors are judged.
const WINDOWS: usize = 512;
/// Factors are applied if they lower the error to this share at least.
const WORTHWHILE: f64 = 0.9;
/// Largest and, inverted, smallest factor.
const LARGEST: f64 = 64.0;

/// Two layers with nothing between them but what a positive factor passes through.
#[derive(Clone, Copy, Debug)]
struct Pair {
    first: NodeId,
    /// The activation between them.
    value: NodeId,
    second: NodeId,
}

/// Equalizes a model's layers where that helps on the samples. Returns the layers whose inputs
/// were scaled. The function of the float graph does not change.
///
/// # Errors
/// Samples that do not fit the graph's inputs.
pub(super) fn equalize(
    model: &mut Model,
    fusion: &Fusion,
    samples: &[Vec<Tensor>],
    options: &QuantizeOptions,
) -> Result<BTreeSet<NodeId>, Diagnostic> {
    let pairs = pairs(model, fusion, options);
    let mut scaled = BTreeSet::new();
    if pairs.is_empty() || samples.is_empty() {
        return Ok(scaled);
    }
    let count = SAMPLES.min(samples.len());
    let mut activations: BTreeMap<NodeId, Vec<Vec<f32>>> = BTreeMap::new();
    let interpreter = Interpreter::new(&model.graph);
    for index in 0..count {
        let values = interpreter.run_all(&samples[index * samples.len() / count])?;
        for pair in &pairs {
            activations.entry(pair.value).or_default().push(values[pair.value.index()].f32s().to_vec());
        }
    }
    let edges = super::arithmetic::edge_layers(model, fusion);
    for pair in pairs {
        let info = super::sites::info(model, pair.second, edges.contains(&pair.second));
        let setting =
            options.setting(&info.name).unwrap_or(WeightConfig::dense(info.default_bits(options.weight_bits)));
        let bits = WeightConfig::dense(setting.bits);
        if let Some(factors) = best_factors(model, pair, &activations[&pair.value], bits, options.activation_range) {
            apply(model, pair, &factors);
            scaled.insert(pair.second);
        }
    }
    if !scaled.is_empty() {
        model.graph = with_weights(model);
    }
    Ok(scaled)
}

/// The pairs in the order of the graph.
fn pairs(model: &Model, fusion: &Fusion, options: &QuantizeOptions) -> Vec<Pair> {
    let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); model.graph.nodes().len()];
    let mut live = vec![false; model.graph.nodes().len()];
    model.graph.outputs().iter().for_each(|output| live[output.index()] = true);
    for id in model.graph.ids().rev() {
        if live[id.index()] {
            for operand in &model.graph.node(id).operands {
                live[operand.index()] = true;
                users[operand.index()].push(id);
            }
        }
    }
    let free = |id: NodeId| model.layers.contains_key(&id) && options.rounds(model, id);
    let alone = |id: NodeId| users[id.index()].len() == 1 && !model.graph.outputs().contains(&id);
    let mut pairs = Vec::new();
    for (&second, layer) in &model.layers {
        let value = model.graph.node(second).operands[0];
        let groups = layer.geometry.groups;
        let still = layer.deformed.is_none();
        if !live[second.index()]
            || !still
            || !free(second)
            || !alone(value)
            || !(groups == 1 || layer.weights.shape[3] == 1)
        {
            continue;
        }
        let first = match &fusion.clamps[value.index()] {
            None => value,
            Some(clamp) if clamp.hi == f32::INFINITY && (clamp.lo == 0.0 || clamp.lo == f32::NEG_INFINITY) => {
                clamp.root
            }
            Some(_) => continue,
        };
        if free(first) && alone(first) && model.graph.node(value).ty.shape == model.graph.node(first).ty.shape {
            pairs.push(Pair { first, value, second });
        }
    }
    pairs
}

/// For every input channel of a layer, its largest weight.
fn input_magnitudes(weights: &Weights, groups: usize) -> Vec<f64> {
    let channels = weights.shape[3] * groups;
    let mut most = vec![0.0f64; channels];
    for (index, &w) in weights.real.iter().enumerate() {
        let channel = input_channel(weights, groups, index);
        most[channel] = most[channel].max(f64::from(w).abs());
    }
    most
}

/// The input channel that a weight belongs to.
fn input_channel(weights: &Weights, groups: usize, index: usize) -> usize {
    let output = index / weights.taps();
    output / (weights.outputs() / groups) * weights.shape[3] + index % weights.shape[3]
}

/// The factors, one per channel of the activation, that lower the error of the second layer's
/// output most, if any lower it enough. The activation is divided by them.
fn best_factors(
    model: &Model,
    pair: Pair,
    images: &[Vec<f32>],
    setting: WeightConfig,
    method: RangeMethod,
) -> Option<Vec<f64>> {
    let second = &model.layers[&pair.second];
    let windows = Windows::of(&model.graph, pair.second);
    let patch = windows.patch();
    let channels = patch.channels();
    let mut activation = vec![0.0f64; channels];
    for image in images {
        for (index, &value) in image.iter().enumerate() {
            activation[index % channels] = activation[index % channels].max(f64::from(value).abs());
        }
    }
    let weights = input_magnitudes(&second.weights, second.geometry.groups);
    let candidates = [0.25, 0.5, 1.0].map(|power| {
        let ratios = activation.iter().zip(&weights).map(|(a, w)| if power == 1.0 { *a } else { a / w.max(1e-30) });
        factors(
            ratios.zip(&activation).zip(&weights).map(|((ratio, a), w)| (*a > 0.0 && *w > 0.0).then_some(ratio)),
            power,
        )
    });
    let plain = vec![1.0; channels];
    let base = error(second, patch, images, &plain, setting, method);
    let mut best: Option<(f64, Vec<f64>)> = None;
    let errors: Vec<f64> =
        candidates.par_iter().map(|factors| error(second, patch, images, factors, setting, method)).collect();
    for (factors, error) in candidates.into_iter().zip(errors) {
        if error < base * WORTHWHILE && best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, factors));
        }
    }
    best.map(|(_, factors)| factors)
}

/// Ratios to a power, with a geometric mean of 1; 1 where there is no ratio.
fn factors(ratios: impl Iterator<Item = Option<f64>>, power: f64) -> Vec<f64> {
    let logarithms: Vec<Option<f64>> = ratios.map(|ratio| Some(ratio?.ln() * power)).collect();
    let known: Vec<f64> = logarithms.iter().flatten().copied().collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let factor = |logarithm: Option<f64>| logarithm.map_or(1.0, |l| (l - mean).exp().clamp(1.0 / LARGEST, LARGEST));
    logarithms.into_iter().map(factor).collect()
}

/// The squared error of a layer's output, its mean taken by the bias, that rounding its weights
/// and its input makes if the input is divided by factors and the weights multiplied.
fn error(
    layer: &super::normalise::ChipConvolution,
    patch: &Patch,
    images: &[Vec<f32>],
    factors: &[f64],
    setting: WeightConfig,
    method: RangeMethod,
) -> f64 {
    let (channels, groups) = (patch.channels(), layer.geometry.groups);
    let weights = &layer.weights;
    let mut real = weights.real.clone();
    for (index, w) in real.iter_mut().enumerate() {
        *w *= factors[input_channel(weights, groups, index)] as f32;
    }
    let divided: Vec<Vec<f32>> = images
        .iter()
        .map(|image| image.iter().enumerate().map(|(i, x)| x / factors[i % channels] as f32).collect())
        .collect();
    let mut observed = Observed::of(&divided[0]);
    divided[1..].iter().for_each(|image| observed.merge(Observed::of(image)));
    let grid = observed.grid(method);
    let rounded: Vec<Vec<f32>> = divided
        .iter()
        .map(|image| image.iter().map(|&x| grid.quantization.dequantize(grid.quantize(x))).collect())
        .collect();
    let own = LayerWeights { shape: weights.shape, groups, real: &real };
    let options = compress::Options {
        rounding: Rounding::Nearest,
        scale: ScaleMethod::WeightError,
        ..compress::Options::default()
    };
    let nothing = Statistics::new(patch, groups, &[], true);
    let integers = compress::compress(own, &nothing, &setting, &options).real();
    let (taps, outputs, per_group) = (weights.taps(), weights.outputs(), weights.shape[3]);
    let available = patch.positions() * images.len();
    let windows = WINDOWS.min(available);
    let (mut sums, mut squares) = (vec![0.0f64; outputs], vec![0.0f64; outputs]);
    let (mut exact, mut inexact) = (vec![0.0f32; patch.taps()], vec![0.0f32; patch.taps()]);
    for window in 0..windows {
        let at = window * available / windows;
        let (sample, position) = (at / patch.positions(), (at + window * 7) % patch.positions());
        patch.gather(&divided[sample], position, &mut exact);
        patch.gather(&rounded[sample], position, &mut inexact);
        for output in 0..outputs {
            let first = output / (outputs / groups) * per_group;
            let mut error = 0.0f32;
            for tap in 0..taps / per_group {
                let inputs = tap * channels + first..tap * channels + first + per_group;
                let own = output * taps + tap * per_group..output * taps + (tap + 1) * per_group;
                let products = exact[inputs.clone()].iter().zip(&inexact[inputs]);
                for ((x, rounded), (w, q)) in products.zip(real[own.clone()].iter().zip(&integers[own])) {
                    error += x * w - rounded * q;
                }
            }
            sums[output] += f64::from(error);
            squares[output] += f64::from(error) * f64::from(error);
        }
    }
    let count = windows.max(1) as f64;
    squares.iter().zip(&sums).map(|(square, sum)| (square - sum * sum / count).max(0.0)).sum()
}

/// Divides the first layer's output channels by factors and multiplies the second one's inputs.
fn apply(model: &mut Model, pair: Pair, factors: &[f64]) {
    if let Some(first) = model.layers.get_mut(&pair.first) {
        let taps = first.weights.taps();
        for (index, w) in first.weights.real.iter_mut().enumerate() {
            *w = (f64::from(*w) / factors[index / taps]) as f32;
        }
        first.weights.bias.iter_mut().zip(factors).for_each(|(bias, factor)| *bias /= factor);
    }
    if let Some(second) = model.layers.get_mut(&pair.second) {
        let groups = second.geometry.groups;
        for index in 0..second.weights.real.len() {
            let factor = factors[input_channel(&second.weights, groups, index)];
            let w = &mut second.weights.real[index];
            *w = (f64::from(*w) * factor) as f32;
        }
    }
}

/// The model's graph with its layers' weights as constants. Nodes keep their ids.
fn with_weights(model: &Model) -> Graph {
    let mut constants: BTreeMap<NodeId, Tensor> = BTreeMap::new();
    for (&root, layer) in &model.layers {
        let operands = &model.graph.node(root).operands;
        constants.insert(operands[1], Tensor::f32(layer.weights.shape, layer.weights.real.clone()));
        let bias: Vec<f32> = layer.weights.bias.iter().map(|&b| b as f32).collect();
        constants.insert(operands[2], Tensor::f32([bias.len()], bias));
    }
    let mut graph = Graph::new(&model.graph.name);
    for id in model.graph.ids() {
        let node = model.graph.node(id);
        match &node.op {
            Op::Input => graph.input(&node.name, node.ty.clone()),
            Op::Constant(tensor) => {
                let tensor = constants.remove(&id).unwrap_or_else(|| tensor.clone());
                graph.constant(&node.name, tensor, node.ty.clone())
            }
            op => graph
                .add_typed(&node.name, op.clone(), &node.operands, node.ty.clone())
                .expect("invariant: a node of a valid graph is valid"),
        };
    }
    graph.set_outputs(model.graph.outputs().to_vec());
    graph
}
