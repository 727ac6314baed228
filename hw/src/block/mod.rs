//! Generators of the dataflow's blocks: each makes one [`crate::rtl::Module`].

pub mod argmax;
pub mod concat;
pub mod crop_pad;
pub mod fifo;
pub mod fork;
pub mod global;
pub mod outside_queue;
pub mod pointwise;
pub mod requantize;
pub mod ring;
pub mod select;
pub mod skid_buffer;
pub mod top_peaks;
pub mod upsample;
pub mod width_converter;
pub mod window;
