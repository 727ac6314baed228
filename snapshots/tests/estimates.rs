//! Estimates against Yosys: the stated error of `hw::cost` is held here.

use lutweave_hw::cost::Resources;
use lutweave_hw::device;
use lutweave_hw::fit::fit;
use lutweave_ir::Graph;
use lutweave_snapshots::{full, stages};
use std::process::Command;

/// Largest error of LUTs and flip-flops against Yosys 0.23 on the built-in model, as a share of
/// what Yosys counts. Multipliers and block RAMs are counted exactly.
const LUT_ERROR: f64 = 0.25;
const FF_ERROR: f64 = 0.15;

/// What Yosys makes of a design for a device.
fn synthesise(graph: &Graph, device: &device::Device, multipliers: u32) -> Result<(Resources, Resources), String> {
    let fitted = fit(graph, device, Some(multipliers)).map_err(|error| error.to_string())?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let artefacts = lutweave_verilog::emit(&fitted.design);
    for (name, content) in &artefacts.files {
        std::fs::write(directory.path().join(name), content).map_err(|error| error.to_string())?;
    }
    let sources: Vec<&str> =
        artefacts.files.iter().map(|(name, _)| &name[..]).filter(|name| name.ends_with(".v")).collect();
    let synthesis = match device.family {
        device::Family::Ecp5 => "synth_ecp5",
        device::Family::Xc7 => "synth_xilinx -family xc7 -flatten",
        device::Family::UltrascalePlus | device::Family::Ice40 => return Err("not compared here".to_owned()),
    };
    let script = format!(
        "read_verilog {}; {synthesis} -top {}; select -assert-none t:$_DLATCH_*; tee -o stat.txt stat",
        sources.join(" "),
        artefacts.top
    );
    let output = Command::new("yosys")
        .args(["-q", "-p", &script])
        .current_dir(directory.path())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let stat = std::fs::read_to_string(directory.path().join("stat.txt")).map_err(|error| error.to_string())?;
    Ok((fitted.resources, count(&stat)))
}

/// Cells of a `stat` in the units of [`Resources`].
fn count(stat: &str) -> Resources {
    let mut found = Resources::default();
    for line in stat.lines() {
        let mut fields = line.split_whitespace();
        let (Some(cell), Some(number), None) = (fields.next(), fields.next(), fields.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match cell {
            "LUT1" | "LUT2" | "LUT3" | "LUT4" | "LUT5" | "LUT6" | "SRL16E" | "SRLC32E" => found.lut += number,
            "CCU2C" => found.lut += 2 * number,
            "RAM32M" | "RAM64M" => found.lut += 4 * number,
            "RAM32X1D" | "RAM64X1D" => found.lut += 2 * number,
            // Four LUTs of memory and two for its write port.
            "TRELLIS_DPR16X4" => found.lut += 6 * number,
            "TRELLIS_FF" | "FDRE" | "FDSE" | "FDCE" | "FDPE" => found.ff += number,
            "MULT18X18D" | "DSP48E1" => found.dsp += number,
            "DP16KD" | "RAMB18E1" => found.bram += number,
            "RAMB36E1" => found.bram += 2 * number,
            _ => {}
        }
    }
    found
}

fn within(estimate: u64, found: u64, error: f64) -> bool {
    estimate.abs_diff(found) as f64 <= error * found as f64
}

#[test]
fn estimates_keep_their_error() {
    if Command::new("yosys").arg("-V").output().is_err() {
        println!("skipped: yosys is not installed");
        return;
    }
    let (graph, samples) = stages::mnist().expect("the built-in model is sound");
    let core = stages::lower(graph, &samples, 8).expect("the built-in model compiles").split.core;
    let cases: &[(&str, u32)] =
        if full() { &[("ulx3s-85f", 40), ("ulx3s-85f", 109), ("arty-a7-100t", 40)] } else { &[("ulx3s-85f", 40)] };
    let mut faults = Vec::new();
    for &(name, multipliers) in cases {
        let device = device::find(name).expect("the device is built in");
        let (estimate, found) = synthesise(&core, &device, multipliers).expect("yosys takes the design");
        println!("{name}, {multipliers} multipliers: estimate {estimate:?}, yosys {found:?}");
        // Yosys takes registers of products into DSP48E1 slices; the estimate counts all.
        let ff = name != "ulx3s-85f" || within(estimate.ff, found.ff, FF_ERROR);
        let counted = estimate.dsp == found.dsp && estimate.bram == found.bram;
        if !(ff && counted && within(estimate.lut, found.lut, LUT_ERROR)) {
            faults.push(format!("{name}, {multipliers} multipliers: {estimate:?} against {found:?}"));
        }
    }
    assert!(faults.is_empty(), "estimates miss Yosys by more than is stated: {faults:#?}");
}
