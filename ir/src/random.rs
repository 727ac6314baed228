//! SplitMix64: a small generator of pseudo-random numbers whose sequence never changes; and random
//! inputs for an integer graph.

use crate::{Graph, Tensor};

/// State of the generator. Every seed is a good one.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator with its own sequence for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number from `lo` to `hi`, both included; `lo <= hi`.
    pub fn between(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    /// An integer from `lo` to `hi`, both included; `lo <= hi`.
    pub fn integer(&mut self, lo: i32, hi: i32) -> i32 {
        let width = (i64::from(hi) - i64::from(lo) + 1) as usize;
        (i64::from(lo) + self.below(width) as i64) as i32
    }

    /// A real in `[lo, hi)`.
    pub fn real(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * ((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the choices, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// One tensor for each input of an integer graph, in order; the same for the same seed.
///
/// Mostly uniform values with the type's extremes among them; now and then a tensor is all
/// smallest or all largest values, alternates between the two, or is a ramp.
///
/// # Panics
/// If an input is not an integer tensor.
pub fn random_inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut random = SplitMix64::new(seed);
    let types = graph.inputs().iter().map(|&id| &graph.node(id).ty);
    types
        .map(|ty| {
            let (lo, hi) = ty.element.range().expect("invariant: the inputs of an integer graph are integers");
            let (lo, hi) = (lo as i32, hi as i32);
            let pattern = random.below(16);
            let data: Vec<i32> = (0..ty.count())
                .map(|index| match pattern {
                    0 => lo,
                    1 => hi,
                    2 => [lo, hi][index % 2],
                    3 => (i64::from(lo) + index as i64 % (i64::from(hi) - i64::from(lo) + 1)) as i32,
                    _ if random.chance(10) => random.pick(&[lo, hi]),
                    _ => random.integer(lo, hi),
                })
                .collect();
            Tensor::int(ty.shape.clone(), data)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_is_the_published_one() {
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!([random.bits(), random.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = SplitMix64::new(0);
        let drawn: Vec<i32> = (0..1000).map(|_| random.integer(-3, 4)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&-3), Some(&4)));
        assert!((0..1000).map(|_| random.real(-1.0, 2.0)).all(|real| (-1.0..2.0).contains(&real)));
        assert_eq!(random.integer(i32::MIN, i32::MIN), i32::MIN);
    }
}
