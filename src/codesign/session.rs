//! What one model needs for any number of choices: its tables, its space, and a judge.

use super::judge::{Judge, Measured};
use super::tables::{Key, tables};
use crate::cache::Cache;
use crate::failure::Failure;
use crate::pipeline::{Lowered, State};
use crate::prune::loss;
use crate::task::Section;
use lutweave_codesign::sensitivity::{SensitivityTable, Study};
use lutweave_codesign::{Budgets, Design, Space};
use lutweave_hw::fit::{Fitted, realize};
use lutweave_ir::Diagnostic;
use lutweave_quantize::compress::WeightConfigs;
use lutweave_quantize::{NormalizedNetwork, normalized_network};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Choosing for one model on one device.
pub struct Session<'a> {
    /// The model, its samples and the device; the float graph is as it is quantized.
    pub state: &'a State<'a>,
    cache: Cache,
    subject: NormalizedNetwork,
    study: Study,
    judge: Judge<'a>,
    /// Of everything that a measured drop depends on beside the settings.
    key: Key,
    /// Of everything that prices of settings depend on.
    prices_key: Key,
    /// Prices of all settings.
    pub tables: Vec<SensitivityTable>,
    /// All ways to build the network.
    pub space: Arc<Space>,
    /// Number of weights of each layer.
    pub weights: BTreeMap<String, u64>,
}

impl<'a> Session<'a> {
    /// Measures the tables and prices the foldings.
    ///
    /// # Errors
    /// Without a task; if the model cannot be compiled, or the observer wants no more.
    pub fn new(state: &'a State<'a>) -> Result<Self, Failure> {
        let (model, calibration, graph) = (state.model, &state.calibration, state.cleaned.graph());
        let Some(task) = &model.task else {
            return Err(Failure::Usage(
                Diagnostic::error("no-task", "choosing settings measures the metric's drop, which needs a task")
                    .help("give --task FILE.toml, or choose --weights 8 or 4"),
            ));
        };
        task.required_metric()?;
        let loss = loss(model);
        let cache = Cache::of_user();
        let subject = normalized_network(graph)?;
        let study = Study::new(&subject.graph, calibration, loss)?;
        let mut prices_key = Key::new(&subject.graph, calibration);
        prices_key.text(&format!("{loss:?}"));
        let tables = tables(&subject, &study, None, &prices_key, &cache, state.context)?;
        // The circuit's structure does not depend on the weights.
        let faithful = state.candidate(8, None)?;
        let space = Arc::new(Space::new(&faithful.split.core, &tables, &state.device)?);
        let weights = subject.layers.iter().map(|layer| (layer.info.name.clone(), layer.count() as u64)).collect();
        let judge = Judge::new(model, task, Section::Calibration, usize::MAX)?;
        let mut key = Key::new(graph, calibration);
        key.text(&state.options.measured());
        judge.add_to(&mut key);
        Ok(Self { state, cache, subject, study, judge, key, prices_key, tables, space, weights })
    }

    /// The space with prices measured around a choice of settings, and with prices halfway from
    /// the first ones to those: the former are right near the choice only.
    ///
    /// # Errors
    /// If the observer wants no more.
    pub fn around(&self, state: &WeightConfigs) -> Result<[Arc<Space>; 2], Failure> {
        let near = tables(&self.subject, &self.study, Some(state), &self.prices_key, &self.cache, self.state.context)?;
        let halfway: Vec<SensitivityTable> =
            self.tables.iter().zip(&near).map(|(far, near)| far.midpoint(near)).collect();
        Ok([near, halfway].map(|prices| Arc::new(self.space.with_prices(&prices))))
    }

    /// The model quantized with settings.
    ///
    /// # Errors
    /// As [`State::candidate`].
    pub fn lower(&self, settings: &WeightConfigs) -> Result<Lowered, Failure> {
        self.state.candidate(8, Some(settings))
    }

    /// What settings cost on the calibration data.
    ///
    /// # Errors
    /// As [`State::candidate`].
    pub fn measure(&self, settings: &WeightConfigs) -> Result<Measured, Failure> {
        self.cached(settings, || self.measured(&self.lower(settings)?))
    }

    /// As [`Session::measure`], for settings that are lowered already.
    ///
    /// # Errors
    /// As [`Judge::measure`].
    pub fn measure_lowered(&self, settings: &WeightConfigs, lowered: &Lowered) -> Result<Measured, Failure> {
        self.cached(settings, || self.measured(lowered))
    }

    fn cached(
        &self,
        settings: &WeightConfigs,
        measure: impl FnOnce() -> Result<Measured, Failure>,
    ) -> Result<Measured, Failure> {
        let key = self.key.question(&format!("drop {settings:?}"));
        if let Some(measured) = self.cache.load("drops", &key) {
            return Ok(measured);
        }
        let measured = measure()?;
        self.cache.store("drops", &key, &measured);
        Ok(measured)
    }

    fn measured(&self, lowered: &Lowered) -> Result<Measured, Failure> {
        let judging = self.study.judging().iter().map(|&index| self.state.calibration[index][0].clone());
        self.judge.measure(lowered, &self.study, &judging.collect::<Vec<_>>())
    }

    /// The circuit of a design, whose settings `lowered` has.
    ///
    /// # Errors
    /// If the weights do not keep to what the design assumes.
    pub fn realize(&self, design: &Design, lowered: &Lowered) -> Result<Fitted, Failure> {
        let core = &lowered.split.core;
        let choices = core.ids().filter_map(|id| Some((id, *design.choices.get(&core.node(id).name)?)));
        Ok(realize(core, &self.state.device, &choices.collect())?)
    }

    /// Requested multipliers, if any were.
    pub fn multipliers(&self) -> Option<u32> {
        self.state.options.multipliers
    }

    /// The budgets of the device for a sum of distortions.
    pub fn budgets(&self, distortion: u64) -> Budgets {
        Budgets::of(&self.state.device, distortion, self.state.options.multipliers)
    }
}
