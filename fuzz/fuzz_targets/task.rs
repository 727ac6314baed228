//! Bytes as a task file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let _ = lutweave::readers::task(data);
});
