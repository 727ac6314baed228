//! Graph to Cranelift: JIT, and object file with C header
