//! What the program shows.

use crate::support::{files, run, text};
use insta::assert_snapshot;

/// Output with paths and times replaced, and without spaces at the ends of lines.
fn shown(output: &str, paths: &[&str]) -> String {
    let mut shown = output.to_owned();
    for path in paths {
        shown = shown.replace(path, "DIR");
    }
    let lines: Vec<String> = shown
        .lines()
        .map(|line| match line.rsplit_once(" (") {
            Some((start, end)) if end.ends_with(" s)") && start.contains("written") => format!("{start} (TIME)"),
            _ => line.trim_end().to_owned(),
        })
        .collect();
    lines.join("\n")
}

#[test]
fn compile_table() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("mnist"));
    let ended = run(&["compile", "mnist", "-o", &target]);
    assert_eq!(ended.err, "");
    assert_snapshot!(shown(&ended.out, &[&target]));
}

#[test]
fn models() {
    assert_snapshot!(shown(&run(&["models"]).out, &[]));
}

#[test]
fn devices() {
    assert_snapshot!(shown(&run(&["devices"]).out, &[]));
}

#[test]
fn inspect_table() {
    assert_snapshot!(shown(&run(&["inspect", "mnist"]).out, &[]));
}

#[test]
fn verify_table() {
    let mnist = crate::support::mnist();
    assert_snapshot!(shown(&run(&["verify", mnist, "--samples", "2"]).out, &[]));
}

#[test]
fn help() {
    for command in ["", "compile", "verify", "run", "eval", "inspect", "models", "devices"] {
        let arguments: Vec<&str> = [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let name = if command.is_empty() { "help".to_owned() } else { format!("help_{command}") };
        assert_snapshot!(name, shown(&run(&arguments).out, &[]));
    }
}

#[test]
fn errors() {
    let files = files();
    let folder = text(files.path());
    let out = text(&files.path().join("out"));
    let model = text(&files.path().join("model.onnx"));
    for (name, arguments) in [
        ("error_no_model", &["compile", "mnits", "-o", &out][..]),
        ("error_no_device", &["compile", "mnist", "--device", "abacus", "-o", &out]),
        ("error_no_calibration", &["compile", &model, "-o", &out]),
        ("error_too_few_multipliers", &["compile", "mnist", "--multipliers", "2", "-o", &out]),
        ("error_not_compiled", &["verify", "no/such/directory"]),
    ] {
        let ended = run(arguments);
        assert_snapshot!(name, format!("exit {}\n{}", ended.code.unwrap_or(-1), shown(&ended.err, &[&folder])));
    }
}
