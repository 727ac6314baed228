//! Measures the prices of settings.

use super::study::{Change, Study};
use super::{Price, Table, fixed_point};
use crate::compress::{LayerWeights, Options, Pruner, Setting, Statistics, Windows};
use crate::quantize::SubjectLayer;
use lutweave_ir::{Diagnostic, Tensor};
use std::borrow::Cow;

/// Measures settings of layers on a network as it came: all other layers stay as they are.
/// `settings` gives those of each layer; `done` is called after each layer with their number.
///
/// # Errors
/// An internal error if a layer is not one of the network's.
pub fn measure(
    study: &Study,
    layers: &[&SubjectLayer],
    settings: &dyn Fn(&SubjectLayer) -> Vec<Setting>,
    done: &dyn Fn(usize),
) -> Result<Vec<Table>, Diagnostic> {
    let mut tables = Vec::new();
    for layer in layers {
        let prepared = Prepared::new(study, study, layer)?;
        let pruner = prepared.pruner(layer);
        let mut prices = Vec::new();
        for setting in settings(layer) {
            let compressed = pruner.compress(&setting, &Options::default());
            let distortion = study.distortion(&prepared.change(layer, &compressed.real()))?;
            prices.push(Price { setting, distortion: fixed_point(distortion) });
        }
        tables.push(Table { layer: layer.info.name.clone(), prices });
        done(tables.len());
    }
    Ok(tables)
}

/// What compressing a layer needs to know of the network around it.
pub(crate) struct Prepared {
    statistics: Statistics,
    /// The weights that come nearest to the trained layer's output on the inputs at hand.
    target: Vec<f32>,
    /// Mean of each tap over all windows, `[kh,kw,c]`.
    mean_input: Vec<f64>,
    /// Mean of each output channel of the trained network.
    mean_output: Vec<f64>,
}

impl Prepared {
    /// For a layer of a network in its present state; `original` is the network as it came.
    ///
    /// # Errors
    /// An internal error if the layer is not one of the network's.
    pub fn new(study: &Study, original: &Study, layer: &SubjectLayer) -> Result<Self, Diagnostic> {
        let operands = &study.graph().node(layer.node).operands;
        let outputs = layer.info.shape[0];
        let groups = layer.info.geometry.groups;
        let windows = Windows::of(study.graph(), layer.node);
        let images = study.values(operands[0]).map(|value| Cow::Borrowed(value.f32s()));
        let inputs: Vec<Vec<f32>> = match operands.get(3) {
            None => images.map(|image| windows.image(image, None).into_owned()).collect(),
            Some(&offsets) => {
                let offsets = study.values(offsets).map(Tensor::f32s);
                images.zip(offsets).map(|(image, offsets)| windows.image(image, Some(offsets)).into_owned()).collect()
            }
        };
        let patch = windows.patch();
        let bias = original.constant(layer.bias)?.f32s();
        let unbiased = |value: &Tensor| -> Vec<f32> {
            value.f32s().iter().enumerate().map(|(index, y)| y - bias[index % outputs]).collect()
        };
        let results: Vec<Vec<f32>> = original.values(layer.node).map(unbiased).collect();
        let statistics = Statistics::with_reference(patch, groups, &inputs, &results, true);
        let trained = original.constant(layer.weights)?;
        let target = statistics.target(LayerWeights { shape: layer.info.shape, groups, real: trained.f32s() });
        let count = inputs.len().max(1) as f64;
        let mut mean_input = vec![0.0; patch.taps()];
        for input in &inputs {
            for (sum, value) in mean_input.iter_mut().zip(patch.mean(input)) {
                *sum += value / count;
            }
        }
        let mut mean_output: Vec<f64> = bias.iter().map(|&bias| f64::from(bias)).collect();
        for result in &results {
            let positions = (result.len() / outputs) as f64;
            for (index, &y) in result.iter().enumerate() {
                mean_output[index % outputs] += f64::from(y) / positions / count;
            }
        }
        Ok(Self { statistics, target, mean_input, mean_output })
    }

    /// Compresses the layer to any setting.
    pub fn pruner(&self, layer: &SubjectLayer) -> Pruner<'_> {
        let weights = LayerWeights { shape: layer.info.shape, groups: layer.info.geometry.groups, real: &self.target };
        Pruner::new(weights, &self.statistics)
    }

    /// The change that gives the layer other weights, and a bias that keeps the mean of
    /// its output.
    pub fn change(&self, layer: &SubjectLayer, weights: &[f32]) -> Change {
        let [outputs, kernel_height, kernel_width, depth] = layer.info.shape;
        let groups = layer.info.geometry.groups;
        let taps = kernel_height * kernel_width;
        let bias: Vec<f32> = (0..outputs)
            .map(|output| {
                let group = output / (outputs / groups);
                let row = &weights[output * taps * depth..(output + 1) * taps * depth];
                let mean =
                    |index: usize| self.mean_input[index / depth * depth * groups + group * depth + index % depth];
                let sum: f64 = row.iter().enumerate().map(|(index, &w)| f64::from(w) * mean(index)).sum();
                (self.mean_output[output] - sum) as f32
            })
            .collect();
        let change = [
            (layer.weights, Tensor::f32(layer.info.shape, weights.to_vec())),
            (layer.bias, Tensor::f32([outputs], bias)),
        ];
        change.into()
    }
}
