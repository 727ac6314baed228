//! What a user's files say beside the model: arrays of samples, tasks that tie a model to data and a
//! metric, and how results are judged.
//!
//! Sizes and kinds of these files are not ours to trust: what they claim is bounded before it is
//! believed, and every fault is a [`Failure`] with its cause and remedy.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod detect;
pub mod failure;
pub mod file;
pub mod metric;
pub mod samples;
pub mod task;

pub use failure::Failure;
