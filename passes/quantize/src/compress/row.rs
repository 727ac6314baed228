//! One layer to integers, output channel by output channel.

use super::mask::LayerCompressor;
use super::round::{self, Ordered};
use super::scale::{self, Candidate};
use super::{Compressed, Moments, Options, Rounding, WeightConfig, cholesky};
use rayon::prelude::*;
use std::borrow::Cow;
use std::cell::OnceCell;

/// Largest effort of factors for the masks of one layer, in products; beyond it all channels use
/// the factor of the whole products.
const FACTOR_PRODUCTS: f64 = 8e9;

/// The weights of a channel that stay, and the products of their inputs.
#[derive(Clone, Debug)]
pub(super) struct Problem<'a> {
    /// The weights.
    pub w: Vec<f64>,
    /// Row-major.
    pub products: &'a [f64],
    /// `products * w`.
    pub image: Vec<f64>,
    /// The weights' own `w H w`.
    square: f64,
}

impl<'a> Problem<'a> {
    pub fn new(w: Vec<f64>, products: &'a [f64]) -> Self {
        let image = cholesky::product(products, &w);
        let square = cholesky::dot(&image, &w);
        Self { w, products, image, square }
    }

    /// Integers with a scale, and what they are worth.
    pub fn candidate(&self, integers: Vec<f64>, scale: f64, abs_max: bool) -> Candidate {
        let image = cholesky::product(self.products, &integers);
        self.judged(integers, image, scale, abs_max)
    }

    /// Integers for each of some scales, and what they are worth; `plain` is the scale of the largest weight.
    pub fn candidates(&self, scales: &[f64], plain: f64, round: impl Fn(f64) -> Vec<f64>) -> Vec<Candidate> {
        let integers: Vec<Vec<f64>> = scales.iter().map(|&scale| round(scale)).collect();
        let images = cholesky::products(self.products, &integers);
        let candidate = |((integers, image), &scale)| self.judged(integers, image, scale, scale == plain);
        integers.into_iter().zip(images).zip(scales).map(candidate).collect()
    }

    fn judged(&self, integers: Vec<f64>, image: Vec<f64>, scale: f64, abs_max: bool) -> Candidate {
        let mut candidate = Candidate { integers, image, scale, error: 0.0, refined: None, abs_max };
        self.judge(&mut candidate);
        candidate
    }

    /// Sets a candidate's error and best scale after its integers, their image or its scale
    /// changed.
    pub fn judge(&self, candidate: &mut Candidate) {
        let cross = cholesky::dot(&candidate.integers, &self.image);
        let square = cholesky::dot(&candidate.integers, &candidate.image);
        let scale = candidate.scale;
        candidate.error = (self.square - 2.0 * scale * cross + scale * scale * square).max(0.0);
        let refined = cross / square;
        candidate.refined = (refined.is_finite() && refined > 0.0).then_some(refined);
    }
}

/// Which weights of a channel stay, and what follows from that alone: channels that share a mask share it.
struct Kept<'a> {
    taps: Vec<usize>,
    /// Products of their inputs, row-major; none of very wide layers.
    products: Cow<'a, [f64]>,
    ordered: OnceCell<Option<Ordered>>,
}

impl<'a> Kept<'a> {
    fn new(moments: &'a Moments, mask: &[bool]) -> Self {
        let taps: Vec<usize> = (0..moments.size()).filter(|&tap| mask[tap]).collect();
        let products = match moments.products() {
            _ if moments.is_diagonal() => Cow::Borrowed(&[][..]),
            products if taps.len() == moments.size() => Cow::Borrowed(products),
            products => Cow::Owned(cholesky::submatrix(products, moments.size(), &taps)),
        };
        Self { taps, products, ordered: OnceCell::new() }
    }

    /// A factor of the products in the order of rounding, if they have one.
    fn ordered(&self) -> Option<&Ordered> {
        self.ordered.get_or_init(|| Ordered::new(&self.products, self.taps.len())).as_ref()
    }
}

struct Row {
    integers: Vec<i32>,
    /// `None` for a channel without weights.
    scale: Option<f64>,
    abs_max: bool,
    error: f64,
    square: f64,
}

/// See [`super::compress`].
pub(super) fn compress(pruner: &LayerCompressor, setting: &WeightConfig, options: &Options) -> Compressed {
    let weights = pruner.weights;
    let (outputs, taps) = (weights.outputs(), weights.taps());
    let together = setting.mask_rows(weights.outputs_per_group());
    let mask = pruner.mask(&setting.pattern, together);
    let pruned = mask.iter().any(|kept| !kept);
    let fitted = if pruned { Cow::Owned(pruner.refit(&mask, together)) } else { Cow::Borrowed(weights.real) };
    let effort: f64 = mask
        .chunks_exact(taps.max(1))
        .map(|mask| (mask.iter().filter(|kept| **kept).count() as f64).powi(3) / 6.0)
        .sum();
    let rows: Vec<Vec<Row>> = (0..outputs / together)
        .into_par_iter()
        .map(|set| {
            let first = set * together;
            let mask = &mask[first * taps..(first + 1) * taps];
            let kept = Kept::new(&pruner.statistics.groups()[weights.group(first)], mask);
            let row = |output: usize| {
                let row = RowContext { pruner, setting, options, output, own_factor: effort <= FACTOR_PRODUCTS };
                row.compress(&fitted[output * taps..(output + 1) * taps], mask, &kept)
            };
            (first..first + together).map(row).collect()
        })
        .collect();
    assemble(rows.into_iter().flatten().collect(), mask, options)
}

fn assemble(rows: Vec<Row>, mask: Vec<bool>, options: &Options) -> Compressed {
    let least = |output: usize| options.least_scales.and_then(|scales| scales.get(output)).copied().unwrap_or(0.0);
    // Any scale serves a channel without weights: the layer's largest gives one shift for all.
    let largest = rows.iter().filter_map(|row| row.scale).fold(0.0, f64::max);
    let common = if largest > 0.0 { largest } else { 1.0 };
    let mut result = Compressed {
        integers: Vec::with_capacity(mask.len()),
        scales: Vec::with_capacity(rows.len()),
        abs_max: Vec::with_capacity(rows.len()),
        mask,
        error: 0.0,
        relative_error: 0.0,
    };
    let mut square = 0.0;
    for (output, row) in rows.into_iter().enumerate() {
        result.integers.extend(row.integers);
        result.scales.push(row.scale.unwrap_or(common.max(least(output))));
        result.abs_max.push(row.abs_max);
        result.error += row.error;
        square += row.square;
    }
    result.relative_error = if square > 0.0 { result.error / square } else { 0.0 };
    result
}

struct RowContext<'p, 'a> {
    pruner: &'p LayerCompressor<'a>,
    setting: &'p WeightConfig,
    options: &'p Options<'p>,
    output: usize,
    /// A factor of the products of this channel's own weights is affordable.
    own_factor: bool,
}

impl RowContext<'_, '_> {
    fn compress(&self, fitted: &[f32], mask: &[bool], kept: &Kept) -> Row {
        let original = self.pruner.weights.row(self.output);
        let group = self.pruner.weights.group(self.output);
        let moments = &self.pruner.statistics.groups()[group];
        let size = moments.size();
        let square = moments.square(&original);
        let w: Vec<f64> = kept.taps.iter().map(|&tap| f64::from(fitted[tap])).collect();
        if w.iter().all(|w| w.abs() <= f64::from(f32::MIN_POSITIVE)) {
            return Row { integers: vec![0; size], scale: None, abs_max: false, error: square, square };
        }
        if moments.is_diagonal() {
            return self.alone(&original, &kept.taps, w);
        }
        let problem = Problem::new(w, &kept.products);
        let best = self.round(&problem, kept, fitted, mask);
        let mut integers = vec![0; size];
        kept.taps.iter().zip(&best.integers).for_each(|(&tap, &q)| integers[tap] = q as i32);
        let difference: Vec<f64> =
            original.iter().zip(&integers).map(|(w, &q)| w - f64::from(q) * best.scale).collect();
        let error = moments.square(&difference);
        Row { integers, scale: Some(best.scale), abs_max: best.abs_max, error, square }
    }

    /// Rounds weights that cannot make up for each other, each to the nearest.
    fn alone(&self, original: &[f64], kept: &[usize], w: Vec<f64>) -> Row {
        let moments = &self.pruner.statistics.groups()[self.pruner.weights.group(self.output)];
        let least = self.options.least_scales.and_then(|scales| scales.get(self.output)).copied().unwrap_or(0.0);
        let (limits, method) = (scale::limits(self.setting.bits), self.options.scale);
        let (scale, abs_max) = scale::by_weights(&w, method, limits, least);
        let mut integers = vec![0; original.len()];
        let rounded = scale::nearest(&w, scale, limits);
        kept.iter().zip(&rounded).for_each(|(&tap, &q)| integers[tap] = q as i32);
        let difference: Vec<f64> = original.iter().zip(&integers).map(|(w, &q)| w - f64::from(q) * scale).collect();
        let (error, square) = (moments.square(&difference), moments.square(original));
        Row { integers, scale: Some(scale), abs_max, error, square }
    }

    fn round(&self, problem: &Problem, kept: &Kept, fitted: &[f32], mask: &[bool]) -> Candidate {
        let Options { rounding, scale: method, descent, least_scales } = *self.options;
        let bits = self.setting.bits.clamp(2, 8);
        let least = least_scales.and_then(|scales| scales.get(self.output)).copied().unwrap_or(0.0);
        let limits = scale::limits(bits);
        let mut best = scale::choose(problem, method, bits, least);
        if bits >= 8 || rounding == Rounding::Nearest || problem.w.len() < 2 {
            return best;
        }
        let group = self.pruner.weights.group(self.output);
        let dense = kept.taps.len() == fitted.len();
        let exact = rounding == Rounding::Obq && self.pruner.exact();
        let own = (!exact && !dense && self.own_factor).then(|| kept.ordered()).flatten();
        let inverse = exact.then(|| self.inverse(problem, group, dense)).flatten();
        let full: Vec<f64> = fitted.iter().map(|&w| f64::from(w)).collect();
        let rounded = |scale: f64| match (&inverse, own) {
            (Some(inverse), _) => round::greedy(problem, inverse, scale, limits),
            (None, Some(own)) => round::sweep(&problem.w, own, None, scale, limits),
            (None, None) => {
                let mask = (!dense).then_some(mask);
                let integers = round::sweep(&full, self.pruner.ordered(group), mask, scale, limits);
                kept.taps.iter().map(|&tap| integers[tap]).collect()
            }
        };
        // Spread errors favour a coarser grid at times: other scales are tried.
        let plain = (problem.w.iter().fold(0.0f64, |most, w| most.max(w.abs())) / limits.1).max(least);
        let scales: &[f64] = match method {
            super::ScaleMethod::OutputError => &[best.scale, (best.scale * plain).sqrt(), plain],
            super::ScaleMethod::AbsMax | super::ScaleMethod::WeightError => &[best.scale],
        };
        for &scale in scales {
            let mut candidate = problem.candidate(rounded(scale), scale, scale == plain);
            if descent {
                round::descend(problem, &mut candidate, limits);
            }
            if method == super::ScaleMethod::OutputError {
                candidate = self.refine(problem, candidate, descent, least);
            }
            if candidate.error < best.error {
                best = candidate;
            }
        }
        best
    }

    /// Alternates the best scale of the integers and, with `descent`, the best integers of the
    /// scale.
    fn refine(&self, problem: &Problem, candidate: Candidate, descent: bool, least: f64) -> Candidate {
        let limits = scale::limits(self.setting.bits);
        let mut best = candidate;
        for _ in 0..3 {
            let Some(scale) = best.refined.filter(|&scale| scale >= least) else { break };
            let mut next = Candidate { scale, abs_max: false, ..best.clone() };
            problem.judge(&mut next);
            if descent {
                round::descend(problem, &mut next, limits);
            }
            if next.error >= best.error * (1.0 - 1e-6) {
                break;
            }
            best = next;
        }
        best
    }

    fn inverse(&self, problem: &Problem, group: usize, dense: bool) -> Option<Cow<'_, [f64]>> {
        if dense {
            return Some(Cow::Borrowed(self.pruner.inverse(group)));
        }
        let size = problem.w.len();
        let factor = cholesky::factor(problem.products.to_vec(), size)?;
        Some(Cow::Owned(cholesky::inverse(&factor, size)))
    }
}
