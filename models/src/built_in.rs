//! The built-in models: shipped as files in the program, or generated when asked for.
//!
//! A shipped model lives in a folder of this crate with the script that trained it and a README
//! that names its origin, licences and accuracy.

use crate::codenet::Configuration;
use crate::generated::Generated;
use crate::published::Published;
use std::borrow::Cow;

/// A model that comes with the compiler.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Shipped(Shipped),
    Generated(&'static dyn Generated),
}

#[derive(Clone, Copy, Debug)]
struct Shipped {
    onnx: &'static [u8],
    onnx_file: &'static str,
    task: &'static str,
    samples: &'static [u8],
    metrics: &'static str,
}

/// The name by which every task calls [`BuiltIn::samples`].
const SAMPLES_FILE: &str = "samples.npz";

impl BuiltIn {
    /// The model, an ONNX file. Generated anew by each call if it is not shipped.
    pub fn onnx(&self) -> Cow<'static, [u8]> {
        match self.source {
            Source::Shipped(shipped) => Cow::Borrowed(shipped.onnx),
            Source::Generated(model) => Cow::Owned(model.onnx()),
        }
    }

    /// Its task file, TOML. `model` and `file` in it name [`BuiltIn::onnx_file`] and
    /// [`BuiltIn::samples_file`].
    pub fn task(&self) -> Cow<'static, str> {
        match self.source {
            Source::Shipped(shipped) => Cow::Borrowed(shipped.task),
            Source::Generated(model) => Cow::Owned(model.task()),
        }
    }

    /// The name by which its task calls [`BuiltIn::onnx`].
    pub fn onnx_file(&self) -> &'static str {
        match self.source {
            Source::Shipped(shipped) => shipped.onnx_file,
            Source::Generated(_) => "model.onnx",
        }
    }

    /// Samples for calibration and evaluation, an `.npz` file. Generated anew by each call if they
    /// are not shipped.
    pub fn samples(&self) -> Cow<'static, [u8]> {
        match self.source {
            Source::Shipped(shipped) => Cow::Borrowed(shipped.samples),
            Source::Generated(model) => Cow::Owned(model.samples()),
        }
    }

    /// The name by which its task calls [`BuiltIn::samples`].
    pub fn samples_file(&self) -> &'static str {
        SAMPLES_FILE
    }

    /// Size of [`BuiltIn::onnx`], if it is shipped.
    pub fn shipped_bytes(&self) -> Option<usize> {
        match self.source {
            Source::Shipped(shipped) => Some(shipped.onnx.len()),
            Source::Generated(_) => None,
        }
    }

    /// What its training script measured, a JSON object; `None` for weights that were not trained.
    pub fn metrics(&self) -> Option<&'static str> {
        match self.source {
            Source::Shipped(shipped) => Some(shipped.metrics),
            Source::Generated(_) => None,
        }
    }
}

macro_rules! shipped {
    ($folder:literal, $onnx:literal, $task:literal) => {
        Source::Shipped(Shipped {
            onnx: include_bytes!(concat!("../", $folder, "/", $onnx)),
            onnx_file: $onnx,
            task: include_str!(concat!("../", $folder, "/", $task)),
            samples: include_bytes!(concat!("../", $folder, "/samples.npz")),
            metrics: include_str!(concat!("../", $folder, "/metrics.json")),
        })
    };
}

static BUILT_IN: [BuiltIn; 13] = [
    BuiltIn {
        name: "codenet-a",
        description: "CoDeNet a: 20 classes on 256x256, stem of stride 4, random weights",
        source: Source::Generated(&Configuration::ALL[0]),
    },
    BuiltIn {
        name: "codenet-b",
        description: "CoDeNet b: 20 classes on 256x256, pooled stem, random weights",
        source: Source::Generated(&Configuration::ALL[1]),
    },
    BuiltIn {
        name: "codenet-bccd",
        description: "blood cells of 3 kinds on 192x144: square deformable convolution with integer distances",
        source: shipped!("codenet", "model.onnx", "task.toml"),
    },
    BuiltIn {
        name: "codenet-bccd-int4",
        description: "codenet-bccd, trained with 4-bit weights and 8-bit activations, as a quantized model",
        source: shipped!("codenet", "int4.onnx", "int4.toml"),
    },
    BuiltIn {
        name: "codenet-bccd-plain",
        description: "codenet-bccd's twin with plain depthwise convolution",
        source: shipped!("codenet", "plain.onnx", "plain.toml"),
    },
    BuiltIn {
        name: "codenet-c",
        description: "CoDeNet c: 20 classes on 512x512, stem of stride 4, random weights",
        source: Source::Generated(&Configuration::ALL[2]),
    },
    BuiltIn {
        name: "codenet-d",
        description: "CoDeNet d: 20 classes on 512x512, stem of stride 4, backbone 2x, random weights",
        source: Source::Generated(&Configuration::ALL[3]),
    },
    BuiltIn {
        name: "codenet-e",
        description: "CoDeNet e: 20 classes on 512x512, pooled stem, backbone 2x, random weights",
        source: Source::Generated(&Configuration::ALL[4]),
    },
    BuiltIn {
        name: "mnist",
        description: "handwritten digits 0 to 9 on 28x28 grey pixels: three convolutions and a dense layer",
        source: shipped!("mnist", "model.onnx", "task.toml"),
    },
    BuiltIn {
        name: "mobilenetv2",
        description: "MobileNetV2: 1000 classes on 224x224, random weights",
        source: Source::Generated(&Published::MobileNetV2),
    },
    BuiltIn {
        name: "resnet18",
        description: "ResNet-18: 1000 classes on 224x224, random weights",
        source: Source::Generated(&Published::ResNet18),
    },
    BuiltIn {
        name: "resnet50",
        description: "ResNet-50: 1000 classes on 224x224, random weights",
        source: Source::Generated(&Published::ResNet50),
    },
    BuiltIn {
        name: "yolov8n",
        description: "YOLOv8n: 80 classes on 640x640, random weights",
        source: Source::Generated(&Published::YoloV8n),
    },
];

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
    fn generated_models_have_the_names_of_their_configurations() {
        let configurations = Configuration::ALL.iter().map(|model| model as &dyn Generated);
        for generated in configurations.chain(Published::ALL.iter().map(|model| model as &dyn Generated)) {
            let model = find(generated.name()).expect("every configuration is built in");
            assert!(matches!(model.source, Source::Generated(own) if own.task() == generated.task()), "{}", model.name);
        }
    }

    #[test]
    fn tasks_name_the_files_beside_them() {
        for model in built_in() {
            let task = model.task();
            assert!(task.contains(&format!("model = \"{}\"", model.onnx_file())), "{}", model.name);
            assert_eq!(task.matches(&format!("file = \"{}\"", model.samples_file())).count(), 2, "{}", model.name);
        }
    }

    #[test]
    fn files_are_of_their_kind() {
        for model in built_in().iter().filter(|model| model.shipped_bytes().is_some()) {
            // Protobuf: field 1 of ModelProto, a varint, is the IR version.
            assert_eq!(model.onnx()[0], 0x08, "{}", model.name);
            assert_eq!(Some(model.onnx().len()), model.shipped_bytes());
            assert!(model.samples().starts_with(b"PK\x03\x04"), "{}", model.name);
            assert!(model.metrics().is_some_and(|metrics| metrics.contains("\"test_")), "{}", model.name);
        }
    }
}
