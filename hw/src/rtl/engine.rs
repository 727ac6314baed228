//! The engine: a window memory, and the multipliers or comparators that reduce its windows.
//!
//! The memory is a ring of `rows` image rows. A word holds `lanes` neighbouring channels; a
//! column holds `groups` words. One issued step reads the words of some taps of one window and
//! one channel group and reduces them into accumulators; the steps from `first` to `last` form
//! one result. Steps need not be issued in neighbouring cycles.
//!
//! A word filled in cycle `t` is readable by steps issued from cycle `t + 1` on, and may be
//! refilled from the cycle after the last step that reads it was issued. (In Verilog the fill is
//! therefore registered once before the memory, as the step's address is.)

use super::{Expr, SignalId, Ty};

/// How many taps of a window one step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParallelTaps {
    /// One tap; step number `i * kernel width + j` reads tap `(i, j)`.
    One,
    /// All taps of one kernel row; step number `i` reads taps `(i, 0..)`.
    Row,
    /// All taps; the only step number is 0.
    All,
}

/// How the words of a step become accumulators.
#[derive(Clone, Debug, PartialEq)]
pub enum Reduce {
    /// Each of `outputs` accumulators adds the dot product of the step's `taps * lanes`
    /// elements with weights.
    Dense {
        /// Number of accumulators (processing elements).
        outputs: u32,
        /// Weights of all steps: for address `a`, output `o`, tap `t` of the step and lane `l`
        /// at `((a * outputs + o) * taps + t) * lanes + l`.
        weights: Vec<i16>,
        /// Width of a weight, signed.
        weight_bits: u32,
    },
    /// Accumulator `l` of `lanes` adds the dot product of the step's taps of lane `l` with
    /// weights.
    Depthwise {
        /// For address `a`, tap `t` of the step and lane `l` at `(a * taps + t) * lanes + l`.
        weights: Vec<i16>,
        /// Width of a weight, signed.
        weight_bits: u32,
    },
    /// Accumulator `l` takes the largest of the step's taps of lane `l`.
    Max,
    /// Accumulator `l` adds the step's taps of lane `l`.
    Sum,
}

/// A window memory with its reduction. Multiplication results, adder trees and accumulators are
/// registered; a result appears [`Engine::latency`] cycles after its last step was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// Unique among the module's names.
    pub name: String,
    /// Type of a memory word: `lanes` elements of one pixel.
    pub word: Ty,
    /// Rows of the ring.
    pub rows: u32,
    /// Columns of the image.
    pub columns: u32,
    /// Words a pixel.
    pub groups: u32,
    /// Height of the image; taps in other rows read the pad value.
    pub image_rows: u32,
    /// Kernel extent, vertical first.
    pub kernel: [u32; 2],
    /// Distance of taps, vertical first. `(kernel[0] - 1) * dilations[0] < rows`.
    pub dilations: [u32; 2],
    /// What taps outside the image read; in the range of the word's lanes.
    pub pad_value: i64,
    /// Taps read in one step.
    pub parallel: ParallelTaps,
    /// The reduction.
    pub reduce: Reduce,
    /// Signal of kind `EngineResult`: one lane per accumulator, wide enough for every partial
    /// sum.
    pub result: SignalId,
    /// Signal of kind `EngineValid`: 1 in the cycle in which the result of a `last` step is
    /// readable. In other cycles the result is undefined.
    pub valid: SignalId,
}

/// One step: scalars evaluated in the cycle of issue.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Ring row of the window's top tap row, below `rows`; tap row `i` is in ring row
    /// `(ring + i * dilation) mod rows`.
    pub ring: Expr,
    /// Image row of the top tap, may be negative or beyond the image (such taps read the pad
    /// value).
    pub row: Expr,
    /// Image column of the left tap, may be negative or beyond the image.
    pub column: Expr,
    /// Channel group.
    pub group: Expr,
    /// Step number within the window, see [`ParallelTaps`].
    pub tap: Expr,
    /// Weight address; 0 where there are no weights.
    pub address: Expr,
    /// 1: the accumulators start from this step alone (sums from 0, maxima from the step).
    pub first: Expr,
    /// 1: the accumulators after this step are a result.
    pub last: Expr,
}

impl Engine {
    /// Taps read in one step.
    pub fn taps(&self) -> u32 {
        match self.parallel {
            ParallelTaps::One => 1,
            ParallelTaps::Row => self.kernel[1],
            ParallelTaps::All => self.kernel[0] * self.kernel[1],
        }
    }

    /// Steps that cover all taps of one group.
    pub fn tap_steps(&self) -> u32 {
        self.kernel[0] * self.kernel[1] / self.taps()
    }

    /// Accumulators.
    pub fn outputs(&self) -> u32 {
        match self.reduce {
            Reduce::Dense { outputs, .. } => outputs,
            Reduce::Depthwise { .. } | Reduce::Max | Reduce::Sum => self.word.lanes,
        }
    }

    /// Elements that each accumulator reduces in one step.
    pub fn terms(&self) -> u32 {
        match self.reduce {
            Reduce::Dense { .. } => self.taps() * self.word.lanes,
            Reduce::Depthwise { .. } | Reduce::Max | Reduce::Sum => self.taps(),
        }
    }

    /// Hardware multipliers.
    pub fn multipliers(&self) -> u32 {
        match self.reduce {
            Reduce::Dense { .. } | Reduce::Depthwise { .. } => self.outputs() * self.terms(),
            Reduce::Max | Reduce::Sum => 0,
        }
    }

    /// Words of the weight memory.
    pub fn weight_depth(&self) -> u32 {
        let per_address = self.outputs() * self.terms();
        match &self.reduce {
            Reduce::Dense { weights, .. } | Reduce::Depthwise { weights, .. } => weights.len() as u32 / per_address,
            Reduce::Max | Reduce::Sum => 0,
        }
    }

    /// Column banks of the window memory: with several taps a step, their columns lie in
    /// different banks. A power of two; column `c` is in bank `c mod banks` at `c / banks`.
    pub fn column_banks(&self) -> u32 {
        match self.parallel {
            ParallelTaps::One => 1,
            ParallelTaps::Row | ParallelTaps::All => ((self.kernel[1] - 1) * self.dilations[1] + 1).next_power_of_two(),
        }
    }

    /// Row banks of the window memory: one per ring row where all taps are read at once.
    pub fn row_banks(&self) -> u32 {
        match self.parallel {
            ParallelTaps::One | ParallelTaps::Row => 1,
            ParallelTaps::All => {
                if self.kernel[0] == 1 {
                    1
                } else {
                    self.rows
                }
            }
        }
    }

    /// Registered levels of the adder (or comparator) tree; each level reduces up to three
    /// terms to one.
    pub fn tree_levels(&self) -> u32 {
        let mut terms = self.terms();
        let mut levels = 0;
        while terms > 1 {
            terms = terms.div_ceil(3);
            levels += 1;
        }
        levels
    }

    /// Registers between the selected taps and the tree: products are registered twice, once
    /// beside the multiplier and once on the way to the adders.
    pub fn product_stages(&self) -> u32 {
        match self.reduce {
            Reduce::Dense { .. } | Reduce::Depthwise { .. } => 2,
            Reduce::Max | Reduce::Sum => 1,
        }
    }

    /// Cycles from the issue of a `last` step to [`Engine::valid`]: address, memory, tap
    /// selection, products, tree levels, accumulator.
    pub fn latency(&self) -> u32 {
        4 + self.product_stages() + self.tree_levels()
    }
}
