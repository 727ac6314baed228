//! Sparsity of each layer by the usual baselines: how many weights every layer keeps.

use lutweave_ir::diagnostic::Diagnostic;

/// Bisection steps on the scale of densities; more than the bits of a double's mantissa and exponent range used.
const STEPS: usize = 200;

/// What a baseline needs to know of a layer.
#[derive(Clone, Copy, Debug)]
pub struct PrunableLayer<'a> {
    /// All weights.
    pub weights: &'a [f32],
    /// Outputs, kernel height, kernel width, inputs (per group).
    pub shape: [usize; 4],
    /// Multiply-accumulate operations per inference for each weight: the output positions that use it.
    pub macs_per_weight: u64,
}

/// How the kept weights are spread over layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The same density everywhere.
    Uniform,
    /// The largest magnitudes of the whole network.
    Magnitude,
    /// The largest scores of the whole network; a weight's score is its square over the sum of squares of the weights
    /// of its layer that are at least as large (Lee et al., ICLR 2021, arXiv 2010.07611).
    Lamp,
    /// Erdos-Renyi-kernel: densities in proportion to (outputs + inputs + kernel height + kernel width) over their
    /// product, capped at 1 (Evci et al., ICML 2020, arXiv 1911.11134).
    Erk,
}

/// What is to be kept, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This share of all weights.
    Weights(f64),
    /// This share of all multiply-accumulate operations.
    Macs(f64),
}

/// The number of weights that each layer keeps: as many as the target admits, at least one per layer. Counts follow the
/// order of scores, or of densities; ties go to the earlier layer and weight.
///
/// # Errors
/// A share outside 0 to 1, a layer without weights or with a shape of another size, or a weight that is not finite.
pub fn allocate(method: Method, layers: &[PrunableLayer<'_>], target: Target) -> Result<Vec<usize>, Diagnostic> {
    let share = match target {
        Target::Weights(share) | Target::Macs(share) => share,
    };
    if !(0.0..=1.0).contains(&share) {
        return Err(Diagnostic::error("share-out-of-range", format!("the share to keep is {share}"))
            .help("give a number from 0 to 1"));
    }
    for (index, layer) in layers.iter().enumerate() {
        let name = format!("layer {index}");
        let size = layer.shape.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
        if layer.weights.is_empty() || size != Some(layer.weights.len()) {
            let count = layer.weights.len();
            return Err(Diagnostic::error(
                "weight-count-mismatch",
                format!("a layer of shape {:?} has {count} weights", layer.shape),
            )
            .at(name));
        }
        if layer.weights.iter().any(|weight| !weight.is_finite()) {
            return Err(Diagnostic::error("weight-not-finite", "a weight is infinite or not a number").at(name));
        }
    }
    let cost = |layer: usize| match target {
        Target::Weights(_) => 1,
        Target::Macs(_) => layers[layer].macs_per_weight,
    };
    let total: u128 = (0..layers.len()).map(|l| u128::from(cost(l)) * layers[l].weights.len() as u128).sum();
    let room = (total as f64 * share).round() as u128;
    let costs: Vec<u64> = (0..layers.len()).map(cost).collect();
    let sizes: Vec<usize> = layers.iter().map(|layer| layer.weights.len()).collect();
    Ok(match method {
        Method::Uniform => by_density(&sizes, &costs, &vec![1.0; layers.len()], room),
        Method::Erk => by_density(&sizes, &costs, &layers.iter().map(kernel_density).collect::<Vec<f64>>(), room),
        Method::Magnitude => by_score(&costs, layers.iter().map(magnitudes).collect(), room),
        Method::Lamp => by_score(&costs, layers.iter().map(lamp_scores).collect(), room),
    })
}

/// Density of a layer up to the common scale.
fn kernel_density(layer: &PrunableLayer<'_>) -> f64 {
    let sum: f64 = layer.shape.iter().map(|&extent| extent as f64).sum();
    sum / layer.shape.iter().map(|&extent| extent as f64).product::<f64>()
}

/// Magnitudes, largest first.
fn magnitudes(layer: &PrunableLayer<'_>) -> Vec<f64> {
    let mut sorted: Vec<f64> = layer.weights.iter().map(|&weight| f64::from(weight).abs()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted
}

/// Scores, largest first. The sum for the i-th largest weight runs over the first i of the sorted weights, as in the
/// authors' code.
fn lamp_scores(layer: &PrunableLayer<'_>) -> Vec<f64> {
    let mut sum = 0.0;
    let score = |magnitude: f64| {
        sum += magnitude * magnitude;
        if sum > 0.0 { magnitude * magnitude / sum } else { 0.0 }
    };
    magnitudes(layer).into_iter().map(score).collect()
}

/// Takes weights in the order of scores while they fit into `room`, after one of each layer.
fn by_score(costs: &[u64], scores: Vec<Vec<f64>>, room: u128) -> Vec<usize> {
    let mut kept = vec![1usize; costs.len()];
    let mut used: u128 = costs.iter().map(|&cost| u128::from(cost)).sum();
    let rest = scores.iter().enumerate().flat_map(|(layer, scores)| scores.iter().skip(1).map(move |&s| (s, layer)));
    let mut order: Vec<(f64, usize)> = rest.collect();
    // Stable: equal scores keep the order of layers and, within a layer, of ranks.
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, layer) in order {
        used += u128::from(costs[layer]);
        if used > room {
            break;
        }
        kept[layer] += 1;
    }
    kept
}

/// The largest common scale of densities, each capped at 1, whose counts fit into `room`; then single weights by
/// largest fraction while they fit.
fn by_density(sizes: &[usize], costs: &[u64], densities: &[f64], room: u128) -> Vec<usize> {
    let exact = |scale: f64, layer: usize| (densities[layer] * scale).min(1.0) * sizes[layer] as f64;
    let counts = |scale: f64| -> Vec<usize> {
        (0..sizes.len()).map(|layer| (exact(scale, layer).floor() as usize).clamp(1, sizes[layer])).collect()
    };
    let used = |counts: &[usize]| -> u128 { counts.iter().zip(costs).map(|(&n, &c)| n as u128 * u128::from(c)).sum() };
    let least = densities.iter().copied().fold(f64::INFINITY, f64::min);
    // At the upper end every layer is dense.
    let (mut low, mut high) = (0.0, if least.is_finite() { 2.0 / least } else { 1.0 });
    if used(&counts(high)) <= room {
        return counts(high);
    }
    for _ in 0..STEPS {
        let middle = 0.5 * (low + high);
        if used(&counts(middle)) <= room { low = middle } else { high = middle }
    }
    let mut kept = counts(low);
    let mut order: Vec<(f64, usize)> =
        (0..sizes.len()).map(|layer| (exact(low, layer) - kept[layer] as f64, layer)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut total = used(&kept);
    for (_, layer) in order {
        let cost = u128::from(costs[layer]);
        if kept[layer] < sizes[layer] && total + cost <= room {
            kept[layer] += 1;
            total += cost;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Method, PrunableLayer, Target, allocate};

    const METHODS: [Method; 4] = [Method::Uniform, Method::Magnitude, Method::Lamp, Method::Erk];

    fn layer(weights: &[f32], shape: [usize; 4], macs_per_weight: u64) -> PrunableLayer<'_> {
        PrunableLayer { weights, shape, macs_per_weight }
    }

    proptest! {
        #[test]
        fn counts_are_in_range_and_hit_the_target(
            data in prop::collection::vec((prop::collection::vec(-1.0f32..1.0, 1..40), 1u64..50), 1..6),
            share in 0.0f64..=1.0,
        ) {
            let layers: Vec<_> = data.iter().map(|(w, macs)| layer(w, [w.len(), 1, 1, 1], *macs)).collect();
            for method in METHODS {
                for target in [Target::Weights(share), Target::Macs(share)] {
                    let kept = allocate(method, &layers, target).unwrap();
                    let cost = |l: usize| if matches!(target, Target::Macs(_)) { data[l].1 } else { 1 };
                    let used: u64 = (0..data.len()).map(|l| kept[l] as u64 * cost(l)).sum();
                    let all: u64 = (0..data.len()).map(|l| data[l].0.len() as u64 * cost(l)).sum();
                    let room = (all as f64 * share).round() as u64;
                    let least: u64 = (0..data.len()).map(cost).sum();
                    let largest = (0..data.len()).map(cost).max().unwrap();
                    prop_assert!((0..data.len()).all(|l| (1..=data[l].0.len()).contains(&kept[l])));
                    prop_assert!(used <= room.max(least));
                    // One more weight of the costliest layer would not fit, up to one weight of each layer.
                    let slack = if matches!(method, Method::Uniform | Method::Erk) { least + largest } else { largest };
                    prop_assert!(used + slack >= room, "{method:?} {target:?} {kept:?} {used} {room}");
                    if matches!(target, Target::Weights(_)) && room >= least {
                        prop_assert_eq!(used, room);
                    }
                }
            }
        }
    }

    #[test]
    fn magnitude_and_lamp_differ_as_published() {
        // The second layer is the first, scaled: magnitude starves it, LAMP scores are scale free.
        let large = [4.0, 3.0, 2.0, 1.0];
        let small = [0.4, -0.3, 0.2, 0.1];
        let layers = [layer(&large, [4, 1, 1, 1], 1), layer(&small, [4, 1, 1, 1], 1)];
        assert_eq!(allocate(Method::Magnitude, &layers, Target::Weights(0.5)).unwrap(), [3, 1]);
        assert_eq!(allocate(Method::Lamp, &layers, Target::Weights(0.5)).unwrap(), [2, 2]);
    }

    #[test]
    fn lamp_scores_follow_the_formula() {
        let scores = super::lamp_scores(&layer(&[1.0, -3.0, 2.0], [3, 1, 1, 1], 1));
        assert_eq!(scores, [1.0, 4.0 / 13.0, 1.0 / 14.0]);
    }

    #[test]
    fn erk_caps_at_dense_and_shares_the_rest() {
        let dense = vec![1.0f32; 16];
        let wide = vec![1.0f32; 4096];
        let layers = [layer(&dense, [4, 2, 2, 1], 1), layer(&wide, [64, 1, 1, 64], 1)];
        // Raw densities 9/16 and 130/4096: at half of the weights the small layer is capped at 1.
        assert_eq!(allocate(Method::Erk, &layers, Target::Weights(0.5)).unwrap(), [16, 2040]);
        assert_eq!(allocate(Method::Uniform, &layers, Target::Weights(0.5)).unwrap(), [8, 2048]);
        // At a small share the ratio of densities is that of the raw ones.
        let kept = allocate(Method::Erk, &layers, Target::Weights(0.02)).unwrap();
        let ratio = (kept[0] as f64 / 16.0) / (kept[1] as f64 / 4096.0);
        assert!((ratio / ((9.0 / 16.0) / (130.0 / 4096.0)) - 1.0).abs() < 0.15, "{kept:?}");
    }

    #[test]
    fn refuses_bad_input() {
        let weights = [1.0, f32::NAN];
        let code = |layer, target| allocate(Method::Uniform, &[layer], target).unwrap_err().code;
        assert_eq!(code(layer(&weights, [2, 1, 1, 1], 1), Target::Weights(0.5)), "weight-not-finite");
        assert_eq!(code(layer(&weights[..1], [2, 1, 1, 1], 1), Target::Weights(0.5)), "weight-count-mismatch");
        assert_eq!(code(layer(&weights[..1], [1, 1, 1, 1], 1), Target::Macs(1.5)), "share-out-of-range");
        assert!(allocate(Method::Lamp, &[], Target::Macs(0.5)).unwrap().is_empty());
    }
}
