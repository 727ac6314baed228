//! What devices hold and cost, and the circuit that results.
//!
//! In goes an integer-only `lutweave_ir::Graph`; [`plan()`](plan::plan) folds every node for a multiplier
//! budget or a device, which makes a [`dataflow::Network`]; [`elaborate::elaborate`] turns graph and network
//! into a [`rtl::Design`].

pub mod block;
pub mod cost;
pub mod dataflow;
pub mod device;
pub mod elaborate;
pub mod family;
pub mod fit;
pub mod frame;
pub mod kernel;
pub mod plan;
pub mod rtl;
pub mod supply;
