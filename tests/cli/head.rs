//! A detector whose peaks the chip picks and ranks: the same boxes in the same order.

use crate::support::{contents, json, refused, text, write};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a compiled detector finds on the sample images, through an executor: pictures and list.
fn drawn(compiled: &str, folder: &Path, executor: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let boxes = folder.join(format!("boxes-{executor}"));
    json(&["run", compiled, "--draw", &text(&boxes), "--samples", "2", "--executor", executor, "--min-score", "0"]);
    let found = contents(&boxes);
    std::fs::remove_dir_all(&boxes).expect("it can be removed");
    found
}

#[test]
fn the_chip_finds_the_boxes_that_the_host_finds() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let [plain, head] = ["plain", "head"].map(|name| text(&folder.path().join(name)));
    let compile = |target: &str, more: &[&str]| {
        let options = ["compile", "codenet-bccd", "--multipliers", "240", "--no-verify", "-o", target];
        json(&[&options, more].concat())
    };
    let (without, with) = (compile(&plain, &[]), compile(&head, &["--head"]));
    let has_head = |summary: &Value| {
        let layers = summary["layers"].as_array().expect("a list");
        layers.iter().any(|layer| layer["operator"] == "top_peaks")
    };
    assert!(!has_head(&without) && has_head(&with));
    assert_eq!(with["cycles_per_inference"], without["cycles_per_inference"]);

    let expected = drawn(&plain, folder.path(), "cpu");
    assert!(expected.len() > 2);
    for executor in ["interpreter", "cpu", "wasm"] {
        assert!(drawn(&head, folder.path(), executor) == expected, "{executor}: other boxes");
    }
    let value = |compiled: &str| json(&["eval", compiled, "--executor", "cpu"])["value"].clone();
    assert_eq!(value(&head), value(&plain));

    let manifest = std::fs::read_to_string(folder.path().join("head/manifest.json")).expect("it is there");
    let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
    assert_eq!(manifest["model_outputs"], serde_json::json!(["detections"]));
    let layout = &manifest["head"];
    assert_eq!((&layout["records"], &layout["index_bytes"]), (&100.into(), &2.into()));
    assert_eq!(layout["values"][0]["shape"], serde_json::json!([1, 36, 48, 3]));
    assert_eq!(manifest["outputs"][0]["shape"], serde_json::json!([1, 1, 100, 7]));
    // A plain build says nothing of a head, and a task that decodes otherwise does not fit.
    let plain = std::fs::read_to_string(folder.path().join("plain/manifest.json")).expect("it is there");
    assert!(!plain.contains("\"head\""));
    let task = lutweave_models::find("codenet-bccd").expect("it is built in").task().into_owned();
    let (before, _) = task.split_once("[decode]").expect("it decodes");
    let path = folder.path().join("other.toml");
    write(&path, format!("{before}{YOLOX}"));
    let samples = lutweave_models::find("codenet-bccd").expect("it is built in");
    write(&folder.path().join(samples.samples_file()), samples.samples());
    refused(&["eval", &head, "--task", &text(&path)], 1, "centernet");
    refused(
        &["compile", "codenet-bccd", "--head", "--task", &text(&path), "-o", &text(&folder.path().join("x"))],
        1,
        "no-head",
    );
}

const YOLOX: &str = r#"[decode]
kind = "yolox"
output = "output"
image = [144, 192]
strides = [8]
overlap = 0.5
min_score = 0.1
limit = 10
"#;

#[test]
fn heads_that_cannot_be_built_are_refused() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("out"));
    refused(&["compile", "mnist", "--head", "-o", &target], 1, "no-decode");
    let model = lutweave_models::find("codenet-bccd").expect("it is built in");
    let task = model.task().into_owned();
    write(&folder.path().join(model.samples_file()), model.samples());
    let attempt = |from: &str, to: &str, code: &str| {
        assert!(task.contains(from), "{from}");
        let path = folder.path().join("task.toml");
        write(&path, task.replace(from, to));
        refused(&["compile", "codenet-bccd", "--head", "--task", &text(&path), "-o", &target], 1, code);
    };
    attempt("limit = 100", "limit = 5000", "1 to 1024");
    attempt("size = \"size\"", "size = \"width\"", "width");
}
