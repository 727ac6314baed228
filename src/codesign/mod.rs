//! Co-design: bits, sparsity and folding of every layer, chosen together.

mod choose;
mod compress_first;
pub mod hint;
mod judge;
pub mod record;
mod session;
mod tables;

pub use choose::{Answer, Chosen, RUINOUS, choose, does_not_fit, fold, front};
pub use judge::{Judge, Judged, Measured};
pub use session::Session;
