//! What the experiments share: tasks of the shared data, and outputs of graphs.

use lutweave::inputs::{calibration, single_input};
use lutweave::metric::{Metric, Verdict};
use lutweave::observer::Context;
use lutweave::pipeline::{self, State};
use lutweave::task::{Samples, Section};
use lutweave::{Failure, Model, Options, device, eval};
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::{Diagnostic, Graph, Tensor};
use rayon::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};

/// What an experiment may fail with.
pub type Fallible<T> = Result<T, Box<dyn Error>>;

/// A model with its data.
pub struct Task {
    /// The file's name without its extension.
    pub name: String,
    /// The model with its task.
    pub model: Model,
    /// Samples for calibration: a list of inputs each.
    pub calibration: Vec<Vec<Tensor>>,
    /// Samples for evaluation.
    pub evaluation: Samples,
}

impl Task {
    /// Reads a task file and what it names.
    ///
    /// # Errors
    /// What the library says.
    pub fn load(path: &Path) -> Fallible<Self> {
        let model = Model::load(None, Some(path))?;
        let all = Options { calibration_samples: Some(u32::MAX), ..Options::default() };
        let calibration = calibration(&model, &all)?;
        let task = model.task.as_ref().ok_or("a task file gives a task")?;
        let evaluation = task.samples(Section::Evaluation, single_input(&model.graph)?, usize::MAX)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, model, calibration, evaluation })
    }

    /// The metric.
    ///
    /// # Errors
    /// If the task has none.
    pub fn metric(&self) -> Result<Metric, Failure> {
        self.model.task.as_ref().ok_or_else(eval::no_task)?.required_metric()
    }

    /// What a graph's outputs for the evaluation samples are worth.
    ///
    /// # Errors
    /// If the outputs are not what the task says.
    pub fn verdicts(&self, graph: &Graph, outputs: &[Vec<Tensor>]) -> Result<Vec<Verdict>, Failure> {
        let task = self.model.task.as_ref().ok_or_else(eval::no_task)?;
        eval::verdicts(&task.reading(graph), &self.evaluation, &self.model.outputs, outputs)
    }

    /// The evaluation samples as lists of inputs.
    pub fn inputs(&self) -> Vec<Vec<Tensor>> {
        self.evaluation.inputs.iter().map(|input| vec![input.clone()]).collect()
    }
}

/// The float graph of a model after a pass of the pipeline.
///
/// # Errors
/// What a pass refuses.
pub fn after_pass(model: &Model, calibration: &[Vec<Tensor>], pass: &str) -> Result<Graph, Failure> {
    let (options, context) = (Options::default(), Context::new(&()));
    let device = device::find(&options.device)?;
    let mut state = State::new(model, &options, &context, device, calibration.to_vec())?;
    pipeline::run(&mut state, pipeline::through(pass))?;
    Ok(state.graph().clone())
}

/// The folder of the shared data: the environment variable `LUTWEAVE_DATA`, or beside the
/// project's.
pub fn shared_data() -> PathBuf {
    let named = std::env::var_os("LUTWEAVE_DATA").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"))
}

/// The task files in the folder of shared data; none, with a message, if it is absent.
pub fn files() -> Vec<PathBuf> {
    let folder = shared_data().join("tasks");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: there are no tasks in {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// The outputs of a graph for each sample.
///
/// # Errors
/// If a sample does not fit.
pub fn outputs(graph: &Graph, inputs: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Diagnostic> {
    let interpreter = Interpreter::new(graph);
    inputs.par_iter().map(|inputs| interpreter.run(inputs)).collect()
}
