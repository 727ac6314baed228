//! Design to a cycle-exact WebAssembly simulator, run in wasmtime and in browsers
