//! Building modules.
