//! Proofs that no selection exists.

use serde::{Deserialize, Serialize};

/// Along what a stage's options are cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Axis {
    /// How much of the budget of this index an option uses.
    Use(usize),
    /// The interface state at the input.
    Input,
    /// The interface state at the output.
    Output,
}

/// A proof that no selection of the remaining options stays within all budgets.
///
/// It is read from the root with a set of remaining options a stage: those that are faster than the claimed bound
/// and within every limit taken alone. A vector of multipliers, one per budget, weighs uses. Two bounds from below on the
/// weighted use of every selection prove things (Lagrangian relaxation of the multiple-choice knapsack problem: Sinha
/// and Zoltners, Operations Research 27, 1979):
///
/// * The *separate bound*: the sum over stages of the least weighted use of a remaining option, and over edges of the
///   least weighted use of a converter between remaining states.
/// * The *forest bound*: the first edge into each stage (by index) is kept, which leaves a forest. The bound is the
///   least weighted use of options and of converters at kept edges together, found exactly by dynamic programming,
///   plus the least weighted use of a converter at each other edge. It is infinite if kept edges cannot all be joined.
///   It is at least the separate bound, and equal to it without edges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refutation {
    /// The stage has no option left.
    Exhausted {
        /// Index of the stage.
        stage: usize,
    },
    /// No remaining state of the edge's writer can be joined to one of its reader.
    Unjoinable {
        /// Index of the edge.
        edge: usize,
    },
    /// The forest bound exceeds the weighted limits.
    Weighted {
        /// One integer weight a budget.
        multipliers: Vec<u64>,
    },
    /// Options that alone lift the separate bound above the weighted limits are out; `rest` refutes the others.
    Reduce {
        /// One integer weight a budget.
        multipliers: Vec<u64>,
        /// Proof for what remains.
        rest: Box<Refutation>,
    },
    /// Every remaining option that is not listed is dominated by a listed one: not less of any budget that can bind,
    /// and the same interface states where the stage has edges. `rest` refutes the listed options.
    Undominated {
        /// Option indices of each stage, ascending.
        kept: Vec<Vec<u32>>,
        /// Proof for what remains.
        rest: Box<Refutation>,
    },
    /// The stage's remaining options are cut in two, and each half is refuted.
    Split {
        /// Index of the stage.
        stage: usize,
        /// What is compared with the threshold.
        axis: Axis,
        /// Options at or below it are `low`, the others `high`.
        threshold: u64,
        /// Proof for the low half.
        low: Box<Refutation>,
        /// Proof for the high half.
        high: Box<Refutation>,
    },
}

impl Refutation {
    /// How many steps the proof has.
    pub fn steps(&self) -> usize {
        match self {
            Self::Exhausted { .. } | Self::Unjoinable { .. } | Self::Weighted { .. } => 1,
            Self::Reduce { rest, .. } | Self::Undominated { rest, .. } => 1 + rest.steps(),
            Self::Split { low, high, .. } => 1 + low.steps() + high.steps(),
        }
    }
}
