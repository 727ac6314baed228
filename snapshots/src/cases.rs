//! Many cases, checked side by side.

use crate::{full, setting};
use rayon::prelude::*;

/// Seeds of random cases: so many, or `long` in the long run. `LUTWEAVE_FIRST` and
/// `LUTWEAVE_GRAPHS` choose others.
pub fn seeds(default: u64, long: u64) -> Vec<u64> {
    let count = setting("LUTWEAVE_GRAPHS", if full() { long } else { default });
    let first = setting("LUTWEAVE_FIRST", 0);
    (first..first + count).collect()
}

/// Characters of what is told of further failures.
const OTHERS: usize = 4000;

/// Checks every case.
///
/// # Panics
/// If one fails: with the number of those that do, and the first of them as `show` prints it.
pub fn all_pass<T: Sync>(cases: Vec<T>, check: impl Fn(&T) -> Result<(), String> + Sync, show: impl Fn(&T) -> String) {
    let results: Vec<Result<(), String>> = cases.par_iter().map(&check).collect();
    let failures: Vec<(&T, String)> =
        cases.iter().zip(results).filter_map(|(case, result)| Some((case, result.err()?))).collect();
    if let Some((case, error)) = failures.first() {
        // Short messages of the others help to see what they have in common.
        let others: String = failures[1..].iter().map(|(case, error)| format!("\n{}: {error}", show(case))).collect();
        let others: String = others.chars().take(OTHERS).collect();
        panic!("{} of {} fail; the first: {error}\n{}{others}", failures.len(), cases.len(), show(case));
    }
}
