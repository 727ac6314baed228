//! The custom section [`SECTION`]: what a host must know to drive a module, as JSON.
//!
//! A host
//! 1. grows the memory so that its buffers fit behind [`Map::memory_end`];
//! 2. for each source writes the beats of all frames one after another, each beat
//!    `lanes * lane_bytes` bytes little-endian, lane 0 first, and stores the address at
//!    [`PortMap::buffer`], the number of beats at [`PortMap::total`] and the start value of the
//!    stall generator (0: never stalls) at [`PortMap::seed`];
//! 3. for each sink stores the address of an equal buffer for the answers, the number of beats
//!    expected, the stall generator's start value, and at [`PortMap::completions`] the address
//!    of an array of 64-bit cycle numbers, one per frame, written as frames end;
//! 4. stores the patience (64 bits) at [`ControlMap::patience`], calls `reset()`, and calls
//!    `run(n)` until the word at [`ControlMap::status`] is not [`RUNNING`].

use lutweave_hw::rtl::Ty;
use serde::{Deserialize, Serialize};

/// Name of the custom section.
pub const SECTION: &str = "lutweave.map";

/// Version of the section's contents.
pub const VERSION: u32 = 1;

/// Status: beats are still expected.
pub const RUNNING: u32 = 0;

/// Status: all expected beats arrived.
pub const DONE: u32 = 1;

/// Status: no transfer on any port of the design for the cycles of the patience.
pub const DEADLOCK: u32 = 2;

/// A scalar or vector type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeMap {
    /// Number of integers.
    pub lanes: u32,
    /// Width of each.
    pub bits: u32,
    /// Two's complement.
    pub signed: bool,
    /// Bytes that store one.
    pub lane_bytes: u32,
}

impl TypeMap {
    /// Describes a type.
    pub fn new(ty: Ty) -> Self {
        Self { lanes: ty.lanes, bits: ty.bits, signed: ty.signed, lane_bytes: crate::layout::lane_bytes(ty) }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        (self.lanes * self.lane_bytes) as usize
    }
}

impl TypeMap {
    fn is_sound(self) -> bool {
        matches!(self.lane_bytes, 1 | 2 | 4 | 8)
            && (1..=8 * self.lane_bytes).contains(&self.bits)
            && (1..1 << 24).contains(&self.lanes)
    }
}

/// Addresses of the control block's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlMap {
    /// 32 bits: [`RUNNING`], [`DONE`] or [`DEADLOCK`].
    pub status: u32,
    /// 64 bits: cycles since reset.
    pub cycle: u32,
    /// 64 bits: beats expected on all sinks and not arrived.
    pub remaining: u32,
    /// 64 bits: cycles without a transfer that count as deadlock.
    pub patience: u32,
    /// 64 bits: cycle of the last transfer.
    pub last_transfer: u32,
    /// 64 bits: cycle of the first transfer on an input, -1 before.
    pub first_transfer: u32,
}

/// A stream port of the design.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMap {
    /// Port name.
    pub name: String,
    /// Type of a beat.
    pub ty: TypeMap,
    /// Beats of a frame.
    pub beats: u64,
    /// Address of the 32-bit address of the buffer.
    pub buffer: u32,
    /// Address of the 32-bit number of beats of all frames.
    pub total: u32,
    /// Address of the 32-bit start value of the stall generator.
    pub seed: u32,
    /// Address of the 32-bit number of beats offered (sources) or received (sinks).
    pub count: u32,
    /// Address of the stall generator's 32-bit state.
    pub stall: u32,
    /// Sinks: address of the 32-bit address of the completions.
    pub completions: u32,
    /// Sinks: address of the 32-bit number of complete frames.
    pub frames: u32,
    /// Sinks: address of the 32-bit number of beats of the present frame.
    pub within: u32,
    /// Number of the port's channel.
    pub channel: usize,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelMap {
    /// Its name.
    pub name: String,
    /// Type of the data.
    pub ty: TypeMap,
    /// Address of `tvalid`, a byte.
    pub valid: u32,
    /// Address of `tready` as it was in the last cycle, a byte.
    pub ready: u32,
    /// Address of `tdata`.
    pub data: u32,
    /// Address of three 64-bit counts of cycles: transfers; valid without ready; ready without
    /// valid.
    pub counters: Option<u32>,
}

/// A register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalMap {
    /// Module.
    pub module: String,
    /// Name in the module.
    pub name: String,
    /// Address.
    pub address: u32,
    /// Type.
    pub ty: TypeMap,
}

/// A window memory whose reads are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowMap {
    /// Its module.
    pub module: String,
    /// Address of the 64-bit number of taps that read another row than their own since reset.
    pub wrong: u32,
}

/// Contents of the section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the design.
    pub name: String,
    /// End of the simulator's own memory.
    pub memory_end: u32,
    /// [`lutweave_hw::rtl::harness::patience`] of the design.
    pub patience: u64,
    /// Control block.
    pub control: ControlMap,
    /// Stream inputs.
    pub sources: Vec<PortMap>,
    /// Stream outputs.
    pub sinks: Vec<PortMap>,
    /// All channels.
    pub channels: Vec<ChannelMap>,
    /// All registers.
    pub signals: Vec<SignalMap>,
    /// Checked window memories; none unless the check was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowMap>,
}

impl Map {
    /// What makes the map unusable, if anything: it may come from a damaged file.
    pub fn fault(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("version {} of the map, expected {VERSION}", self.version));
        }
        for port in self.sources.iter().chain(&self.sinks) {
            if !port.ty.is_sound() || !(1..1 << 32).contains(&port.beats) {
                return Some(format!("port `{}` has an impossible shape", port.name));
            }
        }
        let types = self.signals.iter().map(|signal| (&signal.name, signal.ty));
        let types = types.chain(self.channels.iter().map(|channel| (&channel.name, channel.ty)));
        types.into_iter().find(|(_, ty)| !ty.is_sound()).map(|(name, _)| format!("`{name}` has an impossible type"))
    }
}
