//! What tests of several crates share: random graphs, how thorough property tests are, and tools that must be
//! installed.

pub mod channels;
pub mod property;
pub mod random;
pub mod tools;
