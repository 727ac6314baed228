//! What the memory of a circuit is used for, layer by layer.

use lutweave_hw::cost::{Held, MemoryShares};
use lutweave_hw::device::Device;
use lutweave_hw::fit::{Fitted, by_node};
use serde::Serialize;

/// Part of a layer's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Amount {
    /// Bits that are stored.
    pub bits: u64,
    /// Block RAMs as the maker counts them; parts of one are fractions.
    pub bram: f64,
    /// Look-up tables.
    pub lut: u64,
}

/// The memory of a layer: of its own module and of what brings its result on.
#[derive(Clone, Debug, Serialize)]
pub struct LayerMemory {
    /// Name of the node.
    pub layer: String,
    /// Weights, parameters by channel, and tables.
    pub weights: Amount,
    /// Rows that windows slide over, and other values that are read again.
    pub line_buffer: Amount,
    /// Values that wait.
    pub queue: Amount,
}

impl LayerMemory {
    fn new(layer: String, shares: &MemoryShares, device: &Device) -> Self {
        let amount = |held: Held| Amount {
            bits: held.bits,
            bram: held.bram as f64 / device.family.bram_per_tile as f64,
            lut: held.lut,
        };
        let MemoryShares { weights, line_buffer, queue } = *shares;
        Self { layer, weights: amount(weights), line_buffer: amount(line_buffer), queue: amount(queue) }
    }

    /// What it is made of, by name.
    pub fn parts(&self) -> [(&'static str, Amount); 3] {
        [("weights", self.weights), ("line buffer", self.line_buffer), ("queue", self.queue)]
    }

    /// Block RAMs of all of it.
    pub fn bram(&self) -> f64 {
        self.parts().iter().map(|(_, amount)| amount.bram).sum()
    }

    /// Bits of all of it.
    pub fn bits(&self) -> u64 {
        self.parts().iter().map(|(_, amount)| amount.bits).sum()
    }
}

/// The memory of every layer of a fitted core that has some.
pub fn layers(fitted: &Fitted, device: &Device) -> Vec<LayerMemory> {
    let layers = by_node(fitted, device).into_iter().map(|(name, shares)| LayerMemory::new(name, &shares, device));
    layers.filter(|layer| layer.bits() > 0).collect()
}

/// The layers with the most memory, the largest first.
pub fn largest(layers: &[LayerMemory], most: usize) -> Vec<&LayerMemory> {
    let mut sorted: Vec<&LayerMemory> = layers.iter().collect();
    sorted.sort_by(|a, b| b.bram().total_cmp(&a.bram()).then(b.bits().cmp(&a.bits())));
    sorted.truncate(most);
    sorted
}

/// Block RAMs of all layers, by what they hold.
pub fn block_rams(layers: &[LayerMemory]) -> String {
    let sum = |part: fn(&LayerMemory) -> Amount| layers.iter().map(|layer| part(layer).bram).sum::<f64>();
    let [weights, rows, queues] =
        [sum(|layer| layer.weights), sum(|layer| layer.line_buffer), sum(|layer| layer.queue)];
    format!("{weights} of weights, {rows} of line buffers, {queues} of queues")
}
