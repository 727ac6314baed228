//! Every command on the built-in model.

use crate::support::{arrays, command, elements, ended, files, json, mnist, npz, refused, run, text};
use lutweave_testing::tools;
use serde_json::Value;
use std::path::Path;

fn has(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "`{field}` is missing in {value}");
    }
}

#[test]
fn compile_reports_every_figure() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("deep/er/mnist"));
    let summary = json(&["compile", "mnist", "-o", &target]);
    has(
        &summary,
        &[
            "model",
            "device",
            "weights",
            "cycles_per_inference",
            "latency_cycles",
            "multipliers",
            "products_per_cycle",
            "macs",
            "efficiency",
            "weight_bytes",
            "sparsity",
            "host_ops",
            "files",
            "compile_seconds",
        ],
    );
    has(&summary["resources"], &["lut", "ff", "dsp", "bram"]);
    assert_eq!(summary["verify"]["agree"], true);
    assert!(summary["verify"]["samples"].as_u64() >= Some(1));
    assert_eq!(summary["model"], "mnist");
    for file in summary["files"].as_array().expect("a list of files") {
        let path = Path::new(&target).join(file.as_str().expect("a path"));
        assert!(path.is_file(), "{}", path.display());
    }
    for file in ["manifest.json", "graph.txt", "plan.json", "sim/model.wasm", "report.html"] {
        assert!(summary["files"].as_array().expect("a list").iter().any(|known| known == file), "{file}");
    }
    let macs = summary["macs"].as_f64().expect("a number");
    let products = summary["cycles_per_inference"].as_f64().expect("a number")
        * summary["products_per_cycle"].as_f64().expect("a number");
    assert!((summary["efficiency"].as_f64().expect("a number") - macs / products).abs() < 1e-9);
}

#[test]
fn compile_takes_a_task_in_place_of_the_model() {
    let files = files();
    let task = text(&files.path().join("task.toml"));
    let target = text(&files.path().join("out"));
    let summary = json(&["compile", "--task", &task, "--weights", "4", "--multipliers", "20", "-o", &target]);
    assert_eq!(summary["model"], "model");
    assert_eq!(summary["weights"], "4");
    assert!(summary["multipliers"].as_u64() <= Some(20));
    assert!(summary["accuracy"]["integer"].as_f64() >= Some(0.95), "{}", summary["accuracy"]);
    // What was compiled from a file needs its task to be judged, and none to be verified.
    assert_eq!(json(&["verify", &target, "--samples", "2"])["agree"], true);
    let eval = json(&["eval", &target, "--task", &task, "--samples", "50"]);
    assert_eq!(eval["samples"], 50);
    assert!(eval["float_value"].as_f64() >= Some(0.95), "{eval}");
    assert_eq!(run(&["eval", &target]).code, Some(2));
}

#[test]
fn one_evaluation_sample_is_enough() {
    let files = files();
    let task = files.path().join("task.toml");
    let changed = std::fs::read_to_string(&task).expect("there is a task").replace("count = 500", "count = 1");
    crate::support::write(&task, changed);
    let target = text(&files.path().join("out"));
    let summary = json(&["compile", "--task", &text(&task), "-o", &target]);
    assert_eq!(summary["verify"]["agree"], true);
    assert_eq!(summary["accuracy"]["samples"], 1);
    assert_eq!(summary["cycles_per_inference"], json(&["compile", "mnist", "-o", &target])["cycles_per_inference"]);
}

#[test]
fn calibration_samples_may_come_from_a_file() {
    let files = files();
    let samples = files.path().join("calibration.npz");
    let shape = [4, 1, 28, 28];
    let pixels = elements(shape, |[n, _, y, x]| ((n * 53 + y * 19 + x * 7) % 256) as f32);
    let mut writer = npz(&samples);
    writer.add("image", &shape, &pixels).expect("an array can be written");
    writer.finish().expect("the file can be finished");
    let [model, target] = ["model.onnx", "out"].map(|name| text(&files.path().join(name)));
    let summary = json(&["compile", &model, "--calibration", &text(&samples), "-o", &target]);
    assert_eq!(summary["verify"]["agree"], true);
    assert_eq!(summary["accuracy"], Value::Null);
    refused(&["compile", &model, "--calibration", "nowhere.npz", "-o", &target], 1, "nowhere.npz");
    let data = text(&files.path().join("samples.npz"));
    refused(&["compile", &model, "--calibration", &data, "-o", &target], 1, "image");
}

#[test]
fn verify_compares_all_executors() {
    let mut executors = "interpreter,cpu,wasm".to_owned();
    let mut count = 3;
    if tools::icarus() {
        executors.push_str(",icarus");
        count += 1;
    }
    let result = json(&["verify", mnist(), "--samples", "2", "--executors", &executors, "--stall-seed", "3"]);
    assert_eq!(result["agree"], true);
    assert_eq!(result["samples"], 2);
    let executors = result["executors"].as_array().expect("a list");
    assert_eq!(executors.len(), count);
    for executor in executors {
        has(executor, &["name", "mismatches", "cycles_per_inference"]);
        assert_eq!(executor["mismatches"], 0);
    }
    for drive in [&["--one-by-one"][..], &["--reset-after", "1000"]] {
        let arguments = [&["verify", mnist(), "--samples", "3", "--executors", "interpreter,wasm"], drive].concat();
        assert_eq!(json(&arguments)["agree"], true);
    }
}

#[test]
fn eval_measures_what_was_trained() {
    let float = json(&["eval", "mnist"]);
    assert_eq!(float["metric"], "top1");
    assert!(float["value"].as_f64() >= Some(0.985), "{float}");
    for executor in ["cpu", "interpreter"] {
        let compiled = json(&["eval", mnist(), "--executor", executor]);
        has(&compiled, &["metric", "value", "samples", "float_value"]);
        assert!(compiled["value"].as_f64() >= Some(0.985), "{compiled}");
        assert_eq!(compiled["float_value"], float["value"]);
        assert_eq!(compiled["samples"], 500);
    }
    let wasm = json(&["eval", mnist(), "--executor", "wasm", "--samples", "20"]);
    let cpu = json(&["eval", mnist(), "--executor", "cpu", "--samples", "20"]);
    assert_eq!(wasm["value"], cpu["value"]);
}

#[test]
fn run_gives_the_same_arrays_on_every_executor() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let input = folder.path().join("x.npz");
    let shape = [3, 1, 28, 28];
    let pixels = elements(shape, |[n, _, y, x]| ((n * 91 + y * 37 + x * 11) % 256) as f32);
    let mut writer = npz(&input);
    writer.add("image", &shape, &pixels).expect("an array can be written");
    writer.finish().expect("the file can be finished");
    let mut answers = Vec::new();
    for executor in ["interpreter", "cpu", "wasm"] {
        let output = folder.path().join(format!("{executor}.npz"));
        let result = json(&["run", mnist(), "--executor", executor, "--input", &text(&input), "-o", &text(&output)]);
        assert_eq!(result["samples"], 3);
        let mut result = arrays(&output);
        assert_eq!(result.len(), 1);
        answers.push(result.pop_first().expect("it holds an array").1);
    }
    assert_eq!((&answers[0].shape[..], answers[0].real), (&[3, 10][..], true));
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_ne!(answers[0].values[..10], answers[0].values[10..20]);
}

#[test]
fn lists_and_inspections_are_objects() {
    let models = json(&["models"]);
    assert!(models["models"].as_array().expect("a list").iter().any(|model| model["name"] == "mnist"));
    let devices = json(&["devices"]);
    for device in devices["devices"].as_array().expect("a list") {
        has(device, &["name", "lut", "ff", "dsp", "bram", "source"]);
    }
    for model in ["mnist", mnist()] {
        has(&json(&["inspect", model]), &["model", "inputs", "outputs", "macs", "parameters", "layers", "host_ops"]);
    }
    for view in ["table", "text", "full", "dot"] {
        let ended = ended(&command(&["inspect", mnist(), "--view", view]).output().expect("the program starts"));
        assert_eq!(ended.code, Some(0), "{view}");
        assert!(!ended.out.is_empty(), "{view}");
    }
    let full = run(&["inspect", mnist(), "--view", "full"]).out;
    assert_eq!(full, std::fs::read_to_string(Path::new(mnist()).join("graph.txt")).expect("there is a graph"));
}

#[test]
fn passes_are_listed_dumped_timed_and_stopped_after() {
    let list = json(&["passes"]);
    let passes: Vec<&str> =
        list["passes"].as_array().expect("a list").iter().filter_map(|pass| pass["name"].as_str()).collect();
    assert_eq!((passes.first(), passes.last()), (Some(&"simplify"), Some(&"fold")));
    // The graph that a pass leaves, and nothing written.
    let stopped = run(&["compile", "mnist", "--stop-after", "quantize"]);
    assert!(stopped.code == Some(0) && stopped.out.contains("qconv"), "{stopped:?}");
    let float = run(&["compile", "mnist", "--stop-after", "simplify"]);
    assert!(float.out.contains("conv") && !float.out.contains("qconv"), "{float:?}");
    let inspected = run(&["inspect", "mnist", "--stop-after", "quantize", "--view", "text"]);
    assert_eq!(inspected.out, stopped.out);
    let object = json(&["compile", "mnist", "--stop-after", "partition", "--timings"]);
    assert_eq!(object["stopped_after"], "partition");
    assert!(object["timings"].as_array().is_some_and(|timings| timings.len() > 3), "{object}");
    // Dumps are on standard error.
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("mnist"));
    let dumped = run(&["compile", "mnist", "--dump-after", "simplify", "--timings", "-o", &target]);
    assert!(dumped.err.contains("# after simplify") && !dumped.err.contains("# after quantize"), "{dumped:?}");
    assert!(dumped.out.contains("seconds") && dumped.out.contains("quantize"), "{}", dumped.out);
    let report = std::fs::read_to_string(folder.path().join("mnist/report.html")).expect("there is a report");
    assert!(report.contains("<h2>Passes</h2>"));
    refused(&["compile", "mnist", "--stop-after", "quantise"], 2, "did you mean `quantize`?");
    // Nothing would be written there.
    refused(&["compile", "mnist", "--stop-after", "quantize", "-o", "unused"], 2, "cannot be used with");
    refused(&["explore", "mnist", "--dump-after", "nothing", "-o", &target], 2, "there is no such pass");
}
