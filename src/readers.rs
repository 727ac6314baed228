//! What reads files that others wrote, for the fuzz targets: whatever comes, each answers.

use crate::artefact::Compiled;
use crate::executor::{Drive, Executor};
use crate::failure::Failure;
use crate::samples::Archive;
use crate::task;
use crate::verify::{execute, random_samples};
use std::io::Cursor;
use std::path::Path;

/// The text of a task file; true if it is one.
pub fn task(text: &str) -> bool {
    task::check(text).is_ok()
}

/// The bytes of an `.npz` file; true if every array can be read.
pub fn arrays(bytes: Vec<u8>) -> bool {
    let read = || -> Result<(), Failure> {
        let mut archive = Archive::open(Cursor::new(bytes), "fuzz.npz")?;
        archive.listing();
        archive.names().iter().try_for_each(|name| archive.array(name).map(|_| ()))
    };
    read().is_ok()
}

/// The directory of a compiled model; true if interpreter and simulator can run it.
pub fn compiled(directory: &Path) -> bool {
    let run = || -> Result<(), Failure> {
        let compiled = Compiled::read(directory)?;
        let samples = random_samples(&compiled.split.core, 1);
        for executor in [Executor::Interpreter, Executor::Wasm] {
            execute(&compiled, executor, &samples, Drive::default())?;
        }
        Ok(())
    };
    run().is_ok()
}
