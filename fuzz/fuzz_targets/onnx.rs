//! Bytes as an ONNX file: imported, cleaned up, validated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lutweave_onnx::{ImportOptions, import};
use lutweave_rewrite::cleanup::simplify;

fuzz_target!(|data: &[u8]| {
    let Ok(imported) = import(data.to_vec(), &ImportOptions::default()) else { return };
    assert_eq!(imported.graph.outputs().len(), imported.outputs.len());
    lutweave_ir::validate::validate(&imported.graph).expect("what is imported is valid");
    if let Ok(clean) = simplify(&imported.graph) {
        lutweave_ir::validate::validate(&clean.graph).expect("what is cleaned up is valid");
    }
});
