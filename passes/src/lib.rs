//! Graph to Graph: e-graph rules, calibration, quantization
