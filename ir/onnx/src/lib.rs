//! ONNX (protobuf) to Graph
