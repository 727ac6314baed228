//! Graph to Graph: e-graph rules, calibration, quantization

pub mod channels;
pub mod cleanup;
pub mod egraph;
pub mod fixed;
pub mod quantize;
pub mod rules;
