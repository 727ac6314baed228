//! The simulator against a reference of the RTL's meaning, and its answers to faults.

mod engines;
mod faults;
mod modules;
mod random;
mod reference;
mod support;
