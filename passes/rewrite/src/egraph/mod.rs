//! Equality saturation over a [`lutweave_ir::Graph`].
//!
//! [`build::encode`] turns a graph into an e-graph of [`Term`]s, one per operator of the table;
//! rules ([`RuleSpec`]) add terms that are equal to existing ones; [`extract`] picks one term
//! per class, and [`rebuild`] turns the choice into a graph.
//!
//! Only equalities enter. A constant expression is an ordinary operator over constants: small
//! ones are computed at once, large ones once, when the graph is rebuilt.

pub mod build;
pub mod cost;
pub mod extract;
pub mod pattern;
pub mod rebuild;
pub mod rule;
pub mod term;
pub mod typing;

pub use build::{Build, CONSTANT_FOLDING, Encoded, encode, encode_explained};
pub use extract::Choice;
pub use pattern::{Match, Pattern};
pub use rule::{FUEL, Guard, RuleClass, RuleSpec};
pub use term::Term;
pub use typing::{EGraph, Fact, Facts, Typing};
