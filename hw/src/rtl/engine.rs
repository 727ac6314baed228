//! The engine: a window memory, and the multipliers or comparators that reduce its windows.
//!
//! The memory is a ring of `rows` image rows. A word holds `lanes` neighbouring channels; a
//! column holds `groups` words. One issued step reads the words of some taps of one window and
//! one channel group and reduces them into accumulators; the steps up to a `last` one form one
//! result. Steps need not be issued in neighbouring cycles.
//!
//! A word filled in cycle `t` is readable by steps issued from cycle `t + 1` on, and may be
//! refilled from the cycle after the last step that reads it was issued. (In Verilog the fill is
//! therefore registered once before the memory, as the step's address is.) The same holds for
//! weights that are loaded.

use super::{Expr, MemoryStyle, SignalId, Ty};
use crate::family::HardMultiplier;
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// How many taps of a window one step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ParallelTaps {
    /// One tap; step number `i * kernel width + j` reads tap `(i, j)`.
    One,
    /// All taps of one kernel row; step number `i` reads taps `(i, 0..)`.
    Row,
    /// All taps; the only step number is 0.
    All,
}

/// A pattern of zeros: of every `of` consecutive input channels of one tap and one output, at
/// most `kept` have a weight other than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NofM {
    /// Weights that may differ from zero, below `of`.
    pub kept: u8,
    /// Length of a run, a power of two.
    pub of: u8,
}

impl NofM {
    /// Every pattern that engines are built for.
    pub const ALL: [Self; 7] = [
        Self { kept: 1, of: 4 },
        Self { kept: 2, of: 4 },
        Self { kept: 3, of: 4 },
        Self { kept: 1, of: 8 },
        Self { kept: 2, of: 8 },
        Self { kept: 4, of: 8 },
        Self { kept: 2, of: 16 },
    ];

    /// Bits of a position within a run.
    pub fn index_bits(self) -> u32 {
        u32::from(self.of).trailing_zeros()
    }

    /// How many of so many consecutive weights, in whole runs, are kept at most.
    pub fn kept_of(self, weights: u32) -> u32 {
        weights / u32::from(self.of) * u32::from(self.kept)
    }

    /// Bits that weights of a width take in a memory: of a pattern the kept ones with their
    /// positions, otherwise all of them.
    pub fn stored_bits(pattern: Option<Self>, weights: u64, bits: u32) -> u64 {
        Self::share(pattern, weights) * u64::from(bits + pattern.map_or(0, Self::index_bits))
    }

    /// What a pattern keeps of an amount that goes with the weights.
    pub fn share(pattern: Option<Self>, amount: u64) -> u64 {
        pattern.map_or(amount, |pattern| amount * u64::from(pattern.kept) / u64::from(pattern.of))
    }

    /// Where in a run the kept weights are: the positions for which `nonzero` is true in rising
    /// order, then others as long as places are free. `None` if too many are nonzero.
    pub fn positions(self, nonzero: impl Fn(u32) -> bool) -> Option<Vec<u32>> {
        let of = u32::from(self.of);
        let (mut kept, others): (Vec<u32>, Vec<u32>) = (0..of).partition(|&position| nonzero(position));
        let free = usize::from(self.kept).checked_sub(kept.len())?;
        kept.extend(others.into_iter().take(free));
        Some(kept)
    }
}

impl std::fmt::Display for NofM {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kept, self.of)
    }
}

/// What forms the products of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Multiplier {
    /// A hardware multiplier per product.
    Single,
    /// One hardware multiplier for the two products of an element with the weights of outputs
    /// `2 i` and `2 i + 1`: `element * (w1 * 2^k + w0)`, where `k` bits hold a product. Exact
    /// for all values. Dense reductions with an even number of outputs only.
    Paired,
    /// Shifts and adders in logic.
    Logic,
}

/// How an engine forms its products: what it costs, not what it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Products {
    /// Width of a weight, signed; 1 to 16.
    pub weight_bits: u32,
    /// Addresses of the weight memory: steps with weights of their own.
    pub addresses: u32,
    /// What multiplies.
    pub multiplier: Multiplier,
    /// How the two products of a shared multiplier are told apart.
    pub pairing: Pairing,
    /// Products that hardware multipliers add in a chain.
    pub chain: u32,
    /// Where the weights live.
    pub memory: MemoryStyle,
    /// Bytes that one [`Statement::Load`](super::Statement::Load) brings: the weight memory is written. `None`:
    /// weights are constants.
    pub loaded: Option<u32>,
}

/// The two products of a shared multiplier: `p1 * 2^gap + p0`, and sums of such ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pairing {
    /// Bits that hold every `p0`, signed.
    pub gap: u32,
    /// Levels of the tree that add both at once, before they are taken apart.
    pub levels: u32,
}

impl Pairing {
    /// Each is taken apart.
    pub fn separate(element: Ty, weight_bits: u32) -> Self {
        Self { gap: element.bits + weight_bits, levels: 0 }
    }
}

impl Products {
    /// With as many products of some terms added by the multipliers themselves as they can, and, where two share one, by
    /// so many levels of the tree as there is room for sums beside each other. `symmetric`: no weight is the least of its
    /// width.
    #[must_use]
    pub fn arranged(self, element: Ty, symmetric: bool, terms: u32, hard: HardMultiplier) -> Self {
        let Self { weight_bits, mut pairing, .. } = self;
        let (lo, hi) = element.lane().bounds();
        let weight = (1i64 << (weight_bits - 1)) - i64::from(symmetric);
        let widest = hard.widths[0].saturating_sub(weight_bits + 1);
        // The gap that sums of so many have to have, if it fits.
        let separate = pairing.gap;
        let gap = |added: u32| {
            let sum = i64::from(added) * hi.max(-lo) * weight;
            Some(separate.max(Ty::range(-sum, sum).bits)).filter(|&gap| gap <= widest)
        };
        let longest = hard.chain.min(terms);
        let chain = match self.multiplier {
            Multiplier::Logic => 1,
            Multiplier::Single => {
                let factors = [weight_bits, element.bits + u32::from(!element.signed)];
                let fits = |[a, b]: [u32; 2]| a <= hard.widths[0] && b <= hard.widths[1];
                if fits(factors) || fits([factors[1], factors[0]]) { longest } else { 1 }
            }
            Multiplier::Paired => (1..=longest).rev().find(|&chain| gap(chain).is_some()).unwrap_or(1),
        };
        if self.multiplier == Multiplier::Paired {
            let mut added = chain;
            pairing.gap = gap(added).unwrap_or(separate);
            while added < terms {
                added = terms.min(3 * added);
                let Some(gap) = gap(added) else { break };
                pairing = Pairing { gap, levels: pairing.levels + 1 };
            }
        }
        Self { pairing, chain, ..self }
    }
}

/// How the words of a step become accumulators. Weights are in [`Engine::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Each of `outputs` accumulators adds the dot product of the step's `taps * lanes`
    /// elements with weights: for address `a`, output `o`, tap `t` of the step and lane `l`
    /// the one at `((a * outputs + o) * taps + t) * lanes + l`.
    Dense {
        /// Number of accumulators (processing elements).
        outputs: u32,
        /// The weights' pattern along the lanes, which saves products: of each run only the
        /// kept weights are stored, each with its position, and multiplied with the element
        /// that the position selects. For paired products both outputs of a pair share the
        /// positions. `lanes` is a multiple of the run.
        pattern: Option<NofM>,
        /// How products are formed.
        products: Products,
    },
    /// Accumulator `l` of `lanes` adds the dot product of the step's taps of lane `l` with
    /// weights: for address `a`, tap `t` of the step and lane `l` the one at
    /// `(a * taps + t) * lanes + l`.
    Depthwise {
        /// How products are formed.
        products: Products,
    },
    /// Accumulator `l` takes the largest of the step's taps of lane `l`.
    Max,
    /// Accumulator `l` adds the step's taps of lane `l`.
    Sum,
}

/// Banks of a weight memory, one for each load of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightBanks {
    /// Bits of a word, in all but the last.
    pub width: u32,
    /// Bits of a word of the last one.
    pub last: u32,
    /// How many there are.
    pub count: u32,
    /// Words of each: of one address, or of as many as one load brings.
    pub depth: u32,
}

/// What an engine is but for the values of its weights: enough to know what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineShape {
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
    /// Whether taps may be outside the image, by their rows and by their columns; whether they are is not tested where
    /// they may not.
    pub leaves: [bool; 2],
    /// What taps outside the image read; in the range of the word's lanes.
    pub pad_value: i64,
    /// Taps read in one step.
    pub parallel: ParallelTaps,
    /// The reduction.
    pub reduce: Reduce,
    /// Type of one accumulator, wide enough for every partial sum.
    pub accumulator: Ty,
    /// Steps of one result; with one, nothing is kept from step to step.
    pub steps: u32,
    /// The module's memories live in the large RAM from so many thousandths of a block RAM on that they free per large
    /// RAM, see [`crate::family::Family::ram_style`].
    pub large_from: Option<u32>,
}

/// A window memory with its reduction. Multiplication results, adder trees and accumulators are
/// registered; a result appears [`EngineShape::latency`] cycles after its last step was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// Unique among the module's names.
    pub name: String,
    /// Sizes and reduction.
    pub shape: EngineShape,
    /// Weights of all addresses in the order of [`Reduce`], zeros of a pattern included; none where they are loaded.
    pub weights: Vec<i16>,
    /// Signal of kind `EngineResult`: one lane per accumulator.
    pub result: SignalId,
    /// Signal of kind `EngineValid`: 1 in the cycle in which the result of a `last` step is
    /// readable. In other cycles the result is undefined.
    pub valid: SignalId,
}

impl Engine {
    /// The weight of an output at an address, for an element (tap by tap, lanes innermost) of a
    /// dense step.
    pub fn dense_weight(&self, address: u32, output: u32, element: u32) -> i16 {
        self.weights[((address * self.outputs() + output) * self.elements() + element) as usize]
    }

    /// Positions of the kept weights in a run of a dense step's elements; `None` if the weights
    /// do not keep to the pattern, or have none. `element` counts the processing elements of all
    /// addresses.
    pub fn kept_positions(&self, element: u32, run: u32) -> Option<Vec<u32>> {
        let pattern = self.pattern()?;
        let shared = self.outputs_per_element();
        let elements = self.outputs() / shared;
        let (address, first) = (element / elements, element % elements * shared);
        let start = run * u32::from(pattern.of);
        pattern.positions(|position| {
            (first..first + shared).any(|output| self.dense_weight(address, output, start + position) != 0)
        })
    }
}

impl Deref for Engine {
    type Target = EngineShape;

    fn deref(&self) -> &EngineShape {
        &self.shape
    }
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
    /// 1: the accumulators after this step are a result, and start anew with the next one (sums from 0, maxima from
    /// that step).
    pub last: Expr,
}

impl EngineShape {
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

    /// The pattern of the weights, if products are saved by one.
    pub fn pattern(&self) -> Option<NofM> {
        match self.reduce {
            Reduce::Dense { pattern, .. } => pattern,
            Reduce::Depthwise { .. } | Reduce::Max | Reduce::Sum => None,
        }
    }

    /// Whether weights are loaded rather than constant.
    pub fn is_loaded(&self) -> bool {
        self.products().is_some_and(|products| products.loaded.is_some())
    }

    /// How products are formed, if there are any.
    pub fn products(&self) -> Option<Products> {
        match self.reduce {
            Reduce::Dense { products, .. } | Reduce::Depthwise { products } => Some(products),
            Reduce::Max | Reduce::Sum => None,
        }
    }

    /// Accumulators of one processing element: two where they share multipliers.
    pub fn outputs_per_element(&self) -> u32 {
        match self.products() {
            Some(Products { multiplier: Multiplier::Paired, .. }) => 2,
            Some(_) | None => 1,
        }
    }

    /// Elements that each accumulator sees in one step.
    pub fn elements(&self) -> u32 {
        match self.reduce {
            Reduce::Dense { .. } => self.taps() * self.word.lanes,
            Reduce::Depthwise { .. } | Reduce::Max | Reduce::Sum => self.taps(),
        }
    }

    /// Terms that each accumulator adds (or compares) in one step: those elements whose weights
    /// are kept.
    pub fn terms(&self) -> u32 {
        self.pattern().map_or(self.elements(), |pattern| pattern.kept_of(self.elements()))
    }

    /// Products that hardware multipliers add in a chain.
    pub fn chain(&self) -> u32 {
        self.products().map_or(1, |products| products.chain)
    }

    /// Values that the tree of an accumulator adds (or compares) in one step: terms, or sums of a chain of them.
    pub fn sums(&self) -> u32 {
        self.terms().div_ceil(self.chain())
    }

    /// Products formed in one cycle.
    pub fn products_per_cycle(&self) -> u32 {
        match self.reduce {
            Reduce::Dense { .. } | Reduce::Depthwise { .. } => self.outputs() * self.terms(),
            Reduce::Max | Reduce::Sum => 0,
        }
    }

    /// Multipliers, in hardware or in logic; one that forms two products counts once.
    pub fn multipliers(&self) -> u32 {
        self.products_per_cycle() / self.outputs_per_element()
    }

    /// Addresses of the weight memory.
    pub fn weight_depth(&self) -> u32 {
        self.products().map_or(0, |products| products.addresses)
    }

    /// Values of [`Engine::weights`] at one address.
    pub fn weights_per_address(&self) -> u32 {
        self.products().map_or(0, |_| self.outputs() * self.elements())
    }

    /// Weights that one load brings, as fields from the lowest bit on; pairs stay together. 0 where weights are
    /// constants, or wider than what a load brings.
    pub fn weights_per_load(&self) -> u32 {
        let lanes = self.products().and_then(|products| Some(8 * products.loaded? / products.weight_bits));
        lanes.map_or(0, |lanes| lanes - lanes % self.outputs_per_element())
    }

    /// Loads of one address: each brings the next weights, and the last one what is left.
    pub fn loads_per_address(&self) -> u32 {
        match self.weights_per_load() {
            0 => 0,
            lanes => self.weights_per_address().div_ceil(lanes),
        }
    }

    /// Neighbouring addresses that one load brings, where their weights are few: a power of two.
    pub fn addresses_per_load(&self) -> u32 {
        let addresses = self.weights_per_load() / self.weights_per_address().max(1);
        if addresses > 1 { 1 << addresses.ilog2() } else { 1 }
    }

    /// Banks of a weight memory that is loaded.
    pub fn weight_banks(&self) -> WeightBanks {
        let stored = |weights: u32| weights / self.outputs_per_element() * self.weight_field_bits();
        let (all, each, loads) = (self.weights_per_address(), self.weights_per_load(), self.loads_per_address());
        let addresses = self.addresses_per_load();
        WeightBanks {
            width: stored(each.min(all)) * addresses,
            last: stored(all - loads.saturating_sub(1) * each) * addresses,
            count: loads,
            depth: self.weight_depth().div_ceil(addresses),
        }
    }

    /// Where the weight that is loaded at a position of its address stands in the order of [`Reduce`]: processing
    /// elements come one after the other, each with its terms, and a pair's two weights side by side.
    pub fn loaded_weight(&self, position: u32) -> u32 {
        let (shared, terms) = (self.outputs_per_element(), self.elements());
        let (element, within) = (position / (terms * shared), position % (terms * shared));
        match self.reduce {
            Reduce::Depthwise { .. } => within * self.outputs() + element,
            Reduce::Dense { .. } | Reduce::Max | Reduce::Sum => {
                (element * shared + within % shared) * terms + within / shared
            }
        }
    }

    /// What has to be loaded so that the engine has these weights, in the order of [`Reduce`]: load by load, address by
    /// address, [`Products::loaded`] bytes each.
    pub fn load_image(&self, weights: &[i16]) -> Vec<u8> {
        let Some(products) = self.products() else { return Vec::new() };
        let (bytes, bits) = (products.loaded.unwrap_or(0) as usize, products.weight_bits);
        let (lanes, all) = (self.weights_per_load(), self.weights_per_address().max(1));
        let mut image = Vec::new();
        for addresses in weights.chunks((self.addresses_per_load() * all) as usize) {
            for load in 0..self.loads_per_address() {
                let start = image.len();
                image.resize(start + bytes, 0u8);
                for lane in 0..lanes {
                    let (address, position) = self.loaded_place(load, lane);
                    let index = address * all + if position < all { self.loaded_weight(position) } else { continue };
                    let Some(weight) = addresses.get(index as usize) else { continue };
                    for bit in (0..bits).filter(|bit| weight >> bit & 1 == 1) {
                        let at = lane * bits + bit;
                        image[start + at as usize / 8] |= 1 << (at % 8);
                    }
                }
            }
        }
        image
    }

    /// Which of the addresses that come together the weight at a place of a load is for, and its position there; from
    /// the number of weights of an address on for none.
    pub fn loaded_place(&self, load: u32, lane: u32) -> (u32, u32) {
        let all = self.weights_per_address();
        match self.addresses_per_load() {
            1 => (0, load * self.weights_per_load() + lane),
            addresses if lane < addresses * all => (lane / all, lane % all),
            _ => (0, all),
        }
    }

    /// Bits of a product.
    pub fn product_bits(&self) -> u32 {
        self.word.bits + self.products().map_or(0, |products| products.weight_bits)
    }

    /// Bits that a word of the weight memory has for one term of one processing element. A pair
    /// of weights is kept as `w0` and above it `w1`, less one where `w0` is negative: sign
    /// extension of `w0` then makes the factor `w1 * 2^k + w0` without an adder.
    pub fn weight_field_bits(&self) -> u32 {
        match self.products() {
            Some(Products { multiplier: Multiplier::Paired, weight_bits, .. }) => 2 * weight_bits + 1,
            Some(Products { weight_bits, .. }) => weight_bits,
            None => 0,
        }
    }

    /// Bits of a word of the weight memory: weights, and positions where there is a pattern.
    pub fn weight_word_bits(&self) -> u32 {
        let position = self.pattern().map_or(0, NofM::index_bits);
        match self.products() {
            Some(_) => self.multipliers() * (self.weight_field_bits() + position),
            None => 0,
        }
    }

    /// Signed widths of the factors of a multiplier.
    pub fn factor_bits(&self) -> [u32; 2] {
        let element = self.word.bits + u32::from(!self.word.signed);
        let weight_bits = self.products().map_or(0, |products| products.weight_bits);
        match self.outputs_per_element() {
            1 => [weight_bits, element],
            _ => [self.products().map_or(0, |products| products.pairing.gap) + weight_bits + 1, element],
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
        let mut terms = self.sums();
        let mut levels = 0;
        while terms > 1 {
            terms = terms.div_ceil(3);
            levels += 1;
        }
        levels
    }

    /// Registers between the selected taps and the products: one where positions select the
    /// elements that kept weights meet.
    pub fn gather_stages(&self) -> u32 {
        u32::from(self.pattern().is_some())
    }

    /// Registers between the factors and the tree: products are registered twice, once beside
    /// the multiplier (or between the adders of one in logic) and once on the way to the tree.
    pub fn product_stages(&self) -> u32 {
        match (self.products(), self.chain()) {
            (None, _) => 1,
            (Some(_), 1) => 2,
            (Some(_), chain) => chain + self.outputs_per_element(),
        }
    }

    /// Cycles from the issue of a `last` step to [`Engine::valid`]: address, memory, tap
    /// selection, gathering, products, tree levels, accumulator.
    pub fn latency(&self) -> u32 {
        4 + self.gather_stages() + self.product_stages() + self.tree_levels()
    }
}
