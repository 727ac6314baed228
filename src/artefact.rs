//! The directory of a compiled model: written whole or not at all, and read back.

use crate::failure::Failure;
use lutweave_ir::split::{Split, split};
use lutweave_ir::{Diagnostic, Graph};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the directory's layout.
pub const FORMAT: u32 = 1;

/// What `manifest.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the compiler.
    pub version: String,
    /// Name of the model.
    pub model: String,
    /// Name of the device.
    pub device: String,
    /// Requested multipliers, if any were.
    pub multipliers: Option<u32>,
    /// Width of the weights that the compiler chose, or `given`.
    pub weights: String,
    /// Stream inputs of the circuit.
    pub inputs: Vec<Port>,
    /// Stream outputs of the circuit.
    pub outputs: Vec<Port>,
    /// Names of the model's outputs, host parts included.
    pub model_outputs: Vec<String>,
    /// Operators that run on the host.
    pub host_ops: Vec<String>,
}

/// A stream of the circuit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Name of the stream in Verilog.
    pub name: String,
    /// Name of the tensor in `graph.txt`.
    pub tensor: String,
    /// Extents, batch first, channels last.
    pub shape: Vec<usize>,
    /// Element type.
    pub element: String,
    /// Elements of a beat; the first in the low bits.
    pub lanes: u32,
    /// Beats of a frame.
    pub beats: u64,
    /// Real value of a step, where the integers stand for reals.
    pub scale: Option<f32>,
    /// The integer that stands for 0.
    pub zero_point: Option<i32>,
}

/// Files to be written, by relative path.
#[derive(Clone, Debug, Default)]
pub struct Files(pub Vec<(String, Vec<u8>)>);

impl Files {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.push((path.into(), content.into()));
    }

    /// Writes all files into `directory`, which appears complete or not at all. A directory that
    /// an earlier compilation made is replaced; anything else is kept and refused.
    ///
    /// # Errors
    /// What the file system says, or that the directory holds something else.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        check_target(directory)?;
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        std::fs::create_dir_all(&parent).map_err(|error| Failure::file(&parent, "make the directory", error))?;
        let staging = tempfile::Builder::new()
            .prefix(".lutweave-")
            .tempdir_in(&parent)
            .map_err(|error| Failure::file(&parent, "write here", error))?;
        for (path, content) in &self.0 {
            crate::progress::check_interrupt()?;
            let path = staging.path().join(path);
            let folder = path.parent().expect("a file has a folder");
            std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, "make the directory", error))?;
            std::fs::write(&path, content).map_err(|error| Failure::file(&path, "write", error))?;
        }
        crate::progress::check_interrupt()?;
        set_permissions(staging.path());
        if directory.exists() {
            let old = tempfile::Builder::new()
                .prefix(".lutweave-old-")
                .tempdir_in(&parent)
                .map_err(|error| Failure::file(&parent, "write here", error))?;
            let aside = old.path().join("old");
            std::fs::rename(directory, &aside).map_err(|error| Failure::file(directory, "replace", error))?;
            if let Err(error) = std::fs::rename(staging.path(), directory) {
                // Best effort: what was there comes back.
                let _ = std::fs::rename(&aside, directory);
                return Err(Failure::file(directory, "write", error));
            }
        } else {
            std::fs::rename(staging.path(), directory).map_err(|error| Failure::file(directory, "write", error))?;
        }
        // The staging directory has moved away; there is nothing left to remove.
        let _ = staging.keep();
        Ok(())
    }
}

/// Refuses a target that is not absent, empty, or an earlier result.
///
/// # Errors
/// A diagnostic that says what is there.
pub fn check_target(directory: &Path) -> Result<(), Failure> {
    if !directory.exists() {
        return Ok(());
    }
    let refuse = |message: &str| {
        Err(Diagnostic::error("occupied", message)
            .at(directory.display().to_string())
            .help("choose another directory with -o, or remove it")
            .into())
    };
    if !directory.is_dir() {
        return refuse("the output directory exists and is a file");
    }
    let mut entries = std::fs::read_dir(directory).map_err(|error| Failure::file(directory, "read", error))?;
    if entries.next().is_some() && !directory.join("manifest.json").is_file() {
        return refuse("the output directory holds files that are not of an earlier compilation");
    }
    Ok(())
}

#[cfg(unix)]
fn set_permissions(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // Temporary directories are private; the result should be as readable as any other.
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755));
}

#[cfg(not(unix))]
fn set_permissions(_: &Path) {}

/// A compiled model, read back.
#[derive(Debug)]
pub struct Compiled {
    /// Where it is.
    pub directory: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The integer graph with its host parts.
    pub graph: Graph,
    /// The graph in three parts.
    pub split: Split,
}

impl Compiled {
    /// True if a path looks like the result of `compile`.
    pub fn is_at(path: &Path) -> bool {
        path.join("manifest.json").is_file()
    }

    /// Reads a compiled model.
    ///
    /// # Errors
    /// If the directory is not one, or damaged.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        let text = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path).map_err(|error| {
                Failure::from(
                    Diagnostic::error("not-compiled", format!("cannot read `{name}`: {error}"))
                        .at(directory.display().to_string())
                        .help("give the directory that `lutweave compile -o` wrote"),
                )
            })
        };
        let manifest: Manifest = serde_json::from_str(&text("manifest.json")?)
            .map_err(|error| Failure::file(&directory.join("manifest.json"), "understand", error))?;
        if manifest.format != FORMAT {
            let message = format!("it has format {}, this compiler reads {FORMAT}", manifest.format);
            return Err(Diagnostic::error("not-compiled", message)
                .at(directory.display().to_string())
                .help("compile the model again")
                .into());
        }
        let graph = lutweave_ir::text::parse(&text("graph.txt")?)?;
        lutweave_ir::validate::validate(&graph)?;
        let split = split(&graph)?;
        if manifest.model_outputs.len() != graph.outputs().len() {
            return Err(Diagnostic::error("not-compiled", "manifest and graph name different numbers of outputs")
                .at(directory.display().to_string())
                .help("compile the model again")
                .into());
        }
        Ok(Self { directory: directory.to_path_buf(), manifest, graph, split })
    }

    /// Bytes of one of its files.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.directory.join(name);
        std::fs::read(&path).map_err(|error| Failure::file(&path, "read", error))
    }
}
