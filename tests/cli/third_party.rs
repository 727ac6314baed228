//! Other people's detectors: task files that name models and images that are not part of the
//! project.

use crate::support::{json, refused, text, write};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A task of `models/third_party` in a folder of its own, if its data is there.
fn task(name: &str) -> Option<(TempDir, PathBuf)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let data = root.join("../shared/data");
    if !data.join(format!("models/third_party/{name}.onnx")).exists() {
        println!("skipped: {name} is not in {}", data.display());
        return None;
    }
    let spec = std::fs::read_to_string(root.join(format!("models/third_party/{name}.toml"))).expect("it is shipped");
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = folder.path().join("task.toml");
    write(&path, spec.replace("../../../shared/data", &text(&data)));
    Some((folder, path))
}

fn compiled(name: &str) -> Option<Value> {
    let (folder, path) = task(name)?;
    let out = text(&folder.path().join("out"));
    let summary = json(&["compile", "--task", &text(&path), "--multipliers", "256", "-o", &out]);
    assert_eq!(summary["verify"]["agree"], true, "{summary}");
    assert!(Path::new(&out).join("manifest.json").exists());
    Some(summary)
}

fn figures(summary: &Value) -> [f64; 2] {
    ["float", "integer"].map(|key| summary["accuracy"][key].as_f64().expect("a number"))
}

fn full() -> bool {
    let full = std::env::var("LUTWEAVE_FULL").is_ok_and(|value| value == "1");
    if !full {
        println!("skipped: set LUTWEAVE_FULL=1 to compile every detector");
    }
    full
}

#[test]
fn a_task_without_a_metric_compiles_and_is_not_judged() {
    let Some(summary) = compiled("ultraface_rfb_320") else { return };
    assert_eq!(summary["accuracy"], Value::Null);
    let (_folder, path) = task("ultraface_rfb_320").expect("it was there");
    refused(&["eval", "--task", &text(&path)], 1, "no-metric");
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let model =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/models/third_party/finn_tfc_2w2a_qonnx.onnx");
    if !model.exists() {
        println!("skipped: {} is not there", model.display());
        return;
    }
    let folder = tempfile::tempdir().expect("a directory can be made");
    let out = text(&folder.path().join("out"));
    refused(&["compile", &text(&model), "-o", &out], 1, "`onnx.brevitas.Quant` is a QONNX operator");
    assert!(!Path::new(&out).exists());
}

#[test]
fn detectors_keep_their_precision_as_integers() {
    if !full() {
        return;
    }
    for name in ["yolox_nano_416", "fastestdet_352", "nanodet_320"] {
        let Some(summary) = compiled(name) else { continue };
        let [float, integer] = figures(&summary);
        assert!(integer >= float - 0.03, "{name}: {float} {integer}");
    }
}

#[test]
fn transposed_convolutions_agree_on_all_executors() {
    if full() {
        compiled("centerface_256x320");
    }
}
