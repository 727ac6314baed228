//! Random values for the inputs of an integer graph.

use super::splitmix::SplitMix64;
use lutweave_ir::{Graph, Tensor};

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
