//! Circuits that make use of a memory on the board.

use crate::support::{json, mnist, npz, refused, text, write};
use lutweave_ir::random::SplitMix64;
use lutweave_onnx::write::{Attribute, Writer};
use lutweave_testing::tools;
use serde_json::Value;
use tempfile::TempDir;

/// A device with too little memory for the weights, beside a memory on the board.
const BESIDE_A_MEMORY: &str = r#"
name = "tiny"
title = "A small device beside a memory"
family = "ecp5"
source = "none: a test"
lut = 9000
ff = 30000
dsp = 40
bram = 5
clock_mhz = 50.0

[memory]
source = "none: a test"
beat_bytes = 8
burst = 8
megabytes_per_second = 400.0
derating = 0.8
"#;

#[test]
fn weights_come_from_a_memory_on_the_board() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = |name: &str| text(&folder.path().join(name));
    write(&folder.path().join("tiny.toml"), BESIDE_A_MEMORY);
    let summary = json(&["compile", "mnist", "--device", &path("tiny.toml"), "-o", &path("out")]);
    assert_eq!((&summary["fits"], &summary["verify"]["agree"]), (&true.into(), &true.into()));
    let outside = &summary["outside"];
    assert!(outside["bytes_per_frame"].as_u64() > Some(0), "{outside}");
    let weights = std::fs::read(folder.path().join("out/weights.bin")).expect("the weights are written");
    assert_eq!(outside["bytes"], weights.len());
    let manifest = std::fs::read_to_string(folder.path().join("out/manifest.json")).expect("it is written");
    let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
    assert_eq!(&manifest["memory"], outside);

    let mut executors = "interpreter,cpu,wasm".to_owned();
    if tools::icarus() {
        executors.push_str(",icarus");
    }
    write(
        &folder.path().join("memory.toml"),
        "latency = 12000\njitter_bits = 4\nseed = 7\nrefresh_every = 900\nrefresh = 60\noutstanding = 4\n",
    );
    let out = path("out");
    let mut latencies = Vec::new();
    for memory in ["fast", "slow", &path("memory.toml")] {
        let drive = ["--memory", memory, "--stall-seed", "5", "--samples", "2", "--executors", &executors];
        let verified = json(&[&["verify", &out], &drive[..]].concat());
        assert_eq!(verified["agree"], true, "{memory}: {verified}");
        latencies.push(verified["executors"][2]["latency_cycles"].as_u64());
    }
    assert!(latencies[0] < latencies[2], "{latencies:?}");

    write(&folder.path().join("memory.toml"), "latency = 40\n");
    refused(&["verify", &out, "--memory", &path("memory.toml")], 1, "memory.toml");
    refused(&["verify", &out, "--memory", "slow", "--executors", "cpu"], 2, "are for circuits");
    refused(&["verify", mnist(), "--memory", "slow"], 2, "--memory");
}

#[test]
fn what_limits_a_circuit_is_explained() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = |name: &str| text(&folder.path().join(name));
    write(&folder.path().join("tiny.toml"), BESIDE_A_MEMORY);
    let compiled = json(&["compile", "mnist", "--device", &path("tiny.toml"), "--no-verify", "-o", &path("out")]);
    let answer = json(&["explain", &path("out")]);
    let number = |value: &Value| value.as_u64().expect("a number");
    assert!(number(&answer["lower_bound"]) <= number(&answer["cycles"]), "{answer}");
    assert!(number(&answer["cycles"]) <= number(&compiled["cycles_per_inference"]), "{answer}");
    let limits = answer["limits"].as_array().expect("a list");
    let named = |name: &str| limits.iter().find(|limit| limit["name"] == name).expect("it is limited");
    assert_eq!(named("bytes per frame")["used"], compiled["outside"]["bytes_per_frame"]);
    for limit in limits {
        assert!(number(&limit["used"]) <= number(&limit["limit"]), "{limit}");
        assert!(number(&limit["cycles_with_more"]) <= number(&answer["lower_bound"]), "{limit}");
    }
    // What binds is worth most; where nothing does, nothing is worth anything.
    let least = limits.iter().map(|limit| number(&limit["cycles_with_more"])).min().expect("there are limits");
    match answer["binding"]["limit"].as_str() {
        Some(binding) => assert_eq!(number(&named(binding)["cycles_with_more"]), least),
        None => assert_eq!((&answer["binding"], number(&answer["lower_bound"])), (&"nothing".into(), least)),
    }

    assert_eq!(json(&["explain", mnist()])["binding"]["hardware"], 156);
    let target = path("asked");
    json(&["compile", "mnist", "--multipliers", "20", "--no-verify", "-o", &target]);
    assert_eq!(json(&["explain", &target])["binding"]["asked"], 20);
}

#[test]
fn cycles_fall_as_the_bandwidth_rises() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = |name: &str| text(&folder.path().join(name));
    write(&folder.path().join("tiny.toml"), BESIDE_A_MEMORY);
    let sweep = ["explore", "mnist", "--device", &path("tiny.toml"), "--bandwidth", "40,0.5,400", "-o", &path("front")];
    let front = json(&sweep);
    let points = front["points"].as_array().expect("a list");
    let numbers = |key: &str| points.iter().map(|point| point[key].as_f64().expect("a number")).collect::<Vec<_>>();
    assert_eq!(numbers("megabytes_per_second"), [0.5, 40.0, 400.0]);
    let (cycles, planned, bounds) =
        (numbers("cycles_per_inference"), numbers("planned_cycles"), numbers("lower_bound"));
    assert!(cycles.is_sorted_by(|a, b| a >= b) && planned.is_sorted_by(|a, b| a >= b), "{front}");
    assert!(cycles[0] > cycles[2], "{front}");
    for ((cycles, planned), bound) in cycles.iter().zip(&planned).zip(&bounds) {
        assert!(bound <= planned && *cycles <= 1.02 * planned + 64.0, "{front}");
    }
    let drawing = std::fs::read_to_string(folder.path().join("front/front.svg")).expect("it is drawn");
    assert_eq!(drawing.matches("<circle").count(), 3);

    refused(&["explore", "mnist", "--bandwidth", "0", "-o", &path("no")], 2, "above 0");
    let without = ["explore", "mnist", "--device", "ice40up5k", "--bandwidth", "10", "-o", &path("no")];
    refused(&without, 1, "no memory that is known");
}

/// A layer whose channels are scaled by a function of their means over the image: it waits for a whole frame.
fn gated_model() -> Vec<u8> {
    let mut random = SplitMix64::new(7);
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.real(-0.3, 0.3) as f32).collect() };
    let mut model = Writer::new("gated", 13);
    model.input("x", &[1, 3, 32, 32]);
    model.floats("w", &[8, 3, 3, 3], &draw(216));
    model.floats("v", &[5, 8, 1, 1], &draw(40));
    model.integers("flat", &[1, 5]);
    model.node("Conv", &["x", "w"], &["a"], &[("pads", Attribute::Ints(&[1; 4]))]);
    model.node("Relu", &["a"], &["r"], &[]);
    model.node("GlobalAveragePool", &["r"], &["mean"], &[]);
    model.node("Sigmoid", &["mean"], &["gate"], &[]);
    model.node("Mul", &["r", "gate"], &["gated"], &[]);
    model.node("Conv", &["gated", "v"], &["b"], &[]);
    model.node("GlobalAveragePool", &["b"], &["scores"], &[]);
    model.node("Reshape", &["scores", "flat"], &["y"], &[]);
    model.output("y", &[1, 5]);
    model.finish()
}

const GATED_TASK: &str = r#"
model = "model.onnx"
metric = "top1"
[calibration]
file = "samples.npz"
start = 0
count = 8
[evaluation]
file = "samples.npz"
start = 0
count = 8
[input]
array = "images"
layout = "NHWC"
channels = "RGB"
mean = [128.0, 128.0, 128.0]
std = [64.0, 64.0, 64.0]
model_layout = "NCHW"
[labels]
array = "labels"
"#;

fn gated() -> TempDir {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let mut random = SplitMix64::new(3);
    let images: Vec<u8> = (0..8 * 32 * 32 * 3).map(|_| random.below(256) as u8).collect();
    let mut samples = npz(&folder.path().join("samples.npz"));
    samples.add("images", &[8, 32, 32, 3], &images).expect("an array can be written");
    samples.add("labels", &[8], &[0i64, 1, 2, 3, 4, 0, 1, 2]).expect("an array can be written");
    samples.finish().expect("the file can be finished");
    write(&folder.path().join("model.onnx"), gated_model());
    write(&folder.path().join("task.toml"), GATED_TASK);
    // The queue alone takes more block RAMs than there are.
    write(
        &folder.path().join("tiny.toml"),
        BESIDE_A_MEMORY.replace("bram = 5", "bram = 2").replace("lut = 9000", "lut = 20000"),
    );
    folder
}

#[test]
fn queues_wait_in_a_memory_on_the_board() {
    let folder = gated();
    let path = |name: &str| text(&folder.path().join(name));
    let (task, tiny, out) = (path("task.toml"), path("tiny.toml"), path("out"));
    let summary = json(&["compile", "--task", &task, "--device", &tiny, "-o", &out]);
    assert_eq!((&summary["fits"], &summary["verify"]["agree"]), (&true.into(), &true.into()));
    let outside = &summary["outside"];
    let queues = outside["queues"].as_array().expect("a list");
    assert_eq!(queues.len(), 1, "{outside}");
    let bytes = |value: &Value| value.as_u64().expect("a number");
    // A frame of 8 x 32 x 32 bytes goes and comes.
    assert_eq!(bytes(&queues[0]["bytes_per_frame"]), 2 * 8 * 32 * 32);
    assert!(bytes(&queues[0]["bytes"]) >= 8 * 32 * 32, "{outside}");
    assert_eq!(bytes(&queues[0]["first"]), bytes(&outside["bytes"]));
    assert_eq!(bytes(&outside["reserved"]), bytes(&outside["bytes"]) + bytes(&queues[0]["bytes"]));
    assert_eq!(folder.path().join("out/weights.bin").exists(), outside.get("file").is_some());

    let mut executors = "interpreter,cpu,wasm".to_owned();
    if tools::icarus() {
        executors.push_str(",icarus");
    }
    for (memory, stalls) in [("fast", "0"), ("slow", "0"), ("slow", "5")] {
        let drive = ["--memory", memory, "--stall-seed", stalls, "--samples", "3", "--executors", &executors];
        let verified = json(&[&["verify", &out], &drive[..]].concat());
        assert_eq!(verified["agree"], true, "{memory}: {verified}");
    }
    let interrupted = ["--memory", "slow", "--reset-after", "9000", "--executors", "interpreter,wasm"];
    assert_eq!(json(&[&["verify", &out], &interrupted[..]].concat())["agree"], true);
}
