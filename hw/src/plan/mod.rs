//! Plan: how every node of a core graph is folded, and what each way costs.

mod choice;
mod fold;
mod form;
mod outside;
mod price;
mod select;

pub(crate) use choice::network;
pub use choice::{Choice, all_implementations, assemble, form_of, kernels, options};
pub use fold::{Fold, divisors, gcd};
pub use form::WeightForm;
pub(crate) use outside::{Stages, Way};
pub use price::{conversion, conversion_through, lanes_between, price};
pub use select::{Planner, plan};

use crate::kernel::{Kernel, kernel_of};
use lutweave_ir::Graph;

/// Fewest multipliers that the core of a graph can be built with: one per convolution.
pub fn fewest_multipliers(graph: &Graph) -> u32 {
    graph.ids().filter(|&id| matches!(kernel_of(graph, id), Ok(Kernel::Convolution { .. }))).count() as u32
}
