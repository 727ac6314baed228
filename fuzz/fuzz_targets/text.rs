//! Bytes as the text form of a graph: parsed, validated, printed and parsed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lutweave_ir::text;
use lutweave_ir::validate::validate;

fuzz_target!(|data: &str| {
    let Ok(graph) = text::parse(data) else { return };
    if validate(&graph).is_ok() {
        let again = text::parse(&text::print(&graph)).expect("what is printed can be parsed");
        assert!(again == graph, "what is printed is the same graph");
        let _ = lutweave_ir::split::split(&graph);
    }
});
