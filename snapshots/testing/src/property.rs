//! How thorough property tests are.

use proptest::test_runner::Config;

/// A property test of so many cases, or of as many as the environment variable `PROPTEST_CASES`
/// says.
pub fn cases(count: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let config = Config::default();
    let cases = if asked { config.cases } else { count };
    Config { cases, max_global_rejects: 8 * cases.max(128), ..config }
}
