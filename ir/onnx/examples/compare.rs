//! Imports models, runs them on the reference interpreter and compares with recorded outputs.
//!
//! `compare DIRECTORY MODEL..`: for a model `x.onnx` the folder `DIRECTORY/x` holds `in0.bin`,
//! `in1.bin`, .. and `out0.bin`, ..: raw little-endian binary32 in the model's layout. With
//! `--text` as the directory the imported graphs are printed instead.

use lutweave_ir::{Tensor, interpret, text};
use lutweave_onnx::{ImportOptions, import};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next() else {
        eprintln!("usage: compare DIRECTORY|--text MODEL..");
        return ExitCode::from(2);
    };
    let mut failed = false;
    for model in arguments {
        let path = Path::new(&model);
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let options = ImportOptions { name: name.clone(), base: path.parent().map(Path::to_path_buf) };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("{model}: {error}");
                failed = true;
                continue;
            }
        };
        let imported = match import(bytes, &options) {
            Ok(imported) => imported,
            Err(faults) => {
                println!("{name}: refused");
                for fault in faults.0 {
                    println!("    {fault}");
                }
                continue;
            }
        };
        if directory == "--text" {
            // A reader that stops early is no fault.
            let _ = writeln!(std::io::stdout(), "{}", text::print(&imported.graph));
            continue;
        }
        let folder = Path::new(&directory).join(&name);
        match compare(&imported.graph, &folder) {
            Ok(line) => println!("{name}: {} nodes, {line}", imported.graph.nodes().len()),
            Err(error) => {
                println!("{name}: {error}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read(path: &Path) -> Result<Vec<f32>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect())
}

fn compare(graph: &lutweave_ir::Graph, folder: &Path) -> Result<String, String> {
    let mut inputs = Vec::new();
    for (index, &id) in graph.inputs().iter().enumerate() {
        let data = read(&folder.join(format!("in{index}.bin")))?;
        let ty = &graph.node(id).ty;
        inputs.push(if ty.element.is_int() {
            Tensor::int(ty.shape.clone(), data.iter().map(|&v| v as i32).collect::<Vec<_>>())
        } else {
            Tensor::f32(ty.shape.clone(), data)
        });
    }
    let outputs = interpret::run(graph, &inputs).map_err(|fault| fault.to_string())?;
    let mut lines = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let expected = read(&folder.join(format!("out{index}.bin")))?;
        let found: Vec<f32> = match &output.data {
            lutweave_ir::Data::F32(data) => data.to_vec(),
            lutweave_ir::Data::Int(data) => data.iter().map(|&v| v as f32).collect(),
        };
        if found.len() != expected.len() {
            return Err(format!("output {index} has {} elements instead of {}", found.len(), expected.len()));
        }
        let largest = expected.iter().fold(0f32, |a, &b| a.max(b.abs()));
        let error = found.iter().zip(&expected).fold(0f32, |a, (&x, &y)| a.max((x - y).abs()));
        let differing = found.iter().zip(&expected).filter(|(x, y)| x != y).count();
        lines.push(format!("error {error:.2e} of {largest:.2e} ({differing} of {} differ)", found.len()));
    }
    Ok(lines.join("; "))
}
