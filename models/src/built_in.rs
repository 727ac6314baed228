//! The built-in models, as files in the program.
//!
//! Each lives in a folder of this crate with the script that trained it and a README that names
//! its origin, licences and accuracy.

/// A model that comes with the compiler.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
    /// The model, an ONNX file.
    pub onnx: &'static [u8],
    /// Its task file, TOML. `model` and `file` in it name the two files below.
    pub task: &'static str,
    /// The name by which `task` calls [`BuiltIn::onnx`].
    pub onnx_file: &'static str,
    /// Samples for calibration and evaluation, an `.npz` file.
    pub samples: &'static [u8],
    /// The name by which `task` calls [`BuiltIn::samples`].
    pub samples_file: &'static str,
    /// What its training script measured, a JSON object with at least `test_top1`.
    pub metrics: &'static str,
}

static BUILT_IN: [BuiltIn; 1] = [BuiltIn {
    name: "mnist",
    description: "handwritten digits 0 to 9 on 28x28 grey pixels: three convolutions and a dense layer",
    onnx: include_bytes!("../mnist/model.onnx"),
    task: include_str!("../mnist/task.toml"),
    onnx_file: "model.onnx",
    samples: include_bytes!("../mnist/samples.npz"),
    samples_file: "samples.npz",
    metrics: include_str!("../mnist/metrics.json"),
}];

/// The built-in models, by name.
pub fn built_in() -> &'static [BuiltIn] {
    &BUILT_IN
}

/// The built-in model of a name.
pub fn find(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|model| model.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, model) in built_in().iter().enumerate() {
            assert!(built_in()[..index].iter().all(|other| other.name < model.name));
            assert_eq!(find(model.name).map(|found| found.name), Some(model.name));
        }
        assert!(find("no such model").is_none());
    }

    #[test]
    fn tasks_name_the_files_beside_them() {
        for model in built_in() {
            assert!(model.task.contains(&format!("model = \"{}\"", model.onnx_file)), "{}", model.name);
            assert_eq!(model.task.matches(&format!("file = \"{}\"", model.samples_file)).count(), 2, "{}", model.name);
        }
    }

    #[test]
    fn files_are_of_their_kind() {
        for model in built_in() {
            // Protobuf: field 1 of ModelProto, a varint, is the IR version.
            assert_eq!(model.onnx[0], 0x08, "{}", model.name);
            assert!(model.samples.starts_with(b"PK\x03\x04"), "{}", model.name);
            assert!(model.metrics.contains("\"test_top1\""), "{}", model.name);
        }
    }
}
