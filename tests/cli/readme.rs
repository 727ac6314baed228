//! What the README prints is what the program prints (but for times and paths), what it calls exists, and
//! what it builds fits the board that it names.

use crate::support::{command, ended, json, mnist, run, text};
use lutweave_testing::tools;
use std::path::{Path, PathBuf};

fn readme() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).expect("there is a README")
}

/// The content of the code blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let parts = text.split("\n```").map(|part| part.split_once('\n').unwrap_or((part, "")));
    parts.filter(|(name, _)| *name == language).map(|(_, content)| content.to_owned()).collect()
}

/// The block that holds a text.
fn block(holding: &str) -> String {
    let found = blocks("text").into_iter().find(|block| block.contains(holding));
    found.unwrap_or_else(|| panic!("no block of the README holds `{holding}`"))
}

/// Lines without what differs from run to run: ends of lines, where and how fast something was written.
fn comparable(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_end().to_owned());
    lines.filter(|line| !line.is_empty() && !line.trim_start().starts_with("written")).collect()
}

/// Texts of which only the words count: messages are wrapped.
fn words(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| *word != "│");
    // A word that is broken at a hyphen is one word.
    words.collect::<Vec<_>>().join(" ").replace("- ", "-")
}

#[test]
fn the_first_command_prints_this() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("mnist"));
    let output = command(&["compile", "mnist", "-o", &target]).env("COLUMNS", "120").output();
    let ended = ended(&output.expect("the program starts"));
    assert_eq!(comparable(&ended.out), comparable(&block("norm1")));
}

#[test]
fn verification_prints_this() {
    let whole = block("$ lutweave verify");
    let (line, expected) = whole.split_once('\n').expect("the block has lines");
    let arguments: Vec<&str> = line.split_whitespace().skip(2).collect();
    assert_eq!((arguments[0], arguments[1]), ("verify", "build/mnist"));
    if !tools::verilator() || !tools::icarus() {
        return;
    }
    let ended = run(&[&["verify", mnist()], &arguments[2..]].concat());
    assert_eq!(comparable(&ended.out), comparable(expected), "{}", ended.err);
}

#[test]
fn refusals_read_like_this() {
    let model =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/models/third_party/finn_tfc_2w2a_qonnx.onnx");
    if !model.exists() {
        println!("skipped: {} is not there", model.display());
        return;
    }
    let whole = block("finn_tfc_2w2a_qonnx");
    let (_, expected) = whole.split_once('\n').expect("the block has lines");
    let folder = tempfile::tempdir().expect("a directory can be made");
    let ended = run(&["compile", &text(&model), "-o", &text(&folder.path().join("out"))]);
    assert_eq!(words(&ended.err), words(expected));
}

/// Every option that the README gives a command is one that the command has.
#[test]
fn commands_have_the_options_that_they_are_given() {
    let mut checked = 0;
    for block in blocks("sh") {
        for line in block.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let line = line.replace("cargo run --release -- ", "lutweave ");
            let parts: Vec<&str> = line.split_whitespace().collect();
            let ["lutweave", command, rest @ ..] = &parts[..] else { continue };
            let help = run(&[command, "--help"]);
            assert_eq!(help.code, Some(0), "{line}");
            for option in rest.iter().filter(|part| part.starts_with('-')) {
                let known = |end: &str| help.out.contains(&format!("{option}{end}"));
                assert!(known(" ") || known("\n") || known(","), "{line}: {option}");
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn what_the_readme_builds_fits_its_board() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("out"));
    let full = std::env::var_os("LUTWEAVE_FULL").is_some();
    let mut built = 0;
    for block in blocks("sh") {
        for line in block.lines().filter(|line| line.contains("compile codenet-bccd")) {
            // One is enough where time is short.
            if built > 0 && !full {
                continue;
            }
            let line = line.split('#').next().unwrap_or_default();
            let parts: Vec<&str> = line.split_whitespace().skip(1).collect();
            let place = parts.iter().position(|part| *part == "-o").expect("it says where to");
            let summary = json(&[&parts[..place], &["-o", &target, "--no-verify"]].concat());
            assert_eq!(summary["fits"], true, "{line}: {}", summary["budgets"]);
            built += 1;
        }
    }
    assert!(built > 0 && Path::new(&target).exists());
}
