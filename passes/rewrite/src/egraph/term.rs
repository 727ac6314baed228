//! The e-graph's language: one term kind per operator of the table, plus leaves.

use egg::{Id, Language};

/// Names of the terms that are not operators of [`lutweave_ir::Op`].
pub mod name {
    /// A graph input; the payload is its position.
    pub const INPUT: &str = "input";
    /// A constant; the payload is its index in the arena.
    pub const CONSTANT: &str = "constant";
    /// The root: all outputs in order.
    pub const OUTPUTS: &str = "outputs";
    /// `x * g` with a constant `g [c]` along the last axis of `x`.
    pub const CHANNEL_SCALE: &str = "cscale";
    /// `x + h` with a constant `h [c]` along the last axis of `x`.
    pub const CHANNEL_BIAS: &str = "cbias";
}

/// A node of the e-graph.
///
/// Heavy data is outside, in [`super::Typing`]: the payload is an index there. Equal operators
/// with equal attributes have equal payloads, so that hash-consing sees them as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term {
    /// The operator's name in the text form, or one of [`name`].
    pub name: &'static str,
    /// Index of the attributes, the constant or the input.
    pub payload: u32,
    /// Operand classes.
    pub children: Vec<Id>,
}

impl Language for Term {
    type Discriminant = &'static str;

    fn discriminant(&self) -> Self::Discriminant {
        self.name
    }

    fn matches(&self, other: &Self) -> bool {
        self.name == other.name && self.payload == other.payload && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}
