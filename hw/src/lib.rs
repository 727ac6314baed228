//! What devices hold and cost, and the circuit that results.
//!
//! In goes an integer-only `lutweave_ir::Graph`; a [`plan::Plan`] folds every node for a
//! multiplier budget or a device; [`elaborate`] turns graph and plan into a [`rtl::Design`].

pub mod rtl;
