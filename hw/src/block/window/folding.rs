//! How window operations are folded, and where their weights come from.

use crate::rtl::MemoryStyle;
use crate::rtl::engine::{Multiplier, NofM, ParallelTaps};
use serde::{Deserialize, Serialize};

/// How a window operation is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folding {
    /// Taps read in one step.
    pub parallel: ParallelTaps,
    /// Channels read in one step (SIMD); divides the channels of a convolution group.
    pub lanes: u32,
    /// Output channels computed at once (PE); divides the outputs of a group. Equal to `lanes`
    /// for depthwise convolutions and pools.
    pub outputs: u32,
    /// Lanes of the output stream; divides `outputs`.
    pub stream: u32,
    /// Pattern of zeros by which a convolution that is not depthwise saves products; its run
    /// divides `lanes`.
    pub pattern: Option<NofM>,
    /// What forms the products of a convolution.
    pub multiplier: Multiplier,
    /// Where the weights of a convolution live.
    pub weight_memory: MemoryStyle,
    /// Where they come from.
    #[serde(default, skip_serializing_if = "WeightSource::is_constant")]
    pub source: WeightSource,
    /// The tables of the requantizer are in logic, whatever their size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tables_in_logic: bool,
    /// Every pixel is taken for an image of its own, which needs no counters of rows: where windows are pixels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pixel_by_pixel: bool,
    /// Memories live in the large RAM from so many thousandths of a block RAM on that they free per large RAM; none does
    /// if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_from: Option<u32>,
}

/// Where the weights of a convolution come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightSource {
    /// They are constants of the circuit.
    #[default]
    Constant,
    /// From outside, once after each reset.
    Loaded(Bus),
    /// From outside, again for every block of output rows.
    Streamed {
        /// How they come.
        bus: Bus,
        /// Rows of a block, at most those of the output.
        rows: u32,
    },
}

/// How weights come from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bus {
    /// Bytes of a beat.
    pub bytes: u32,
    /// Beats of a burst.
    pub burst: u32,
    /// Who brings them.
    #[serde(default, skip_serializing_if = "Port::is_memory")]
    pub port: Port,
}

/// Who brings what comes from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// The circuit reads a memory.
    #[default]
    Memory,
    /// A stream brings all of it once after each reset.
    Stream,
}

impl Port {
    /// Whether the circuit reads a memory.
    pub fn is_memory(&self) -> bool {
        *self == Self::Memory
    }
}

impl Bus {
    /// Bursts of a memory.
    pub fn memory(bytes: u32, burst: u32) -> Self {
        Self { bytes, burst, port: Port::Memory }
    }

    /// Beats of a stream.
    pub fn stream(bytes: u32) -> Self {
        Self { bytes, burst: 1, port: Port::Stream }
    }

    /// Bytes of a burst.
    pub fn burst_bytes(self) -> u32 {
        self.bytes.saturating_mul(self.burst)
    }

    /// Whether a memory can be read so: AXI4 bursts are of at most 256 beats, and do not cross 4096 bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self) -> Result<(), String> {
        let Self { bytes, burst, port } = self;
        if port == Port::Stream {
            let right = bytes.is_power_of_two() && (2..=128).contains(&bytes) && burst == 1;
            return if right { Ok(()) } else { Err("a beat of a stream has 2, 4, ... or 128 bytes".to_owned()) };
        }
        let powers = bytes.is_power_of_two() && burst.is_power_of_two();
        if powers && (4..=128).contains(&bytes) && burst <= 256 && self.burst_bytes() <= 4096 {
            return Ok(());
        }
        Err(format!(
            "it has bursts of {burst} beats of {bytes} bytes; both should be powers of two, a beat 4 to 128 bytes, a \
             burst at most 256 beats and 4096 bytes"
        ))
    }
}

impl WeightSource {
    /// Whether weights are constants of the circuit.
    pub fn is_constant(&self) -> bool {
        *self == Self::Constant
    }

    /// How weights come from outside, if they do.
    pub fn bus(&self) -> Option<Bus> {
        match *self {
            Self::Constant => None,
            Self::Loaded(bus) | Self::Streamed { bus, .. } => Some(bus),
        }
    }
}

impl Folding {
    /// A folding of a reduction without products.
    pub fn without_products(parallel: ParallelTaps, lanes: u32) -> Self {
        Self {
            parallel,
            lanes,
            outputs: lanes,
            stream: lanes,
            pattern: None,
            multiplier: Multiplier::Single,
            weight_memory: MemoryStyle::Distributed,
            source: WeightSource::Constant,
            tables_in_logic: false,
            pixel_by_pixel: false,
            large_from: None,
        }
    }
}
