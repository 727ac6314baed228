//! Mistakes that once gave wrong figures without a word: each is refused, or warned of.

use crate::support::{command, elements, ended, files, json, mnist, npz, object, refused, run, text, write};
use lutweave_onnx::proto::{ModelProto, StringStringEntryProto};
use prost::Message;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// The built-in model with its data, its task changed.
fn changed(changes: &[(&str, &str)]) -> (TempDir, String) {
    let files = files();
    let path = files.path().join("task.toml");
    let mut task = std::fs::read_to_string(&path).expect("there is a task");
    for (from, to) in changes {
        assert!(task.contains(from), "{from}");
        task = task.replacen(from, to, 1);
    }
    write(&path, task);
    let path = text(&path);
    (files, path)
}

/// `eval` refuses a changed task with a message.
fn task_refused(changes: &[(&str, &str)], message: &str) {
    let (_files, task) = changed(changes);
    refused(&["eval", "--task", &task], 1, message);
}

fn codes(value: &Value) -> Vec<&str> {
    value["warnings"].as_array().expect("a list").iter().filter_map(|warning| warning["code"].as_str()).collect()
}

#[test]
fn misspelt_keys_and_tables_are_refused_all_at_once() {
    let (_files, task) = changed(&[
        ("[calibration]", "[calibratoin]\ncount = 3\n[calibration]\ncuont = 3"),
        ("channels = \"GRAY\"", "chanels = \"GRAY\""),
    ]);
    let ended = run(&["eval", "--task", &task, "--json"]);
    assert_eq!(ended.code, Some(1));
    let errors = object(&ended.out);
    let errors = errors["errors"].as_array().expect("a list of errors");
    let causes: Vec<&str> = errors.iter().filter_map(|error| error["cause"].as_str()).collect();
    for name in ["[calibratoin]", "calibration.cuont", "input.chanels"] {
        assert!(causes.iter().any(|cause| cause.contains(name)), "{name}: {causes:?}");
    }
    assert!(errors.iter().any(|error| error["remedy"] == "did you mean `channels`?"), "{errors:?}");
}

#[test]
fn layouts_are_compared_with_the_model() {
    task_refused(&[("model_layout = \"NCHW\"", "model_layout = \"NHWC\"")], "`model_layout = \"NCHW\"` would fit");
    task_refused(&[("layout = \"NHWC\"", "layout = \"NC\"")], "have no form in the model layout");
}

#[test]
fn channels_are_of_three_names_and_for_colours() {
    task_refused(&[("channels = \"GRAY\"", "channels = \"bgr\"")], "should be one of RGB, BGR, GRAY (perhaps BGR?)");
    task_refused(&[("channels = \"GRAY\"", "channels = \"LAB\"")], "should be one of RGB, BGR, GRAY");
    task_refused(
        &[("channels = \"GRAY\"", "channels = \"BGR\"")],
        "a sample has 1 channels, and `input.channels` is BGR",
    );
}

/// Writes the task's images, of the shape `[600,28,28]` or its like, made by `pixel`.
fn write_images(files: &TempDir, shape: [usize; 4], pixel: impl Fn([usize; 4]) -> f32) {
    let labels: Vec<i64> = (0..600).map(|index| index % 10).collect();
    let mut writer = npz(&files.path().join("samples.npz"));
    writer.add("images", &shape, &elements(shape, pixel)).expect("an array can be written");
    writer.add("labels", &[600], &labels).expect("an array can be written");
    writer.finish().expect("the file can be finished");
}

/// Colour images, channels first in the file, with the order of colours that the task says, are what
/// the same images channels last are.
#[test]
fn channels_first_is_honoured() {
    let value = |layout: &str, channels: &str, mean: &str| {
        let (files, task) = changed(&[
            ("layout = \"NHWC\"", &format!("layout = \"{layout}\"")),
            ("channels = \"GRAY\"", &format!("channels = \"{channels}\"")),
            ("mean = [0.0]", mean),
        ]);
        let colour = |row: usize, column: usize, channel: usize, n: usize| {
            (((row * 7 + column * 3) * (channel + 1) + n * 11) % 256) as f32
        };
        match layout {
            "NHWC" => write_images(&files, [600, 28, 28, 3], |[n, row, column, c]| colour(row, column, c, n)),
            _ => write_images(&files, [600, 3, 28, 28], |[n, c, row, column]| colour(row, column, c, n)),
        }
        let out = text(&files.path().join("y.npz"));
        let model = text(&files.path().join("model.onnx"));
        let ended = run(&["run", &model, "--task", &task, "-o", &out]);
        (ended.code, ended.err, std::fs::read(&out).ok())
    };
    let grey = value("NHWC", "GRAY", "mean = [0.0]");
    assert_eq!(grey.0, Some(0), "{}", grey.1);
    assert_eq!(grey, value("NCHW", "GRAY", "mean = [0.0]"));
    // Constants per channel are checked against the channels that the model is fed, in both layouts.
    for layout in ["NHWC", "NCHW"] {
        let (code, err, _) = value(layout, "GRAY", "mean = [1.0, 2.0, 3.0]");
        assert_eq!(code, Some(1), "{layout}: {err}");
        // The message is wrapped.
        assert!(err.contains("3 values"), "{layout}: {err}");
        let (code, err, _) = value(layout, "BGR", "mean = [0.0]");
        assert_eq!(code, Some(1), "{layout}: {err}");
    }
}

#[test]
fn pixels_normalised_twice_are_noticed() {
    let (files, task) = changed(&[("mean = [0.0]", "mean = [127.5]")]);
    // From 0 to 1 already: after the mean is taken off, all images look alike.
    write_images(&files, [600, 28, 28, 1], |[n, row, column, _]| ((n + row * column) % 256) as f32 / 255.0);
    let out = text(&files.path().join("out"));
    let summary = json(&["compile", "--task", &task, "-o", &out]);
    assert!(codes(&summary).contains(&"no-better-than-guessing"), "{:?}", summary["warnings"]);
    let report = std::fs::read_to_string(files.path().join("out/report.html")).expect("there is a report");
    assert!(report.contains("no better than guessing"));
    refused(&["compile", "--task", &task, "-o", &out, "--strict"], 1, "no better than guessing");
}

#[test]
fn inputs_that_never_change_are_noticed() {
    let (files, task) = changed(&[]);
    write_images(&files, [600, 28, 28, 1], |_| 7.0);
    let summary = json(&["compile", "--task", &task, "-o", &text(&files.path().join("out"))]);
    assert!(codes(&summary).contains(&"constant-input"), "{:?}", summary["warnings"]);
}

/// Writes one array.
fn archive(path: &Path, name: &str, shape: [usize; 4], value: f32) {
    let mut writer = npz(path);
    writer.add(name, &shape, &vec![value; shape.iter().product()]).expect("an array can be written");
    writer.finish().expect("the file can be finished");
}

#[test]
fn inputs_are_checked_by_name_shape_and_type() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let (input, out) = (folder.path().join("x.npz"), text(&folder.path().join("y.npz")));
    let files = files();
    let float = text(&files.path().join("model.onnx"));
    for subject in [mnist(), &float] {
        archive(&input, "image", [5, 28, 28, 1], 3.0);
        refused(
            &["run", subject, "--input", &text(&input), "-o", &out],
            1,
            "its shape [5, 28, 28, 1] is not samples of",
        );
        archive(&input, "image", [28, 28, 5, 1], 3.0);
        refused(&["run", subject, "--input", &text(&input), "-o", &out], 1, "is not samples of");
        let mut writer = npz(&input);
        writer.add("image", &[5, 1, 28, 28], &[0u8; 5 * 28 * 28]).expect("an array can be written");
        writer.finish().expect("the file can be finished");
        refused(&["run", subject, "--input", &text(&input), "-o", &out], 1, "its elements are uint8");
        let mut writer = npz(&input);
        writer.add("a", &[2, 3], &[0f32; 6]).expect("an array can be written");
        writer.add("b", &[4, 3], &[0f32; 12]).expect("an array can be written");
        writer.finish().expect("the file can be finished");
        refused(
            &["run", subject, "--input", &text(&input), "-o", &out],
            1,
            "there are: `a` float32[2, 3], `b` float32[4, 3]",
        );
    }
    archive(&input, "image", [5, 28, 28, 1], 3.0);
    let target = text(&folder.path().join("out"));
    refused(&["compile", &float, "--calibration", &text(&input), "-o", &target], 1, "is not samples of");
    // Far outside of what the circuit was calibrated for.
    archive(&input, "image", [5, 1, 28, 28], 3000.0);
    let report = json(&["run", mnist(), "--input", &text(&input), "-o", &out]);
    assert_eq!(codes(&report), ["outside-calibration"]);
}

#[test]
fn a_squared_error_needs_outputs_of_the_inputs_size() {
    task_refused(
        &[("metric = \"top1\"", "metric = \"mse\"")],
        "metric mse compares an autoencoder's output with its input",
    );
}

#[test]
fn options_without_effect_are_refused_or_said() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("out"));
    refused(&["compile", "mnist", "-o", &target, "--max-drop", "5"], 2, "--max-drop bounds a choice");
    refused(&["compile", "mnist", "-o", &target, "--pattern", "channels"], 2, "--sparsity");
    refused(&["compile", "mnist", "-o", &target, "--method", "lamp"], 2, "--sparsity");
    let channels = ["--keep-macs", "0.7", "--pattern", "channels", "--method", "lamp"];
    refused(&[&["compile", "mnist", "-o", &target][..], &channels].concat(), 2, "leave --method out");
    refused(&["verify", mnist(), "--executors", "interpreter,cpu", "--stall-seed", "3"], 2, "for circuits");
    refused(&["eval", "mnist", "--executor", "wasm"], 2, "compile it first");
    refused(&["run", "mnist", "--executor", "wasm", "-o", &target], 2, "compile it first");
    assert!(!Path::new(&target).exists());
    let summary = json(&["compile", "mnist", "-o", &target, "--no-verify", "--deform", "square"]);
    assert_eq!(codes(&summary), ["no-effect"]);
}

#[test]
fn zeros_that_save_nothing_are_said_and_so_is_what_would() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("out"));
    let arguments = ["compile", "mnist", "-o", &target, "--no-verify", "--sparsity", "0.5", "--method", "magnitude"];
    let summary = json(&arguments);
    assert_eq!(codes(&summary), ["free-sparsity"]);
    // Multipliers in logic are used by a joint choice only.
    assert!(
        summary["faster"]["same_weights"].as_u64() < summary["cycles_per_inference"].as_u64(),
        "{}",
        summary["faster"]
    );
}

#[test]
fn a_circuit_that_does_not_fit_says_so_everywhere() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("out"));
    let arguments = ["compile", "mnist", "--device", "ice40up5k", "--multipliers", "60", "-o", &target, "--no-verify"];
    let summary = json(&arguments);
    assert_eq!(summary["fits"], false);
    assert!(codes(&summary).contains(&"does-not-fit"), "{:?}", summary["warnings"]);
    let over = summary["budgets"].as_array().expect("a list").iter();
    assert!(over.clone().any(|budget| budget["used"].as_u64() > budget["limit"].as_u64()), "{}", summary["budgets"]);
    let report = std::fs::read_to_string(folder.path().join("out/report.html")).expect("there is a report");
    assert!(report.contains("does-not-fit") && report.contains("NO: "), "{report}");
    assert_eq!(run(&[&arguments[..8], &["--strict"]].concat()).code, Some(1));
    assert_eq!(json(&["compile", "mnist", "-o", &target, "--no-verify"])["fits"], true);
}

#[test]
fn errors_are_objects_under_json() {
    for (arguments, code) in [
        (&["eval", "nowhere"][..], 1),
        (&["compile", "mnits", "-o", "x"], 1),
        (&["compile", "mnist", "-o", "x", "--device", "abacus"], 2),
        (&["compile", "mnist"], 2),
        (&["verify", "nowhere"], 1),
    ] {
        let ended = run(&[arguments, &["--json"]].concat());
        assert_eq!(ended.code, Some(code), "{arguments:?}");
        let errors = object(&ended.out);
        let error = &errors["errors"][0];
        for field in ["code", "node", "operator", "cause", "remedy"] {
            assert!(error[field].is_string(), "{arguments:?}: {field}: {error}");
        }
        assert!(!ended.err.is_empty(), "{arguments:?}");
    }
}

/// PyTorch's exporter writes a model's weights into a file beside it.
#[test]
fn external_data_is_found_from_the_models_own_folder() {
    let files = files();
    let mut model = ModelProto::decode(&std::fs::read(files.path().join("model.onnx")).expect("there is a model")[..])
        .expect("it is a model");
    let mut data = Vec::new();
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let Some(raw) = tensor.raw_data.take() else { continue };
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        tensor.external_data = vec![
            entry("location", "external.onnx.data".into()),
            entry("offset", data.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(1);
        data.extend_from_slice(&raw);
    }
    assert!(!data.is_empty());
    write(&files.path().join("external.onnx"), model.encode_to_vec());
    write(&files.path().join("external.onnx.data"), data);
    let task = std::fs::read_to_string(files.path().join("task.toml")).expect("there is a task");
    write(&files.path().join("external.toml"), task.replace("model.onnx", "external.onnx"));
    for arguments in [&["inspect", "external.onnx"][..], &["eval", "--task", "external.toml", "--samples", "20"]] {
        let output = command(arguments).current_dir(files.path()).output().expect("the program starts");
        let ended = ended(&output);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn a_changed_object_file_is_no_agreement() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = folder.path().join("out");
    json(&["compile", "mnist", "--no-verify", "-o", &text(&target)]);
    let object = std::fs::read_dir(target.join("cpu")).expect("there is a folder");
    let object = object.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "o"));
    write(&object.expect("there is an object file"), "garbage");
    refused(&["verify", &text(&target), "--executors", "cpu"], 1, "changed-file");
}

#[test]
fn a_model_runs_as_it_came() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let (float, integer) = (folder.path().join("a.npz"), folder.path().join("b.npz"));
    assert_eq!(json(&["run", "mnist", "-o", &text(&float)])["executor"], "float");
    // Without --input a built-in model's own evaluation samples are run, compiled or not.
    assert_eq!(json(&["run", mnist(), "-o", &text(&integer), "--samples", "3"])["samples"], 3);
    assert!(float.is_file() && integer.is_file());
}

#[cfg(unix)]
#[test]
fn files_have_the_mode_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a directory can be made");
    let (model, outputs, build) = (folder.path().join("b.onnx"), folder.path().join("y.npz"), folder.path().join("b"));
    json(&["models", "--export", "mnist", "-o", &text(&model)]);
    json(&["run", mnist(), "-o", &text(&outputs)]);
    json(&["compile", "mnist", "--no-verify", "-o", &text(&build)]);
    let ordinary = folder.path().join("ordinary");
    write(&ordinary, "");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    for path in [&model, &outputs, &build.join("manifest.json")] {
        assert_eq!(mode(path), mode(&ordinary), "{}", path.display());
    }
    assert_eq!(mode(&build) & 0o666, mode(&ordinary));
}
