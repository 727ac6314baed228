//! What a user may ask of the compiler.

use crate::failure::Failure;
use lutweave_ir::Diagnostic;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An option that is one of a few choices.
pub trait Choices: Copy + PartialEq + Sized + 'static {
    /// Every choice with its name and what it means, in one sentence each.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// Its name.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(choice, ..)| *choice == self).map_or("", |(_, name, _)| name)
    }

    /// The choice of a name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(choice, ..)| *choice)
    }
}

/// Width of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weights {
    /// 8 bits.
    #[serde(rename = "8")]
    Eight,
    /// 4 bits; 8 in the first, the last and the depthwise layers.
    #[serde(rename = "4")]
    Four,
    /// Chosen for each layer, together with the hardware.
    #[serde(rename = "auto")]
    Auto,
}

impl Choices for Weights {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Eight, "8", "8 bits"),
        (Self::Four, "4", "4 bits; 8 in the first, the last and the depthwise layers"),
        (
            Self::Auto,
            "auto",
            "8 or 4 bits and a pattern of zeros for each layer, chosen together with the hardware, so that the \
             metric on the calibration data drops by at most --max-drop",
        ),
    ];
}

/// How activation ranges are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ranges {
    /// From the smallest to the largest value seen.
    MinMax,
    /// Without the outermost 0.1 % of values.
    Percentile,
    /// The range of least squared error.
    Mse,
}

impl Choices for Ranges {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::MinMax, "min-max", "From the smallest to the largest value seen"),
        (Self::Percentile, "percentile", "Without the outermost 0.1 % of values"),
        (Self::Mse, "mse", "The range of least squared error"),
    ];
}

/// How free the taps of deformable convolutions are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deform {
    /// As the model has them, in whole pixels.
    Full,
    /// Every tap its own offset within a reach.
    Bounded,
    /// One distance per pixel within a reach.
    Square,
    /// The cheapest of these that keeps the metric.
    Auto,
}

impl Choices for Deform {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Full, "full", "As the model has them, in whole pixels"),
        (Self::Bounded, "bounded", "Every tap its own offset within a reach"),
        (Self::Square, "square", "One distance per pixel within a reach"),
        (Self::Auto, "auto", "The cheapest of these whose metric on the calibration data drops by at most --max-drop"),
    ];
}

/// How layers' shares of weights are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Measured rate-distortion curves and dynamic programming, iterated.
    Rd,
    /// The same without iteration.
    RdOnce,
    /// The same share everywhere.
    Uniform,
    /// One threshold on magnitudes.
    Magnitude,
    /// One threshold on layer-adaptive magnitudes.
    Lamp,
    /// Shares by the layers' extents.
    Erk,
}

impl Choices for Method {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Rd, "rd", "Measured rate-distortion curves and dynamic programming, iterated"),
        (Self::RdOnce, "rd-once", "The same without iteration"),
        (Self::Uniform, "uniform", "The same share everywhere"),
        (Self::Magnitude, "magnitude", "One threshold on magnitudes"),
        (Self::Lamp, "lamp", "One threshold on layer-adaptive magnitudes"),
        (Self::Erk, "erk", "Shares by the layers' extents"),
    ];
}

/// What is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Single weights, anywhere in the layers.
    Free,
    /// Whole channels, which leave the network; their neighbours shrink.
    Channels,
}

impl Choices for Pattern {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Free, "free", "Single weights, anywhere in the layers"),
        (Self::Channels, "channels", "Whole channels, which leave the network; their neighbours shrink"),
    ];
}

/// Everything that a user may ask of the compiler. What is `None` was left to it.
///
/// ```
/// use lutweave::options::{Options, Weights};
/// let options = Options { device: "ultra96".to_owned(), weights: Some(Weights::Four), ..Options::default() };
/// assert_eq!(options.width(), Weights::Four);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Name of a device, or path of a device file.
    pub device: String,
    /// Most hardware multipliers; by default as many as fit the device.
    pub multipliers: Option<u32>,
    /// How activation ranges are chosen that the model does not give; by default mse.
    pub ranges: Option<Ranges>,
    /// Calibration samples from an `.npz` file, one array per model input as the model is fed, in place of
    /// the task's.
    pub calibration: Option<PathBuf>,
    /// Calibration samples at most; by default 200.
    pub calibration_samples: Option<u32>,
    /// How free the taps of deformable convolutions are left; by default full.
    pub deform: Option<Deform>,
    /// Largest offset or distance of deformable convolutions in pixels, 1 to 127; by default 7, and with
    /// [`Deform::Full`] what the model or the calibration data show.
    pub deform_reach: Option<u32>,
    /// Split dense deformable convolutions into one filter per channel and a mixture of channels.
    pub deform_depthwise: bool,
    /// Keep channels that never fire and weights that are zero but for rounding.
    pub keep_dead_channels: bool,
    /// Clean up with the rules in a fixed order instead of the e-graph, for comparison.
    pub no_egraph: bool,
    /// Width of weights, where the model does not give them; by default 8.
    pub weights: Option<Weights>,
    /// With [`Weights::Auto`] or [`Deform::Auto`]: points (percent for errors) of the metric that the choice
    /// may cost; by default 1.
    pub max_drop: Option<f64>,
    /// Prune this share of the weights, 0 to 1.
    pub sparsity: Option<f64>,
    /// Prune until this share of the multiply-accumulates is left, 0 to 1.
    pub keep_macs: Option<f64>,
    /// With `sparsity` or `keep_macs`: what is pruned; by default free.
    pub pattern: Option<Pattern>,
    /// With `sparsity` or `keep_macs`, and free weights: how layers' shares are chosen; by default rd.
    pub method: Option<Method>,
    /// Pick and rank a detector's peaks on the chip, as the task says; the same boxes.
    pub head: bool,
    /// Load weights from outside the chip to leave block RAMs free, unless the circuit is slower so.
    pub load_weights: bool,
    /// Clock in MHz for the time figures; by default the device's.
    pub clock: Option<f64>,
    /// Skip the comparison of executors and the accuracy.
    pub no_verify: bool,
    /// Refuse the model where there would be a warning.
    pub strict: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: "ulx3s-85f".to_owned(),
            multipliers: None,
            ranges: None,
            calibration: None,
            calibration_samples: None,
            deform: None,
            deform_reach: None,
            deform_depthwise: false,
            keep_dead_channels: false,
            no_egraph: false,
            weights: None,
            max_drop: None,
            sparsity: None,
            keep_macs: None,
            pattern: None,
            method: None,
            head: false,
            load_weights: false,
            clock: None,
            no_verify: false,
            strict: false,
        }
    }
}

impl Options {
    /// Calibration samples at most.
    pub fn calibration_limit(&self) -> usize {
        self.calibration_samples.unwrap_or(200) as usize
    }

    /// How activation ranges are chosen.
    pub fn range_method(&self) -> Ranges {
        self.ranges.unwrap_or(Ranges::Mse)
    }

    /// Width of weights.
    pub fn width(&self) -> Weights {
        self.weights.unwrap_or(Weights::Eight)
    }

    /// Points of the metric that a choice may cost.
    pub fn allowed_drop(&self) -> f64 {
        self.max_drop.unwrap_or(1.0)
    }

    /// True if whole channels are pruned to a target.
    pub fn prunes_channels(&self) -> bool {
        self.pattern == Some(Pattern::Channels)
    }

    /// The options that a measurement of a lowered network may depend on, as text: a part of the key under
    /// which the measurement is kept. A new option is one of them unless it is named here.
    pub fn measured(&self) -> String {
        let neutral = Self::default();
        let measured = Self {
            // What the circuit may take, and how much a choice may cost: asked of measurements.
            device: neutral.device,
            multipliers: None,
            load_weights: false,
            max_drop: None,
            // The samples themselves are a part of the key.
            calibration: None,
            // What is done with the result.
            clock: None,
            no_verify: false,
            strict: false,
            // The settings are a part of the key.
            weights: None,
            ..self.clone()
        };
        serde_json::to_string(&measured).expect("invariant: options are plain data")
    }

    /// Refuses options that mean nothing together, and values out of bounds.
    ///
    /// # Errors
    /// [`Failure::Usage`] with the first fault.
    pub fn check(&self) -> Result<(), Failure> {
        let refuse = |cause: &str, help: &str| {
            Err(Failure::Usage(Diagnostic::error("invalid-option", cause.to_owned()).help(help)))
        };
        let share = |share: Option<f64>| share.is_none_or(|share| (0.0..=1.0).contains(&share));
        if !share(self.sparsity) || !share(self.keep_macs) {
            return refuse("a share is a number from 0 to 1", "mend --sparsity or --keep-macs");
        }
        if self.clock.is_some_and(|clock| !(clock.is_finite() && clock > 0.0)) {
            return refuse("a clock is a positive number of MHz", "mend --clock");
        }
        if self.max_drop.is_some_and(|points| !points.is_finite()) {
            return refuse("a drop is a number of points", "mend --max-drop");
        }
        if self.deform_reach.is_some_and(|reach| !(1..=127).contains(&reach)) {
            return refuse("a reach is 1 to 127 pixels", "mend --deform-reach");
        }
        if [self.multipliers, self.calibration_samples].contains(&Some(0)) {
            return refuse("there must be at least one", "mend --multipliers or --calibration-samples");
        }
        if self.sparsity.is_some() && self.keep_macs.is_some() {
            return refuse("--sparsity and --keep-macs are two targets for one network", "leave one of them out");
        }
        let target = self.sparsity.is_some() || self.keep_macs.is_some();
        if !target && (self.pattern.is_some() || self.method.is_some()) {
            return refuse(
                "--pattern and --method say how to prune, and nothing is pruned",
                "add --sparsity or --keep-macs",
            );
        }
        let chooses = self.width() == Weights::Auto || self.deform == Some(Deform::Auto);
        if self.max_drop.is_some() && !chooses {
            return refuse(
                "--max-drop bounds a choice, and nothing is chosen",
                "add --weights auto (or --deform auto), or leave --max-drop out",
            );
        }
        if self.prunes_channels() && self.method.is_some() {
            return refuse(
                "--method says how layers' shares of single weights are chosen, and whole channels are pruned",
                "leave --method out, or choose --pattern free",
            );
        }
        if self.load_weights && (self.multipliers.is_some() || self.width() == Weights::Auto) {
            return refuse(
                "--load-weights makes a choice of its own, and --multipliers and --weights auto make others",
                "leave one of them out",
            );
        }
        if self.no_verify && self.strict {
            return refuse(
                "--strict refuses what the checks find, and --no-verify skips them",
                "leave one of them out",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_depend_on_what_changes_the_network() {
        let plain = Options::default().measured();
        let percentile = Options { ranges: Some(Ranges::Percentile), ..Options::default() };
        let head = Options { head: true, ..Options::default() };
        let other_device = Options { device: "ultra96".to_owned(), clock: Some(1.0), ..Options::default() };
        assert_ne!(percentile.measured(), plain);
        assert_ne!(head.measured(), plain);
        assert_eq!(other_device.measured(), plain);
    }

    #[test]
    fn options_are_read_back_and_misspelt_ones_refused() {
        let options = Options { weights: Some(Weights::Auto), deform: Some(Deform::Square), ..Options::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
        assert!(serde_json::from_str::<Options>(r#"{"wieghts": "8"}"#).is_err());
        assert!(Options { sparsity: Some(1.5), ..Options::default() }.check().is_err());
    }
}
