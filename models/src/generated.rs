//! Models that are made when they are asked for.

use std::fmt::Debug;

/// A model that is generated from a fixed seed, with its data.
pub trait Generated: Debug + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The network as an ONNX file.
    fn onnx(&self) -> Vec<u8>;

    /// Generated scenes for calibration and evaluation, as the `.npz` file that the task calls `samples.npz`.
    fn samples(&self) -> Vec<u8>;

    /// The task file.
    fn task(&self) -> String;
}
