//! Detectors: their metrics, their drawings, and tasks that do not fit them.

use crate::support::{contents, json, names, refused, run, text, write};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A new directory with the task of the built-in detector, changed, and its samples.
fn changed(changes: &[(&str, &str)]) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let model = lutweave_models::find("codenet-bccd").expect("there is a built-in detector");
    let mut task = model.task().into_owned();
    for (from, to) in changes {
        assert!(task.contains(from), "{from}");
        task = task.replace(from, to);
    }
    write(&folder.path().join(model.samples_file()), model.samples());
    write(&folder.path().join("task.toml"), task);
    let path = text(&folder.path().join("task.toml"));
    (folder, path)
}

fn value(result: &Value) -> f64 {
    result["value"].as_f64().expect("a number")
}

#[test]
fn the_built_in_detectors_find_cells() {
    for model in ["codenet-bccd", "codenet-bccd-int4", "codenet-bccd-plain"] {
        let result = json(&["eval", model]);
        assert_eq!((&result["metric"], &result["samples"]), (&"ap50".into(), &4.into()), "{model}");
        assert!(value(&result) > 0.7, "{model}: {result}");
        let classes: Vec<&str> =
            result["classes"].as_array().expect("a list").iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(classes, ["RBC", "WBC", "Platelets"]);
    }
}

#[test]
fn the_stricter_metric_is_smaller() {
    let (_folder, task) = changed(&[("\"ap50\"", "\"map\"")]);
    let strict = json(&["eval", "codenet-bccd", "--task", &task]);
    assert_eq!(strict["metric"], "map");
    let loose = value(&json(&["eval", "codenet-bccd"]));
    assert!((0.3 * loose..0.9 * loose).contains(&value(&strict)), "{strict} {loose}");
}

#[test]
fn generated_networks_find_nothing() {
    let result = json(&["eval", "codenet-b", "--samples", "1"]);
    assert!(value(&result) < 0.1, "{result}");
}

#[test]
fn tasks_that_do_not_fit_are_refused() {
    let attempt = |changes: &[(&str, &str)], message: &str| {
        let (_folder, task) = changed(changes);
        refused(&["eval", "codenet-bccd", "--task", &task], 1, message);
    };
    attempt(&[("boxes = \"boxes\"\n", "")], "metric ap50 needs [labels]");
    attempt(&[("kind = \"centernet\"", "kind = \"crystal ball\"")], "bad-task");
    attempt(&[("stride = 4", "stride = 0")], "stride");
    attempt(&[("limit = 100", "limit = 0")], "limit");
    attempt(&[("limit = 100", "most = 100")], "bad-task");
    attempt(&[("heatmap = \"heatmap\"", "heatmap = \"warmth\"")], "warmth");
    attempt(&[("size = \"size\"", "size = \"heatmap\"")], "[1,2,36,48]");
    attempt(&[("boxes = \"boxes\"", "boxes = \"box_class\"")], "box");
    attempt(&[("box_offsets = \"box_offsets\"", "box_offsets = \"box_class\"")], "share");
    attempt(&[("count = 4", "split = [1]\ncount = 4")], "split");
    attempt(&[("count = 4", "split = [99]\nsplit_array = \"box_class\"")], "splits");
    let (_folder, task) = changed(&[]);
    refused(&["run", crate::support::mnist(), "--draw", "nowhere"], 1, "no-decode");
    refused(&["models", "--export", "codenet-z", "-o", &format!("{task}.onnx")], 1, "codenet-a");
}

#[test]
fn models_are_exported() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let file = folder.path().join("a.onnx");
    let result = json(&["models", "--export", "codenet-a", "-o", &text(&file)]);
    let bytes = std::fs::read(&file).expect("the file is there");
    assert_eq!(result["bytes"], bytes.len());
    assert_eq!(bytes, lutweave_models::find("codenet-a").expect("it is built in").onnx().into_owned());
    assert_eq!(run(&["models", "--export", "codenet-a"]).code, Some(2));
}

#[test]
fn detections_are_drawn() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let [compiled, drawn] = ["out", "boxes"].map(|name| text(&folder.path().join(name)));
    let summary = json(&["compile", "codenet-bccd", "--multipliers", "240", "--no-verify", "-o", &compiled]);
    assert_eq!(summary["model"], "codenet-bccd");
    let result = json(&["run", &compiled, "--draw", &drawn, "--samples", "2"]);
    assert_eq!(names(Path::new(&drawn)), ["0000.png", "0001.png", "detections.json"]);
    let list = std::fs::read_to_string(PathBuf::from(&drawn).join("detections.json")).expect("the list is there");
    let list: Value = serde_json::from_str(&list).expect("the list is JSON");
    let found: usize =
        list.as_array().expect("a list").iter().map(|image| image["detections"].as_array().map_or(0, Vec::len)).sum();
    assert!(found > 10, "{list}");
    assert_eq!(result["detections"], found);
    let first = contents(Path::new(&drawn));
    json(&["run", &compiled, "--draw", &drawn, "--samples", "2", "--executor", "interpreter"]);
    assert_eq!(contents(Path::new(&drawn)), first);
    json(&["run", &compiled, "--draw", &drawn, "--samples", "1", "--min-score", "1"]);
    assert_eq!(names(Path::new(&drawn)), ["0000.png", "detections.json"]);
    refused(&["run", &compiled, "--draw", &text(folder.path())], 1, "occupied");
}

/// The whole blood-cell set, which is not part of the project.
#[test]
fn the_detectors_keep_their_figures_on_the_whole_set() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let data = root.join("../shared/data/datasets/bccd_192x144.npz");
    if !data.exists() {
        println!("skipped: {} is not there", data.display());
        return;
    }
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = folder.path().join("task.toml");
    for split in ["test", "val-test"] {
        let task = std::fs::read_to_string(root.join(format!("models/codenet/{split}.toml"))).expect("it is shipped");
        write(&path, task.replace("../../../shared/data/datasets/bccd_192x144.npz", &text(&data)));
        let ap50 = |model: &str| value(&json(&["eval", model, "--task", &text(&path)]));
        let [float, quantized, plain] = ["codenet-bccd", "codenet-bccd-int4", "codenet-bccd-plain"].map(ap50);
        assert!(float >= 0.85 && (plain - float).abs() < 0.02, "{split}: {float} {plain}");
        assert!(quantized >= 0.82 && quantized >= float - 0.04, "{split}: {quantized} {float}");
    }
}

/// Someone else's detector on real images, against onnxruntime and a separate program for the
/// rest: 0.6166 by VOC's rules and 0.4079 by COCO's.
#[test]
fn yolox_is_judged_as_onnxruntime_judges_it() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let [model, images] =
        ["models/third_party/yolox_nano_416.onnx", "datasets/coco_val_48_416.npz"].map(|file| data.join(file));
    if !model.exists() || !images.exists() {
        println!("skipped: {} is not there", data.display());
        return;
    }
    let folder = tempfile::tempdir().expect("a directory can be made");
    let path = folder.path().join("task.toml");
    for (metric, expected) in [("ap50", 0.6166), ("map", 0.4079)] {
        let task = YOLOX.replace("METRIC", metric).replace("MODEL", &text(&model)).replace("IMAGES", &text(&images));
        write(&path, task);
        let result = json(&["eval", "--task", &text(&path)]);
        assert!((value(&result) - expected).abs() < 0.005, "{result}");
    }
}

const YOLOX: &str = r#"
model = "MODEL"
metric = "METRIC"

[calibration]
file = "IMAGES"
count = 4

[evaluation]
file = "IMAGES"

[input]
array = "images"
layout = "NHWC"
channels = "BGR"
mean = [0.0]
std = [1.0]
model_layout = "NCHW"

[labels]
boxes = "boxes"
box_class = "box_class"
box_offsets = "box_offsets"

[decode]
kind = "yolox"
output = "output"
image = [416, 416]
strides = [8, 16, 32]
overlap = 0.65
min_score = 0.01
limit = 100
"#;
