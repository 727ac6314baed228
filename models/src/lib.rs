//! Built-in models with their data samples; random-graph generator
