//! What a choice may use.

use lutweave_hw::cost::Resources;
use lutweave_hw::device::Device;
use lutweave_hw::fit::limits;
use lutweave_solve::Budget;

/// Position of the distortion among the budgets.
pub const DISTORTION: usize = 0;

/// Stands for no limit: larger than any use, small enough for sums.
const UNLIMITED: u64 = 1 << 48;

/// True if a budget limits anything.
pub fn is_limited(budget: &Budget) -> bool {
    budget.limit < UNLIMITED
}

/// Limits of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Budgets {
    /// Sum of the layers' distortions, in units of `1 /` [`crate::sensitivity::DISTORTION_ONE`].
    pub distortion: u64,
    /// Multipliers in hardware or logic; `None` for as many as there is room for.
    pub multipliers: Option<u32>,
    /// Parts of the device.
    pub parts: Resources,
    /// Bytes of weights; `None` for as many as there is room for.
    pub weight_bytes: Option<u64>,
}

impl Budgets {
    /// Those of a device, with room for what the choice does not price.
    pub fn of(device: &Device, distortion: u64, multipliers: Option<u32>) -> Self {
        let parts = limits(device);
        Self { distortion, multipliers, parts, weight_bytes: None }
    }

    /// Without limits on the parts of the device.
    #[must_use]
    pub fn without_parts(mut self) -> Self {
        self.parts = Resources { lut: UNLIMITED, ff: UNLIMITED, dsp: UNLIMITED, bram: UNLIMITED };
        self
    }

    /// True if the parts of the device limit the choice.
    pub fn limits_parts(&self) -> bool {
        self.parts.lut < UNLIMITED
    }

    /// The limits as the solver takes them, [`DISTORTION`] first.
    pub(super) fn limits(&self) -> Vec<Budget> {
        let limit = |name: &str, limit: u64| Budget { name: name.to_owned(), limit };
        vec![
            limit("distortion", self.distortion),
            limit("multipliers", self.multipliers.map_or(UNLIMITED, u64::from)),
            limit("LUT", self.parts.lut),
            limit("FF", self.parts.ff),
            limit("DSP", self.parts.dsp),
            limit("BRAM", self.parts.bram),
            limit("weight bits", self.weight_bytes.map_or(UNLIMITED, |bytes| bytes.saturating_mul(8))),
        ]
    }
}
