//! What compression promises, on layers with random weights and correlated inputs.

use super::*;
use lutweave_ir::op::Geometry;
use lutweave_testing::property::cases;
use proptest::prelude::*;

/// A small deterministic generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn reals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.real()).collect()
    }
}

#[derive(Debug)]
struct Layer {
    shape: [usize; 4],
    groups: usize,
    real: Vec<f32>,
    statistics: Statistics,
}

impl Layer {
    /// Images whose channels and neighbours are alike; `dead` of their channels are 0.
    fn new(seed: u64, [outputs, kernel, channels, groups]: [usize; 4], dead: usize, centred: bool) -> Self {
        let mut random = Random(seed);
        let shape = [outputs, kernel, kernel, channels / groups];
        let real = random.reals(shape.iter().product());
        let (side, count) = (6, 12);
        let inputs: Vec<Vec<f32>> = (0..count)
            .map(|_| {
                let mut image = Vec::new();
                let mut row = 0.0f32;
                for _ in 0..side * side {
                    row = 0.7 * row + random.real();
                    for channel in 0..channels {
                        let value = (row + 0.5 * random.real() + 0.2).max(0.0);
                        image.push(if channel < dead { 0.0 } else { value });
                    }
                }
                image
            })
            .collect();
        let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [kernel / 2; 4], groups };
        let patch = Patch::new([side, side, channels], [kernel, kernel], &geometry);
        let statistics = Statistics::new(&patch, groups, &inputs, centred);
        Self { shape, groups, real, statistics }
    }

    fn weights(&self) -> LayerWeights<'_> {
        LayerWeights { shape: self.shape, groups: self.groups, real: &self.real }
    }

    fn pruner(&self) -> LayerCompressor<'_> {
        LayerCompressor::new(self.weights(), &self.statistics)
    }

    fn error(&self, other: &[f32]) -> f64 {
        let weights = self.weights();
        let taps = weights.taps();
        (0..weights.outputs())
            .map(|output| {
                let range = output * taps..(output + 1) * taps;
                let difference: Vec<f64> =
                    self.real[range.clone()].iter().zip(&other[range]).map(|(a, b)| f64::from(a - b)).collect();
                self.statistics.groups()[weights.group(output)].square(&difference)
            })
            .sum()
    }

    fn masked(&self, mask: &[bool]) -> Vec<f32> {
        self.real.iter().zip(mask).map(|(&w, &kept)| if kept { w } else { 0.0 }).collect()
    }
}

fn kept(mask: &[bool]) -> usize {
    mask.iter().filter(|kept| **kept).count()
}

/// Every group of input channels of every tap holds as many as it may.
fn follows(mask: &[bool], shape: [usize; 4], (limit, of): (u8, u8)) -> bool {
    mask.chunks_exact(shape[3])
        .all(|tap| tap.chunks(usize::from(of)).all(|group| kept(group) == usize::from(limit).min(group.len())))
}

fn layers() -> impl Strategy<Value = Layer> {
    let shapes = prop_oneof![
        (1usize..9, 1usize..13).prop_map(|(o, c)| [o, 3, c, 1]),
        (1usize..9, 1usize..40).prop_map(|(o, c)| [o, 1, c, 1]),
        (1usize..6).prop_map(|c| [c, 3, c, c]),
        (1usize..4).prop_map(|c| [4 * c, 3, 6, 2]),
    ];
    (any::<u64>(), shapes, 0usize..3, any::<bool>())
        .prop_map(|(seed, shape, dead, centred)| Layer::new(seed, shape, dead, centred))
}

fn patterns() -> impl Strategy<Value = (u8, u8)> {
    prop_oneof![Just((1, 4)), Just((2, 4)), Just((3, 4)), Just((1, 8)), Just((2, 8)), Just((4, 8)), Just((0, 4))]
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn masks_follow_their_pattern_and_a_refit_never_errs_more(
        layer in layers(), pattern in patterns(), share in 0.0f64..=1.0, rows in 1usize..3,
    ) {
        let pruner = layer.pruner();
        let (limit, of) = pattern;
        let mask = pruner.mask(&Pattern::NofM { kept: limit, of }, rows);
        prop_assert!(follows(&mask, layer.shape, pattern));
        if rows == 2 && layer.weights().outputs_per_group().is_multiple_of(2) {
            let taps = layer.weights().taps();
            prop_assert!(mask.chunks_exact(2 * taps).all(|pair| pair[..taps] == pair[taps..]));
            prop_assert_eq!(pruner.refit(&mask, 2), pruner.refit(&mask, 1));
        }
        let count = (share * layer.real.len() as f64) as usize;
        let free = pruner.mask(&Pattern::Free { kept: count }, rows);
        prop_assert_eq!(kept(&free), count);
        for mask in [mask, free] {
            let fitted = pruner.refit(&mask, 1);
            prop_assert!(fitted.iter().zip(&mask).all(|(w, kept)| *kept || *w == 0.0));
            let (before, after) = (layer.error(&layer.masked(&mask)), layer.error(&fitted));
            prop_assert!(after <= before * (1.0 + 1e-6) + 1e-9, "{after} {before}");
        }
    }

    #[test]
    fn integers_are_within_range_and_zero_where_masked(
        layer in layers(), pattern in patterns(), bits in prop_oneof![Just(4u8), Just(8u8)],
        rounding in prop_oneof![Just(Rounding::Nearest), Just(Rounding::Gptq), Just(Rounding::Obq)],
    ) {
        let setting = WeightConfig { bits, pattern: Pattern::NofM { kept: pattern.0, of: pattern.1 } };
        let options = Options { rounding, ..Options::default() };
        let result = compress(layer.weights(), &layer.statistics, &setting, &options);
        prop_assert!(follows(&result.mask, layer.shape, pattern));
        prop_assert!(result.integers.iter().zip(&result.mask).all(|(q, kept)| *kept || *q == 0));
        let highest = (1 << (bits - 1)) - 1;
        prop_assert!(result.integers.iter().all(|q| (-highest - 1..=highest).contains(q)));
        prop_assert!(result.scales.iter().all(|scale| scale.is_finite() && *scale > 0.0));
        let error = layer.error(&result.real());
        prop_assert!((result.error - error).abs() <= 1e-3 * error + 1e-6, "{} {error}", result.error);
    }

    #[test]
    fn learned_rounding_never_errs_more_than_the_nearest(layer in layers(), bits in 2u8..5) {
        let error = |rounding, descent| {
            let options = Options { rounding, descent, ..Options::default() };
            compress(layer.weights(), &layer.statistics, &WeightConfig::dense(bits), &options).error
        };
        let nearest = error(Rounding::Nearest, false);
        for rounding in [Rounding::Gptq, Rounding::Obq] {
            let plain = error(rounding, false);
            let descended = error(rounding, true);
            prop_assert!(plain <= nearest * (1.0 + 1e-9), "{plain} {nearest}");
            prop_assert!(descended <= nearest * (1.0 + 1e-9), "{descended} {nearest}");
        }
    }
}

#[test]
fn gptq_and_obq_are_well_ahead_on_correlated_inputs() {
    let (mut nearest, mut gptq, mut obq) = (0.0, 0.0, 0.0);
    for seed in 0..6 {
        let layer = Layer::new(seed, [8, 3, 8, 1], 0, true);
        let error = |rounding| {
            let options = Options { rounding, descent: false, ..Options::default() };
            compress(layer.weights(), &layer.statistics, &WeightConfig::dense(4), &options).relative_error
        };
        nearest += error(Rounding::Nearest);
        gptq += error(Rounding::Gptq);
        obq += error(Rounding::Obq);
    }
    assert!(gptq < 0.75 * nearest, "{gptq} {nearest}");
    assert!(obq < gptq, "{obq} {gptq}");
}

#[test]
fn exact_masks_err_less_than_those_of_magnitudes() {
    let (mut exact, mut magnitude) = (0.0, 0.0);
    for seed in 0..6 {
        let layer = Layer::new(seed, [6, 3, 8, 1], 1, true);
        let pruner = layer.pruner();
        let half = layer.real.len() / 2;
        let mask = pruner.mask(&Pattern::Free { kept: half }, 1);
        exact += layer.error(&pruner.refit(&mask, 1));
        let mut order: Vec<usize> = (0..layer.real.len()).collect();
        order.sort_by(|&a, &b| layer.real[b].abs().total_cmp(&layer.real[a].abs()));
        let mut mask = vec![false; layer.real.len()];
        order[..half].iter().for_each(|&index| mask[index] = true);
        magnitude += layer.error(&pruner.refit(&mask, 1));
    }
    assert!(exact < 0.9 * magnitude, "{exact} {magnitude}");
}

#[test]
fn wide_layers_are_pruned_by_sweeps() {
    let layer = Layer::new(3, [4, 1, 648, 1], 2, false);
    let pruner = layer.pruner();
    assert!(!pruner.exact());
    let half = layer.real.len() / 2;
    let free = pruner.mask(&Pattern::Free { kept: half }, 1);
    assert_eq!(kept(&free), half);
    let pattern = pruner.mask(&Pattern::NofM { kept: 4, of: 8 }, 2);
    assert!(follows(&pattern, layer.shape, (4, 8)));
    for mask in [free, pattern] {
        let naive: Vec<bool> = (0..mask.len()).map(|index| index % 2 == 0).collect();
        let (ours, theirs) = (layer.error(&pruner.refit(&mask, 1)), layer.error(&pruner.refit(&naive, 1)));
        assert!(ours < 0.8 * theirs, "{ours} {theirs}");
    }
    let setting = WeightConfig { bits: 4, pattern: Pattern::NofM { kept: 4, of: 8 } };
    let result = pruner.compress(&setting, &Options { rounding: Rounding::Obq, ..Options::default() });
    assert!(follows(&result.mask, layer.shape, (4, 8)) && result.relative_error < 0.5, "{}", result.relative_error);
}

#[test]
fn very_wide_layers_are_judged_by_squares_alone() {
    let mut layer = Layer::new(5, [4, 1, 1602, 1], 800, true);
    assert!(layer.statistics.groups()[0].is_diagonal());
    // What is always 0 goes first, however large its weights are.
    (0..4).for_each(|output| layer.real[output * 1602..output * 1602 + 800].fill(1.0));
    let pruner = layer.pruner();
    let free = pruner.mask(&Pattern::Free { kept: 3000 }, 1);
    assert_eq!(kept(&free), 3000);
    let always_zero = free.iter().enumerate().filter(|(index, kept)| **kept && index % 1602 < 800).count();
    assert!(always_zero < 400, "{always_zero}");
    for (limit, of, rows) in [(2, 4, 2), (1, 8, 1)] {
        let mask = pruner.mask(&Pattern::NofM { kept: limit, of }, rows);
        assert!(follows(&mask, layer.shape, (limit, of)));
        assert!(rows == 1 || mask[..1602] == mask[1602..3204]);
    }
    let setting = WeightConfig { bits: 4, pattern: Pattern::NofM { kept: 4, of: 8 } };
    let result = pruner.compress(&setting, &Options { rounding: Rounding::Obq, ..Options::default() });
    assert!(result.integers.iter().zip(&result.mask).all(|(q, kept)| *kept || *q == 0));
    let dense = pruner.compress(&WeightConfig::dense(8), &Options::default());
    assert!(dense.relative_error < 1e-3 && dense.relative_error < result.relative_error);
    assert_eq!(pruner.refit(&free, 1), layer.masked(&free));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let layer = Layer::new(9, [10, 3, 9, 1], 1, true);
            let pruner = layer.pruner();
            let settings = [
                WeightConfig::dense(4),
                WeightConfig { bits: 4, pattern: Pattern::NofM { kept: 4, of: 8 } },
                WeightConfig { bits: 8, pattern: Pattern::Free { kept: 300 } },
            ];
            settings.map(|setting| pruner.compress(&setting, &Options::default()))
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn empty_statistics_and_zero_weights_do_no_harm() {
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let patch = Patch::new([4, 4, 5], [1, 1], &geometry);
    let constant = vec![vec![1.0f32; 80]; 3];
    for inputs in [vec![], vec![vec![0.0f32; 80]], constant] {
        let statistics = Statistics::new(&patch, 1, &inputs, true);
        let mut real = vec![0.0f32; 15];
        real[5..10].copy_from_slice(&[0.5, -0.25, 0.0, 1.0, 0.125]);
        let weights = LayerWeights { shape: [3, 1, 1, 5], groups: 1, real: &real };
        for pattern in
            [Pattern::Dense, Pattern::Free { kept: 3 }, Pattern::NofM { kept: 1, of: 4 }, Pattern::Free { kept: 0 }]
        {
            let result = compress(weights, &statistics, &WeightConfig { bits: 4, pattern }, &Options::default());
            assert_eq!(result.integers[..5], [0; 5]);
            assert!(result.relative_error.is_finite() && result.scales.iter().all(|scale| *scale > 0.0));
            assert_eq!(result.scales[0], result.scales[1]);
        }
    }
    // Two inputs that are always equal: singular before damping.
    let products = vec![1.0, 1.0, 1.0, 1.0];
    let statistics = Statistics::from_products(vec![(products, vec![0.0; 2])], 10, false);
    let weights = LayerWeights { shape: [1, 1, 1, 2], groups: 1, real: &[0.5, 0.25] };
    let pruner = LayerCompressor::new(weights, &statistics);
    let fitted = pruner.refit(&pruner.mask(&Pattern::Free { kept: 1 }, 1), 1);
    assert!((fitted.iter().sum::<f32>() - 0.75).abs() < 0.02, "{fitted:?}");
}

#[test]
fn the_target_makes_up_for_a_change_of_the_inputs() {
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    let patch = Patch::new([8, 8, 3], [1, 1], &geometry);
    let mut random = Random(4);
    let reference: Vec<Vec<f32>> = (0..8).map(|_| random.reals(192)).collect();
    // The layers before lost a fifth of the signal.
    let inputs: Vec<Vec<f32>> = reference.iter().map(|image| image.iter().map(|x| 0.8 * x).collect()).collect();
    let real = [0.5, -1.0, 0.25];
    let output = |pixel: &[f32]| pixel.iter().zip(real).map(|(x, w)| x * w).sum::<f32>();
    let outputs: Vec<Vec<f32>> = reference.iter().map(|image| image.chunks(3).map(output).collect()).collect();
    let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
    let reference = Reference { outputs: &outputs, bias: &[0.0] };
    let statistics = Statistics::with_reference(&patch, 1, &inputs, reference, true);
    let target = statistics.target(LayerWeights { shape: [1, 1, 1, 3], groups: 1, real: &real });
    for (target, real) in target.iter().zip(real) {
        assert!((target / real - 1.25).abs() < 0.02, "{target} for {real}");
    }
    let scales = statistics.best_scales(LayerWeights { shape: [1, 1, 1, 3], groups: 1, real: &real }, &[2, -4, 1]);
    assert!((scales[0].unwrap() / 0.3125 - 1.0).abs() < 0.02, "{scales:?}");
    let plain = Statistics::new(&patch, 1, &inputs, true);
    assert_eq!(plain.target(LayerWeights { shape: [1, 1, 1, 3], groups: 1, real: &real }), real);
}

#[test]
fn pairs_share_masks_only_where_there_are_pairs() {
    let pattern = Pattern::NofM { kept: 2, of: 4 };
    assert_eq!(WeightConfig { bits: 4, pattern }.mask_rows(8), 2);
    assert_eq!(WeightConfig { bits: 4, pattern }.mask_rows(7), 1);
    assert_eq!(WeightConfig { bits: 8, pattern }.mask_rows(8), 1);
    assert_eq!(WeightConfig { bits: 4, pattern: Pattern::Free { kept: 9 } }.mask_rows(8), 1);
    assert_eq!(WeightConfig::dense(4).mask_rows(8), 1);
}
