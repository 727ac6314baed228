//! What synthesis makes of Verilog: Yosys, run and counted.

use lutweave_hw::cost::Resources;
use lutweave_hw::family::Family;
use std::process::Command;

/// Verilog to synthesise.
#[derive(Clone, Debug)]
pub struct Synthesis<'a> {
    /// Names and contents: Verilog, and what it reads.
    pub files: Vec<(&'a str, &'a str)>,
    /// The module at the top.
    pub top: &'a str,
}

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub enum SynthesisError {
    /// A file could not be written or read, or the program not be started.
    #[error("synthesis: {0}")]
    File(#[from] std::io::Error),
    /// Yosys does not take the Verilog.
    #[error("yosys: {0}")]
    Refused(String),
}

impl Synthesis<'_> {
    /// The parts that Yosys makes of it for a family.
    ///
    /// # Errors
    /// If Yosys is not installed, or does not take the Verilog.
    pub fn yosys(&self, family: &Family) -> Result<Resources, SynthesisError> {
        let directory = tempfile::tempdir()?;
        for (name, content) in &self.files {
            std::fs::write(directory.path().join(name), content)?;
        }
        let sources: Vec<&str> = self.files.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".v")).collect();
        let script = format!(
            "read_verilog {}; {} -top {}; select -assert-none t:$_DLATCH_*; tee -o stat.txt stat",
            sources.join(" "),
            understood(&family.synthesis),
            self.top
        );
        let output = Command::new("yosys").args(["-q", "-p", &script]).current_dir(directory.path()).output()?;
        if !output.status.success() {
            return Err(SynthesisError::Refused(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(count(&std::fs::read_to_string(directory.path().join("stat.txt"))?))
    }
}

/// A synthesis command without the family where the installed Yosys knows no families of its maker.
fn understood(synthesis: &str) -> String {
    let command = synthesis.split(' ').next().unwrap_or_default();
    if !synthesis.contains("-family") {
        return synthesis.to_owned();
    }
    let help = Command::new("yosys").args(["-p", &format!("help {command}")]).output();
    let knows = help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("-family"));
    if knows { synthesis.to_owned() } else { command.to_owned() }
}

/// Cells of a `stat` in the units of [`Resources`].
fn count(stat: &str) -> Resources {
    let mut found = Resources::default();
    for line in stat.lines() {
        let mut fields = line.split_whitespace();
        let (Some(cell), Some(number), None) = (fields.next(), fields.next(), fields.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match cell {
            "LUT1" | "LUT2" | "LUT3" | "LUT4" | "LUT5" | "LUT6" | "SRL16E" | "SRLC32E" | "SB_LUT4" | "ALU" => {
                found.lut += number;
            }
            "CCU2C" | "CCU2" | "WIDEFN9" => found.lut += 2 * number,
            "RAM32M" | "RAM64M" => found.lut += 4 * number,
            "RAM32M16" | "RAM64M8" => found.lut += 8 * number,
            "RAM32X1D" | "RAM64X1D" => found.lut += 2 * number,
            // Four LUTs of memory and two for its write port.
            "TRELLIS_DPR16X4" | "DPR16X4" | "RAM16SDP4" => found.lut += 6 * number,
            "TRELLIS_FF" | "FDRE" | "FDSE" | "FDCE" | "FDPE" => found.ff += number,
            "MULT18X18D" | "DSP48E1" | "DSP48E2" | "SB_MAC16" | "MULT18X18" | "MULT9X9" => found.dsp += number,
            "DP16KD" | "RAMB18E1" | "RAMB18E2" | "SB_RAM40_4K" | "PDPSC16K" => found.bram += number,
            "SP" | "SPX9" | "SDPB" | "SDPX9B" | "DPX9" | "DPX9B" => found.bram += number,
            "RAMB36E1" | "RAMB36E2" => found.bram += 2 * number,
            "URAM288" | "SB_SPRAM256KA" | "DPSC512K" => found.uram += number,
            // Flip-flops of iCE40, Nexus and Gowin come in many kinds.
            cell if ["SB_DFF", "FD1P3", "DFF"].iter().any(|kind| cell.starts_with(kind)) => found.ff += number,
            _ => {}
        }
    }
    found
}
