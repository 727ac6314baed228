//! The library as a program uses it.

use lutweave::executor::{Drive, Kind};
use lutweave::observer::{Observer, Progress};
use lutweave::options::Weights;
use lutweave::pipeline::{PIPELINE, Pass, State};
use lutweave::verify::random_samples;
use lutweave::{Compiler, Failure, Model, Options};
use lutweave_ir::Diagnostic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Notes everything, and wants no more after some steps.
#[derive(Default)]
struct Notes {
    passes: Mutex<Vec<&'static str>>,
    warnings: Mutex<Vec<Diagnostic>>,
    steps: AtomicUsize,
    patience: Option<usize>,
}

impl Observer for Notes {
    fn pass(&self, pass: &Pass, _state: &State, _elapsed: Duration) {
        let name = PIPELINE.iter().find(|known| known.name == pass.name).expect("it is one of the list").name;
        self.passes.lock().unwrap().push(name);
    }

    fn progress(&self, _progress: Progress) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    fn warning(&self, warning: &Diagnostic) {
        self.warnings.lock().unwrap().push(warning.clone());
    }

    fn cancelled(&self) -> bool {
        self.patience.is_some_and(|patience| self.steps.load(Ordering::Relaxed) > patience)
    }
}

fn mnist() -> Model {
    Model::load(Some("mnist"), None).expect("it is built in")
}

#[test]
fn a_compiled_model_runs_and_is_told_of() {
    let (model, notes) = (mnist(), Notes::default());
    // The model has no deformable layers: that option has no effect.
    let options = Options { deform_depthwise: true, ..Options::default() };
    let compiler = Compiler::watched(options, &notes);
    let compiled = compiler.compile(&model).expect("it compiles");
    assert!(compiled.agrees());
    assert_eq!(notes.passes.lock().unwrap().last(), Some(&"fold"));
    assert_eq!(notes.warnings.lock().unwrap()[..], compiled.summary.warnings[..]);
    assert_eq!(compiled.summary.warnings[0].code, "no-effect");

    let samples = random_samples(&compiled.lowered.split.core, 2);
    let run = |kind| {
        let mut executor = compiled.executor(kind, compiler.context()).expect("it can be had");
        executor.run(&samples, Drive::default()).expect("it runs").outputs
    };
    assert_eq!(run(Kind::Interpreter), run(Kind::Wasm));
    assert_eq!(run(Kind::Interpreter), run(Kind::Cpu));

    // Nothing of one compilation is left to the next.
    let again = compiler.compile(&model).expect("it compiles again");
    assert!(again.timings.iter().all(|timing| timing.runs == 1), "{:?}", again.timings);
    assert_eq!(again.files(), compiled.files());
}

#[test]
fn a_long_choice_is_cancelled() {
    let notes = Notes { patience: Some(3), ..Notes::default() };
    let options = Options { weights: Some(Weights::Auto), ..Options::default() };
    let ended = Compiler::watched(options, &notes).compile(&mnist());
    assert!(matches!(ended, Err(Failure::Cancelled)));
    assert!(!notes.passes.lock().unwrap().contains(&"choose"));
}

/// Wants no more as soon as it hears of a simulation.
#[derive(Default)]
struct Impatient(AtomicBool);

impl Observer for Impatient {
    fn progress(&self, progress: Progress) {
        self.0.fetch_or(progress.what == "simulate", Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_long_simulation_is_cancelled() {
    let impatient = Impatient::default();
    let options = Options { multipliers: Some(5), no_verify: true, ..Options::default() };
    let ended = Compiler::watched(options, &impatient).compile(&mnist());
    assert!(matches!(ended, Err(Failure::Cancelled)));
    assert!(impatient.cancelled());
}

#[test]
fn options_without_meaning_are_refused_before_work() {
    let options = Options { max_drop: Some(1.0), ..Options::default() };
    assert!(matches!(Compiler::new(options).compile(&mnist()), Err(Failure::Usage(_))));
}
