//! Resources of memories, and what they are for.

use super::{Resources, engine, logic};
use crate::device::Device;
use crate::rtl::{Memory, MemoryStyle, MemoryUse, Module};
use serde::Serialize;
use std::ops::AddAssign;

/// What a part of the memory takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Bits that are stored.
    pub bits: u64,
    /// Block RAMs, the smallest that stand alone.
    pub bram: u64,
    /// Large RAMs.
    pub uram: u64,
    /// Look-up tables.
    pub lut: u64,
}

/// What memory is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryShares {
    /// Weights, parameters by channel, and tables.
    pub weights: Held,
    /// Rows that windows slide over, and other values that are read again.
    pub line_buffer: Held,
    /// Values that wait.
    pub queue: Held,
}

impl Held {
    pub(super) fn new(bits: u64, resources: Resources) -> Self {
        Self { bits, bram: resources.bram, uram: resources.uram, lut: resources.lut }
    }
}

impl AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        self.bits += other.bits;
        self.bram += other.bram;
        self.uram += other.uram;
        self.lut += other.lut;
    }
}

impl AddAssign for MemoryShares {
    fn add_assign(&mut self, other: Self) {
        self.weights += other.weights;
        self.line_buffer += other.line_buffer;
        self.queue += other.queue;
    }
}

impl MemoryShares {
    /// Block RAMs of all of them.
    pub fn bram(&self) -> u64 {
        self.weights.bram + self.line_buffer.bram + self.queue.bram
    }
}

/// What the memories of a module are used for.
pub fn memory_shares(module: &Module, device: &Device) -> MemoryShares {
    let mut shares = MemoryShares::default();
    for memory in &module.memories {
        let held = Held::new(u64::from(memory.word.width()) * u64::from(memory.depth), of_memory(memory, device));
        match memory.purpose {
            MemoryUse::Constants => shares.weights += held,
            MemoryUse::Buffer => shares.line_buffer += held,
            MemoryUse::Queue => shares.queue += held,
            MemoryUse::Outside => {}
        }
    }
    for engine in &module.engines {
        shares.line_buffer += engine::line_buffer(&engine.shape, device);
        shares.weights += engine::weights(&engine.shape, device);
    }
    shares
}

pub(super) fn of_memory(memory: &Memory, device: &Device) -> Resources {
    let width = u64::from(memory.word.width());
    let depth = u64::from(memory.depth);
    match memory.contents {
        Some(_) => rom(width, depth, memory.style, device),
        None => of_ram(width, depth, device),
    }
}

/// A memory that is written, of so many bits per word and so many words, where the family has it.
pub fn of_ram(width: u64, depth: u64, device: &Device) -> Resources {
    ram(width, depth, device.family.ram_style(width, depth), device)
}

/// A memory with contents.
pub(super) fn rom(width: u64, depth: u64, style: MemoryStyle, device: &Device) -> Resources {
    match style {
        MemoryStyle::Block => Resources { bram: device.family.block_rams(width, depth), ..Resources::default() },
        MemoryStyle::Distributed | MemoryStyle::Registers | MemoryStyle::Large => {
            Resources { lut: rom_luts(width, depth, device), ..Resources::default() }
        }
    }
}

/// A memory that is written.
pub(super) fn ram(width: u64, depth: u64, style: MemoryStyle, device: &Device) -> Resources {
    match style {
        MemoryStyle::Block => Resources { bram: device.family.block_rams(width, depth), ..Resources::default() },
        MemoryStyle::Registers => register_ram(width, depth, device),
        MemoryStyle::Distributed => Resources { lut: ram_luts(width, depth, device), ..Resources::default() },
        MemoryStyle::Large => {
            let Some(large) = &device.family.large_ram else { return Resources::default() };
            let abreast = large.words_abreast(width);
            let lut = logic::select(width, abreast, device) + if abreast > 1 { abreast } else { 0 };
            let ff = if abreast > 1 { abreast.ilog2().into() } else { 0 };
            Resources { uram: large.count(width, depth), lut, ff, ..Resources::default() }
        }
    }
}

/// LUTs of a ROM in logic. Contents that repeat cost less; this is the fitted mean.
fn rom_luts(width: u64, depth: u64, device: &Device) -> u64 {
    if depth <= 1 {
        return 0;
    }
    let per_lut = 1u64 << device.family.lut_inputs;
    if depth <= per_lut { width * 4 / 5 } else { width * depth.div_ceil(per_lut) * 9 / 10 }
}

/// LUTs of a small dual-port RAM in the family's shapes: the shallowest that holds all words, or banks of the
/// deepest.
fn ram_luts(width: u64, depth: u64, device: &Device) -> u64 {
    let family = &device.family;
    let shapes = &family.lut_ram;
    let Some(shape) = shapes.iter().find(|shape| depth <= shape.depth).or(shapes.last()) else { return 0 };
    let banks = depth.div_ceil(shape.depth);
    let select = if family.lut_ram_selects { width * (banks - 1) } else { 0 };
    width.div_ceil(shape.width) * shape.luts * banks + select
}

/// A small dual-port RAM in flip-flops: its words, the read multiplexer, and a decoder of the write address.
fn register_ram(width: u64, depth: u64, device: &Device) -> Resources {
    Resources { ff: width * depth, lut: logic::select(width, depth, device) + depth, ..Resources::default() }
}
