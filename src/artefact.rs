//! The directory of a compiled model: written whole or not at all, and read back.

use crate::detect::head::Layout;
use crate::failure::Failure;
use crate::observer::Context;
use crate::outside::Outside;
use lutweave_hw::cost::Resources;
use lutweave_hw::dataflow::KernelNode;
use lutweave_hw::device::Device;
use lutweave_hw::fit::{Fitted, realize};
use lutweave_hw::plan::{Choice, Fold};
use lutweave_ir::split::{Split, split};
use lutweave_ir::{Diagnostic, Graph, NodeId};
use lutweave_task::file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of the directory's layout.
pub const FORMAT: u32 = 2;

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
    /// How records of detections are read, where the circuit picks them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Layout>,
    /// What has to lie in the memory on the board, where weights come from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Outside>,
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

/// What `plan.json` says: enough to build the same circuit from `graph.txt` again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPlan {
    /// Cycles of the slowest stage.
    pub bottleneck_cycles: u64,
    /// Multipliers of all processing elements.
    pub multipliers: u64,
    /// Estimated parts of the device.
    pub resources: Resources,
    /// From so many thousandths of a block RAM on that it frees per large RAM, a memory lives there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_from: Option<u32>,
    /// From so many elements on, a queue waits in the memory on the board, if that keeps up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues_from: Option<u64>,
    /// How each stage is folded, by the name of its node.
    pub stages: BTreeMap<String, Fold>,
}

impl StoredPlan {
    /// Of a fitted core.
    pub fn of(core: &Graph, fitted: &Fitted, device: &Device) -> Self {
        let network = &fitted.network;
        let named = |kernel: &KernelNode| (core.node(kernel.node).name.clone(), Fold::from(kernel));
        Self {
            bottleneck_cycles: network.bottleneck(),
            multipliers: network.multipliers(),
            resources: fitted.resources.shown(device),
            large_from: network.family.large_from,
            queues_from: network.queues_from(),
            stages: network.kernels.iter().map(named).collect(),
        }
    }

    /// The circuit that it describes.
    ///
    /// # Errors
    /// If it does not fit the core.
    pub fn build(&self, core: &Graph, device: &Device) -> Result<Fitted, Failure> {
        let choice = |fold: &Fold| Choice { fold: *fold, resources: Resources::default() };
        let named = |id: NodeId| Some((id, choice(self.stages.get(&core.node(id).name)?)));
        let device = &device.with_large_from(self.large_from).with_queues_from(self.queues_from);
        Ok(realize(core, device, &core.ids().filter_map(named).collect())?)
    }
}

/// The file by which the result of `explore` is known.
pub const FRONT: &str = "front.json";

/// The file by which the result of `run --draw` is known.
pub const DETECTIONS: &str = "detections.json";

/// The file by which the result of `compile` is known.
const MANIFEST: &str = "manifest.json";

/// The file with the integer graph.
const GRAPH: &str = "graph.txt";

/// Files to be written, by relative path.
#[derive(Clone, Debug, Default)]
pub struct Files(pub Vec<(String, Vec<u8>)>);

impl Files {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.push((path.into(), content.into()));
    }

    /// The bytes of a file.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.iter().find(|(name, _)| name == path).map(|(_, content)| &content[..])
    }

    /// Adds plain data as a JSON file.
    pub fn add_json(&mut self, path: impl Into<String>, value: &impl Serialize) {
        self.add(path, serde_json::to_string_pretty(value).expect("invariant: plain data") + "\n");
    }

    /// Writes the files of a compilation into `directory`, which appears complete or not at all. A
    /// directory that an earlier compilation made is replaced; anything else is kept and refused.
    ///
    /// # Errors
    /// What the file system says, or that the directory holds something else.
    pub fn write(&self, directory: &Path, context: &Context) -> Result<(), Failure> {
        check_target(directory)?;
        self.replace(directory, context)
    }

    /// As [`Files::write`], for the result of an exploration.
    ///
    /// # Errors
    /// What the file system says, or that the directory holds something else.
    pub fn write_front(&self, directory: &Path, context: &Context) -> Result<(), Failure> {
        check_front(directory)?;
        self.replace(directory, context)
    }

    /// As [`Files::write`], for drawn detections.
    ///
    /// # Errors
    /// What the file system says, or that the directory holds something else.
    pub fn write_detections(&self, directory: &Path, context: &Context) -> Result<(), Failure> {
        check(directory, DETECTIONS)?;
        self.replace(directory, context)
    }

    fn replace(&self, directory: &Path, context: &Context) -> Result<(), Failure> {
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        std::fs::create_dir_all(&parent).map_err(|error| Failure::file(&parent, "make the directory", error))?;
        let staging = builder(".lutweave-", 0o777)
            .tempdir_in(&parent)
            .map_err(|error| Failure::file(&parent, "write here", error))?;
        for (path, content) in &self.0 {
            context.check()?;
            let path = staging.path().join(path);
            let folder = path.parent().expect("invariant: a file has a folder");
            std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, "make the directory", error))?;
            std::fs::write(&path, content).map_err(|error| Failure::file(&path, "write", error))?;
        }
        context.check()?;
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

/// Writes a file, which appears complete or not at all.
///
/// # Errors
/// What the file system says.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file =
        builder(".lutweave-", 0o666).tempfile_in(folder).map_err(|error| Failure::file(folder, "write here", error))?;
    std::io::Write::write_all(&mut file, bytes).map_err(|error| Failure::file(path, "write", error))?;
    file.persist(path).map_err(|error| Failure::file(path, "write", error))?;
    Ok(())
}

/// Refuses a target that is not absent, empty, or an earlier compilation.
///
/// # Errors
/// A diagnostic that says what is there.
pub fn check_target(directory: &Path) -> Result<(), Failure> {
    check(directory, MANIFEST)
}

/// Refuses a target that is not absent, empty, or an earlier exploration.
///
/// # Errors
/// A diagnostic that says what is there.
pub fn check_front(directory: &Path) -> Result<(), Failure> {
    check(directory, FRONT)
}

fn check(directory: &Path, sign: &str) -> Result<(), Failure> {
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
    if entries.next().is_some() && !directory.join(sign).is_file() {
        return refuse("the output directory holds files that are not of an earlier run of this command");
    }
    Ok(())
}

/// A maker of temporary files or directories whose mode is what the umask leaves of `mode`, as if they
/// had been made under their own names; by themselves they are private.
fn builder(prefix: &str, mode: u32) -> tempfile::Builder<'_, '_> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    builder
}

/// A compiled model, read back.
#[derive(Debug)]
pub struct Build {
    /// Where it is.
    pub directory: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// How its circuit is folded.
    pub plan: StoredPlan,
    /// The integer graph with its host parts.
    pub graph: Graph,
    /// The graph in three parts.
    pub split: Split,
}

impl Build {
    /// True if a path looks like the result of `compile`.
    pub fn is_at(path: &Path) -> bool {
        path.join(MANIFEST).is_file()
    }

    /// Reads a compiled model.
    ///
    /// # Errors
    /// If the directory is not one, or damaged.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        let text = |name: &str| {
            let path = directory.join(name);
            let limit = if name == GRAPH { file::MODEL } else { file::DESCRIPTION };
            if !path.exists() {
                return Err(Failure::from(
                    Diagnostic::error("not-compiled", format!("there is no `{name}` in it"))
                        .at(directory.display().to_string())
                        .help("give the directory that `lutweave compile -o` wrote"),
                ));
            }
            file::read_text(&path, limit, "read the compiled model")
        };
        let damaged = |name: &str, error| Failure::file(&directory.join(name), "understand", error);
        let manifest: Manifest = serde_json::from_str(&text(MANIFEST)?).map_err(|error| damaged(MANIFEST, error))?;
        if manifest.format != FORMAT {
            let message = format!("it has format {}, this compiler reads {FORMAT}", manifest.format);
            return Err(Diagnostic::error("not-compiled", message)
                .at(directory.display().to_string())
                .help("compile the model again")
                .into());
        }
        let plan = serde_json::from_str(&text("plan.json")?).map_err(|error| damaged("plan.json", error))?;
        let graph = lutweave_ir::text::parse(&text(GRAPH)?)?;
        lutweave_ir::validate::validate(&graph)?;
        let split = split(&graph)?;
        if manifest.model_outputs.len() != graph.outputs().len() {
            return Err(Diagnostic::error("not-compiled", "manifest and graph name different numbers of outputs")
                .at(directory.display().to_string())
                .help("compile the model again")
                .into());
        }
        Ok(Self { directory: directory.to_path_buf(), manifest, plan, graph, split })
    }

    /// Bytes of one of its files.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.directory.join(name);
        file::read(&path, file::MODEL, "read the compiled model")
    }
}
