//! Verification: insta suites per stage, and every executor against every other
