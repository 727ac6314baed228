//! The text form of a graph: one line per node, constants in full at the end.
//!
//! ```text
//! graph "lenet"
//! %0 "image" = input : f32[1,28,28,1]
//! %1 "conv1.weight" = constant @ : f32[6,5,5,1]
//! %2 "conv1.bias" = constant [0.5, -1.0, 0.0, 0.25, 1.0, 2.0] : f32[6]
//! %3 "conv1" = conv %0, %1, %2 {strides=[1, 1], dilations=[1, 1], pads=[2, 2, 2, 2], groups=1} : f32[1,28,28,6]
//! outputs %3
//! constants:
//! %1
//!   0000003f000080bf...
//! ```
//!
//! A large constant (`@`) stands in the last section as hexadecimal bytes, little endian, 64
//! bytes a line: 4 bytes an element for f32, else 1, 2 or 4, the least that hold the element
//! type. [`parse()`] reads back exactly what [`print()`] writes.

mod dot;
mod lexer;
mod parse;
mod print;

pub use dot::dot;
pub use parse::parse;
pub use print::{print, print_summary};

use crate::tensor::Element;

/// Bytes of an element in the constants' section.
fn element_bytes(element: Element) -> usize {
    match element {
        Element::F32 | Element::Int { bits: 17.., .. } => 4,
        Element::Int { bits: 9..=16, .. } => 2,
        Element::Int { bits: 0..=8, .. } => 1,
    }
}
