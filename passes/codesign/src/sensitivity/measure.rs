//! Measures the prices of settings.

use super::study::{Change, Study};
use super::{SensitivityEntry, SensitivityTable, fixed_point};
use lutweave_ir::{Diagnostic, OnStep, Tensor};
use lutweave_quantize::NormalizedLayer;
use lutweave_quantize::compress::{
    LayerCompressor, LayerWeights, Options, Reference, Statistics, WeightConfig, WeightConfigs, Windows,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Measures settings of layers on a network as it came: all other layers stay as they are.
/// `settings` gives those of each layer; `done` is called after each layer with their number.
///
/// # Errors
/// An internal error if a layer is not one of the network's.
pub fn measure(
    study: &Study,
    layers: &[&NormalizedLayer],
    settings: &dyn Fn(&NormalizedLayer) -> Vec<WeightConfig>,
    done: OnStep,
) -> Result<Vec<SensitivityTable>, Diagnostic> {
    let mut tables = Vec::new();
    for layer in layers {
        let prepared = Prepared::new(study, study, layer)?;
        let pruner = prepared.pruner(layer);
        let mut prices = Vec::new();
        for setting in settings(layer) {
            let compressed = pruner.compress(&setting, &Options::default());
            let distortion = study.distortion(&prepared.change(layer, &compressed.real()))?;
            prices.push(SensitivityEntry { setting, distortion: fixed_point(distortion) });
        }
        tables.push(SensitivityTable { layer: layer.info.name.clone(), prices });
        done(tables.len())?;
    }
    Ok(tables)
}

/// Measures settings of layers around a state of the network: all other layers are compressed by
/// their settings in `state`, one after the other, each on the inputs it then reads. Prices are
/// such that those of a selection near the state add up to what it costs: each layer's holds an
/// equal part of what the state costs, and what the setting adds to that.
///
/// # Errors
/// An internal error if a layer is not one of the network's, or has no setting.
pub fn measure_around(
    original: &Study,
    layers: &[&NormalizedLayer],
    state: &WeightConfigs,
    settings: &dyn Fn(&NormalizedLayer) -> Vec<WeightConfig>,
    done: OnStep,
) -> Result<Vec<SensitivityTable>, Diagnostic> {
    let mut study = original.clone();
    // In graph order a layer has its inputs once those before it are compressed: what follows from them stays.
    let mut ordered = layers.to_vec();
    ordered.sort_by_key(|layer| layer.node);
    let mut prepared = BTreeMap::new();
    for layer in ordered {
        let setting = state.get(&layer.info.name).ok_or_else(|| {
            Diagnostic::error("internal-error", "a layer of the state has no setting").at(&layer.info.name)
        })?;
        let own = Prepared::new(&study, original, layer)?;
        let compressed = own.pruner(layer).compress(setting, &Options::default());
        study.apply(&own.change(layer, &compressed.real()))?;
        prepared.insert(layer.node, own);
    }
    let own = study.distortion(&Change::new())?;
    let part = own / layers.len().max(1) as f64;
    let mut tables = Vec::new();
    for layer in layers {
        let prepared = &prepared[&layer.node];
        let pruner = prepared.pruner(layer);
        let mut prices = Vec::new();
        for setting in settings(layer) {
            let distortion = if state.get(&layer.info.name) == Some(&setting) {
                part
            } else {
                let compressed = pruner.compress(&setting, &Options::default());
                study.distortion(&prepared.change(layer, &compressed.real()))? - own + part
            };
            prices.push(SensitivityEntry { setting, distortion: fixed_point(distortion) });
        }
        tables.push(SensitivityTable { layer: layer.info.name.clone(), prices });
        done(tables.len())?;
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
    pub fn new(study: &Study, original: &Study, layer: &NormalizedLayer) -> Result<Self, Diagnostic> {
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
        let results: Vec<&[f32]> = original.values(layer.node).map(Tensor::f32s).collect();
        let reference = Reference { outputs: &results, bias };
        let statistics = Statistics::with_reference(patch, groups, &inputs, reference, true);
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
            for pixel in result.chunks_exact(outputs) {
                for ((mean, y), bias) in mean_output.iter_mut().zip(pixel).zip(bias) {
                    *mean += f64::from(y - bias) / positions / count;
                }
            }
        }
        Ok(Self { statistics, target, mean_input, mean_output })
    }

    /// Compresses the layer to any setting.
    pub fn pruner(&self, layer: &NormalizedLayer) -> LayerCompressor<'_> {
        let weights = LayerWeights { shape: layer.info.shape, groups: layer.info.geometry.groups, real: &self.target };
        LayerCompressor::new(weights, &self.statistics)
    }

    /// The change that gives the layer other weights, and a bias that keeps the mean of
    /// its output.
    pub fn change(&self, layer: &NormalizedLayer, weights: &[f32]) -> Change {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitivity::{Loss, real};
    use lutweave_ir::op::{Conv, Geometry, Op, Unary};
    use lutweave_ir::{Graph, TensorType};
    use lutweave_quantize::normalized_network;

    fn network() -> Graph {
        let mut graph = Graph::new("measure");
        let wave = |index: usize, step: f32| (index as f32 * step).sin();
        let mut value = graph.input("x", TensorType::f32([1, 4, 4, 4]));
        for (layer, step) in [("first", 1.7), ("second", 2.3)] {
            let weights: Vec<f32> = (0..144).map(|index| wave(index, step)).collect();
            let weights = Tensor::f32([4, 3, 3, 4], weights);
            let weights = graph.constant(&format!("{layer}.w"), weights, TensorType::f32([4, 3, 3, 4]));
            let geometry = Geometry { pads: [1; 4], ..Geometry::PLAIN };
            value = graph.add(layer, Op::Conv(Conv { geometry }), &[value, weights]).unwrap();
            value = graph.add(&format!("{layer}.relu"), Op::Unary(Unary::Relu), &[value]).unwrap();
        }
        graph.set_outputs(vec![value]);
        graph
    }

    #[test]
    fn prices_around_a_state_add_up_to_what_it_costs() {
        let subject = normalized_network(&network()).unwrap();
        let samples: Vec<Vec<Tensor>> = (0..6)
            .map(|s| {
                let pixels: Vec<f32> = (0..64).map(|i| ((i * 7 + s * 5) as f32 * 0.9).cos()).collect();
                vec![Tensor::f32([1, 4, 4, 4], pixels)]
            })
            .collect();
        let original = Study::new(&subject.graph, &samples, Loss::SquaredError).unwrap();
        let layers: Vec<&NormalizedLayer> = subject.layers.iter().collect();
        let state: WeightConfigs =
            layers.iter().map(|layer| (layer.info.name.clone(), WeightConfig::dense(4))).collect();
        let settings = |_: &NormalizedLayer| [2, 4, 8].map(WeightConfig::dense).to_vec();
        let tables = measure_around(&original, &layers, &state, &settings, &|_| Ok(())).unwrap();

        let mut study = original.clone();
        for layer in &layers {
            let prepared = Prepared::new(&study, &original, layer).unwrap();
            let compressed = prepared.pruner(layer).compress(&WeightConfig::dense(4), &Options::default());
            study.apply(&prepared.change(layer, &compressed.real())).unwrap();
        }
        let own = study.distortion(&Change::new()).unwrap();
        let sum: u64 = tables.iter().filter_map(|table| table.price(&WeightConfig::dense(4))).sum();
        assert!(own > 0.0 && (real(sum) - own).abs() < 1e-9, "{own} {}", real(sum));
        for table in &tables {
            let price = |bits| table.price(&WeightConfig::dense(bits)).unwrap();
            assert!(price(2) > price(4) && price(2) > price(8), "{table:?}");
        }
        assert!(measure_around(&original, &layers, &WeightConfigs::new(), &settings, &|_| Ok(())).is_err());
    }
}
