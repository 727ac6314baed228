//! Weights that come from a memory on the board.

use lutweave_hw::device::Device;
use lutweave_hw::elaborate::outside;
use lutweave_hw::fit::Fitted;
use lutweave_ir::Graph;
use serde::{Deserialize, Serialize};

/// The file with the weights that come from the memory on the board.
pub const WEIGHTS: &str = "weights.bin";

/// What a circuit takes from the memory on the board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// The file that has to lie in that memory, from the address on that `weights_base` says.
    pub file: String,
    /// Bytes of a beat.
    pub beat_bytes: u32,
    /// Beats of a burst.
    pub burst: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes that come for every frame.
    pub bytes_per_frame: u64,
    /// Whose weights they are, in the order of the file.
    pub layers: Vec<OutsideLayer>,
}

/// The weights of a layer in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutsideLayer {
    /// Name of the node.
    pub layer: String,
    /// First byte.
    pub first: u64,
    /// Bytes.
    pub bytes: u64,
    /// Output rows under which they are streamed; `None` if they are loaded once, after a reset.
    pub rows: Option<u32>,
    /// Bytes that come for every frame.
    pub bytes_per_frame: u64,
}

impl Outside {
    /// Of a fitted core; `None` if all weights are on the chip.
    pub fn of(core: &Graph, fitted: &Fitted) -> Option<Self> {
        let supply = fitted.design.supply.as_ref()?;
        let mut first = 0;
        let layers: Vec<OutsideLayer> = outside(core, &fitted.network)
            .into_iter()
            .map(|stage| {
                let layer = core.node(stage.node).name.clone();
                let (rows, bytes, bytes_per_frame) = (stage.rows, stage.bytes, stage.bytes_per_frame);
                first += bytes;
                OutsideLayer { layer, first: first - bytes, bytes, rows, bytes_per_frame }
            })
            .collect();
        Some(Self {
            file: WEIGHTS.to_owned(),
            beat_bytes: supply.bus.bytes,
            burst: supply.bus.burst,
            bytes: supply.image.len() as u64,
            bytes_per_frame: layers.iter().map(|layer| layer.bytes_per_frame).sum(),
            layers,
        })
    }

    /// In a line: whose weights come, and what share of the bandwidth a frame takes in so many cycles.
    pub fn line(&self, device: &Device, cycles: u64) -> String {
        let streamed = self.layers.iter().filter(|layer| layer.rows.is_some()).count();
        let loaded = self.layers.len() - streamed;
        let per_cycle = self.bytes_per_frame as f64 / cycles.max(1) as f64;
        let share = 100.0 * per_cycle / device.bytes_per_cycle().max(f64::MIN_POSITIVE);
        let mut parts = Vec::new();
        if streamed > 0 {
            let bytes = self.bytes_per_frame;
            parts.push(format!(
                "weights of {streamed} layer(s), {bytes} bytes per frame ({share:.0} % of what is planned with)"
            ));
        }
        if loaded > 0 {
            parts.push(format!("of {loaded} once after each reset"));
        }
        parts.join("; ")
    }
}
