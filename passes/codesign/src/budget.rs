//! What a choice may use.

use lutweave_hw::cost::{Part, Resources};
use lutweave_hw::device::Device;
use lutweave_solve::Budget;

/// What a choice uses up, and what a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Sum of the layers' distortions.
    Distortion,
    /// Multipliers in hardware or logic.
    Multipliers,
    /// Parts of the device.
    Part(Part),
    /// Bits of stored weights.
    WeightBits,
}

/// Position of the distortion among the budgets.
pub const DISTORTION: usize = 0;

impl Quantity {
    /// Every quantity, in the order in which the solver has budgets for them; [`DISTORTION`] is first.
    pub const ALL: [Self; 7] = [
        Self::Distortion,
        Self::Multipliers,
        Self::Part(Part::Lut),
        Self::Part(Part::Ff),
        Self::Part(Part::Dsp),
        Self::Part(Part::Bram),
        Self::WeightBits,
    ];

    /// The name of the budget.
    pub fn name(self) -> &'static str {
        match self {
            Self::Distortion => "distortion",
            Self::Multipliers => "multipliers",
            Self::Part(part) => part.label(),
            Self::WeightBits => "weight bits",
        }
    }
}

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
        let parts = device.limits();
        Self { distortion, multipliers, parts, weight_bytes: None }
    }

    /// Without limits on the parts of the device.
    #[must_use]
    pub fn without_parts(mut self) -> Self {
        self.parts = Resources::of_each(|_| UNLIMITED);
        self
    }

    /// True if the parts of the device limit the choice.
    pub fn limits_parts(&self) -> bool {
        self.parts.lut < UNLIMITED
    }

    /// The limits as the solver takes them, in the order of [`Quantity::ALL`].
    pub(super) fn limits(&self) -> Vec<Budget> {
        let limit = |quantity| match quantity {
            Quantity::Distortion => self.distortion,
            Quantity::Multipliers => self.multipliers.map_or(UNLIMITED, u64::from),
            Quantity::Part(part) => self.parts[part],
            Quantity::WeightBits => self.weight_bytes.map_or(UNLIMITED, |bytes| bytes.saturating_mul(8)),
        };
        Quantity::ALL.map(|quantity| Budget { name: quantity.name().to_owned(), limit: limit(quantity) }).into()
    }
}
