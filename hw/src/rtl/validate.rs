//! Checks of a design.
