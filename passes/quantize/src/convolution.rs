//! Lowers convolutions: compresses their weights on the inputs that the layers before them give,
//! and corrects bias and scales for what that changed.

use super::assign::QuantParams;
use super::linear::Weights;
use super::lower::{Lowering, Value};
use super::normalise::Deformed;
use super::requantize;
use super::weights::{self, Rounded, Surroundings};
use crate::compress::{self, LayerWeights, Reference, Statistics, WeightConfig, Windows};
use lutweave_ir::op::{QConv, QDeformConv};
use lutweave_ir::{Diagnostic, Element, NodeId, Op, Tensor, TensorType};
use rayon::prelude::*;
use std::borrow::Cow;

/// A channel's scale is corrected if that lowers its error by this share at least.
const WORTHWHILE: f64 = 0.01;
/// Samples on which corrections are judged.
const JUDGED_SAMPLES: usize = 40;

/// A layer's integers, and what its accumulators start from.
#[derive(Clone)]
struct RoundedLayer {
    rounded: Rounded,
    /// One an output channel, in real units.
    bias: Vec<f64>,
    bits: u8,
    corrected: bool,
}

/// What a layer reads besides its constants.
struct Read {
    x: Value,
    /// Where its taps read, if they move.
    offsets: Option<Value>,
}

/// An operator with its constants.
struct Operator {
    op: Op,
    weights: Vec<i32>,
    bias: Vec<i32>,
    element: Element,
}

impl Lowering<'_> {
    /// A convolution, deformable or not, with the clamp that follows it.
    pub fn convolution(&mut self, id: NodeId, root: NodeId) -> Result<Value, Diagnostic> {
        let model = self.model;
        let source = &model.layers[&root];
        let name = model.graph.node(root).name.clone();
        let operands = &model.graph.node(root).operands;
        let x = self.integer(operands[0])?;
        let offsets = operands.get(3).map(|&offsets| self.integer(offsets)).transpose()?;
        let read = Read { x, offsets };
        let (grid_x, grid_y) = (self.grid_of(&read.x), self.grid(id));
        let (scale_x, scale_y) = (f64::from(grid_x.quantization.scale), f64::from(grid_y.quantization.scale));
        let setting = self.setting(root);
        let (layer, scales_corrected) = match (&source.weights.given, setting) {
            (Some(given), None) => {
                let reach = scale_x * grid_x.steps() / scale_y;
                let rounded = weights::given(&source.weights, given, reach, scale_x);
                (RoundedLayer { rounded, bias: source.weights.bias.clone(), bits: given.bits, corrected: false }, 0)
            }
            (_, setting) => {
                let setting = setting.unwrap_or(WeightConfig::dense(8));
                self.compressed(id, root, &read, &setting, &grid_y)?
            }
        };
        let operator = self.operator(id, root, &layer, &grid_x, &grid_y)?;
        let w = self.constant(&format!("{name}.weight"), &source.weights.shape, operator.weights, operator.element);
        let b = self.constant(&format!("{name}.bias"), &[source.weights.outputs()], operator.bias, Element::I32);
        let entry = self.enter(id, root, operator.op.name());
        entry.weight_bits = Some(element_bits(operator.element));
        entry.scales = layer.rounded.choice;
        entry.setting = setting;
        entry.distortion = layer.rounded.distortion;
        entry.bias_corrected = layer.corrected;
        entry.scales_corrected = scales_corrected;
        let operands: Vec<&Value> = [&read.x, &w, &b].into_iter().chain(&read.offsets).collect();
        self.emit(&name, operator.op, &operands, Some(&grid_y))
    }

    /// How a layer is compressed: as asked for by name, otherwise all weights at a width. `None`
    /// if the model's own integers stay.
    fn setting(&self, root: NodeId) -> Option<WeightConfig> {
        let node = self.model.graph.node(root);
        let layer = &self.model.layers[&root];
        self.options.setting(&node.name).or_else(|| {
            let info = super::sites::info(self.model, root, self.edge_layers.contains(&root));
            layer.weights.given.is_none().then(|| WeightConfig::dense(info.default_bits(self.options.weight_bits)))
        })
    }

    /// The operator of a layer's integers.
    fn operator(
        &self,
        id: NodeId,
        root: NodeId,
        layer: &RoundedLayer,
        grid_x: &QuantParams,
        grid_y: &QuantParams,
    ) -> Result<Operator, Diagnostic> {
        let (scale_x, scale_y) = (f64::from(grid_x.quantization.scale), f64::from(grid_y.quantization.scale));
        let scales = &layer.rounded.scales;
        let factors: Vec<f64> = scales.iter().map(|scale| scale_x * scale / scale_y).collect();
        let steps: Vec<f64> = layer.bias.iter().zip(scales).map(|(bias, scale)| bias / (scale_x * scale)).collect();
        let zero_point = grid_x.quantization.zero_point;
        let unbridgeable = || {
            Diagnostic::error("scale-out-of-range", "the scales of input, weights and output are too far apart")
                .at(&self.model.graph.node(root).name)
                .operator("conv")
                .help("check the model's scales and the calibration data")
        };
        let mut fitted = requantize::fit(&layer.rounded.integers, &steps, &factors, grid_x.range(), zero_point)
            .ok_or_else(unbridgeable)?;
        let requantize = requantize::requantize(&fitted.factors, &fitted.accumulators, grid_y, self.bounds(id))
            .ok_or_else(unbridgeable)?;
        requantize::alternate_halves(&mut fitted.bias, &requantize);
        let source = &self.model.layers[&root];
        let (geometry, pad_value, element) = (source.geometry, zero_point, grid_y.element);
        let op = match source.deformed {
            None => Op::QConv(QConv { geometry, pad_value, requantize, element }),
            Some(Deformed { sampling, reach }) => {
                Op::QDeformConv(QDeformConv { geometry, sampling, reach, pad_value, requantize, element })
            }
        };
        let element = weight_element(layer.bits, &fitted.weights);
        Ok(Operator { op, weights: fitted.weights, bias: fitted.bias, element })
    }

    /// Compresses a layer's weights and corrects bias and scales for the change of the output's
    /// mean and size. Also tells how many channels' scales were corrected.
    fn compressed(
        &self,
        id: NodeId,
        root: NodeId,
        read: &Read,
        setting: &WeightConfig,
        grid_y: &QuantParams,
    ) -> Result<(RoundedLayer, usize), Diagnostic> {
        let source = &self.model.layers[&root];
        let Weights { shape, real, bias, .. } = &source.weights;
        let groups = source.geometry.groups;
        let grid_x = self.grid_of(&read.x);
        let windows = Windows::of(&self.model.graph, root);
        let patch = windows.patch();
        let inputs = self.images(&windows, read);
        // What the float layer gives.
        let reals = self.shadow.as_ref().and_then(|shadow| shadow.reals(root));
        let results: Option<Vec<&[f32]>> =
            reals.filter(|reals| reals.len() == inputs.len()).map(|reals| reals.iter().map(Tensor::f32s).collect());
        let real_bias: Vec<f32> = bias.iter().map(|&bias| bias as f32).collect();
        let expected = self.observations.patches.get(&root);
        let centred = self.options.bias_correction && expected.is_some() && !inputs.is_empty();
        let statistics = match &results {
            Some(outputs) => {
                let reference = Reference { outputs, bias: &real_bias };
                Statistics::with_reference(patch, groups, &inputs, reference, centred)
            }
            None => Statistics::new(patch, groups, &inputs, centred),
        };
        let own = LayerWeights { shape: *shape, groups, real };
        let target = if self.options.asymmetric { statistics.target(own) } else { real.clone() };
        let surroundings = Surroundings {
            statistics: &statistics,
            groups,
            input_scale: f64::from(grid_x.quantization.scale),
            output_scale: f64::from(grid_y.quantization.scale),
            input_steps: grid_x.steps(),
        };
        let options = compress::Options {
            rounding: self.options.rounding,
            scale: self.options.scale,
            ..compress::Options::default()
        };
        let rounded = weights::round(&source.weights, &target, setting, &options, &surroundings);
        let mut layer = RoundedLayer { rounded, bias: bias.clone(), bits: setting.bits, corrected: centred };
        let Some(expected) = expected.filter(|_| centred) else {
            return Ok((layer, 0));
        };
        // Where only functions read the result, most of an input's mean error may belong to results
        // that the functions make nothing of: there the mean is corrected for the weights alone.
        let mut mean = vec![0.0; patch.taps()];
        if self.only_functions_read(id) {
            mean.clone_from(expected);
        } else {
            for input in &inputs {
                for (sum, value) in mean.iter_mut().zip(patch.mean(input)) {
                    *sum += value / inputs.len() as f64;
                }
            }
        }
        let mean_real = weights::mean_output(*shape, groups, |index| f64::from(real[index]), expected);
        let integers = &layer.rounded.integers;
        let mean_integer = weights::mean_output(*shape, groups, |index| f64::from(integers[index]), &mean);
        let correct = |layer: &mut RoundedLayer| {
            for (output, corrected) in layer.bias.iter_mut().enumerate() {
                *corrected = bias[output] + mean_real[output] - mean_integer[output] * layer.rounded.scales[output];
            }
        };
        correct(&mut layer);
        if !self.options.corrects_scales() || results.is_none() {
            return Ok((layer, 0));
        }
        let mut scaled = layer.clone();
        let best = statistics.best_scales(own, &layer.rounded.integers);
        for (scale, best) in scaled.rounded.scales.iter_mut().zip(best) {
            *scale = best.unwrap_or(*scale);
        }
        correct(&mut scaled);
        let plain_errors = self.channel_errors(id, root, read, &layer, grid_y)?;
        let scaled_errors = self.channel_errors(id, root, read, &scaled, grid_y)?;
        let mut corrected = 0;
        for (output, (plain, other)) in plain_errors.iter().zip(&scaled_errors).enumerate() {
            if *other < plain * (1.0 - WORTHWHILE) {
                layer.rounded.scales[output] = scaled.rounded.scales[output];
                corrected += 1;
            }
        }
        correct(&mut layer);
        Ok((layer, corrected))
    }

    /// For every sample the reals that a layer's windows lie on.
    fn images(&self, windows: &Windows, read: &Read) -> Vec<Vec<f32>> {
        let reals = |value: &Value, sample: usize| -> Vec<f32> {
            let quantization = self.grid_of(value).quantization;
            value.samples[sample].ints().iter().map(|&q| quantization.dequantize(q)).collect()
        };
        (0..read.x.samples.len())
            .into_par_iter()
            .map(|sample| {
                let offsets = read.offsets.as_ref().map(|offsets| reals(offsets, sample));
                windows.image(Cow::Owned(reals(&read.x, sample)), offsets.as_deref()).into_owned()
            })
            .collect()
    }

    /// The sum of the squared errors of every output channel against the float graph, after the
    /// clamp, on some samples.
    fn channel_errors(
        &self,
        id: NodeId,
        root: NodeId,
        read: &Read,
        layer: &RoundedLayer,
        grid_y: &QuantParams,
    ) -> Result<Vec<f64>, Diagnostic> {
        let outputs = layer.bias.len();
        let reals = self.shadow.as_ref().and_then(|shadow| shadow.reals(id));
        let Some(reals) = reals.filter(|reals| reals.len() == read.x.samples.len()) else {
            return Ok(vec![0.0; outputs]);
        };
        let operator = self.operator(id, root, layer, &self.grid_of(&read.x), grid_y)?;
        let shape = self.model.layers[&root].weights.shape;
        let constants = [Tensor::int(shape, operator.weights), Tensor::int([outputs], operator.bias)];
        let types = [TensorType::int(shape, operator.element), TensorType::int([outputs], Element::I32)];
        let own = |value: &Value| &self.graph.node(value.id).ty;
        let offsets = read.offsets.as_ref();
        let types: Vec<&TensorType> =
            [own(&read.x), &types[0], &types[1]].into_iter().chain(offsets.map(own)).collect();
        let op = operator.op;
        let ty = op.infer(&types).map_err(|message| Diagnostic::error("invalid-operands", message).at("conv"))?;
        let judged = JUDGED_SAMPLES.min(reals.len());
        let errors: Vec<Vec<f64>> = (0..judged)
            .into_par_iter()
            .map(|index| {
                let sample = index * reals.len() / judged;
                let moved = offsets.map(|offsets| &offsets.samples[sample]);
                let operands: Vec<&Tensor> =
                    [&read.x.samples[sample], &constants[0], &constants[1]].into_iter().chain(moved).collect();
                let value = op.eval(&ty, &types, &operands);
                let mut errors = vec![0.0; outputs];
                let pixels = value.ints().chunks_exact(outputs).zip(reals[sample].f32s().chunks_exact(outputs));
                for (pixel, reals) in pixels {
                    for ((sum, &q), &real) in errors.iter_mut().zip(pixel).zip(reals) {
                        let error = f64::from(grid_y.quantization.dequantize(q) - real);
                        *sum += error * error;
                    }
                }
                errors
            })
            .collect();
        let mut sums = vec![0.0; outputs];
        for errors in errors {
            sums.iter_mut().zip(errors).for_each(|(sum, error)| *sum += error);
        }
        Ok(sums)
    }
}

/// The narrowest element that holds weights of a model's width.
fn weight_element(bits: u8, weights: &[i32]) -> Element {
    let holds = |element: Element| {
        let (lo, hi) = element.range().expect("invariant: weights are integers");
        weights.iter().all(|&w| (lo..=hi).contains(&i64::from(w)))
    };
    let nine = Element::Int { bits: 9, signed: true };
    let candidates: &[Element] = if bits <= 4 { &[Element::I4, Element::I8] } else { &[Element::I8] };
    candidates.iter().copied().find(|&element| holds(element)).unwrap_or(nine)
}

fn element_bits(element: Element) -> u8 {
    match element {
        Element::F32 => 32,
        Element::Int { bits, .. } => bits,
    }
}
