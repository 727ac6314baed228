//! How thorough property tests are.

use proptest::test_runner::Config;

/// A property test of so many cases, or of as many as the environment variable `PROPTEST_CASES`
/// says.
pub fn cases(count: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let config = Config::default();
    Config { cases: if asked { config.cases } else { count }, ..config }
}
