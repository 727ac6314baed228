//! Co-design: bits, sparsity and folding of every layer, chosen together.

mod choose;
mod judge;
pub mod record;
mod session;
mod tables;

pub use choose::{Answer, Chosen, choose, does_not_fit, fold, front};
pub use judge::{Judge, Measured};
pub use session::Session;
