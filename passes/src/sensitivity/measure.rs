//! Measures the prices of settings.

use super::study::{Change, Study};
use super::{Price, Table, fixed_point};
use crate::compress::{Compressed, LayerWeights, Options, Patch, Pruner, Setting, Statistics};
use crate::quantize::SubjectLayer;
use lutweave_ir::{Diagnostic, Tensor};

/// Measures settings of layers on a network in its present state: the layer's own weights are
/// compressed from `original` (the trained weights), all other layers stay as they are.
/// `settings` gives those of each layer; `done` is called after each layer with their number.
///
/// # Errors
/// An internal error if a layer is not one of the network's.
pub fn measure(
    study: &Study,
    original: &Study,
    layers: &[&SubjectLayer],
    settings: &dyn Fn(&SubjectLayer) -> Vec<Setting>,
    done: &dyn Fn(usize),
) -> Result<Vec<Table>, Diagnostic> {
    let mut tables = Vec::new();
    for layer in layers {
        let statistics = statistics(study, layer);
        let trained = original.constant(layer.weights)?;
        let weights =
            LayerWeights { shape: layer.info.shape, groups: layer.info.geometry.groups, real: trained.f32s() };
        let pruner = Pruner::new(weights, &statistics);
        let mut prices = Vec::new();
        for setting in settings(layer) {
            let compressed = pruner.compress(&setting, &Options::default());
            let distortion = study.distortion(&change(original, layer, &statistics, &compressed)?)?;
            prices.push(Price { setting, distortion: fixed_point(distortion) });
        }
        tables.push(Table { layer: layer.info.name.clone(), prices });
        done(tables.len());
    }
    Ok(tables)
}

/// Statistics of what a layer reads.
pub(crate) fn statistics(study: &Study, layer: &SubjectLayer) -> Statistics {
    let input = study.graph().node(layer.node).operands[0];
    let image = study.graph().node(input).ty.image();
    let (height, width, channels) = image.expect("invariant: layers read images");
    let [_, kernel_height, kernel_width, _] = layer.info.shape;
    let patch = Patch::new([height, width, channels], [kernel_height, kernel_width], &layer.info.geometry);
    let inputs: Vec<Vec<f32>> = study.values(input).map(|value| value.f32s().to_vec()).collect();
    Statistics::new(&patch, layer.info.geometry.groups, &inputs, true)
}

/// The change that gives a layer its compressed weights, and the bias what the mean output loses.
///
/// # Errors
/// An internal error if the layer is not one of the network's.
pub(crate) fn change(
    original: &Study,
    layer: &SubjectLayer,
    statistics: &Statistics,
    compressed: &Compressed,
) -> Result<Change, Diagnostic> {
    let trained = original.constant(layer.weights)?;
    let bias = original.constant(layer.bias)?;
    let weights = compressed.real();
    let [outputs, ..] = layer.info.shape;
    let taps = weights.len() / outputs;
    let per_group = outputs / layer.info.geometry.groups;
    let corrected: Vec<f32> = (0..outputs)
        .map(|output| {
            let mean = statistics.groups()[output / per_group].mean();
            let row = output * taps..(output + 1) * taps;
            let lost = trained.f32s()[row.clone()].iter().zip(&weights[row]).zip(mean);
            let lost: f64 = lost.map(|((w, q), mean)| (f64::from(*w) - f64::from(*q)) * mean).sum();
            (f64::from(bias.f32s()[output]) + lost) as f32
        })
        .collect();
    let change =
        [(layer.weights, Tensor::f32(layer.info.shape, weights)), (layer.bias, Tensor::f32([outputs], corrected))];
    Ok(change.into())
}
