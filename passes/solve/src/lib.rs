//! Choosing one alternative a stage: fewest cycles under additive budgets, with a proof of how far from the best.
//!
//! * [`minimise_cycles`] solves a [`Problem`]: binary search on the bottleneck's cycles; at each, a linear relaxation
//!   whose prices prove infeasibility in exact integers, rounding and repair, and branch and bound.
//! * [`check()`] verifies a [`Solution`] with its [`Refutation`], sharing no code with the search.
//! * [`why_not`] answers what an option that was not chosen would do.
//! * [`Sweep`] solves one problem at one limit of a budget after another.
//! * [`least_distortion`] and [`least_size`] are the dynamic programs for one budget (pruning by rate and distortion,
//!   ICCV 2023; L-GreCo).
//! * [`allocate()`] gives the sparsity of each layer by the usual baselines.
//!
//! All amounts are unsigned integers in units of the caller. This module knows no graph and no device.

pub mod allocate;
pub mod check;
pub mod explain;
mod filter;
mod forest;
pub mod knapsack;
pub mod minimise;
mod model;
pub mod problem;
pub mod refutation;
mod relax;
mod repair;
pub mod report;
mod search;
mod secondary;
mod sweep;
#[cfg(test)]
mod tests;

pub use allocate::{Method, PrunableLayer, Target, allocate};
pub use check::{Violation, check, check_bound, check_infeasible};
pub use explain::{WhyNot, why_not};
pub use knapsack::{Setting, least_distortion, least_size};
pub use minimise::{Limits, Outcome, Solution, minimise_cycles};
pub use problem::{Alternative, Budget, Edge, Problem, Stage};
pub use refutation::{Axis, Refutation};
pub use report::{Price, RunnerUp};
pub use sweep::Sweep;
