//! One setting a layer under one additive budget, by dynamic programming.

use lutweave_ir::diagnostic::Diagnostic;

/// One setting of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Size, in any additive unit: weights kept, cycles, bytes.
    pub cost: u64,
    /// Distortion of the output, in the caller's fixed point.
    pub distortion: u64,
}

/// The settings with the least sum of distortions whose costs add up to at most `budget`; `None` if there are none.
///
/// The dynamic program of layer-adaptive pruning by rate and distortion (ICCV 2023, arXiv 2308.10438), with costs
/// gridded into `buckets`. A cost above its layer's cheapest is rounded up, so the budget always holds; the cheapest
/// selection is always found; and with `buckets >= budget - sum of cheapest costs` the answer is exact.
///
/// # Errors
/// A layer without settings, or no buckets.
pub fn least_distortion(
    layers: &[Vec<Setting>],
    budget: u64,
    buckets: usize,
) -> Result<Option<Vec<usize>>, Diagnostic> {
    knapsack(layers, budget, buckets, |setting| (setting.cost, setting.distortion))
}

/// The settings with the least sum of costs whose distortions add up to at most `budget`; `None` if there are none.
///
/// The dynamic program of L-GreCo (arXiv 2210.17357), with distortions rounded up above each layer's least: zero stays
/// zero, and the budget always holds. Otherwise as [`least_distortion`].
///
/// # Errors
/// A layer without settings, or no buckets.
pub fn least_size(layers: &[Vec<Setting>], budget: u64, buckets: usize) -> Result<Option<Vec<usize>>, Diagnostic> {
    knapsack(layers, budget, buckets, |setting| (setting.distortion, setting.cost))
}

/// Least sum of values with the sum of weights at most `budget`; `roles` gives (weight, value).
fn knapsack(
    layers: &[Vec<Setting>],
    budget: u64,
    buckets: usize,
    roles: impl Fn(&Setting) -> (u64, u64),
) -> Result<Option<Vec<usize>>, Diagnostic> {
    if let Some(index) = layers.iter().position(Vec::is_empty) {
        return Err(Diagnostic::error("layer-without-settings", format!("layer {index} has no setting to choose")));
    }
    if buckets == 0 {
        return Err(Diagnostic::error("no-buckets", "the budget is divided into no buckets").help("use 10000 buckets"));
    }
    let tables: Vec<Vec<(u64, u64)>> = layers.iter().map(|layer| layer.iter().map(&roles).collect()).collect();
    let lightest: Vec<u64> = tables.iter().map(|t| t.iter().map(|&(weight, _)| weight).min().unwrap_or(0)).collect();
    let Some(spare) = u128::from(budget).checked_sub(lightest.iter().map(|&weight| u128::from(weight)).sum()) else {
        return Ok(None);
    };
    let spare = spare as u64;
    let width = spare.div_ceil(buckets as u64).max(1);
    let capacity = (spare / width) as usize;
    // best[c]: least value of the layers so far with at most c buckets; choice[layer][c]: the setting used for it.
    let mut best = vec![0u128; capacity + 1];
    let mut choice: Vec<Vec<u32>> = Vec::with_capacity(tables.len());
    for (table, &least) in tables.iter().zip(&lightest) {
        let settings: Vec<(usize, u64, u32)> = (table.iter().zip(0u32..))
            .map(|(&(weight, value), index)| ((weight - least).div_ceil(width), value, index))
            .filter(|&(weight, ..)| weight <= capacity as u64)
            .map(|(weight, value, index)| (weight as usize, value, index))
            .collect();
        let mut next = vec![u128::MAX; capacity + 1];
        let mut chosen = vec![0u32; capacity + 1];
        for &(weight, value, index) in &settings {
            for (c, &before) in (weight..).zip(&best[..=capacity - weight]) {
                let total = before + u128::from(value);
                if total < next[c] {
                    next[c] = total;
                    chosen[c] = index;
                }
            }
        }
        best = next;
        choice.push(chosen);
    }
    let mut left = capacity;
    let mut selection = vec![0usize; tables.len()];
    for layer in (0..tables.len()).rev() {
        let setting = choice[layer][left] as usize;
        selection[layer] = setting;
        left -= (tables[layer][setting].0 - lightest[layer]).div_ceil(width) as usize;
    }
    spend(&tables, budget, &mut selection);
    Ok(Some(selection))
}

/// Uses what rounding left of the budget: changes one layer at a time, the largest gain in value first.
fn spend(tables: &[Vec<(u64, u64)>], budget: u64, selection: &mut [usize]) {
    loop {
        let used: u128 = tables.iter().zip(&*selection).map(|(table, &s)| u128::from(table[s].0)).sum();
        let mut best: Option<(u64, usize, usize)> = None;
        for (layer, table) in tables.iter().enumerate() {
            let (weight, value) = table[selection[layer]];
            for (setting, &(other, candidate)) in table.iter().enumerate() {
                let fits = used - u128::from(weight) + u128::from(other) <= u128::from(budget);
                if fits && candidate < value && best.is_none_or(|(gain, ..)| value - candidate > gain) {
                    best = Some((value - candidate, layer, setting));
                }
            }
        }
        let Some((_, layer, setting)) = best else { return };
        selection[layer] = setting;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Setting, least_distortion, least_size};

    fn totals(layers: &[Vec<Setting>], selection: &[usize]) -> (u64, u64) {
        let chosen = || layers.iter().zip(selection).map(|(layer, &s)| layer[s]);
        (chosen().map(|s| s.cost).sum(), chosen().map(|s| s.distortion).sum())
    }

    fn all(layers: &[Vec<Setting>]) -> Vec<(u64, u64)> {
        layers.iter().fold(vec![(0, 0)], |sums, layer| {
            sums.iter().flat_map(|&(c, d)| layer.iter().map(move |s| (c + s.cost, d + s.distortion))).collect()
        })
    }

    fn tables() -> impl Strategy<Value = Vec<Vec<Setting>>> {
        let setting = (0u64..60, 0u64..60).prop_map(|(cost, distortion)| Setting { cost, distortion });
        prop::collection::vec(prop::collection::vec(setting, 1..6), 0..6)
    }

    proptest! {
        #[test]
        fn equals_brute_force_with_exact_buckets(layers in tables(), budget in 0u64..250) {
            let sums = all(&layers);
            let best = sums.iter().filter(|sum| sum.0 <= budget).map(|sum| sum.1).min();
            let found = least_distortion(&layers, budget, 1000).unwrap().map(|s| totals(&layers, &s));
            prop_assert_eq!(found.map(|t| t.1), best);
            prop_assert!(found.is_none_or(|t| t.0 <= budget));
            let best = sums.iter().filter(|sum| sum.1 <= budget).map(|sum| sum.0).min();
            let found = least_size(&layers, budget, 1000).unwrap().map(|s| totals(&layers, &s));
            prop_assert_eq!(found.map(|t| t.0), best);
            prop_assert!(found.is_none_or(|t| t.1 <= budget));
        }

        #[test]
        fn coarse_buckets_keep_the_budget_and_find_what_exists(layers in tables(), budget in 0u64..250) {
            let exists = all(&layers).iter().any(|sum| sum.0 <= budget);
            let found = least_distortion(&layers, budget, 7).unwrap().map(|s| totals(&layers, &s));
            prop_assert_eq!(found.is_some(), exists);
            prop_assert!(found.is_none_or(|t| t.0 <= budget));
        }
    }

    #[test]
    fn zero_error_costs_nothing_of_a_coarse_grid() {
        // 300 exact layers: rounding each up to a bucket would leave no room for the last one.
        let exact = vec![Setting { cost: 1, distortion: 0 }, Setting { cost: 9, distortion: 0 }];
        let mut layers = vec![exact; 300];
        layers.push(vec![Setting { cost: 5, distortion: 1000 }, Setting { cost: 50, distortion: 0 }]);
        let selection = least_size(&layers, 1000, 10).unwrap().unwrap();
        assert_eq!(totals(&layers, &selection), (305, 1000));
    }

    #[test]
    fn refuses_empty_layers_and_no_buckets() {
        assert_eq!(least_distortion(&[vec![]], 1, 10).unwrap_err().code, "layer-without-settings");
        assert_eq!(least_distortion(&[], 1, 0).unwrap_err().code, "no-buckets");
    }
}
