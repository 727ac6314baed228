//! Co-design: bits, sparsity and folding of every layer, chosen together.

mod channels;
mod choose;
mod compress_first;
pub mod hint;
mod judge;
mod ladder;
pub mod record;
mod session;
mod tables;

pub(crate) use channels::choose_with_channels;
pub use choose::{Answer, does_not_fit, fold};
pub use judge::{Judge, Judged, Measured};
pub use ladder::BudgetLadder;
pub use session::Session;
