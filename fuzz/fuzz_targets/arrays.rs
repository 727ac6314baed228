//! Bytes as an `.npz` file: every array is listed and read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = lutweave::readers::arrays(data.to_vec());
});
