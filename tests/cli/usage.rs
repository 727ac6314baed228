//! Wrong usage and unfit files.

use crate::support::{files, mnist, names, npz, refused, run, text, write};
use std::path::Path;

#[test]
fn exit_status_2_is_wrong_usage() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("x"));
    for arguments in [
        &[][..],
        &["bake"],
        &["compile", "mnist"],
        &["compile", "-o", &target],
        &["compile", "mnist", "-o", &target, "--device", "abacus"],
        &["compile", "mnist", "-o", &target, "--weights", "3"],
        &["compile", "mnist", "-o", &target, "--multipliers", "0"],
        &["compile", "mnist", "-o", &target, "--multipliers", "many"],
        &["compile", "mnist", "-o", &target, "--clock", "-3"],
        &["compile", "mnist", "-o", &target, "--clock", "nan"],
        &["compile", "mnist", "-o", &target, "--weights", "auto", "--max-drop", "nan"],
        &["verify", &target, "--executors", "abacus"],
        &["verify", &target, "--samples", "0"],
        &["eval"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{arguments:?}");
        assert!(!ended.err.is_empty(), "{arguments:?}");
    }
    assert!(names(folder.path()).is_empty());
    for arguments in [&["--help"][..], &["--version"], &["help", "verify"]] {
        assert_eq!(run(arguments).code, Some(0), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_found_is_named() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("out"));
    refused(&["compile", "mnits", "-o", &target], 1, "mnits");
    refused(&["compile", "nowhere/model.onnx", "-o", &target], 1, "nowhere/model.onnx");
    refused(&["compile", "mnist", "--task", "nowhere.toml", "-o", &target], 1, "nowhere.toml");
    refused(&["compile", "mnist", "--device", "nowhere.toml", "-o", &target], 1, "nowhere.toml");
    refused(&["verify", "nowhere"], 1, "nowhere");
    refused(&["eval", "nowhere"], 1, "nowhere");
    refused(&["inspect", "nowhere"], 1, "nowhere");
    refused(&["run", mnist(), "--input", "nowhere.npz", "-o", &target], 1, "nowhere.npz");
    refused(&["compile", &text(folder.path()), "-o", &target], 1, "read the model");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_model_without_scales_needs_calibration() {
    let files = files();
    let model = text(&files.path().join("model.onnx"));
    refused(&["compile", &model, "-o", &text(&files.path().join("out"))], 1, "calibration-needed");
    assert!(!files.path().join("out").exists());
}

#[test]
fn too_small_devices_are_refused() {
    let files = files();
    let target = text(&files.path().join("out"));
    refused(&["compile", "mnist", "--multipliers", "2", "-o", &target], 1, "too-few-multipliers");
    let device = files.path().join("tiny.toml");
    for text_of_device in ["", "name = 3", "lut = -1", "\u{0}"] {
        write(&device, text_of_device);
        refused(&["compile", "mnist", "--device", &text(&device), "-o", &target], 1, "tiny.toml");
    }
    assert!(!files.path().join("out").exists());
}

/// Compiles and evaluates with a changed task; both are refused with a message.
fn task_refused(changes: &[(&str, &str)], message: &str) {
    let files = files();
    let path = files.path().join("task.toml");
    let mut task = std::fs::read_to_string(&path).expect("there is a task");
    for (from, to) in changes {
        assert!(task.contains(from), "{from}");
        task = task.replace(from, to);
    }
    write(&path, task);
    let target = files.path().join("out");
    for arguments in [&["compile", "--task", &text(&path), "-o", &text(&target)][..], &["eval", "--task", &text(&path)]]
    {
        refused(arguments, 1, message);
    }
    assert!(!target.exists());
}

#[test]
fn damaged_tasks_are_refused() {
    task_refused(&[("metric = \"top1\"", "metric = \"beauty\"")], "bad-task");
    task_refused(&[("[calibration]", "[calibration")], "bad-task");
    task_refused(&[("std = [1.0]", "std = [1.0, 1.0, 1.0]")], "channels");
    task_refused(&[("[evaluation]", "[evaluated]")], "bad-task");
    task_refused(&[("model = \"model.onnx\"", "model = \"../nowhere.onnx\"")], "nowhere.onnx");
    task_refused(&[("file = \"samples.npz\"", "file = \"model.onnx\"")], "npz");
    task_refused(&[("file = \"samples.npz\"", "file = \"gone.npz\"")], "gone.npz");
    task_refused(&[("count = 500", "count = 501"), ("count = 100", "count = 700")], "and there are 600");
    task_refused(&[("count = 500", "count = 0"), ("count = 100", "count = 0")], "samples");
    task_refused(&[("start = 100", "start = 18446744073709551615")], "");
    task_refused(&[("array = \"images\"", "array = \"labels\"")], "has not the axes of layout NHWC");
    task_refused(&[("array = \"images\"", "array = \"sounds\"")], "sounds");
    task_refused(&[("array = \"labels\"", "array = \"images\"")], "");
    task_refused(&[("std = [1.0]", "std = [0.0]")], "std");
    task_refused(&[("std = [1.0]", "std = []")], "std");
    task_refused(&[("mean = [0.0]", "mean = [nan]")], "mean");
    task_refused(&[("layout = \"NHWC\"", "layout = \"HWNC\"")], "HWNC");
}

/// Writes an archive with one array of images.
fn images(path: &Path, shape: &[usize]) {
    let mut writer = npz(path);
    writer.add("images", shape, &vec![0u8; shape.iter().product()]).expect("an array can be written");
    writer.add("labels", &[600], &[0i64; 600]).expect("an array can be written");
    writer.finish().expect("the file can be finished");
}

#[test]
fn data_of_other_shapes_is_refused() {
    let files = files();
    let task = text(&files.path().join("task.toml"));
    let target = files.path().join("out");
    for shape in [&[600][..], &[600, 0], &[600, 28, 28, 0], &[600, 28, 28, 3, 1], &[600, 14, 28, 4], &[600, 2], &[]] {
        images(&files.path().join("samples.npz"), shape);
        let ended = run(&["compile", "--task", &task, "-o", &text(&target)]);
        assert_eq!(ended.code, Some(1), "{shape:?}: {}", ended.err);
    }
    // Three means for four channels.
    let text_of_task = std::fs::read_to_string(&task).expect("there is a task");
    let three = text_of_task.replace("mean = [0.0]", "mean = [0.0, 0.0, 0.0]").replace("\"GRAY\"", "\"RGB\"");
    write(Path::new(&task), three);
    for shape in [&[600, 14, 14, 4][..], &[600, 28, 28, 1]] {
        images(&files.path().join("samples.npz"), shape);
        let ended = run(&["compile", "--task", &task, "-o", &text(&target)]);
        assert!(matches!(ended.code, Some(0 | 1)), "{shape:?}: {:?} {}", ended.code, ended.err);
    }
}

#[test]
fn data_that_is_no_data_is_refused() {
    let files = files();
    let task = text(&files.path().join("task.toml"));
    let attempt = |pixel: f32, label: f32, message: &str| {
        let mut images = vec![0f32; 600 * 28 * 28];
        images[300 * 28 * 28 + 5 * 28 + 6] = pixel;
        let mut labels = [0f32; 600];
        labels[200] = label;
        let mut writer = npz(&files.path().join("samples.npz"));
        writer.add("images", &[600, 28, 28, 1], &images).expect("an array can be written");
        writer.add("labels", &[600], &labels).expect("an array can be written");
        writer.finish().expect("the file can be finished");
        refused(&["eval", "--task", &task], 1, message);
    };
    attempt(f32::NAN, 0.0, "element 146 of sample 300 is NaN");
    attempt(f32::INFINITY, 0.0, "element 146 of sample 300 is inf");
    attempt(0.0, -1.0, "element 200 is -1, not a whole number from 0");
    attempt(0.0, 1.5, "element 200 is 1.5");
    attempt(0.0, f32::NAN, "element 200 is NaN");
    attempt(0.0, 10.0, "there is a label 10, and the model has 10 classes, from 0");
}

#[test]
fn unfit_inputs_are_refused() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let input = folder.path().join("x.npz");
    let output = text(&folder.path().join("y.npz"));
    let attempt = |message: &str| refused(&["run", mnist(), "--input", &text(&input), "-o", &output], 1, message);
    write(&input, "no archive");
    attempt("npz");
    let model = lutweave_models::find("mnist").expect("there is a built-in model mnist");
    write(&input, &model.samples()[..model.samples().len() / 2]);
    attempt("npz");
    // Two arrays, none of the input's name.
    write(&input, model.samples());
    attempt("image");
    let mut writer = npz(&input);
    writer.add("image", &[3, 5], &[0f32; 15]).expect("an array can be written");
    writer.finish().expect("the file can be finished");
    attempt("shape");
    for shape in ["(1000000000000, 784)", "(99999999999, 99999999999)", "(-1, 784)", "(0, 784)", "784"] {
        write(&input, archive_claiming(shape));
        attempt("");
    }
    assert!(!Path::new(&output).exists());
}

/// A stored archive whose only array claims a shape and holds nothing.
fn archive_claiming(shape: &str) -> Vec<u8> {
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (text.len() + 11) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((text.len() as u16).to_le_bytes());
    array.extend(text.bytes());
    let crc = array.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    });
    let (name, size) = (b"image.npy", (array.len() as u32).to_le_bytes());
    let fields = [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..], &(!crc).to_le_bytes(), &size, &size, &[9, 0, 0, 0]].concat();
    let mut archive = [b"PK\x03\x04", &fields[..], name, &array].concat();
    let start = (archive.len() as u32).to_le_bytes();
    let entry = [b"PK\x01\x02\x14\x00", &fields[..], &[0; 14], name].concat();
    let length = (entry.len() as u32).to_le_bytes();
    archive.extend(entry);
    archive.extend([b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &length[..], &start, &[0, 0]].concat());
    archive
}
