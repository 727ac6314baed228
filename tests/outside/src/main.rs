//! Compiles a model, runs it on the simulator, and cancels a long choice through the observer.

use lutweave::executor::{Drive, Kind};
use lutweave::observer::{Observer, Progress};
use lutweave::options::Weights;
use lutweave::verify::random_samples;
use lutweave::{Compiler, Failure, Model, Options};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Wants no more after some steps.
struct Impatient(AtomicUsize);

impl Observer for Impatient {
    fn progress(&self, _progress: Progress) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 3
    }
}

fn main() -> Result<(), Failure> {
    let model = Model::load(Some("mnist"), None)?;
    let compiler = Compiler::new(Options::default());
    let compiled = compiler.compile(&model)?;
    let samples = random_samples(&compiled.lowered.split.core, 3);
    let [reference, circuit] = [Kind::Interpreter, Kind::Wasm]
        .map(|kind| compiled.executor(kind, compiler.context())?.run(&samples, Drive::default()))
        .map(|answer: Result<_, Failure>| answer.expect("it runs"));
    assert_eq!(reference.outputs, circuit.outputs);
    println!("simulated: {:?} cycles per inference", circuit.cycles_per_inference);

    let observer = Impatient(AtomicUsize::new(0));
    let options = Options { weights: Some(Weights::Auto), ..Options::default() };
    match Compiler::watched(options, &observer).compile(&model) {
        Err(Failure::Cancelled) => println!("cancelled after {} steps", observer.0.load(Ordering::Relaxed)),
        Err(failure) => return Err(failure),
        Ok(_) => panic!("the choice was not cancelled"),
    }
    Ok(())
}
