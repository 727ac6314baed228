//! Damaged files: whatever is in them, the importer answers, and soon.

mod build;

use lutweave_onnx::{ImportOptions, import};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// One to four edits: bits flipped, bytes replaced, ranges cut, doubled or overwritten.
fn mutate(random: &mut Random, original: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            // Numbers as files hold them: all of 1 to 10 bytes of a varint.
            _ => {
                let end = (at + 1 + random.below(10)).min(bytes.len());
                for byte in &mut bytes[at..end] {
                    *byte = 0xff;
                }
            }
        }
    }
    bytes
}

fn survives(name: &str, original: &[u8], variants: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut slowest) = (0, Duration::ZERO);
    for variant in 0..variants {
        let bytes = mutate(&mut random, original);
        let start = Instant::now();
        let result = import(bytes, &ImportOptions::default());
        slowest = slowest.max(start.elapsed());
        match result {
            Ok(imported) => {
                accepted += 1;
                assert!(!imported.graph.outputs().is_empty(), "{name}, variant {variant}: no outputs");
            }
            Err(faults) => assert!(!faults.0.is_empty(), "{name}, variant {variant}: refused without a fault"),
        }
    }
    println!("{name}: {accepted} of {variants} variants are still models; slowest {slowest:?}");
    assert!(slowest < Duration::from_secs(20), "{name}: an import took {slowest:?}");
}

#[test]
fn damaged_small_models_are_answered() {
    for (name, model) in [
        ("network", build::network()),
        ("quantized", build::quantized()),
        ("shape arithmetic", build::shape_arithmetic()),
    ] {
        let bytes = model.bytes();
        let whole = import(bytes.clone(), &ImportOptions::default());
        assert!(whole.is_ok(), "{name}: {}", whole.unwrap_err());
        survives(name, &bytes, 2500);
    }
}

#[test]
fn every_truncation_is_answered() {
    let bytes = build::network().bytes();
    for length in 0..bytes.len() {
        let result = import(bytes[..length].to_vec(), &ImportOptions::default());
        assert!(result.is_err(), "the first {length} of {} bytes pass for a model", bytes.len());
    }
}

#[test]
fn a_damaged_real_model_is_answered() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/models");
    for model in ["mlperf_tiny/kws_dscnn_int8_qdq.onnx", "third_party/alibaba_vww.onnx"] {
        match std::fs::read(root.join(model)) {
            Ok(bytes) => survives(model, &bytes, 300),
            Err(_) => println!("skipped: {model} is not here"),
        }
    }
}
