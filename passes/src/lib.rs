//! Graph to Graph: e-graph rules, calibration, quantization

pub mod cleanup;
pub mod egraph;
pub mod explain;
pub mod quantize;
pub mod rules;
pub mod sites;
