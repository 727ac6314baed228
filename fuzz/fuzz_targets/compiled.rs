//! Bytes as one file of a compiled model: the first byte says which, the rest is its content. The model is
//! read and run in the interpreter and in the simulator.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lutweave::{Compiler, Model, Options};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const FILES: [&str; 4] = ["manifest.json", "graph.txt", "plan.json", "sim/model.wasm"];

/// A compiled model in memory, and its files as they were.
struct Build {
    _folder: tempfile::TempDir,
    path: PathBuf,
    files: Vec<Vec<u8>>,
}

fn build() -> &'static Build {
    static BUILD: OnceLock<Build> = OnceLock::new();
    BUILD.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).expect("a folder can be made");
        let path = folder.path().join("build");
        let case = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/concat-of-inputs-conv/");
        let [model, inputs] = ["model.onnx", "inputs.npz"].map(|name| format!("{case}{name}"));
        let options = Options { calibration: Some(inputs.into()), ..Options::default() };
        let compiler = Compiler::new(options);
        let model = Model::load(Some(&model), None).expect("the case is read");
        let compiled = compiler.compile(&model).expect("the case compiles");
        compiled.write(&path, false, compiler.context()).expect("the case is written");
        let files = FILES.iter().map(|name| std::fs::read(path.join(name)).expect("the file is there")).collect();
        Build { _folder: folder, path, files }
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, content)) = data.split_first() else { return };
    let which = usize::from(which) % FILES.len();
    let build = build();
    let path = build.path.join(FILES[which]);
    std::fs::write(&path, content).expect("the file can be written");
    let _ = lutweave::readers::compiled(&build.path);
    std::fs::write(&path, &build.files[which]).expect("the file can be written");
});
