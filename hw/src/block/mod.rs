//! Generators of the dataflow's blocks: each makes one [`crate::rtl::Module`].

pub mod concat;
pub mod convert;
pub mod crop_pad;
pub mod fork;
pub mod global;
pub mod inlet;
pub mod pointwise;
pub mod queue;
pub mod requantize;
pub mod select;
pub mod top_peaks;
pub mod upsample;
pub mod window;
