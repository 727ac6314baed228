//! Verification: graphs through every executor, and the stages of small networks for snapshots.

pub mod cases;
pub mod executors;
pub mod filetest;
pub mod merge;
pub mod network;
pub mod stages;
pub mod stress;

/// True in the long run of `scripts/test --full`.
pub fn full() -> bool {
    std::env::var("LUTWEAVE_FULL").is_ok_and(|value| value == "1")
}

/// A number from the environment, for reproducing a failure or for a longer search.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
