//! Compiles a model file for a board and writes the directory.
//!
//! `cargo run --release --example compile -- model.onnx samples.npz build/model`

use lutweave::{Compiler, Failure, Model, Options};
use std::path::{Path, PathBuf};

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    // The built-in model brings its own calibration samples.
    let name = arguments.next().unwrap_or_else(|| "mnist".to_owned());
    let calibration = arguments.next().map(PathBuf::from);
    let directory = arguments.next().unwrap_or_else(|| "build/example".to_owned());

    let model = Model::load(Some(&name), None)?;
    let options = Options { device: "ultra96".to_owned(), calibration, ..Options::default() };
    let compiler = Compiler::new(options);
    let compiled = compiler.compile(&model)?;

    let summary = &compiled.summary;
    println!(
        "{}: {} cycles per inference, {} multipliers",
        model.name, summary.cycles_per_inference, summary.multipliers
    );
    for budget in &summary.budgets {
        println!("  {}: {} of {}", budget.name, budget.used, budget.limit);
    }
    for warning in &summary.warnings {
        println!("  {warning}");
    }
    assert!(compiled.agrees(), "interpreter, CPU code and simulator differ");
    compiled.write(Path::new(&directory), false, compiler.context())
}
