//! What is damaged, and which command reads it.

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ONNX file, compiled.
    Model,
    /// A task file, evaluated.
    Task,
    /// A device file, compiled for.
    Device,
    /// An array file, run or evaluated.
    Arrays,
    /// A file of a compiled model, which is verified or run.
    Build,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Model, Self::Task, Self::Device, Self::Arrays, Self::Build];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Task => "task",
            Self::Device => "device",
            Self::Arrays => "arrays",
            Self::Build => "build",
        }
    }

    /// The kind of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
