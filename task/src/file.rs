//! Reading files whose size and kind are not ours to trust.

use crate::failure::Failure;
use lutweave_ir::Diagnostic;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Most bytes of a task or device file.
pub const SETTINGS: u64 = 1 << 20;

/// Most bytes of a file that describes a compiled model.
pub const DESCRIPTION: u64 = 1 << 26;

/// Most bytes of a model or of a graph's text with its constants: what protobuf allows.
pub const MODEL: u64 = (1 << 31) - 1;

/// Most bytes that are read from what has no size, such as a pipe.
const STREAMED: u64 = 1 << 26;

/// Opens a file for reading. `action` completes "cannot ...".
///
/// # Errors
/// If it cannot be opened, or is a directory.
pub fn open(path: &Path, action: &str) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, action, error))?;
    let metadata = file.metadata().map_err(|error| Failure::file(path, action, error))?;
    if metadata.is_dir() {
        return Err(Failure::file(path, action, "it is a directory"));
    }
    Ok(file)
}

/// The content of a file of at most `limit` bytes.
///
/// # Errors
/// If it cannot be read, or is larger.
pub fn read(path: &Path, limit: u64, action: &str) -> Result<Vec<u8>, Failure> {
    let file = open(path, action)?;
    let metadata = file.metadata().map_err(|error| Failure::file(path, action, error))?;
    let limit = if metadata.is_file() { limit } else { limit.min(STREAMED) };
    let too_large = || -> Failure {
        Diagnostic::error("file", format!("cannot {action}: it is larger than {limit} bytes"))
            .at(path.display().to_string())
            .help("check that this is the file that you mean")
            .into()
    };
    if metadata.is_file() && metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Failure::file(path, action, error))?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The content of a text file of at most `limit` bytes.
///
/// # Errors
/// If it cannot be read, is larger, or is not UTF-8.
pub fn read_text(path: &Path, limit: u64, action: &str) -> Result<String, Failure> {
    String::from_utf8(read(path, limit, action)?).map_err(|_| Failure::file(path, action, "it is not text (UTF-8)"))
}
