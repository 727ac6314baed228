//! The lutweave command line.
fn main() {}
