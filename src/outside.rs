//! Weights that come from a memory on the board, and queues that wait there.

use lutweave_hw::block::window::Port;
use lutweave_hw::dataflow::{Edge, Sink};
use lutweave_hw::device::Device;
use lutweave_hw::elaborate::{outside, traffic};
use lutweave_hw::fit::Fitted;
use lutweave_ir::Graph;
use serde::{Deserialize, Serialize};

/// The file with the weights that come from the memory on the board.
pub const WEIGHTS: &str = "weights.bin";

/// What a circuit takes from the memory on the board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// The file that has to lie in that memory, from the address on that `memory_base` says, or that the stream brings;
    /// `None` if all weights are on the chip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Who brings it: the circuit reads a memory, or a stream brings all of it once after each reset.
    #[serde(default, skip_serializing_if = "Port::is_memory")]
    pub port: Port,
    /// Bytes of a beat.
    pub beat_bytes: u32,
    /// Beats of a burst.
    pub burst: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes from that address on that belong to the circuit: the file, then what waits in queues.
    pub reserved: u64,
    /// Bytes that go and come for every frame.
    pub bytes_per_frame: u64,
    /// Whose weights they are, in the order of the file.
    pub layers: Vec<OutsideLayer>,
    /// The queues behind the file, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<OutsideQueue>,
}

/// A queue that waits there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutsideQueue {
    /// Name of the node whose results wait.
    pub from: String,
    /// Name of the node that they wait for.
    pub to: String,
    /// First byte.
    pub first: u64,
    /// Bytes.
    pub bytes: u64,
    /// Bytes that are written and read for every frame, at most.
    pub bytes_per_frame: u64,
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
    /// Of a fitted core; `None` if all of it is on the chip.
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
        let burst_bytes = u64::from(supply.bus.burst_bytes());
        let name = |node| core.node(node).name.clone();
        let edges = fitted.network.edges.iter().filter_map(|edge| Some((edge, edge.outside_queue()?)));
        let queues: Vec<OutsideQueue> = edges
            .zip(supply.queues())
            .map(|((&Edge { from, to, .. }, queue), client)| OutsideQueue {
                from: name(from),
                to: name(match to {
                    Sink::Kernel(node, _) => node,
                    Sink::Output(_) => from,
                }),
                first: u64::from(client.first) * burst_bytes,
                bytes: u64::from(client.bursts) * burst_bytes,
                bytes_per_frame: queue.traffic(core.node(from).ty.count() as u64),
            })
            .collect();
        Some(Self {
            file: (!layers.is_empty()).then(|| WEIGHTS.to_owned()),
            port: supply.bus.port,
            beat_bytes: supply.bus.bytes,
            burst: supply.bus.burst,
            bytes: supply.image.len() as u64,
            reserved: supply.bytes(),
            bytes_per_frame: traffic(core, &fitted.network),
            layers,
            queues,
        })
    }

    /// In a line: what goes and comes, and what share of the bandwidth a frame takes in so many cycles.
    pub fn line(&self, device: &Device, cycles: u64) -> String {
        let streamed = self.layers.iter().filter(|layer| layer.rows.is_some()).count();
        let loaded = self.layers.len() - streamed;
        let per_cycle = self.bytes_per_frame as f64 / cycles.max(1) as f64;
        let share = 100.0 * per_cycle / device.bytes_per_cycle().max(f64::MIN_POSITIVE);
        let count = |count: usize, what: &str| (count > 0).then(|| format!("{what} {count}"));
        let each_frame = [count(streamed, "weights of layers:"), count(self.queues.len(), "queues:")];
        let each_frame: Vec<String> = each_frame.into_iter().flatten().collect();
        let mut parts = Vec::new();
        if !each_frame.is_empty() {
            parts.push(format!(
                "{}; {} bytes per frame ({share:.0} % of what is planned with)",
                each_frame.join(", "),
                self.bytes_per_frame
            ));
        }
        let when = match self.port {
            Port::Memory => "once after each reset, weights of layers:",
            Port::Stream => "as a stream once after each reset, weights of layers:",
        };
        parts.extend(count(loaded, when));
        parts.join("; ")
    }
}
