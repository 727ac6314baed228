//! The price of every setting of every layer, measured once for a model and its calibration data.

use crate::cache::Cache;
use crate::failure::Failure;
use crate::observer::Context;
use lutweave_codesign::sensitivity::{SensitivityTable, Study, hardware_settings, measure, measure_around};
use lutweave_ir::{Data, Graph, Tensor, text};
use lutweave_quantize::compress::{WeightConfig, WeightConfigs};
use lutweave_quantize::{NormalizedLayer, NormalizedNetwork};

/// Part of the cache's keys: raised when measuring changes its results.
const REVISION: u32 = 7;

/// What measurements of a graph on samples are kept under, question by question.
#[derive(Clone, Debug)]
pub struct Key(blake3::Hasher);

impl Key {
    /// Of a graph and the samples that go through it.
    pub fn new(graph: &Graph, samples: &[Vec<Tensor>]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {REVISION}\n", env!("CARGO_PKG_VERSION")).as_bytes());
        hasher.update(text::print(graph).as_bytes());
        let mut key = Self(hasher);
        samples.iter().flatten().for_each(|tensor| key.tensor(tensor));
        key
    }

    /// Adds a tensor.
    pub fn tensor(&mut self, tensor: &Tensor) {
        let bytes: Vec<u8> = match &tensor.data {
            Data::F32(values) => values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect(),
            Data::Int(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        self.0.update(format!("{:?}", tensor.shape).as_bytes()).update(&bytes);
    }

    /// Adds numbers.
    pub fn numbers(&mut self, numbers: &[f64]) {
        numbers.iter().for_each(|number| {
            self.0.update(&number.to_bits().to_le_bytes());
        });
    }

    /// Adds words.
    pub fn text(&mut self, text: &str) {
        self.0.update(text.as_bytes());
    }

    /// The key of one question.
    pub fn question(&self, question: &str) -> blake3::Hash {
        self.0.clone().update(question.as_bytes()).finalize()
    }
}

/// The settings that a layer's knob has.
fn settings(layer: &NormalizedLayer) -> Vec<WeightConfig> {
    hardware_settings(layer.info.shape)
}

/// Measures the tables of a network, or finds them in the cache under its key: with all layers as
/// they came, or around a state in which they have settings.
///
/// # Errors
/// If a layer is not one of the network's, or the observer wants no more.
pub fn tables(
    subject: &NormalizedNetwork,
    study: &Study,
    state: Option<&WeightConfigs>,
    key: &Key,
    cache: &Cache,
    context: &Context,
) -> Result<Vec<SensitivityTable>, Failure> {
    let asked: Vec<_> = subject.layers.iter().filter(|layer| layer.open()).map(settings).collect();
    let key = key.question(&format!("{asked:?} around {state:?}"));
    if let Some(tables) = cache.load("tables", &key) {
        return Ok(tables);
    }
    let layers: Vec<&NormalizedLayer> = subject.layers.iter().filter(|layer| layer.open()).collect();
    let work = context.work("measure", Some(layers.len()));
    let done = |done: usize| work.at(done);
    let tables = match state {
        None => measure(study, &layers, &settings, &done),
        Some(state) => measure_around(study, &layers, state, &settings, &done),
    };
    let tables = tables?;
    cache.store("tables", &key, &tables);
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::TensorType;

    fn graph(value: f32) -> Graph {
        let mut graph = Graph::new("keys");
        graph.constant("w", Tensor::f32([1], vec![value]), TensorType::f32([1]));
        graph
    }

    #[test]
    fn a_key_tells_graphs_samples_numbers_and_questions_apart() {
        let samples = |value: f32| vec![vec![Tensor::f32([1], vec![value])]];
        let plain = Key::new(&graph(1.0), &samples(0.0));
        let mut judged = plain.clone();
        judged.numbers(&[1.0]);
        let mut other = plain.clone();
        other.numbers(&[0.0]);
        let keys = [
            plain.question("drop"),
            plain.question("tables"),
            Key::new(&graph(2.0), &samples(0.0)).question("drop"),
            Key::new(&graph(1.0), &samples(1.0)).question("drop"),
            judged.question("drop"),
            other.question("drop"),
        ];
        assert!((0..keys.len()).all(|i| (0..i).all(|j| keys[i] != keys[j])));
        assert_eq!(keys[0], Key::new(&graph(1.0), &samples(0.0)).question("drop"));
    }
}
