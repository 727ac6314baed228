//! Exact rewrites of graphs: an e-graph over a table of rules, and the same rules in a fixed order.
//!
//! A rule never changes the function; see [`rules`] for the table and [`egraph`] for the search.

pub mod cleanup;
pub mod egraph;
pub mod explain;
pub mod fixed;
pub mod rules;
pub mod sites;
