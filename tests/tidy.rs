//! The house is in order: short files, a crate graph without surprises, no unused dependency, no printing outside
//! the command line, documents that name what there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use toml::{Table, Value};

/// Lines of a source file at most.
const LONGEST: usize = 600;

/// What each crate may know of the others, by the folder names of the pipeline. The library and its command line
/// may know all of them.
const KNOWS: [(&str, &[&str]); 14] = [
    ("ir", &[]),
    ("ir/onnx", &["ir"]),
    ("hw", &["ir", "passes/solve"]),
    ("passes/rewrite", &["ir"]),
    ("passes/quantize", &["ir"]),
    ("passes/solve", &["ir"]),
    ("passes/codesign", &["ir", "hw", "passes/rewrite", "passes/quantize", "passes/solve"]),
    ("backends/verilog", &["hw"]),
    ("backends/wasm", &["hw"]),
    ("backends/cpu", &["ir"]),
    ("models", &["ir", "ir/onnx"]),
    ("task", &["ir", "passes/quantize", "models"]),
    ("snapshots/testing", &["ir"]),
    ("snapshots", &["."]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files that git knows, by their ends.
fn files(end: &str) -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root()).output();
    let output = output.expect("git lists the files");
    let names = String::from_utf8(output.stdout).expect("names are text");
    let mut files: Vec<PathBuf> = names.lines().filter(|name| name.ends_with(end)).map(PathBuf::from).collect();
    files.retain(|file| root().join(file).is_file());
    assert!(!files.is_empty(), "there are files that end in {end}");
    files
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn files_are_short() {
    let long: Vec<String> = files(".rs")
        .iter()
        .map(|file| (text(file).lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, file)| format!("{} has {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "split {long:?}");
}

#[test]
fn only_the_command_line_prints_exits_and_knows_clap() {
    let may = |file: &Path| {
        let name = file.to_string_lossy();
        let folders = ["src/cli/", "examples/", "experiments/", "tests/", "fuzz/"];
        folders.iter().any(|folder| name.starts_with(folder))
            || ["/tests/", "/benches/", "/examples/", "/tests.rs"].iter().any(|part| name.contains(part))
            // What says that a test was skipped.
            || name == "snapshots/testing/src/tools.rs"
    };
    let mut found = Vec::new();
    for file in files(".rs").iter().filter(|file| !may(file)) {
        let text = text(file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let words = ["println!(", "eprintln!(", "print!(", "eprint!(", concat!("process", "::exit"), "clap::"];
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The members of the workspace with their manifests.
fn members() -> BTreeMap<String, Table> {
    let read = |folder: &str| text(&Path::new(folder).join("Cargo.toml")).parse::<Table>().expect("it is TOML");
    let workspace = read(".");
    let names = workspace["workspace"]["members"].as_array().expect("a list of members");
    let names = names.iter().filter_map(Value::as_str).chain(["."]);
    names.map(|name| (name.to_owned(), read(name))).collect()
}

/// Names of dependencies in a table of a manifest.
fn dependencies(manifest: &Table, table: &str) -> Vec<String> {
    manifest.get(table).and_then(Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn crates_know_what_they_may() {
    let members = members();
    let package = |manifest: &Table| manifest["package"]["name"].as_str().expect("it has a name").to_owned();
    let folders: BTreeMap<String, &String> =
        members.iter().map(|(folder, manifest)| (package(manifest), folder)).collect();
    for (folder, known) in KNOWS {
        for name in dependencies(&members[folder], "dependencies") {
            let Some(other) = folders.get(&name) else { continue };
            let allowed = known.contains(&other.as_str()) || folder == "snapshots";
            assert!(allowed, "{folder} may not know {other}");
        }
    }
    for folder in members.keys() {
        let free = [".", "experiments"].contains(&folder.as_str());
        assert!(free || KNOWS.iter().any(|(known, _)| known == folder), "say what {folder} may know");
    }
}

#[test]
fn dependencies_are_used() {
    let members = members();
    let sources = files(".rs");
    for (folder, manifest) in &members {
        let inside = |file: &&PathBuf| {
            let name = file.to_string_lossy();
            match folder.as_str() {
                "." => ["src/", "tests/", "examples/"].iter().any(|part| name.starts_with(part)),
                folder => {
                    let deeper = members.keys().any(|other| {
                        other.len() > folder.len()
                            && other.starts_with(folder)
                            && name.starts_with(&format!("{other}/"))
                    });
                    name.starts_with(&format!("{folder}/")) && !deeper
                }
            }
        };
        let all: String = sources.iter().filter(inside).map(|file| text(file)).collect();
        for table in ["dependencies", "dev-dependencies"] {
            for name in dependencies(manifest, table) {
                let word = name.replace('-', "_");
                assert!(all.contains(&word), "{folder} does not use {name}");
            }
        }
    }
}

#[test]
fn documents_name_files_that_there_are() {
    let ends = [".rs", ".toml", ".md"];
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = text(Path::new(document));
        // What stands between backticks.
        for name in text.split('`').skip(1).step_by(2) {
            if name.contains('/') && ends.iter().any(|end| name.ends_with(end)) {
                assert!(root().join(name).is_file(), "{document} names {name}");
            }
        }
    }
}

#[test]
fn documents_name_every_folder_and_pass() {
    let architecture = text(Path::new("ARCHITECTURE.md"));
    for folder in members().keys().filter(|folder| *folder != ".") {
        assert!(architecture.contains(folder), "ARCHITECTURE.md does not name {folder}");
    }
    let readme = text(Path::new("README.md"));
    let commands = text(Path::new("src/cli/arguments.rs"));
    let (_, list) = commands.split_once("pub enum Command {").expect("there are commands");
    let (list, _) = list.split_once("\n}").expect("the list ends");
    for line in list.lines().filter_map(|line| line.trim().strip_suffix("),")) {
        let Some((name, _)) = line.split_once('(') else { continue };
        let name = name.to_lowercase();
        assert!(
            readme.contains(&format!("`{name}`")) || readme.contains(&format!("lutweave {name}")),
            "README.md does not name {name}"
        );
    }
}
