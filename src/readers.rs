//! What reads files that others wrote, for the fuzz targets: whatever comes, each answers.

use crate::artefact::Build;
use crate::executor::{Drive, Kind};
use crate::failure::Failure;
use crate::observer::Context;
use crate::samples::Archive;
use crate::task;
use crate::verify::{executor, random_samples};
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
        let build = Build::read(directory)?;
        let context = Context::new(&());
        let samples = random_samples(&build.split.core, 1);
        for kind in [Kind::Interpreter, Kind::Wasm] {
            executor(&build, kind, None, &context)?.run(&samples, Drive::default())?;
        }
        Ok(())
    };
    run().is_ok()
}
