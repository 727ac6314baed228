//! The directory that `compile` writes.

use crate::support::{contents, json, mnist, names, refused, run, text, write};
use lutweave_testing::tools;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_same_model_gives_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = folder.path().join("mnist");
    assert_eq!(run(&["compile", "mnist", "-o", &text(&target)]).code, Some(0));
    let (first, second) = (contents(Path::new(mnist())), contents(&target));
    let paths =
        |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&first), paths(&second));
    for ((path, first), (_, second)) in first.iter().zip(&second) {
        assert!(first == second, "{} differs", path.display());
    }
}

#[test]
fn an_earlier_result_is_replaced_whole() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = folder.path().join("out");
    let compile = |multipliers| {
        json(&["compile", "mnist", "--multipliers", multipliers, "--no-verify", "-o", &text(&target)])["multipliers"]
            .as_u64()
            .expect("a number")
    };
    assert!(compile("4") < compile("60"));
    write(&target.join("rtl/left_over.v"), "");
    assert_eq!(compile("4"), 4);
    assert!(!target.join("rtl/left_over.v").exists());
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn other_directories_are_left_alone() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = folder.path().join("thesis");
    std::fs::create_dir(&target).expect("a directory can be made");
    write(&target.join("chapter.txt"), "one");
    refused(&["compile", "mnist", "-o", &text(&target)], 1, "not of an earlier run");
    assert_eq!(names(&target), ["chapter.txt"]);
    refused(&["compile", "mnist", "-o", &text(&target.join("chapter.txt"))], 1, "is a file");
    refused(&["compile", "mnist", "-o", &text(&target.join("chapter.txt/x"))], 1, "chapter.txt");
    refused(&["compile", "mnist", "-o", "/dev/null/x"], 1, "/dev/null");
    // An empty directory is as good as none.
    std::fs::remove_file(target.join("chapter.txt")).expect("the file can be removed");
    assert_eq!(run(&["compile", "mnist", "--no-verify", "-o", &text(&target)]).code, Some(0));
    assert_eq!(names(folder.path()), ["thesis"]);
}

/// A copy of the compiled model, to be damaged.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory can be made");
    for (path, bytes) in contents(Path::new(mnist())) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a directory can be made");
        write(&path, bytes);
    }
    folder
}

#[test]
fn damage_is_found() {
    for file in ["sim/model.wasm", "graph.txt", "manifest.json"] {
        let copy = copy();
        let path = copy.path().join(file);
        let bytes = std::fs::read(&path).expect("the file can be read");
        let mut disagreements = 0;
        for part in 1..24 {
            let mut damaged = bytes.clone();
            let position = bytes.len() * part / 24;
            damaged[position] ^= 1 << (part % 7);
            write(&path, &damaged);
            let ended = run(&["verify", &text(copy.path()), "--samples", "2"]);
            assert!(matches!(ended.code, Some(0 | 1)), "{file}, byte {position}: {}", ended.err);
            disagreements += ended.code.unwrap_or(0);
            write(&path, &bytes[..position]);
            assert_eq!(
                run(&["verify", &text(copy.path()), "--samples", "1"]).code,
                Some(1),
                "{file} cut at {position}"
            );
        }
        // Some bytes are of no consequence, as those of a name.
        assert!(disagreements >= 6, "{file}: {disagreements} of 23 were found");
        std::fs::remove_file(&path).expect("the file can be removed");
        assert_eq!(run(&["verify", &text(copy.path())]).code, Some(1), "{file} is missing");
    }
}

#[test]
fn changed_verilog_is_not_passed_off_as_the_compilers() {
    if !tools::icarus() {
        return;
    }
    let copy = copy();
    let path = copy.path().join("rtl/mnist.v");
    let verilog = std::fs::read_to_string(&path).expect("the file can be read");
    write(&path, verilog.replacen("endmodule", "// changed\nendmodule", 1));
    let directory = text(copy.path());
    refused(&["verify", &directory, "--executors", "icarus", "--samples", "2"], 1, "changed-file");
}

#[test]
fn the_test_bench_checks_itself() {
    if !tools::icarus() {
        return;
    }
    let copy = copy();
    let rtl = copy.path().join("rtl");
    let simulate = || {
        let sources = names(&rtl).into_iter().filter(|name| name.ends_with(".v"));
        let build = Command::new("iverilog")
            .args(["-g2005", "-o", "bench.vvp", "-s", "mnist_tb"])
            .args(sources)
            .current_dir(&rtl)
            .output()
            .expect("iverilog starts");
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        let run = Command::new("vvp").args(["-n", "bench.vvp"]).current_dir(&rtl).output().expect("vvp starts");
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    let good = simulate();
    assert!(good.to_lowercase().contains("pass"), "{good}");
    let path = rtl.join("expected_out_logits.hex");
    let expected = std::fs::read_to_string(&path).expect("the file can be read");
    let digit = expected.chars().next().expect("there is a value");
    write(&path, expected.replacen(digit, if digit == '1' { "2" } else { "1" }, 1));
    let bad = simulate();
    assert!(!bad.to_lowercase().contains("pass"), "{bad}");
}

#[test]
fn the_c_example_runs() {
    if !tools::installed("cc", "--version") {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory can be made");
    let program = folder.path().join("example");
    let build = Command::new("cc")
        .args(["-O2", "-Wall", "-Werror", "-o", &text(&program), "mnist_example.c", "mnist.o"])
        .current_dir(Path::new(mnist()).join("cpu"))
        .output()
        .expect("cc starts");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let mut child =
        Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the example starts");
    // Two black images: the result is that of two frames of ten scores, and the same twice.
    child.stdin.take().expect("it has an input").write_all(&[0x80; 2 * 28 * 28]).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), 20);
    assert_eq!(output.stdout[..10], output.stdout[10..]);
    assert!(output.stdout.iter().any(|score| *score != output.stdout[0]));
}
