//! Co-design: bits, sparsity and folding of every layer, chosen together.

mod tables;

pub use tables::tables;
