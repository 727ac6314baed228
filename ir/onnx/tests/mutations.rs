//! Damaged files: whatever is in them, the importer answers, and soon.

mod build;

use lutweave_ir::validate;
use lutweave_onnx::proto::{AttributeProto, ModelProto};
use lutweave_onnx::{ImportOptions, import, supported_operators};
use prost::Message;
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

/// A number that is likely to hurt.
fn extreme(random: &mut Random) -> i64 {
    const NUMBERS: [i64; 14] = [0, 1, -1, 2, 3, 7, 64, 255, 65_536, 1 << 24, 1 << 31, 1 << 40, i64::MAX, i64::MIN];
    NUMBERS[random.below(NUMBERS.len())]
}

/// One to three edits of a model that keep it readable: numbers, operators, names, constants.
fn distort(random: &mut Random, original: &ModelProto) -> Vec<u8> {
    let mut model = original.clone();
    for _ in 0..1 + random.below(3) {
        let edit = random.below(9);
        if edit == 0 {
            model.opset_import[0].version = Some(7 + random.below(16) as i64);
        }
        let graph = model.graph.as_mut().unwrap();
        let (nodes, constants) = (graph.node.len(), graph.initializer.len());
        let number = extreme(random);
        let (node, other) = (random.below(nodes), random.below(nodes));
        match edit {
            1 => {
                let operators: Vec<_> = supported_operators().collect();
                let (domain, name) = operators[random.below(operators.len())];
                graph.node[node].op_type = Some(name.to_owned());
                graph.node[node].domain = Some(domain.to_owned());
            }
            2 => {
                let name = graph.node[other].input.first().or(graph.node[other].output.first()).cloned();
                let count = graph.node[node].input.len();
                if let (Some(name), true) = (name, count > 0) {
                    graph.node[node].input[random.below(count)] = name;
                }
            }
            3 => graph.node[node].input.iter_mut().take(1).for_each(String::clear),
            4 => {
                let count = graph.node[node].attribute.len();
                if count > 0 {
                    let attribute = &mut graph.node[node].attribute[random.below(count)];
                    match attribute.ints.len() {
                        0 => attribute.i = Some(number),
                        length => attribute.ints[random.below(length)] = number,
                    }
                }
            }
            5 => {
                const NAMES: [&str; 10] = [
                    "axis",
                    "group",
                    "ceil_mode",
                    "keepdims",
                    "allowzero",
                    "to",
                    "blocksize",
                    "transA",
                    "count_include_pad",
                    "channels_last",
                ];
                let name = Some(NAMES[random.below(NAMES.len())].to_owned());
                graph.node[node].attribute.push(AttributeProto { name, i: Some(number), ..AttributeProto::default() });
            }
            6 => {
                const NAMES: [&str; 8] =
                    ["axes", "pads", "strides", "dilations", "kernel_shape", "perm", "split", "starts"];
                let name = Some(NAMES[random.below(NAMES.len())].to_owned());
                let ints = (0..random.below(6)).map(|_| extreme(random)).collect();
                graph.node[node].attribute.push(AttributeProto { name, ints, ..AttributeProto::default() });
            }
            7 if constants > 0 => {
                let tensor = &mut graph.initializer[random.below(constants)];
                match (tensor.int64_data.len(), tensor.dims.len()) {
                    (0, 0) => tensor.data_type = Some(random.below(24) as i32),
                    (0, rank) => tensor.dims[random.below(rank)] = number,
                    (length, _) => tensor.int64_data[random.below(length)] = number,
                }
            }
            8 => {
                let tensor = graph.input[0].r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()).unwrap();
                let dims = &mut tensor.shape.as_mut().unwrap().dim;
                let axis = random.below(dims.len());
                dims[axis].dim_value = Some(if random.below(2) == 0 { number } else { random.below(9) as i64 });
            }
            _ => {}
        }
    }
    model.encode_to_vec()
}

fn survives(name: &str, variants: usize, mut variant_of: impl FnMut(&mut Random) -> Vec<u8>) {
    // LUTWEAVE_MUTATIONS=N makes N times as many.
    let factor = std::env::var("LUTWEAVE_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let variants = variants * factor;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut slowest) = (0, Duration::ZERO);
    for variant in 0..variants {
        let bytes = variant_of(&mut random);
        let start = Instant::now();
        let result = import(bytes, &ImportOptions::default());
        slowest = slowest.max(start.elapsed());
        match result {
            Ok(imported) => {
                accepted += 1;
                let faults = validate::validate(&imported.graph);
                assert!(faults.is_ok(), "{name}, variant {variant}: {faults:?}");
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
        survives(name, 2500, |random| mutate(random, &bytes));
    }
}

#[test]
fn distorted_small_models_are_answered() {
    for (name, model) in [
        ("network", build::network()),
        ("quantized", build::quantized()),
        ("shape arithmetic", build::shape_arithmetic()),
    ] {
        survives(name, 4000, |random| distort(random, &model.proto));
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
            Ok(bytes) => survives(model, 300, |random| mutate(random, &bytes)),
            Err(_) => println!("skipped: {model} is not here"),
        }
    }
}
