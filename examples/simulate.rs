//! Runs one array through the interpreter, the CPU code and the simulated circuit of a built-in model.
//!
//! `cargo run --release --example simulate`

use lutweave::eval::through_host;
use lutweave::executor::{Drive, Kind};
use lutweave::options::Choices;
use lutweave::{Compiler, Failure, Model, Options};
use lutweave_ir::Tensor;

fn main() -> Result<(), Failure> {
    let model = Model::load(Some("mnist"), None)?;
    let compiler = Compiler::new(Options { no_verify: true, ..Options::default() });
    let compiled = compiler.compile(&model)?;

    // The model's own input, `[1, 1, 28, 28]` float32: a bright bar.
    let shape = model.graph.node(model.graph.inputs()[0]).ty.shape.clone();
    let pixels = (0..shape.iter().product()).map(|at| if (12..16).contains(&(at % 28)) { 1.0f32 } else { 0.0 });
    let samples = vec![vec![Tensor::f32(shape, pixels.collect::<Vec<_>>())]; 2];

    // The host quantizes and dequantizes around the core; the executor runs the core.
    for kind in [Kind::Interpreter, Kind::Cpu, Kind::Wasm] {
        let mut cycles = None;
        let outputs = through_host(&compiled.lowered.split, &samples, |core| {
            let answer = compiled.executor(kind, compiler.context())?.run(core, Drive::default())?;
            cycles = answer.cycles_per_inference;
            Ok(answer)
        })?;
        println!("{:>12}: {:?} in {cycles:?} cycles", kind.name(), outputs[0][0].f32s());
    }
    Ok(())
}
