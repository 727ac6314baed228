//! `models` and `devices`.

use crate::cli::Listing;
use crate::failure::Failure;
use comfy_table::{CellAlignment, Table, presets};
use lutweave_hw::device;
use serde_json::json;

/// A table with the house style: no lines, right-aligned columns where asked.
pub fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().copied());
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Lists the built-in models.
///
/// # Errors
/// Never; for the sake of the other commands' type.
pub fn models(arguments: &Listing) -> Result<(), Failure> {
    let models = lutweave_models::built_in();
    if arguments.format.json {
        let list: Vec<_> = models
            .iter()
            .map(|model| {
                let metrics: serde_json::Value = serde_json::from_str(model.metrics).unwrap_or_default();
                json!({ "name": model.name, "description": model.description, "bytes": model.onnx.len(), "metrics": metrics })
            })
            .collect();
        println!("{}", json!({ "models": list }));
        return Ok(());
    }
    let mut table = table(&["model", "bytes", "what it does"], &[1]);
    for model in models {
        table.add_row([model.name, &model.onnx.len().to_string(), model.description]);
    }
    println!("{table}");
    Ok(())
}

/// Lists the devices.
///
/// # Errors
/// Never; for the sake of the other commands' type.
pub fn devices(arguments: &Listing) -> Result<(), Failure> {
    let devices = device::devices();
    if arguments.format.json {
        let list: Vec<_> = devices
            .iter()
            .map(|device| {
                json!({
                    "name": device.name, "title": device.title, "lut": device.lut, "ff": device.ff,
                    "dsp": device.dsp, "bram": device.bram, "bram_bits": device.bram_bits,
                    "clock_mhz": device.clock_mhz, "source": device.source,
                })
            })
            .collect();
        println!("{}", json!({ "devices": list }));
        return Ok(());
    }
    let mut table = table(&["device", "LUT", "FF", "DSP", "BRAM", "MHz", "board and part"], &[1, 2, 3, 4, 5]);
    for device in devices {
        table.add_row([
            device.name,
            device.lut.to_string(),
            device.ff.to_string(),
            device.dsp.to_string(),
            format!("{} x {} kbit", device.bram, device.bram_bits / 1024),
            device.clock_mhz.to_string(),
            device.title,
        ]);
    }
    println!("{table}");
    Ok(())
}
