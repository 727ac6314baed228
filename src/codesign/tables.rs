//! The price of every setting of every layer, measured once for a model and its calibration data.

use crate::cache::Cache;
use crate::failure::Failure;
use crate::progress;
use lutweave_ir::{Data, Graph, Tensor, text};
use lutweave_passes::compress::Setting;
use lutweave_passes::quantize::{Subject, SubjectLayer};
use lutweave_passes::sensitivity::{Loss, Study, Table, hardware_settings, measure};

/// Part of the cache's keys: raised when measuring changes its results.
const REVISION: u32 = 4;

/// What measurements of a graph on samples are kept under.
pub fn key(graph: &Graph, samples: &[Vec<Tensor>], question: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{} {REVISION} {question}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    hasher.update(text::print(graph).as_bytes());
    for tensor in samples.iter().flatten() {
        hasher.update(format!("{:?}", tensor.shape).as_bytes());
        let bytes: Vec<u8> = match &tensor.data {
            Data::F32(values) => values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect(),
            Data::Int(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        hasher.update(&bytes);
    }
    hasher.finalize()
}

/// The settings that a layer's knob has.
fn settings(layer: &SubjectLayer) -> Vec<Setting> {
    hardware_settings(layer.info.shape)
}

/// Measures the tables of a network, or finds them in the cache.
///
/// # Errors
/// If the samples do not fit, or the user interrupts.
pub fn tables(
    subject: &Subject,
    samples: &[Vec<Tensor>],
    loss: Loss,
    cache: &Cache,
    quiet: bool,
) -> Result<Vec<Table>, Failure> {
    let key = key(&subject.graph, samples, &format!("hardware settings {loss:?}"));
    if let Some(tables) = cache.load("tables", &key) {
        return Ok(tables);
    }
    let layers: Vec<&SubjectLayer> = subject.layers.iter().filter(|layer| layer.open()).collect();
    let study = Study::new(&subject.graph, samples, loss)?;
    let bar = progress::bar("measure", layers.len(), quiet);
    let tables = measure(&study, &layers, &settings, &|done| {
        progress::exit_if_interrupted();
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let tables = tables?;
    cache.store("tables", &key, &tables);
    Ok(tables)
}
