//! FPGA families, from `families/*.toml`: what a look-up table, a memory and a multiplier are, and how they are
//! asked for in synthesis. A device names its family.

use crate::cost::Prices;
use crate::rtl::MemoryStyle;
use serde::Deserialize;
use std::sync::{Arc, LazyLock};

/// A family of devices.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Name in device files.
    pub name: String,
    /// Maker and family.
    pub title: String,
    /// Where the figures come from.
    pub source: String,
    /// The command of Yosys that synthesises for it; ` -top NAME` is appended.
    pub synthesis: String,
    /// Inputs of a look-up table.
    pub lut_inputs: u32,
    /// Thousandths of a flip-flop that takes the place of a look-up table, where its input comes from one alone: the
    /// share that has no look-up table before it.
    #[serde(default)]
    pub lone_flip_flops: u64,
    /// Signed operand widths of a multiplier in bits, the wider first.
    pub multiplier: [u32; 2],
    /// The cell whose multiplier adds its product to the sum of the one before, if there is one.
    #[serde(default)]
    pub chain: Option<ChainCell>,
    /// Multipliers take unsigned operands of the same widths.
    #[serde(default)]
    pub unsigned: bool,
    /// Bits of the smallest block RAM that stands alone.
    pub bram_bits: u64,
    /// Its widest word in bits, at its smallest depth.
    pub bram_width: u32,
    /// Such block RAMs per block as the maker counts them.
    #[serde(default = "one")]
    pub bram_per_tile: u64,
    /// The large RAM, if there is one.
    pub large_ram: Option<LargeRam>,
    /// Memories outside window blocks live in the large RAM from so many thousandths of a block RAM on that they free
    /// per large RAM; none does if nothing is said. No fact of the family, but a choice for one circuit.
    #[serde(skip)]
    pub large_from: Option<u32>,
    /// Shapes of RAM in look-up tables, the shallowest first; none if the family has no such RAM.
    pub lut_ram: Vec<LutRam>,
    /// Banks of that RAM are joined by a multiplexer of one look-up table per bit and bank.
    pub lut_ram_selects: bool,
    /// What logic takes, fitted to synthesis by `scripts/fit-costs`.
    pub luts: Prices,
    /// How memories are asked for.
    #[serde(default)]
    pub attributes: Attributes,
}

/// A cell with a multiplier and an adder, in a column of its like: sums go from one to the next without logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChainCell {
    /// Of the 7 series.
    Dsp48e1,
    /// Of UltraScale and UltraScale+.
    Dsp48e2,
}

impl ChainCell {
    /// Products of a chain, at most: a cell delays its factors by two cycles.
    pub const LONGEST: u32 = 3;
}

impl std::fmt::Display for ChainCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dsp48e1 => "DSP48E1",
            Self::Dsp48e2 => "DSP48E2",
        })
    }
}

/// Hardware multipliers, as far as products of a window are arranged by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardMultiplier {
    /// Signed operand widths in bits, the wider first.
    pub widths: [u32; 2],
    /// Products that they add in a chain, at most.
    pub chain: u32,
}

/// A large RAM: one port writes and one reads, at one clock, or one does both; without contents at the start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeRam {
    /// What its maker calls it.
    pub name: String,
    /// Bits of a word.
    pub width: u64,
    /// Words.
    pub depth: u64,
    /// Bits that are written alone: narrow words lie side by side.
    pub byte: u64,
    /// One port writes or reads: it holds weights that are loaded once, and nothing else.
    #[serde(default)]
    pub single_port: bool,
}

/// A shape of RAM in look-up tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LutRam {
    /// Bits of a word.
    pub width: u64,
    /// Words.
    pub depth: u64,
    /// Look-up tables that it takes, ports included.
    pub luts: u64,
}

/// Verilog attributes of memories.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attributes {
    /// Of a RAM in block RAM.
    pub block_ram: String,
    /// Of a RAM in look-up tables.
    pub lut_ram: String,
    /// Of a RAM in flip-flops.
    pub register_ram: String,
    /// Of a large RAM.
    pub large_ram: String,
    /// Of a ROM in block RAM.
    pub block_rom: String,
    /// Of a ROM in logic.
    pub logic_rom: String,
}

impl Default for Attributes {
    fn default() -> Self {
        // `no_rw_check`: the RTL never reads a word in the cycle of its write, see `rtl::Memory`.
        let ram = |style: &str| format!("ram_style = \"{style}\", no_rw_check");
        Self {
            block_ram: ram("block"),
            lut_ram: ram("distributed"),
            register_ram: ram("registers"),
            large_ram: ram("ultra"),
            block_rom: "rom_style = \"block\"".to_owned(),
            // What `rom_style = "distributed"` asks of Yosys is a RAM, which not every family can initialise.
            logic_rom: "syn_romstyle = \"logic\"".to_owned(),
        }
    }
}

fn one() -> u64 {
    1
}

/// Bits up to which a RAM is made of flip-flops where there is no RAM in look-up tables.
const REGISTER_BITS: u64 = 96;

impl Family {
    /// Its multipliers.
    pub fn hard_multiplier(&self) -> HardMultiplier {
        HardMultiplier { widths: self.multiplier, chain: self.chain.map_or(1, |_| ChainCell::LONGEST) }
    }

    /// Where a RAM of so many bits per word and so many words lives: in the large RAM from so many thousandths of a
    /// block RAM on that it frees per large RAM, if that can be written and read at once.
    pub fn ram_style(&self, width: u64, depth: u64, large_from: Option<u32>) -> MemoryStyle {
        let single = self.large_ram.as_ref().is_some_and(|large| large.single_port);
        self.loaded_style(width, depth, large_from.filter(|_| !single))
    }

    /// Where a RAM lives that is written only before it is read; as [`Family::ram_style`].
    pub fn loaded_style(&self, width: u64, depth: u64, large_from: Option<u32>) -> MemoryStyle {
        match MemoryStyle::usual(width, depth) {
            MemoryStyle::Block if self.prefers_large(width, depth, large_from) => MemoryStyle::Large,
            MemoryStyle::Distributed if self.lut_ram.is_empty() => {
                if width * depth <= REGISTER_BITS {
                    MemoryStyle::Registers
                } else {
                    MemoryStyle::Block
                }
            }
            style => style,
        }
    }
}

impl Family {
    fn prefers_large(&self, width: u64, depth: u64, from: Option<u32>) -> bool {
        let (Some(large), Some(from)) = (&self.large_ram, from) else { return false };
        1000 * self.block_rams(width, depth) >= u64::from(from) * large.count(width, depth)
    }

    /// Block RAMs of a simple dual-port memory, over the aspect ratios that there are.
    pub fn block_rams(&self, width: u64, depth: u64) -> u64 {
        let mut best = u64::MAX;
        let mut ratio = u64::from(self.bram_width);
        let mut words = self.bram_bits / ratio;
        while ratio >= 1 {
            best = best.min(width.div_ceil(ratio) * depth.div_ceil(words));
            // Narrow ratios lose the parity bits.
            ratio = if ratio % 9 == 0 && ratio > 9 {
                ratio / 2
            } else if ratio == 9 {
                4
            } else {
                ratio / 2
            };
            words *= 2;
        }
        best
    }
}

impl LargeRam {
    /// Bits that a narrow word takes among others.
    pub fn lane(&self, width: u64) -> u64 {
        width.next_multiple_of(self.byte)
    }

    /// Words of a memory that lie side by side in one of its own: a power of two.
    pub fn words_abreast(&self, width: u64) -> u64 {
        let abreast = self.width / self.lane(width);
        if abreast == 0 { 1 } else { 1 << abreast.ilog2() }
    }

    /// How many of them a memory takes.
    pub fn count(&self, width: u64, depth: u64) -> u64 {
        width.div_ceil(self.width) * depth.div_ceil(self.depth * self.words_abreast(width))
    }
}

/// The text of each family file.
const FILES: [&str; 6] = [
    include_str!("../families/ultrascale-plus.toml"),
    include_str!("../families/xc7.toml"),
    include_str!("../families/ecp5.toml"),
    include_str!("../families/nexus.toml"),
    include_str!("../families/gowin.toml"),
    include_str!("../families/ice40.toml"),
];

static FAMILIES: LazyLock<Vec<Arc<Family>>> = LazyLock::new(|| {
    let parse = |text: &&str| Arc::new(toml::from_str(text).expect("family files are checked by a test"));
    FILES.iter().map(parse).collect()
});

/// All families.
pub fn families() -> &'static [Arc<Family>] {
    &FAMILIES
}

/// The family of a name.
pub fn find(name: &str) -> Option<Arc<Family>> {
    families().iter().find(|family| family.name == name).cloned()
}

/// A family with RAM in look-up tables, for designs that are made for no device.
impl Default for Family {
    fn default() -> Self {
        Self::clone(&find("ecp5").expect("invariant: a family file says so"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_files_are_sound() {
        for family in families() {
            assert!(family.lut_ram.iter().all(|shape| shape.width > 0 && shape.depth > 0), "{}", family.name);
            assert!(!family.source.is_empty() && family.synthesis.starts_with("synth_"), "{}", family.name);
            assert!(family.lut_ram.is_sorted_by_key(|shape| shape.depth), "{}", family.name);
            let large = family.large_ram.as_ref();
            assert!(large.is_none_or(|large| large.byte > 0 && large.depth > 0), "{}", family.name);
        }
    }

    #[test]
    fn small_memories_are_registers_where_tables_hold_none() {
        let (ice40, ecp5) = (find("ice40").unwrap(), find("ecp5").unwrap());
        assert_eq!(ice40.ram_style(8, 8, None), MemoryStyle::Registers);
        assert_eq!(ice40.ram_style(8, 64, None), MemoryStyle::Block);
        assert_eq!(ecp5.ram_style(8, 64, None), MemoryStyle::Distributed);
        assert_eq!(ecp5.ram_style(32, 256, None), ice40.ram_style(32, 256, None));
    }
}
