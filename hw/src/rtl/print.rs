//! Text form of a design.
