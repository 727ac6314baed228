//! Models that need no file: the [built-in models](built_in()) with the data that calibrates and judges
//! them.

mod builder;
mod built_in;
pub mod codenet;
mod generated;
pub mod npz;
pub mod published;
mod scene;

pub use built_in::{BuiltIn, built_in, find};
pub use generated::Generated;
pub use scene::Scene;
