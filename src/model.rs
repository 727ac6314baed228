//! Finding the model that a command is about.

use crate::artefact::Build;
use crate::failure::Failure;
use crate::task::{Task, nearest};
use lutweave_ir::{Diagnostic, Graph};
use lutweave_onnx::{ImportOptions, Imported};
use lutweave_task::file;
use std::path::{Path, PathBuf};

/// An imported model with its task.
#[derive(Debug)]
pub struct Model {
    /// Short name: of the built-in model or of the file.
    pub name: String,
    /// The float graph (or the graph of a quantized model).
    pub graph: Graph,
    /// Names of the outputs, in order. Several may be one value of the graph, or one of its inputs.
    pub outputs: Vec<String>,
    /// The task, where one is given or built in.
    pub task: Option<Task>,
    /// What the user should know about it.
    pub warnings: Vec<Diagnostic>,
}

impl Model {
    /// A model without a task, of a graph that is already there; its name and its outputs' names are the graph's.
    pub fn of(graph: Graph) -> Self {
        let outputs = graph.outputs().iter().map(|&id| graph.node(id).name.clone()).collect();
        Self { name: graph.name.clone(), graph, outputs, task: None, warnings: Vec::new() }
    }

    /// Finds and imports a model: an `.onnx` file, a built-in model, or what the task names.
    ///
    /// # Errors
    /// If there is neither, or a file cannot be read or imported.
    pub fn load(model: Option<&str>, task: Option<&Path>) -> Result<Self, Failure> {
        let task = task.map(Task::read).transpose()?;
        let Some(model) = model else {
            let Some(path) = task.as_ref().and_then(Task::model_path) else {
                return Err(Failure::Usage(Diagnostic::error("no-model", "no model is given").help(
                    "name an .onnx file or a built-in model (see `lutweave models`), or a task that names one",
                )));
            };
            return import_file(&path, task);
        };
        if let Some(built_in) = lutweave_models::find(model) {
            let task = match task {
                Some(task) => task,
                None => Task::of_built_in(built_in)?,
            };
            return import(built_in.onnx().into_owned(), model.to_owned(), None, Some(task));
        }
        let path = Path::new(model);
        if !path.exists() {
            return Err(unknown(model));
        }
        if Build::is_at(path) {
            return Err(Diagnostic::error("bad-model", "it is a compiled model, and here a model is wanted")
                .at(model)
                .help("`verify`, `run`, `eval`, `explain` and `inspect` take compiled models")
                .into());
        }
        import_file(path, task)
    }
}

/// A model that is neither a file nor built in.
pub fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = lutweave_models::built_in().iter().map(|model| model.name).collect();
    let near = nearest(name, &names).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    Diagnostic::error("no-model", "there is no such file or built-in model")
        .at(name)
        .help(format!("{near}built in: {}", names.join(", ")))
        .into()
}

fn import_file(path: &Path, task: Option<Task>) -> Result<Model, Failure> {
    let bytes = file::read(path, file::MODEL, "read the model")?;
    if let Some((kind, remedy)) = other_kind(&bytes) {
        return Err(Diagnostic::error("bad-model", format!("it is {kind}, not an ONNX model"))
            .at(path.display().to_string())
            .help(remedy)
            .into());
    }
    let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
    import(bytes, name, path.parent().map(Path::to_path_buf), task)
}

/// What a file is by its first bytes, where that is known not to be ONNX, and what to do with it.
fn other_kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if bytes.get(4..8) == Some(b"TFL3") {
        return Some((
            "a TFLite model",
            "convert it: `python -m tf2onnx.convert --tflite MODEL.tflite --output MODEL.onnx`",
        ));
    }
    if starts(b"\x89HDF") {
        return Some((
            "an HDF5 file (Keras)",
            "convert it: `tf2onnx.convert.from_keras(model, output_path=\"model.onnx\")`",
        ));
    }
    if starts(b"PK\x03\x04") {
        return Some((
            "a zip archive (a PyTorch or Keras model, or npz data)",
            "export it: `torch.onnx.export(model, ..)`",
        ));
    }
    if starts(b"<?xml") || starts(b"{") {
        return Some(("a text file", "give the .onnx file that an exporter wrote"));
    }
    if starts(b"version https://git-lfs") {
        return Some(("a pointer of Git LFS", "fetch the file itself: `git lfs pull`"));
    }
    None
}

fn import(bytes: Vec<u8>, name: String, base: Option<PathBuf>, task: Option<Task>) -> Result<Model, Failure> {
    let options = ImportOptions { name: name.clone(), base };
    let Imported { graph, outputs, warnings } = lutweave_onnx::import(bytes, &options)?;
    Ok(Model { name, graph, outputs, task, warnings })
}
