//! What devices hold, from `devices/*.toml`.

use serde::Deserialize;

/// A device (on a board) and what its parts can do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Name for the command line: lower case.
    pub name: String,
    /// Board and part.
    pub title: String,
    /// FPGA family: decides how cells map to parts.
    pub family: Family,
    /// Where the figures come from.
    pub source: String,
    /// Look-up tables.
    pub lut: u64,
    /// Inputs of a look-up table.
    pub lut_inputs: u32,
    /// Flip-flops.
    pub ff: u64,
    /// Hardware multipliers (DSP slices).
    pub dsp: u64,
    /// Signed operand widths of a multiplier, the wider first.
    pub multiplier: [u32; 2],
    /// Block RAMs, the smallest that stand alone.
    pub bram: u64,
    /// How many of them are one of those that the maker counts: AMD's blocks of 36 kbit are two
    /// of 18.
    #[serde(default = "one")]
    pub bram_per_tile: u64,
    /// Bits of a block RAM.
    pub bram_bits: u64,
    /// Widest word of a block RAM at its smallest depth.
    pub bram_width: u32,
    /// Clock in MHz that designs for it aim at.
    pub clock_mhz: f64,
}

fn one() -> u64 {
    1
}

impl Device {
    /// What is no device: one sentence each.
    fn faults(&self) -> Vec<String> {
        /// More parts than any device will have; sums of them stay far from overflow.
        const MANY: u64 = 1 << 32;
        let [wide, narrow] = self.multiplier;
        let within = |name: &str, value: u64, lo: u64, hi: u64| {
            (value < lo || value > hi).then(|| format!("`{name}` is {value}, and should be {lo} to {hi}"))
        };
        let mut faults: Vec<String> = [
            within("lut", self.lut, 1, MANY),
            within("lut_inputs", self.lut_inputs.into(), 3, 8),
            within("ff", self.ff, 1, MANY),
            within("dsp", self.dsp, 0, 1 << 24),
            within("multiplier", narrow.into(), 8, 64),
            within("multiplier", wide.into(), narrow.into(), 64),
            within("bram", self.bram, 0, MANY),
            within("bram_per_tile", self.bram_per_tile, 1, 64),
            within("bram_bits", self.bram_bits, 256, 1 << 30),
            within("bram_width", self.bram_width.into(), 1, 4096),
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
        faults
    }

    /// So many of the smallest block RAMs in blocks as the maker counts them, begun ones whole.
    pub fn tiles(&self, bram: u64) -> u64 {
        bram.div_ceil(self.bram_per_tile)
    }
}

/// FPGA family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// AMD UltraScale+.
    UltrascalePlus,
    /// AMD 7 series.
    Xc7,
    /// Lattice ECP5.
    Ecp5,
    /// Lattice iCE40 UltraPlus.
    Ice40,
}

/// The text of each device file.
const FILES: [&str; 7] = [
    include_str!("../devices/ultra96.toml"),
    include_str!("../devices/kv260.toml"),
    include_str!("../devices/pynq-z2.toml"),
    include_str!("../devices/arty-a7-100t.toml"),
    include_str!("../devices/ulx3s-85f.toml"),
    include_str!("../devices/ulx3s-25f.toml"),
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
            assert!(device.bram.is_multiple_of(device.bram_per_tile), "{}", device.name);
            assert!(device.multiplier[0] >= device.multiplier[1], "{}", device.name);
            assert!(!device.source.is_empty(), "{}", device.name);
            assert_eq!(find(&device.name), Some(device));
        }
    }
}
