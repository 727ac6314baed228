//! Bytes as a device file; a small network is folded for what is a device.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lutweave_hw::{device, fit};
use lutweave_ir::{Graph, text};
use std::sync::OnceLock;

const NETWORK: &str = include_str!("network.graph");

fn network() -> &'static Graph {
    static GRAPH: OnceLock<Graph> = OnceLock::new();
    GRAPH.get_or_init(|| {
        let whole = text::parse(NETWORK).expect("the network is a graph");
        lutweave_ir::split::split(&whole).expect("it has a core").core
    })
}

fuzz_target!(|data: &str| {
    if let Ok(device) = device::parse(data) {
        let _ = fit::fit(network(), &device, Some(12));
    }
});
