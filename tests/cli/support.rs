//! Running the program.

use lutweave_models::npz::NpzWriter;
use npyz::NpyFile;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;
use zip::ZipArchive;

/// The program, without colours and terminal widths of whoever runs the test.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lutweave"));
    command.args(arguments).env("NO_COLOR", "1").env("COLUMNS", "100").env_remove("CLICOLOR_FORCE");
    // No test reads or fills the cache of whoever runs it.
    command.env("LUTWEAVE_CACHE", "");
    command
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// An array of any type, as real numbers.
#[derive(Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub real: bool,
    pub values: Vec<f64>,
}

/// The arrays of an `.npz` file, by name.
pub fn arrays(path: &Path) -> BTreeMap<String, Array> {
    let mut archive = ZipArchive::new(File::open(path).expect("the file is there")).expect("it is an archive");
    let files: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let mut named = |file: String| {
        let array = NpyFile::new(archive.by_name(&file).expect("it is listed")).expect("it is an array");
        (file.strip_suffix(".npy").unwrap_or(&file).to_owned(), real(array))
    };
    files.into_iter().map(&mut named).collect()
}

fn real(mut array: NpyFile<impl Read>) -> Array {
    assert_eq!(array.order(), npyz::Order::C);
    let shape = array.shape().iter().map(|&extent| extent as usize).collect();
    macro_rules! attempt {
        ($($element:ty),*) => {
            $(match array.try_data::<$element>() {
                Ok(data) => {
                    let values = data.map(|value| value.expect("it is whole") as f64).collect();
                    return Array { shape, real: stringify!($element).starts_with('f'), values };
                }
                Err(other) => array = other,
            })*
        };
    }
    attempt!(f32, f64, i8, u8, i16, u16, i32, i64);
    panic!("{:?} is another type", array.dtype());
}

/// An `.npz` file to be written.
pub fn npz(path: &Path) -> NpzWriter<File> {
    NpzWriter::new(File::create(path).expect("a file can be made"))
}

/// The elements of an array in row-major order, each made of its position.
pub fn elements<T>(shape: [usize; 4], element: impl Fn([usize; 4]) -> T) -> Vec<T> {
    let position = |mut index: usize| {
        let mut at = [0; 4];
        for axis in (0..4).rev() {
            at[axis] = index % shape[axis];
            index /= shape[axis];
        }
        at
    };
    (0..shape.iter().product()).map(|index| element(position(index))).collect()
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Ended {
    ended(&command(arguments).output().expect("the program starts"))
}

pub fn ended(output: &Output) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the program prints UTF-8");
    let ended = Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
    ended
}

/// Runs a command that succeeds, with `--json`: standard output is one object.
pub fn json(arguments: &[&str]) -> Value {
    let ended = run(&[arguments, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
    object(&ended.out)
}

/// The one JSON object that a text is.
pub fn object(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(value.is_object(), "{text}");
    value
}

/// Runs a command that is refused with an exit status and a message that holds a text.
pub fn refused(arguments: &[&str], code: i32, message: &str) {
    let ended = run(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.out, ended.err);
    // Messages are wrapped at the terminal's width.
    let words: Vec<&str> = ended.err.split_whitespace().filter(|word| *word != "│").collect();
    assert!(words.join(" ").contains(message), "{arguments:?}: `{message}` is not in: {}", ended.err);
    assert_eq!(ended.out, "", "{arguments:?}");
}

/// The built-in model, compiled once for all tests that only read it.
pub fn mnist() -> &'static str {
    static MNIST: OnceLock<(TempDir, String)> = OnceLock::new();
    let (_, path) = MNIST.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = text(&folder.path().join("mnist"));
        assert_eq!(run(&["compile", "mnist", "-o", &path]).code, Some(0));
        (folder, path)
    });
    path
}

/// A new directory with the built-in model and its data as files: `model.onnx`, `samples.npz`
/// and `task.toml`.
pub fn files() -> TempDir {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let model = lutweave_models::find("mnist").expect("there is a built-in model mnist");
    write(&folder.path().join(model.onnx_file()), model.onnx());
    write(&folder.path().join(model.samples_file()), model.samples());
    write(&folder.path().join("task.toml"), model.task().as_bytes());
    folder
}

pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).expect("a file can be written");
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are text").to_owned()
}

/// Relative paths and contents of all files below a folder, sorted.
pub fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(&current).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("the file can be read");
                files.push((path.strip_prefix(folder).expect("it is below the folder").to_path_buf(), bytes));
            }
        }
    }
    files.sort();
    files
}

/// Names in a folder, hidden ones too, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
