//! File tests: a graph in its text form, with directives in comments that say what must be true of it.
//!
//! ```text
//! # test interpret, cpu, wasm, icarus     executors that must agree, element by element and cycle by cycle
//! # test pass simplify                    the graph after the pipeline through that pass is the text below
//! # options {"weights": "4"}              of the compiler, as JSON; also device and multipliers
//! # input x = [1, 2, 3, 4]                one sample: an input per line
//! # expect y = [0, 3, 3, 4]               what the output of that name must be
//! # random 3 seed=1                       more samples
//! # check cycles <= 40, dsp = 2           figures of the circuit
//! # error no-head                         the code of the diagnostic that refuses it
//! graph "relu"
//! ...
//! outputs %3
//! #> expected text of `test pass`, written anew by LUTWEAVE_BLESS=1
//! ```
//!
//! A directive takes a line of its own. Lines without a known first word are comments.

mod directive;
mod run;

pub use directive::{Check, FileTest, Relation};
pub use run::{Bench, run};
