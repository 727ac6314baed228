//! Finding the model that a command is about.

use crate::failure::Failure;
use crate::task::Task;
use lutweave_ir::{Diagnostic, Graph};
use lutweave_onnx::ImportOptions;
use std::path::{Path, PathBuf};

/// An imported model with its task.
#[derive(Debug)]
pub struct Model {
    /// Short name: of the built-in model or of the file.
    pub name: String,
    /// The float graph (or the graph of a quantized model).
    pub graph: Graph,
    /// The task, where one is given or built in.
    pub task: Option<Task>,
}

/// Finds and imports a model: an `.onnx` file, a built-in model, or what the task names.
///
/// # Errors
/// If there is neither, or a file cannot be read or imported.
pub fn load(model: Option<&str>, task: Option<&Path>) -> Result<Model, Failure> {
    let task = task.map(Task::read).transpose()?;
    let Some(model) = model else {
        let Some(path) = task.as_ref().and_then(Task::model_path) else {
            return Err(Failure::Usage(
                Diagnostic::error("no-model", "no model is given")
                    .help("name an .onnx file or a built-in model (see `lutweave models`), or a task that names one"),
            ));
        };
        return import_file(&path, task);
    };
    if let Some(built_in) = lutweave_models::find(model) {
        let task = match task {
            Some(task) => task,
            None => Task::of_built_in(built_in)?,
        };
        let graph = import(built_in.onnx().into_owned(), model, None)?;
        return Ok(Model { name: model.to_owned(), graph, task: Some(task) });
    }
    let path = Path::new(model);
    if !path.exists() {
        return Err(unknown(model));
    }
    import_file(path, task)
}

/// A model that is neither a file nor built in.
pub fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = lutweave_models::built_in().iter().map(|model| model.name).collect();
    Diagnostic::error("no-model", "there is no such file or built-in model")
        .at(name)
        .help(format!("built in: {}", names.join(", ")))
        .into()
}

/// Names of a model's outputs.
pub fn output_names(graph: &Graph) -> Vec<String> {
    graph.outputs().iter().map(|&id| graph.node(id).name.clone()).collect()
}

fn import_file(path: &Path, task: Option<Task>) -> Result<Model, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, "read the model", error))?;
    let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let graph = import(bytes, &name, path.parent().map(Path::to_path_buf))?;
    Ok(Model { name, graph, task })
}

fn import(bytes: Vec<u8>, name: &str, base: Option<PathBuf>) -> Result<Graph, Failure> {
    let options = ImportOptions { name: name.to_owned(), base };
    let imported = lutweave_onnx::import(bytes, &options)?;
    imported.warnings.iter().for_each(crate::failure::show);
    Ok(imported.graph)
}
