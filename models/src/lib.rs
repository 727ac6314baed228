//! Models that need no file: the [built-in models](built_in()) with the data that calibrates and judges
//! them.

mod built_in;
pub mod codenet;
pub mod npz;

pub use built_in::{BuiltIn, built_in, find};
