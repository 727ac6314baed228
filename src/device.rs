//! Finding the device that a circuit is for.

use crate::failure::Failure;
use crate::task::nearest;
use lutweave_hw::device::{Device, devices, parse};
use lutweave_ir::Diagnostic;
use lutweave_task::file;
use std::path::Path;

/// The device of a name or file.
///
/// # Errors
/// If there is none of that name.
pub fn find(name: &str) -> Result<Device, Failure> {
    if let Some(device) = lutweave_hw::device::find(name) {
        return Ok(device);
    }
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = file::read_text(path, file::SETTINGS, "read the device")?;
        return parse(&text).map_err(|error| Failure::file(path, "understand the device", error.trim()));
    }
    let devices = devices();
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    let near = nearest(name, &names).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    Err(Failure::Usage(
        Diagnostic::error("no-device", "there is no such device")
            .at(name)
            .help(format!("{near}known: {}; or give a .toml file", names.join(", "))),
    ))
}
