//! What devices hold and cost, and the circuit that results.
//!
//! In goes an integer-only `lutweave_ir::Graph`; a [`plan::Plan`] folds every node for a
//! multiplier budget or a device; [`elaborate::elaborate`] turns graph and plan into a
//! [`rtl::Design`].

pub mod block;
pub mod cost;
pub mod device;
pub mod elaborate;
pub mod family;
pub mod fit;
pub mod kernel;
pub mod plan;
pub mod rtl;
