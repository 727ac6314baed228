//! Resources of memories, and what they are for.

use super::logic::{Term, select};
use super::{Count, Resources, engine};
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
    let large_from = module.large_from(&device.family);
    for memory in &module.memories {
        let held = Held::new(
            u64::from(memory.word.width()) * u64::from(memory.depth),
            of_memory(memory, large_from, device).priced(device),
        );
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

pub(super) fn of_memory(memory: &Memory, large_from: Option<u32>, device: &Device) -> Count {
    let width = u64::from(memory.word.width());
    let depth = u64::from(memory.depth);
    match memory.contents {
        Some(_) => rom(width, depth, memory.style, device),
        None => of_ram(width, depth, large_from, device),
    }
}

/// A memory that is written, of so many bits per word and so many words, where the family has it.
pub fn of_ram(width: u64, depth: u64, large_from: Option<u32>, device: &Device) -> Count {
    ram(width, depth, device.family.ram_style(width, depth, large_from), device)
}

/// A memory in block RAM.
fn block(width: u64, depth: u64, device: &Device) -> Count {
    let mut count = Count::default();
    count.parts.bram += device.family.block_rams(width, depth);
    count.logic[Term::Bank] += count.parts.bram;
    count
}

/// A memory with contents.
pub(super) fn rom(width: u64, depth: u64, style: MemoryStyle, device: &Device) -> Count {
    let mut count = Count::default();
    match style {
        MemoryStyle::Block => return block(width, depth, device),
        MemoryStyle::Distributed | MemoryStyle::Registers | MemoryStyle::Large => {
            // Contents that repeat cost less; the price is a mean.
            let tables = depth.div_ceil(1 << device.family.lut_inputs);
            count.logic[Term::Rom] += if depth > 1 { width * tables } else { 0 };
        }
    }
    count
}

/// A memory that is written.
pub(super) fn ram(width: u64, depth: u64, style: MemoryStyle, device: &Device) -> Count {
    let mut count = Count::default();
    let Count { parts, logic } = &mut count;
    match style {
        MemoryStyle::Block => return block(width, depth, device),
        // Its words, the read multiplexer, and a decoder of the write address.
        MemoryStyle::Registers => {
            parts.ff += width * depth;
            logic[Term::Select] += select(width, depth, device);
            logic[Term::Gate] += depth;
        }
        MemoryStyle::Distributed => parts.lut += ram_luts(width, depth, device),
        MemoryStyle::Large => {
            let Some(large) = &device.family.large_ram else { return count };
            parts.uram += large.count(width, depth);
            let abreast = large.words_abreast(width);
            if abreast > 1 {
                logic[Term::Select] += select(width, abreast, device);
                logic[Term::Gate] += abreast;
                parts.ff += u64::from(abreast.ilog2());
            }
        }
    }
    count
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
