//! Graph to Graph: e-graph rules, calibration, compression, the choice of settings and foldings

pub mod channels;
pub mod cleanup;
pub mod codesign;
pub mod compress;
pub mod deform;
pub mod egraph;
pub mod explain;
pub mod fixed;
pub mod head;
pub mod prune;
pub mod quantize;
pub mod rules;
pub mod sensitivity;
pub mod separate;
pub mod sites;
pub mod solve;

#[cfg(test)]
mod property;
