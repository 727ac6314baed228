//! What is damaged: the cases of `tests/cases`, the built-in model with its data, and a compiled model.

use crate::kind::Kind;
use std::path::{Path, PathBuf};

/// A file that is sound.
#[derive(Clone)]
pub struct Seed {
    /// Its content.
    pub data: Vec<u8>,
    /// Of a model: calibration samples. Of a file of a compiled model: its path in the directory.
    pub beside: PathBuf,
}

/// Extensions of the files of a compiled model that are read again.
const READ: [&str; 4] = ["json", "txt", "wasm", "o"];

/// The folder of a worker with what its cases need beside the damaged file.
pub struct Corpus {
    /// Of the kind that is damaged.
    pub seeds: Vec<Seed>,
    /// Holds `model.onnx`, `samples.npz`, `task.toml`, and `build`, a compiled model.
    pub folder: PathBuf,
}

impl Corpus {
    /// Writes what is needed into a folder that is empty, and collects the seeds of a kind.
    pub fn new(kind: Kind, folder: &Path) -> Self {
        let model = lutweave_models::find("mnist").expect("there is a built-in model mnist");
        write(&folder.join(model.onnx_file()), &model.onnx());
        write(&folder.join(model.samples_file()), &model.samples());
        write(&folder.join("task.toml"), model.task().as_bytes());
        let seed = |data: Vec<u8>| Seed { data, beside: PathBuf::new() };
        let seeds = match kind {
            Kind::Model => models(),
            Kind::Task => tasks().into_iter().map(seed).collect(),
            Kind::Device => devices().into_iter().map(seed).collect(),
            Kind::Arrays => vec![seed(model.samples().into_owned())],
            Kind::Build => {
                compile(&folder.join("build"));
                let mut seeds = Vec::new();
                collect(&folder.join("build"), &folder.join("build"), &mut seeds);
                // The others are for readers of their own.
                seeds.retain(|seed| {
                    READ.contains(&seed.beside.extension().and_then(|part| part.to_str()).unwrap_or(""))
                });
                seeds
            }
        };
        assert!(!seeds.is_empty(), "there is nothing to damage");
        Self { seeds, folder: folder.to_path_buf() }
    }
}

/// A case with a layer, compiled.
fn compile(target: &Path) {
    let float = |seed: &Seed| seed.beside.to_string_lossy().contains("concat-of-inputs-conv");
    let seed = models().into_iter().find(float).expect("there is the case");
    let model = target.with_extension("onnx");
    write(&model, &seed.data);
    let arguments = ["lutweave", "compile"].map(Into::into).into_iter().chain([model.into_os_string()]);
    let arguments = arguments.chain(["--calibration".into(), seed.beside.into_os_string(), "-o".into()]);
    let code = crate::cli::run(arguments.chain([target.as_os_str().to_owned()]));
    assert_eq!(code, 0, "the case compiles");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Models with calibration samples.
fn models() -> Vec<Seed> {
    let entries = std::fs::read_dir(root().join("tests/cases")).expect("there are cases");
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let seed = |folder: PathBuf| Seed { data: read(&folder.join("model.onnx")), beside: folder.join("inputs.npz") };
    folders.into_iter().map(seed).collect()
}

fn tasks() -> Vec<Vec<u8>> {
    // The one whose model is evaluated has a share of its own.
    let own = files(&root().join("models/mnist"), "toml");
    let mut found: Vec<PathBuf> = own.iter().cycle().take(12).cloned().collect();
    found.extend(files(&root().join("models/codenet"), "toml"));
    found.extend(files(&root().join("models/third_party"), "toml"));
    found.iter().map(|path| read(path)).collect()
}

fn devices() -> Vec<Vec<u8>> {
    files(&root().join("hw/devices"), "toml").iter().map(|path| read(path)).collect()
}

/// Files of a folder with an extension, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

/// All files below a folder, with their paths in `root`.
fn collect(root: &Path, folder: &Path, seeds: &mut Vec<Seed>) {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder is there").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, seeds);
        } else {
            let beside = path.strip_prefix(root).expect("it is below the root").to_path_buf();
            seeds.push(Seed { data: read(&path), beside });
        }
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, data: &[u8]) {
    std::fs::write(path, data).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
