//! Post-training quantization: from the float graph to the integer graph.
//!
//! Data flows one way. `normalise` expresses every operator by the few that integers can;
//! `fuse` groups them; `assign` decides where each value's quantization comes from;
//! `calibrate` observes what the model does not state; `lower` builds the integer graph in
//! order, rounding the weights of each layer on what the layers before it give.

mod arithmetic;
mod assign;
mod calibrate;
mod calibrated;
pub mod channels;
pub mod compress;
mod constant;
mod convolution;
mod deform;
mod fidelity;
mod float_reference;
mod forms;
mod fuse;
pub mod head;
mod linear;
mod lower;
mod movement;
mod normalise;
mod normalized;
mod place;
mod range;
mod report;
mod requantize;
mod sites;
pub mod split_channels;
mod weights;

#[cfg(test)]
mod tests;

pub use calibrated::Calibrated;
pub use deform::{Offsets, stated_offsets};
pub use normalized::{NormalizedLayer, NormalizedNetwork, layers, normalized_network};
pub use range::RangeMethod;
pub use report::LayerReport;
pub use sites::LayerInfo;
pub use weights::ScaleChoice;

use crate::compress::{Pattern, Rounding, ScaleMethod, WeightConfig, WeightConfigs};
use assign::Origin;
use fuse::Fusion;
use lutweave_ir::{Diagnostic, Diagnostics, Element, Graph, NodeId, Op, Tensor};
use normalise::Model;
use place::Place;
use std::collections::BTreeSet;
use std::fmt;

/// What quantization is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Running the float graph on the calibration samples.
    Calibrate,
    /// Rounding weights and building the integer graph.
    Lower,
}

/// Called with what is going on, how many of its steps are done, and how many there are; an error cancels
/// the work, which returns it.
pub type Progress<'a> = &'a (dyn Fn(Stage, usize, usize) -> Result<(), Diagnostic> + Sync);

/// How to quantize.
#[derive(Clone, Copy)]
pub struct QuantizeOptions<'a> {
    /// Width of the weights that the model does not give: 8 or 4. With 4, the first and the last
    /// layers and depthwise layers keep 8.
    pub weight_bits: u8,
    /// How the ranges of activations are chosen that the model does not give.
    pub activation_range: RangeMethod,
    /// Corrects biases for the mean error that rounding makes on the calibration samples.
    pub bias_correction: bool,
    /// Corrects the scale of each output channel too, where that brings the layer's output nearer
    /// to the float graph's on the calibration samples. Takes effect with `bias_correction`, where
    /// some layer is pruned or has weights of less than 8 bits; the errors of 8 bits leave scales
    /// as they are.
    pub statistics_correction: bool,
    /// Fits each layer's weights to what the float graph's inputs would give, on the inputs that
    /// the layers before it really give.
    pub asymmetric: bool,
    /// How weights of less than 8 bits are rounded; wider ones go to the nearest.
    pub rounding: Rounding,
    /// How the scales of weights are chosen.
    pub scale: ScaleMethod,
    /// How single layers are compressed, by the names that [`layers`] gives; the others keep all
    /// weights at `weight_bits`. Layers with a setting are rounded anew if the model gives their
    /// weights as integers.
    pub settings: Option<&'a WeightConfigs>,
    /// At most this many calibration samples are used, drawn evenly from those given.
    pub samples: usize,
    /// Reports progress.
    pub progress: Option<Progress<'a>>,
}

impl Default for QuantizeOptions<'_> {
    fn default() -> Self {
        Self {
            weight_bits: 8,
            activation_range: RangeMethod::Mse,
            bias_correction: true,
            statistics_correction: true,
            asymmetric: false,
            rounding: Rounding::default(),
            scale: ScaleMethod::default(),
            settings: None,
            samples: 100,
            progress: None,
        }
    }
}

impl fmt::Debug for QuantizeOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuantizeOptions")
            .field("weight_bits", &self.weight_bits)
            .field("activation_range", &self.activation_range)
            .field("bias_correction", &self.bias_correction)
            .field("statistics_correction", &self.statistics_correction)
            .field("asymmetric", &self.asymmetric)
            .field("rounding", &self.rounding)
            .field("scale", &self.scale)
            .field("settings", &self.settings)
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

impl QuantizeOptions<'_> {
    /// What was asked for a layer by name.
    fn setting(&self, name: &str) -> Option<WeightConfig> {
        self.settings?.get(name).copied()
    }

    /// True if scales are corrected.
    fn corrects_scales(&self) -> bool {
        let coarse = |setting: &WeightConfig| setting.bits < 8 || setting.pattern != Pattern::Dense;
        let somewhere = self.weight_bits < 8 || self.settings.is_some_and(|settings| settings.values().any(coarse));
        self.statistics_correction && self.bias_correction && somewhere
    }

    /// True if it is of interest how well the integers stand for the reals: what coarse settings cost is
    /// measured by who chooses them.
    fn measures_fidelity(&self) -> bool {
        self.weight_bits == 8 && self.settings.is_none()
    }

    /// True if the layer's weights are rounded, and not the model's own integers.
    fn rounds(&self, model: &Model, root: NodeId) -> bool {
        model.layers[&root].weights.given.is_none() || self.setting(&model.graph.node(root).name).is_some()
    }

    fn progress(&self, stage: Stage, done: usize, total: usize) -> Result<(), Diagnostic> {
        self.progress.map_or(Ok(()), |progress| progress(stage, done, total))
    }
}

/// The result of [`quantize`].
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The integer graph, with float operators before and after it only: what
    /// [`lutweave_ir::split`] cuts.
    pub graph: Graph,
    /// The arithmetic layers, in order.
    pub layers: Vec<LayerReport>,
    /// Where the integers may not mean what the reals do, on the calibration samples. What lossy
    /// settings of weights cost is not among it: they are chosen, and their price is measured.
    pub warnings: Vec<Diagnostic>,
}

/// Quantizes a float graph, or the graph of a quantized model, whose scales are kept.
///
/// `calibration` holds one list of inputs per sample. It may be empty if the model gives all
/// scales. Where one network is quantized with several settings, see [`Calibrated`].
///
/// # Errors
/// Everything in the model that cannot be compiled, together; missing or unfit calibration data.
pub fn quantize(
    graph: &Graph,
    calibration: &[Vec<Tensor>],
    options: &QuantizeOptions,
) -> Result<Quantized, Diagnostics> {
    Calibrated::new(graph, calibration, options)?.lower(options)
}

/// Refuses more values on the chip than any circuit computes, before each of them is observed.
fn check_size(model: &Model, fusion: &Fusion) -> Result<(), Diagnostic> {
    const MOST: usize = 8192;
    let on_chip = |id: &NodeId| fusion.demanded[id.index()] && model.places[id.index()] == Place::Chip;
    let count = model.graph.ids().filter(on_chip).count();
    if count <= MOST {
        return Ok(());
    }
    Err(Diagnostic::error("too-large", format!("the chip would compute {count} values; at most {MOST} are quantized"))
        .at(&model.graph.name)
        .help("cut the model into parts, and compile each"))
}

fn check_options(options: &QuantizeOptions) -> Result<(), Diagnostic> {
    match options.weight_bits {
        8 | 4 => Ok(()),
        bits => Err(Diagnostic::error("invalid-option", format!("weights of {bits} bits are not supported"))
            .help("choose 8 or 4")),
    }
}

/// At most `count` of the samples, evenly.
fn draw(samples: &[Vec<Tensor>], count: usize) -> Vec<Vec<Tensor>> {
    let count = count.min(samples.len());
    (0..count).map(|index| samples[index * samples.len() / count].clone()).collect()
}

/// What has to be observed on calibration samples.
struct Needs {
    /// Values whose range is needed.
    ranges: BTreeSet<NodeId>,
    /// Layers whose weights are rounded.
    layers: BTreeSet<NodeId>,
    /// Values that are compared with the integer graph's.
    measured: BTreeSet<NodeId>,
}

impl Needs {
    fn new(model: &Model, fusion: &Fusion, origins: &[Option<Origin>], options: &QuantizeOptions) -> Self {
        let mut needs = Self { ranges: BTreeSet::new(), layers: BTreeSet::new(), measured: BTreeSet::new() };
        for id in model.graph.ids().filter(|id| fusion.demanded[id.index()]) {
            if model.places[id.index()] != Place::Chip {
                continue;
            }
            let reads = fusion.reads(model, id);
            match &model.graph.node(id).op {
                Op::Quantize(_) | Op::Dequantize(_) | Op::Input => continue,
                _ => {}
            }
            for value in reads.into_iter().chain([id]) {
                needs.ranges.extend(calibrated(origins, value));
            }
            let root = fusion.root(id);
            if model.layers.contains_key(&root) && options.rounds(model, root) {
                needs.layers.insert(root);
            }
            if model.graph.node(id).ty.element == Element::F32 {
                needs.measured.insert(id);
            }
        }
        let judged = model.graph.outputs().iter().map(|&output| fidelity::judged(model, output));
        needs.measured.extend(judged.filter(|&id| !model.is_constant(id)));
        needs.measured.extend(fidelity::near_poles(model).into_iter().map(|(_, at)| at));
        needs
    }

    /// True if calibration samples are of use.
    fn calibration(&self) -> bool {
        !self.ranges.is_empty() || !self.layers.is_empty()
    }

    fn missing(&self, model: &Model) -> Diagnostics {
        let node = self.ranges.first().map(|&id| model.graph.node(id).name.clone()).unwrap_or_default();
        Diagnostic::error(
            "calibration-needed",
            "the model does not give all scales, and there are no calibration samples",
        )
        .at(node)
        .help("give calibration samples (--task or --calibration), or a model with scales for all values")
        .into()
    }
}

/// The value whose observed range decides a value's quantization.
fn calibrated(origins: &[Option<Origin>], id: NodeId) -> Option<NodeId> {
    let mut at = id;
    loop {
        match origins[at.index()]? {
            Origin::Given(_) => return None,
            Origin::SameAs(other) => at = other,
            Origin::Calibrated(other) => return Some(other),
        }
    }
}
