//! Files that mean harm: names that steer what they are printed into, claims that nothing could hold.

use crate::support::{files, json, object, refused, run, text, write};
use lutweave_onnx::proto::ModelProto;
use lutweave_testing::tools;
use prost::Message;
use std::path::Path;
use std::process::Command;

/// The built-in model, changed.
fn changed(folder: &Path, change: impl Fn(&mut ModelProto)) -> String {
    let bytes = std::fs::read(folder.join("model.onnx")).expect("there is a model");
    let mut model = ModelProto::decode(&bytes[..]).expect("it is a model");
    change(&mut model);
    let path = folder.join("changed.onnx");
    write(&path, model.encode_to_vec());
    text(&path)
}

#[test]
fn names_do_not_steer_what_they_are_printed_into() {
    const NAMES: [&str; 7] = [
        "a\nendmodule //",
        "x*/ int y; /*",
        "<script>alert(1)</script>",
        "../../../evil",
        "\u{1b}[31mred",
        "`include \"/etc/passwd\"",
        "\\q \" ' $readmemh(\"x\")",
    ];
    let files = files();
    let model = changed(files.path(), |model| {
        let graph = model.graph.as_mut().expect("it has a graph");
        let mut renamed = std::collections::HashMap::new();
        for (index, node) in graph.node.iter_mut().enumerate() {
            let name = format!("{}{index}", NAMES[index % NAMES.len()]);
            node.name = Some(name.clone());
            for input in &mut node.input {
                if let Some(new) = renamed.get(input) {
                    *input = String::clone(new);
                }
            }
            for output in &mut node.output {
                renamed.insert(std::mem::replace(output, name.clone()), name.clone());
            }
        }
        for output in &mut graph.output {
            output.name = output.name.take().map(|name| renamed.get(&name).cloned().unwrap_or(name));
        }
    });
    let task = text(&files.path().join("task.toml"));
    let target = files.path().join("out");
    let ended = run(&["compile", &model, "--task", &task, "-o", &text(&target)]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for printed in [&ended.out, &ended.err, &run(&["inspect", &model]).out] {
        assert!(!printed.contains('\u{1b}'), "{printed}");
    }
    let report = std::fs::read_to_string(target.join("report.html")).expect("there is a report");
    assert!(!report.contains("<script") && report.contains("&lt;script"), "{report}");
    // Nothing lies outside of the directory, and file names are plain.
    assert!(!files.path().join("evil").exists() && !files.path().join("../evil").exists());
    for folder in ["rtl", "cpu"] {
        for entry in std::fs::read_dir(target.join(folder)).expect("there is a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c)), "{name}");
        }
    }
    let header = std::fs::read_dir(target.join("cpu")).expect("there is a folder").flatten();
    let header = header.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "h"));
    let compiled =
        Command::new("cc").args(["-fsyntax-only", "-Wall", "-Werror"]).arg(header.expect("a header")).output();
    let compiled = compiled.expect("there is a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    if tools::icarus() {
        let directory = text(&target);
        let arguments = ["verify", &directory, "--task", &task, "--samples", "1", "--executors", "interpreter,icarus"];
        assert_eq!(json(&arguments)["agree"], true);
    }
}

#[test]
fn claims_are_refused_before_they_are_believed() {
    let files = files();
    for (axis, extent) in [(2, 1 << 40), (3, i64::MAX), (2, 1 << 22)] {
        let model = changed(files.path(), |model| {
            let input = &mut model.graph.as_mut().expect("it has a graph").input[0];
            let tensor = input.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()).expect("it is a tensor");
            tensor.shape.as_mut().expect("it has a shape").dim[axis].dim_value = Some(extent);
        });
        let ended = run(&["inspect", &model, "--json"]);
        assert_eq!(ended.code, Some(1), "{extent}");
        let cause = object(&ended.out)["errors"][0]["cause"].to_string();
        assert!(cause.contains("elements"), "{cause}");
    }
    let model = changed(files.path(), |model| {
        let graph = model.graph.as_mut().expect("it has a graph");
        graph.node = vec![graph.node[0].clone(); 30_000];
    });
    refused(&["inspect", &model], 1, "30000 nodes, of which at most");
}

#[cfg(target_os = "linux")]
#[test]
fn files_without_end_are_refused() {
    for arguments in [
        &["inspect", "/dev/zero"][..],
        &["eval", "mnist", "--task", "/dev/zero"],
        &["run", "mnist", "--input", "/dev/zero", "-o", "/dev/null"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.err);
    }
}

/// What other programs write is named, with the way to convert it.
#[test]
fn files_of_another_kind_are_named() {
    let files = files();
    let path = files.path().join("other.onnx");
    for (content, message) in [
        (&b"\x1c\0\0\0TFL3 and so on"[..], "it is a TFLite model"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
        (b"PK\x03\x04 and so on", "it is a zip archive"),
    ] {
        write(&path, content);
        refused(&["inspect", &text(&path)], 1, message);
    }
    refused(&["inspect", &text(files.path())], 1, "it is a directory");
}
