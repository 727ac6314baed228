//! `models`, `devices` and `passes`.

use super::arguments::{Listing, Models};
use super::render::Ending;
use super::table::table;
use lutweave::artefact::write_file;
use lutweave::model;
use lutweave::pipeline::PIPELINE;
use lutweave_hw::device;
use serde_json::json;
use std::path::Path;

/// Lists the built-in models, or writes one.
///
/// # Errors
/// If there is no such model, or it cannot be written.
pub fn models(arguments: &Models) -> Result<(), Ending> {
    if let (Some(name), Some(path)) = (&arguments.export, &arguments.output) {
        return export(name, path, arguments.format.json);
    }
    let models = lutweave_models::built_in();
    if arguments.format.json {
        let list: Vec<_> = models
            .iter()
            .map(|model| {
                let metrics: Option<serde_json::Value> =
                    model.metrics().and_then(|metrics| serde_json::from_str(metrics).ok());
                json!({
                    "name": model.name, "description": model.description, "bytes": model.shipped_bytes(),
                    "metrics": metrics,
                })
            })
            .collect();
        outln!("{}", json!({ "models": list }));
        return Ok(());
    }
    let mut table = table(&["model", "bytes", "what it does"], &[1]);
    for model in models {
        let bytes = model.shipped_bytes().map_or_else(|| "generated".to_owned(), |bytes| bytes.to_string());
        table.add_row([model.name, &bytes, model.description]);
    }
    outln!("{table}");
    Ok(())
}

fn export(name: &str, path: &Path, json: bool) -> Result<(), Ending> {
    let built_in = lutweave_models::find(name).ok_or_else(|| model::unknown(name))?;
    let onnx = built_in.onnx();
    write_file(path, &onnx)?;
    if json {
        outln!("{}", json!({ "model": name, "file": path, "bytes": onnx.len() }));
    } else {
        outln!("{name} -> {}: {} bytes", path.display(), onnx.len());
    }
    Ok(())
}

/// Lists the devices.
///
/// # Errors
/// Never; for the sake of the other commands' type.
pub fn devices(arguments: &Listing) -> Result<(), Ending> {
    let devices = device::devices();
    if arguments.format.json {
        let list: Vec<_> = devices
            .iter()
            .map(|device| {
                json!({
                    "name": device.name, "title": device.title, "lut": device.lut, "ff": device.ff,
                    "dsp": device.dsp, "bram": device.tiles(device.bram),
                    "bram_bits": device.family.bram_bits * device.family.bram_per_tile,
                    "clock_mhz": device.clock_mhz, "source": device.source,
                })
            })
            .collect();
        outln!("{}", json!({ "devices": list }));
        return Ok(());
    }
    let mut table = table(&["device", "LUT", "FF", "DSP", "BRAM", "MHz", "board and part"], &[1, 2, 3, 4, 5]);
    for device in devices {
        let bram = format!(
            "{} x {} kbit",
            device.tiles(device.bram),
            device.family.bram_bits * device.family.bram_per_tile / 1024
        );
        table.add_row([
            device.name,
            device.lut.to_string(),
            device.ff.to_string(),
            device.dsp.to_string(),
            bram,
            device.clock_mhz.to_string(),
            device.title,
        ]);
    }
    outln!("{table}");
    Ok(())
}

/// Lists the passes.
///
/// # Errors
/// Never; for the sake of the other commands' type.
pub fn passes(arguments: &Listing) -> Result<(), Ending> {
    if arguments.format.json {
        let list: Vec<_> = PIPELINE.iter().map(|pass| json!({ "name": pass.name, "summary": pass.summary })).collect();
        outln!("{}", json!({ "passes": list }));
        return Ok(());
    }
    let mut table = table(&["pass", "what it does"], &[]);
    for pass in &PIPELINE {
        table.add_row([pass.name, pass.summary]);
    }
    outln!("{table}");
    Ok(())
}
