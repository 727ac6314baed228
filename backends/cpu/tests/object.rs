//! Object files, linked by the system's C compiler into the example program, equal the
//! interpreter.

mod support;

use lutweave_cpu::{Features, Object, ObjectOptions, compile_object};
use lutweave_ir::{Graph, Tensor, interpret};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use support::Choices;

fn c_compiler_works() -> bool {
    let found = Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no C compiler `cc` on this machine");
    }
    found
}

fn build(directory: &Path, object: &Object) {
    let name = &object.name;
    std::fs::write(directory.join(format!("{name}.o")), &object.object).unwrap();
    std::fs::write(directory.join(format!("{name}.h")), &object.header).unwrap();
    std::fs::write(directory.join(format!("{name}_example.c")), &object.example_c).unwrap();
    let output = Command::new("cc")
        .args([
            "-std=c11",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pie",
            "-fPIE",
            "-Wl,--fatal-warnings",
            "-o",
            "example",
        ])
        .arg(format!("{name}_example.c"))
        .arg(format!("{name}.o"))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), object.header);
}

fn run(directory: &Path, input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(directory.join("example")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn bytes(values: &[Tensor]) -> Vec<u8> {
    values.iter().flat_map(|tensor| tensor.ints().iter().map(|&value| value as u8)).collect()
}

fn check(graph: &Graph, samples: &[Vec<Tensor>], options: &ObjectOptions) {
    let object = compile_object(graph, options).unwrap();
    let directory = tempfile::tempdir().unwrap();
    build(directory.path(), &object);
    let input: Vec<u8> = samples.iter().flat_map(|inputs| bytes(inputs)).collect();
    let expected: Vec<u8> = samples.iter().flat_map(|inputs| bytes(&interpret::run(graph, inputs).unwrap())).collect();
    assert_eq!(run(directory.path(), &input), expected, "{}", object.name);
    // A frame that breaks off is an error.
    let cut = Command::new(directory.path().join("example")).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut cut = cut.unwrap();
    cut.stdin.take().unwrap().write_all(&input[..input.len() / samples.len() - 1]).unwrap();
    let whole = input.len() == samples.len();
    assert_eq!(cut.wait().unwrap().code(), Some(i32::from(!whole)), "{}", object.name);
}

#[test]
fn the_example_program_equals_the_interpreter() {
    if !c_compiler_works() {
        return;
    }
    let mut state = 7u64;
    for seed in 0..8 {
        let numbers: Vec<u32> = (0..150)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 32) as u32
            })
            .collect();
        let mut choices = Choices::new(&numbers, seed);
        let graph = support::graph(&mut choices);
        let samples: Vec<Vec<Tensor>> =
            (0..3).map(|_| graph.inputs().iter().map(|&id| choices.tensor(&graph.node(id).ty)).collect()).collect();
        let features = if seed % 2 == 0 { Features::Baseline } else { Features::Native };
        check(&graph, &samples, &ObjectOptions { name: String::new(), features, verify: true });
    }
}

#[test]
fn the_object_depends_on_nothing_and_is_reproducible() {
    let mut choices = Choices::new(&[9; 40], 3);
    let graph = support::graph(&mut choices);
    let options = ObjectOptions { name: "8-bit/net".to_owned(), ..ObjectOptions::default() };
    let object = compile_object(&graph, &options).unwrap();
    assert_eq!(object, compile_object(&graph, &options).unwrap());
    assert_eq!(object.name, "_8_bit_net");
    assert!(object.header.contains("void _8_bit_net_run("), "{}", object.header);
    if !c_compiler_works() || Command::new("nm").arg("--version").output().is_err() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.o");
    std::fs::write(&path, &object.object).unwrap();
    let output = Command::new("nm").arg("--undefined-only").arg(&path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
