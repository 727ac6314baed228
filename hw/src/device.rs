//! What devices hold, from `devices/*.toml`.

use crate::block::window::Bus;
use crate::cost::{Part, Resources};
use crate::family::{self, Family};
use serde::Deserialize;
use std::sync::Arc;

/// Share of the LUTs, flip-flops and multipliers that a fitted design may take.
const HEADROOM: f64 = 0.9;

/// A device (on a board) and what its parts can do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "File")]
pub struct Device {
    /// Name for the command line: lower case.
    pub name: String,
    /// Board and part.
    pub title: String,
    /// FPGA family: what its parts are, and how synthesis is asked for them.
    pub family: Arc<Family>,
    /// Where the figures come from.
    pub source: String,
    /// Look-up tables.
    pub lut: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Hardware multipliers (DSP slices).
    pub dsp: u64,
    /// Block RAMs, the smallest that stand alone: [`Family::bram_per_tile`] per block of the maker.
    pub bram: u64,
    /// Large RAMs.
    pub uram: u64,
    /// Clock in MHz that designs for it aim at.
    pub clock_mhz: f64,
    /// The memory on the board that weights may come from, and queues wait in.
    pub memory: Option<ExternalMemory>,
    /// Queues wait in that memory from so many elements on, as far as it keeps up; none does if nothing is said. No fact
    /// of the device, but a choice for one circuit.
    pub queues_from: Option<u64>,
}

/// A memory on the board, behind a port at the fabric's clock.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalMemory {
    /// What it is, and where the figures come from.
    pub source: String,
    /// Bytes of a beat at the port: a power of two, at least 4.
    pub beat_bytes: u32,
    /// Beats of a burst: a power of two. A burst has at most 4096 bytes.
    pub burst: u32,
    /// What the memory gives at most.
    pub megabytes_per_second: f64,
    /// The share of that, and of what the port carries, that is planned with.
    pub derating: f64,
}

impl ExternalMemory {
    /// How bursts go and come.
    pub fn bus(&self) -> Bus {
        Bus::memory(self.beat_bytes, self.burst)
    }
}

/// A device file. What the family says may be said otherwise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    title: String,
    family: String,
    source: String,
    lut: u64,
    lut_inputs: Option<u32>,
    ff: u64,
    dsp: u64,
    multiplier: Option<[u32; 2]>,
    bram: u64,
    bram_per_tile: Option<u64>,
    bram_bits: Option<u64>,
    bram_width: Option<u32>,
    #[serde(default)]
    uram: u64,
    clock_mhz: f64,
    memory: Option<ExternalMemory>,
}

impl TryFrom<File> for Device {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        let Some(mut family) = family::find(&file.family) else {
            let names: Vec<&str> = family::families().iter().map(|family| family.name.as_str()).collect();
            return Err(format!("there is no family `{}`; there are: {}", file.family, names.join(", ")));
        };
        let said = Family {
            lut_inputs: file.lut_inputs.unwrap_or(family.lut_inputs),
            multiplier: file.multiplier.unwrap_or(family.multiplier),
            bram_per_tile: file.bram_per_tile.unwrap_or(family.bram_per_tile),
            bram_bits: file.bram_bits.unwrap_or(family.bram_bits),
            bram_width: file.bram_width.unwrap_or(family.bram_width),
            ..Family::clone(&family)
        };
        if said != *family {
            family = Arc::new(said);
        }
        let File { name, title, source, lut, ff, dsp, bram, uram, clock_mhz, memory, .. } = file;
        Ok(Self { name, title, family, source, lut, ff, dsp, bram, uram, clock_mhz, memory, queues_from: None })
    }
}

impl Device {
    /// What is no device: one sentence each.
    fn faults(&self) -> Vec<String> {
        /// More parts than any device will have; sums of them stay far from overflow.
        const MANY: u64 = 1 << 32;
        let Family { lut_inputs, multiplier: [wide, narrow], bram_per_tile, bram_bits, bram_width, .. } = *self.family;
        let within = |name: &str, value: u64, lo: u64, hi: u64| {
            (value < lo || value > hi).then(|| format!("`{name}` is {value}, and should be {lo} to {hi}"))
        };
        let mut faults: Vec<String> = [
            within("lut", self.lut, 1, MANY),
            within("lut_inputs", lut_inputs.into(), 3, 8),
            within("ff", self.ff, 1, MANY),
            within("dsp", self.dsp, 0, 1 << 24),
            within("multiplier", narrow.into(), 8, 64),
            within("multiplier", wide.into(), narrow.into(), 64),
            within("bram", self.bram, 0, MANY),
            within("uram", self.uram, 0, if self.family.large_ram.is_some() { MANY } else { 0 }),
            within("bram_per_tile", bram_per_tile, 1, 64),
            within("bram_bits", bram_bits, 256, 1 << 30),
            within("bram_width", bram_width.into(), 1, 4096),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.name.is_empty() {
            faults.push("`name` is empty".to_owned());
        }
        if !(self.clock_mhz.is_finite() && self.clock_mhz > 0.0) {
            faults.push(format!("`clock_mhz` is {}, and should be a positive number", self.clock_mhz));
        }
        if let Some(memory) = &self.memory {
            let ExternalMemory { megabytes_per_second, derating, .. } = *memory;
            faults.extend(memory.bus().check().err().map(|fault| format!("`memory`: {fault}")));
            if !(megabytes_per_second.is_finite() && megabytes_per_second > 0.0 && derating > 0.0 && derating <= 1.0) {
                faults.push("`memory` should give more than 0 MB/s, and `derating` be 0 to 1".to_owned());
            }
        }
        faults
    }

    /// Bytes per cycle that a circuit may take from the memory on the board; 0 without one.
    pub fn bytes_per_cycle(&self) -> f64 {
        self.memory.as_ref().map_or(0.0, |memory| {
            memory.derating * f64::from(memory.beat_bytes).min(memory.megabytes_per_second / self.clock_mhz)
        })
    }

    /// How weights come from outside: from the memory on the board, or as a stream where there is a large RAM that has
    /// to be loaded.
    pub fn bus(&self) -> Option<Bus> {
        /// Bytes of a beat of that stream: the widest weight fits.
        const BEAT: u32 = 2;
        let memory = self.memory.as_ref().map(ExternalMemory::bus);
        memory.or((self.uram > 0).then(|| Bus::stream(BEAT)))
    }

    /// What there is of each kind of part.
    pub fn parts(&self) -> Resources {
        Resources { lut: self.lut, ff: self.ff, dsp: self.dsp, bram: self.bram, uram: self.uram }
    }

    /// What a fitted design may take of each: the rest of the LUTs, flip-flops and multipliers is for routing and for the
    /// error of the estimate. Block RAMs are counted, and may all be taken; of multipliers, which are counted too, a
    /// begun one is taken.
    pub fn limits(&self) -> Resources {
        let parts = self.parts();
        Resources::of_each(|part| match part {
            Part::Lut | Part::Ff => (parts[part] as f64 * HEADROOM) as u64,
            Part::Dsp => (parts[part] as f64 * HEADROOM).ceil() as u64,
            Part::Bram | Part::Uram => parts[part],
        })
    }

    /// The same device for a circuit whose memories live in the large RAM from so many thousandths of a block RAM on
    /// that they free per large RAM.
    #[must_use]
    pub fn with_large_from(&self, from: Option<u32>) -> Self {
        let family = Family { large_from: from, ..Family::clone(&self.family) };
        Self { family: Arc::new(family), ..self.clone() }
    }

    /// The same device for a circuit whose queues wait outside from so many elements on.
    #[must_use]
    pub fn with_queues_from(&self, from: Option<u64>) -> Self {
        Self { queues_from: from, ..self.clone() }
    }

    /// Converts a count of the smallest block RAMs to the maker's blocks, rounding up.
    pub fn tiles(&self, bram: u64) -> u64 {
        bram.div_ceil(self.family.bram_per_tile)
    }
}

/// The text of each device file.
const FILES: [&str; 9] = [
    include_str!("../devices/ultra96.toml"),
    include_str!("../devices/kv260.toml"),
    include_str!("../devices/pynq-z2.toml"),
    include_str!("../devices/arty-a7-100t.toml"),
    include_str!("../devices/ulx3s-85f.toml"),
    include_str!("../devices/ulx3s-25f.toml"),
    include_str!("../devices/lifcl-40.toml"),
    include_str!("../devices/tang-primer-20k.toml"),
    include_str!("../devices/ice40up5k.toml"),
];

/// All devices, largest first.
pub fn devices() -> Vec<Device> {
    FILES.iter().map(|text| toml::from_str(text).expect("device files are checked by a test")).collect()
}

/// The device of a name.
pub fn find(name: &str) -> Option<Device> {
    devices().into_iter().find(|device| device.name == name)
}

/// A device described by the text of a TOML file.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &str) -> Result<Device, String> {
    let device: Device = toml::from_str(text).map_err(|error| error.to_string())?;
    let faults = device.faults();
    if faults.is_empty() { Ok(device) } else { Err(faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_files_are_sound() {
        for text in FILES {
            let device = parse(text).unwrap();
            assert!(device.lut > 0 && device.bram > 0 && device.dsp > 0, "{}", device.name);
            assert!(device.bram.is_multiple_of(device.family.bram_per_tile), "{}", device.name);
            assert!(device.family.multiplier[0] >= device.family.multiplier[1], "{}", device.name);
            assert!(!device.source.is_empty(), "{}", device.name);
            assert_eq!(find(&device.name), Some(device));
        }
    }
}
