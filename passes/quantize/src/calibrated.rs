//! What does not depend on the settings of weights: computed once, and lowered with each of them.

use super::assign::{self, Origin, QuantParams};
use super::calibrate::{self, Observations};
use super::fidelity;
use super::float_reference::ReferenceValues;
use super::fuse::Fusion;
use super::lower;
use super::normalise::{self, Model};
use super::range::RangeMethod;
use super::sites;
use super::{Needs, QuantizeOptions, Quantized, Stage, check_options, check_size, draw};
use lutweave_ir::{Diagnostics, Graph, NodeId, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Elements of all samples of one value that are held while the integer graph grows.
const HELD_ELEMENTS: usize = 1 << 27;

/// A float network with what the calibration samples showed of it: the ranges of its values, the means of its
/// layers' inputs, and (as far as memory allows) its values, beside which settings are lowered.
pub struct Calibrated {
    model: Model,
    fusion: Fusion,
    origins: Vec<Option<Origin>>,
    /// The samples that were drawn.
    samples: Vec<Vec<Tensor>>,
    /// Layers whose inputs were observed.
    layers: BTreeSet<NodeId>,
    observations: Observations,
    /// The quantizations that the model does not give.
    grids: BTreeMap<NodeId, QuantParams>,
    range_method: RangeMethod,
    reference: OnceLock<Option<ReferenceValues>>,
}

impl Calibrated {
    /// Runs the float graph on the calibration samples. Of the options it reads the method for ranges and the
    /// number of samples.
    ///
    /// # Errors
    /// Everything in the model that cannot be compiled, together; missing or unfit calibration data.
    pub fn new(graph: &Graph, calibration: &[Vec<Tensor>], options: &QuantizeOptions) -> Result<Self, Diagnostics> {
        check_options(options)?;
        let model = normalise::normalise(graph)?;
        let fusion = Fusion::new(&model);
        if let Some(settings) = options.settings {
            sites::check(&model, &fusion, settings)?;
        }
        check_size(&model, &fusion)?;
        let samples = draw(calibration, options.samples);
        let origins = assign::assign(&model, &fusion)?;
        let needs = Needs::new(&model, &fusion, &origins, options);
        if !needs.ranges.is_empty() && samples.is_empty() {
            return Err(needs.missing(&model));
        }
        let observations = observe(&model, &samples, &needs, options)?;
        let grids = lower::grids(&model, &fusion, &observations, options.activation_range);
        let range_method = options.activation_range;
        let (layers, reference) = (needs.layers, OnceLock::new());
        Ok(Self { model, fusion, origins, samples, layers, observations, grids, range_method, reference })
    }

    /// The integer graph with settings. The method for ranges and the number of samples are those of
    /// [`Calibrated::new`].
    ///
    /// # Errors
    /// Settings for layers that are not there; scales that integer arithmetic cannot bridge.
    pub fn lower(&self, options: &QuantizeOptions) -> Result<Quantized, Diagnostics> {
        check_options(options)?;
        let Self { model, fusion, origins, samples, .. } = self;
        let options = &QuantizeOptions { activation_range: self.range_method, ..*options };
        if let Some(settings) = options.settings {
            sites::check(model, fusion, settings)?;
        }
        let needs = Needs::new(model, fusion, origins, options);
        // Settings may ask for layers whose weights the model gives.
        let again;
        let observations = if needs.layers.is_subset(&self.layers) {
            &self.observations
        } else {
            again = observe(model, samples, &needs, options)?;
            &again
        };
        let largest = model.graph.nodes().iter().map(|node| node.ty.count()).max().unwrap_or(1);
        let held = if needs.calibration() { samples.len().min((HELD_ELEMENTS / largest).max(1)) } else { 0 };
        let held = &samples[..held];
        let context = lower::Context { model, fusion, origins, observations, grids: &self.grids, options };
        let reference = || self.reference.get_or_init(|| ReferenceValues::new(model, fusion, held)).as_ref();
        let lowered = lower::lower(&context, held, &reference)?;
        let mut warnings = fidelity::of_steps(model, fusion, origins);
        warnings.extend(fidelity::of_poles(model, observations));
        if options.measures_fidelity() {
            warnings.extend(fidelity::of_outputs(model, &lowered.values, &lowered.outputs));
        }
        let lower::Lowered { graph, report: layers, .. } = lowered;
        let graph = graph.without_dead_nodes();
        lutweave_ir::validate::validate(&graph)?;
        Ok(Quantized { graph, layers, warnings })
    }
}

/// What the calibration samples show, where that is needed.
fn observe(
    model: &Model,
    samples: &[Vec<Tensor>],
    needs: &Needs,
    options: &QuantizeOptions,
) -> Result<Observations, Diagnostics> {
    let total = samples.len();
    if !needs.calibration() || total == 0 {
        return Ok(Observations::default());
    }
    let done = |count: usize| options.progress(Stage::Calibrate, count, total);
    Ok(calibrate::observe(model, samples, &needs.ranges, &needs.layers, &needs.measured, &done)?)
}
