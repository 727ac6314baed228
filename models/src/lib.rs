//! Models and graphs that need no file: the [built-in models](built_in()) with the data that
//! calibrates and judges them, and a [generator of random graphs](random) for property tests.

mod built_in;
pub mod codenet;
pub mod random;

pub use built_in::{BuiltIn, built_in, find};
pub use random::{RandomOptions, random_graph, random_inputs};
