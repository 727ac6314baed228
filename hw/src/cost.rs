//! What a design needs of a device: an estimate from the design itself, before any synthesis.
//!
//! The generator owns the netlist, so registers, multipliers and memories are counted rather
//! than guessed; logic is priced per operator and bit. `snapshots/tests/estimates.rs` holds the
//! estimate to its stated error against Yosys.

mod engine;
mod logic;
mod memory;

pub use engine::{of_engine, pairs_fit};
pub use logic::{Logic, Prices, Term};
pub use memory::{Held, MemoryShares, memory_shares, of_ram};
use memory::{of_memory, ram, rom};

use crate::device::Device;
use crate::rtl::{Design, Module, SignalId, SignalKind, Ty};
use serde::{Deserialize, Serialize};
use std::ops::{AddAssign, Index, IndexMut, SubAssign};

/// A kind of part of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Look-up tables, those used as memory included.
    Lut,
    /// Flip-flops.
    Ff,
    /// Hardware multipliers.
    Dsp,
    /// Block RAMs.
    Bram,
    /// Large RAMs.
    Uram,
}

impl Part {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Lut, Self::Ff, Self::Dsp, Self::Bram, Self::Uram];

    /// The key in files.
    pub fn key(self) -> &'static str {
        match self {
            Self::Lut => "lut",
            Self::Ff => "ff",
            Self::Dsp => "dsp",
            Self::Bram => "bram",
            Self::Uram => "uram",
        }
    }

    /// The heading in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Lut => "LUT",
            Self::Ff => "FF",
            Self::Dsp => "DSP",
            Self::Bram => "BRAM",
            Self::Uram => "URAM",
        }
    }

    /// The word in sentences.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Lut => "LUTs",
            Self::Ff => "flip-flops",
            Self::Dsp => "multipliers",
            Self::Bram => "block RAMs",
            Self::Uram => "large RAMs",
        }
    }
}

/// Parts of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Look-up tables, those used as memory included.
    pub lut: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Hardware multipliers.
    pub dsp: u64,
    /// Block RAMs, the smallest that stand alone; in what is shown, those that the maker counts.
    pub bram: u64,
    /// Large RAMs; what has none says nothing of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uram: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Index<Part> for Resources {
    type Output = u64;

    fn index(&self, part: Part) -> &u64 {
        match part {
            Part::Lut => &self.lut,
            Part::Ff => &self.ff,
            Part::Dsp => &self.dsp,
            Part::Bram => &self.bram,
            Part::Uram => &self.uram,
        }
    }
}

impl IndexMut<Part> for Resources {
    fn index_mut(&mut self, part: Part) -> &mut u64 {
        match part {
            Part::Lut => &mut self.lut,
            Part::Ff => &mut self.ff,
            Part::Dsp => &mut self.dsp,
            Part::Bram => &mut self.bram,
            Part::Uram => &mut self.uram,
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        for part in Part::ALL {
            self[part] += other[part];
        }
    }
}

impl SubAssign for Resources {
    /// Parts of a whole are taken from it.
    fn sub_assign(&mut self, other: Self) {
        for part in Part::ALL {
            self[part] -= other[part];
        }
    }
}

impl Resources {
    /// So many of each kind.
    pub fn of_each(number: impl Fn(Part) -> u64) -> Self {
        let mut resources = Self::default();
        for part in Part::ALL {
            resources[part] = number(part);
        }
        resources
    }

    /// The same as shown: with block RAMs as the device's maker counts them.
    pub fn shown(self, device: &Device) -> Self {
        Self { bram: device.tiles(self.bram), ..self }
    }

    /// Whether no kind of part exceeds its limit.
    pub fn fits(&self, limits: &Self) -> bool {
        Part::ALL.into_iter().all(|part| self[part] <= limits[part])
    }

    /// The largest share of the device that any kind of part takes; above 1 it does not fit.
    pub fn share(&self, device: &Device) -> f64 {
        let parts = device.parts();
        let shares = Part::ALL.into_iter().map(|part| self[part] as f64 / parts[part].max(1) as f64);
        shares.fold(0.0, f64::max)
    }
}

/// What a circuit takes before its logic is priced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// What is counted exactly: registers, multipliers, memories.
    pub parts: Resources,
    /// Logic by kind.
    pub logic: Logic,
}

/// Parts that are counted exactly.
impl From<Resources> for Count {
    fn from(parts: Resources) -> Self {
        Self { parts, logic: Logic::default() }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.parts += other.parts;
        self.logic += other.logic;
    }
}

impl Count {
    /// The same so many times.
    fn times(self, number: u64) -> Self {
        let mut logic = self.logic;
        Term::ALL.iter().for_each(|&term| logic[term] *= number);
        Self { parts: Resources::of_each(|part| number * self.parts[part]), logic }
    }

    /// With the logic at the prices of a device's family. Where a flip-flop without a look-up table takes the place of
    /// one, it counts as one.
    pub fn priced(&self, device: &Device) -> Resources {
        let mut resources = self.parts;
        resources.lut += device.family.luts.luts(&self.logic);
        resources.lut += resources.ff * device.family.lone_flip_flops / 1000;
        resources
    }
}

/// Resources of a whole design.
pub fn estimate(design: &Design, device: &Device) -> Resources {
    let mut total = Resources::default();
    for module in &design.modules {
        total += estimate_module(module, device);
    }
    for port in design.inputs.iter().chain(&design.outputs) {
        let bits = u64::from(Ty::holding(port.beats).bits);
        total += Resources { lut: 2 * bits, ff: bits + 1, ..Resources::default() };
    }
    total
}

/// Resources of one module.
pub fn estimate_module(module: &Module, device: &Device) -> Resources {
    count_module(module, device).priced(device)
}

/// What one module takes before its logic is priced.
pub fn count_module(module: &Module, device: &Device) -> Count {
    let mut total = count_without_engines(module, device);
    for engine in &module.engines {
        total += of_engine(&engine.shape, device);
    }
    total
}

/// What one module takes besides its engines.
pub fn count_without_engines(module: &Module, device: &Device) -> Count {
    let mut total = Count::default();
    total.logic[Term::Module] += 1;
    let untested = logic::untested_rows(module);
    for (id, signal) in (0..).map(SignalId).zip(&module.signals) {
        let width = u64::from(signal.ty.width());
        match &signal.kind {
            SignalKind::Register { .. } if untested.contains(&id) => {}
            SignalKind::Register { .. } => total.parts.ff += width,
            SignalKind::Wire(value) => logic::expression(module, value, device, &mut total),
            SignalKind::Stage { value, .. } => {
                total.parts.ff += width;
                logic::expression(module, value, device, &mut total);
            }
            SignalKind::InputValid
            | SignalKind::InputData
            | SignalKind::OutputReady
            | SignalKind::Parameter(_)
            | SignalKind::PipelineValid(_)
            | SignalKind::EngineValid(_)
            | SignalKind::EngineResult(_) => {}
        }
    }
    for pipeline in &module.pipelines {
        total.parts.ff += u64::from(pipeline.stages);
        total.logic[Term::Stage] += u64::from(pipeline.stages);
    }
    logic::statements(module, &untested, device, &mut total);
    let large_from = module.large_from(&device.family);
    for memory in &module.memories {
        total += of_memory(memory, large_from, device);
    }
    total
}
