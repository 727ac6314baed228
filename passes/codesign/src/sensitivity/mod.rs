//! Rate-distortion tables: what each setting of a layer's knob costs, measured.
//!
//! A setting's price is the mean loss ([`Loss`]) that it causes in the network's outputs, with all
//! other layers as they are. It is measured after
//! compensation: curves before it mislead (`ic_resnet8` with 80 % of its weights pruned keeps
//! 74 % or 50 % top-1, depending on which curves chose the layers' shares). Bits and sparsity of one
//! layer do not add up, so they are measured together; over layers distortions do add up, as far
//! as errors are small and uncorrelated (Xu et al., "Efficient Joint Optimization of Layer-Adaptive
//! Weight Pruning in Deep Neural Networks", ICCV 2023).

mod measure;
mod study;

pub(crate) use measure::Prepared;
pub use measure::{measure, measure_around};
pub use study::{Change, Loss, Study};

use lutweave_hw::rtl::NofM;
use lutweave_quantize::compress::{Pattern, WeightConfig};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Distortion 1.0 (an error as large as the outputs themselves, or a nat) in fixed point: settings are
/// compared and added exactly, and tables are the same after a round through a file.
pub const DISTORTION_ONE: u64 = 1 << 40;

/// A distortion in fixed point; what is not finite counts as larger than everything.
pub fn fixed_point(distortion: f64) -> u64 {
    // No network survives that, and sums stay far from overflow.
    const MOST: f64 = 1024.0;
    let bounded = if distortion.is_finite() { distortion.clamp(0.0, MOST) } else { MOST };
    (bounded * DISTORTION_ONE as f64).ceil() as u64
}

/// A fixed-point distortion as a number.
pub fn real(distortion: u64) -> f64 {
    distortion as f64 / DISTORTION_ONE as f64
}

/// The price of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensitivityEntry {
    /// The setting.
    pub setting: WeightConfig,
    /// In units of `1 /` [`DISTORTION_ONE`].
    pub distortion: u64,
}

/// The prices of a layer's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensitivityTable {
    /// Name of the layer.
    pub layer: String,
    /// One for each setting, in the order in which they were asked for.
    pub prices: Vec<SensitivityEntry>,
}

impl SensitivityTable {
    /// The price of a setting, if it was measured.
    pub fn price(&self, setting: &WeightConfig) -> Option<u64> {
        Some(self.prices.iter().find(|price| price.setting == *setting)?.distortion)
    }

    /// The table halfway to another of the same settings.
    #[must_use]
    pub fn midpoint(&self, other: &Self) -> Self {
        let middle = |price: &SensitivityEntry| SensitivityEntry {
            distortion: price.distortion.midpoint(other.price(&price.setting).unwrap_or(price.distortion)),
            ..*price
        };
        Self { layer: self.layer.clone(), prices: self.prices.iter().map(middle).collect() }
    }

    /// Makes prices of fewer kept weights at least those of more, per width: measured curves have
    /// noise where they are flat.
    pub fn make_monotone(&mut self) {
        let mut order: Vec<usize> = (0..self.prices.len()).collect();
        let kept = |price: &SensitivityEntry| match price.setting.pattern {
            Pattern::Free { kept } => Some(kept),
            Pattern::Dense | Pattern::NofM { .. } => None,
        };
        order.sort_by_key(|&index| (self.prices[index].setting.bits, kept(&self.prices[index]).map(std::cmp::Reverse)));
        for pair in 1..order.len() {
            let (before, after) = (self.prices[order[pair - 1]].clone(), &mut self.prices[order[pair]]);
            let free = kept(&before).is_some() && kept(after).is_some();
            if free && before.setting.bits == after.setting.bits {
                after.distortion = after.distortion.max(before.distortion);
            }
        }
    }
}

/// The settings that the hardware has for a layer: both widths, and for each the patterns whose
/// groups fit the input channels. Layers over single channels have no patterns.
pub fn hardware_settings(shape: [usize; 4]) -> Vec<WeightConfig> {
    // The densest first, of equals the longest.
    let mut patterns = NofM::ALL.to_vec();
    patterns
        .sort_by_key(|pattern| (Reverse(1000 * u32::from(pattern.kept) / u32::from(pattern.of)), Reverse(pattern.of)));
    let mut settings = Vec::new();
    for bits in [8, 4] {
        settings.push(WeightConfig::dense(bits));
        let fitting = patterns.iter().filter(|pattern| shape[3].is_multiple_of(usize::from(pattern.of)));
        settings.extend(fitting.map(|&NofM { kept, of }| WeightConfig { bits, pattern: Pattern::NofM { kept, of } }));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_weights_never_cost_less() {
        let free = |bits, kept, distortion| SensitivityEntry {
            setting: WeightConfig { bits, pattern: Pattern::Free { kept } },
            distortion,
        };
        let dense = SensitivityEntry { setting: WeightConfig::dense(4), distortion: 1 };
        let mut table = SensitivityTable {
            layer: "a".into(),
            prices: vec![free(8, 10, 5), free(8, 4, 3), free(8, 7, 9), free(4, 4, 2), dense.clone()],
        };
        table.make_monotone();
        let expected = vec![free(8, 10, 5), free(8, 4, 9), free(8, 7, 9), free(4, 4, 2), dense];
        assert_eq!(table.prices, expected);
    }

    #[test]
    fn patterns_divide_the_channels() {
        let patterns_of = |lengths: &[u8]| NofM::ALL.iter().filter(|pattern| lengths.contains(&pattern.of)).count();
        assert_eq!(hardware_settings([16, 3, 3, 3]).len(), 2);
        assert_eq!(hardware_settings([16, 3, 3, 4]).len(), 2 * (1 + patterns_of(&[4])));
        assert_eq!(hardware_settings([16, 3, 3, 16]).len(), 2 * (1 + NofM::ALL.len()));
    }

    #[test]
    fn distortions_are_rounded_up_and_bounded() {
        assert_eq!(fixed_point(0.0), 0);
        assert_eq!(fixed_point(1e-20), 1);
        assert_eq!(fixed_point(1.0), DISTORTION_ONE);
        assert_eq!(fixed_point(f64::NAN), fixed_point(1e30));
    }
}
