//! Chance: a stream for each case, the same on every machine.

use lutweave_ir::random::SplitMix64;

/// A stream of random numbers.
pub struct Random(SplitMix64);

impl Random {
    /// The stream of a case.
    pub fn new(seed: u64, case: u64) -> Self {
        let mut random = Self(SplitMix64::new(seed ^ case.wrapping_mul(0x2545_f491_4f6c_dd1d)));
        random.next();
        random
    }

    /// A number.
    pub fn next(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number below a bound, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
