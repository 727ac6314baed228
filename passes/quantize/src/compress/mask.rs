//! Which weights stay: ExactOBS where it is affordable, SparseGPT's masks elsewhere.

use super::eliminate::Elimination;
use super::round::Ordered;
use super::{Compressed, LayerWeights, Moments, Options, Pattern, Statistics, WeightConfig, cholesky};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Largest number of weights of an output channel for which they are removed one after the other.
const EXACT_TAPS: usize = 640;
/// Largest effort for that, in products: a channel takes a sixth of the cube of its weights.
const EXACT_PRODUCTS: f64 = 8e9;
/// Columns of which SparseGPT decides the mask at a time.
const BLOCK: usize = 128;

/// Prunes one layer to any pattern and level; what levels have in common is computed once.
///
/// The statistics hold one group for each of the layer's groups, of the size of its channels.
#[derive(Debug)]
pub struct LayerCompressor<'a> {
    pub(super) weights: LayerWeights<'a>,
    pub(super) statistics: &'a Statistics,
    groups: Vec<Group>,
    /// The weights by the order in which ExactOBS gives them up: channel, weight.
    order: OnceLock<Vec<(u32, u32)>>,
    /// Masks of patterns, by `of`, `kept` and channels that share a mask.
    patterns: Mutex<BTreeMap<(u8, u8, usize), Vec<bool>>>,
}

/// What the channels of a group share.
#[derive(Debug, Default)]
struct Group {
    factor: OnceLock<Vec<f64>>,
    inverse: OnceLock<Vec<f64>>,
    sweep: OnceLock<Vec<f64>>,
    ordered: OnceLock<Ordered>,
}

impl<'a> LayerCompressor<'a> {
    /// For a layer.
    pub fn new(weights: LayerWeights<'a>, statistics: &'a Statistics) -> Self {
        let groups = statistics.groups().iter().map(|_| Group::default()).collect();
        Self { weights, statistics, groups, order: OnceLock::new(), patterns: Mutex::new(BTreeMap::new()) }
    }

    /// A layer's mask: true for each weight that stays. `rows` neighbouring output channels (1 or
    /// 2) share the mask of an N:M pattern; it has no effect on other patterns, nor where the
    /// output channels of a group do not divide by it.
    pub fn mask(&self, pattern: &Pattern, rows: usize) -> Vec<bool> {
        let total = self.weights.real.len();
        let rows = if rows > 1 && self.weights.outputs_per_group().is_multiple_of(rows) { rows } else { 1 };
        let diagonal = self.statistics.groups().iter().any(Moments::is_diagonal);
        match *pattern {
            Pattern::Dense => vec![true; total],
            Pattern::Free { kept } if kept >= total => vec![true; total],
            Pattern::NofM { kept, of } if kept >= of => vec![true; total],
            Pattern::Free { kept } if diagonal => self.least_squares(|_| 0, &[total - kept], 1),
            Pattern::NofM { kept, of } if diagonal => {
                let taps = self.weights.taps();
                let per_row = self.pattern_group(taps - 1, of).0 + 1;
                let sets = self.weights.outputs() / rows;
                let mut limits = vec![0; per_row * sets];
                for (index, limit) in limits.iter_mut().enumerate() {
                    *limit = self.pattern_group_size(index % per_row, of).saturating_sub(usize::from(kept)) * rows;
                }
                self.least_squares(
                    |index| index / taps / rows * per_row + self.pattern_group(index % taps, of).0,
                    &limits,
                    rows,
                )
            }
            Pattern::Free { kept } => {
                let mut mask = vec![true; total];
                if self.exact() {
                    for &(output, tap) in &self.order()[..total - kept] {
                        mask[output as usize * self.weights.taps() + tap as usize] = false;
                    }
                } else {
                    self.sweep_free(total - kept, &mut mask);
                }
                mask
            }
            Pattern::NofM { kept, of } => self.pattern(kept, of, rows),
        }
    }

    /// Compresses the layer: mask, refit, scales and rounding.
    pub fn compress(&self, setting: &WeightConfig, options: &Options) -> Compressed {
        super::row::compress(self, setting, options)
    }

    /// True if weights are removed one after the other (ExactOBS).
    pub fn exact(&self) -> bool {
        let taps = self.weights.taps();
        taps <= EXACT_TAPS && self.weights.outputs() as f64 * (taps as f64).powi(3) / 6.0 <= EXACT_PRODUCTS
    }

    /// The lower Cholesky factor of a group's products.
    pub(super) fn factor(&self, group: usize) -> &[f64] {
        self.groups[group].factor.get_or_init(|| {
            let moments = &self.statistics.groups()[group];
            cholesky::factor(moments.products().to_vec(), moments.size()).unwrap_or_else(|| identity(moments.size()))
        })
    }

    /// The inverse of a group's products.
    pub(super) fn inverse(&self, group: usize) -> &[f64] {
        self.groups[group]
            .inverse
            .get_or_init(|| cholesky::inverse(self.factor(group), self.statistics.groups()[group].size()))
    }

    /// The factor of a group's products with rows and columns reversed: column `j` of the sweep
    /// in the order of the weights is row `size - 1 - j`.
    pub(super) fn sweep(&self, group: usize) -> &[f64] {
        self.groups[group].sweep.get_or_init(|| {
            let moments = &self.statistics.groups()[group];
            let reversed: Vec<usize> = (0..moments.size()).rev().collect();
            let matrix = cholesky::submatrix(moments.products(), moments.size(), &reversed);
            cholesky::factor(matrix, moments.size()).unwrap_or_else(|| identity(moments.size()))
        })
    }

    /// A group's weights in the order of rounding.
    pub(super) fn ordered(&self, group: usize) -> &Ordered {
        self.groups[group].ordered.get_or_init(|| {
            let moments = &self.statistics.groups()[group];
            Ordered::new(moments.products(), moments.size())
                .unwrap_or_else(|| Ordered { order: (0..moments.size()).collect(), factor: identity(moments.size()) })
        })
    }

    fn elimination(&self, group: usize) -> Elimination {
        let moments = &self.statistics.groups()[group];
        Elimination::new(moments.products(), self.inverse(group), moments.size())
    }

    fn row(&self, output: usize) -> Vec<f32> {
        self.weights.row(output).iter().map(|&w| w as f32).collect()
    }

    /// All weights, those whose removal costs least first. A channel's weights come in the order
    /// in which they are removed from it alone.
    fn order(&self) -> &[(u32, u32)] {
        if let Some(order) = self.order.get() {
            return order;
        }
        // Not inside the cell's initialiser: a thread that waits there could be handed a task that
        // waits for the same cell.
        let traces: Vec<Vec<(usize, f32)>> =
            (0..self.weights.outputs()).into_par_iter().map(|output| self.trace(output)).collect();
        let mut order = Vec::with_capacity(self.weights.real.len());
        for (output, trace) in traces.into_iter().enumerate() {
            let mut most = 0.0f32;
            for (position, (tap, loss)) in trace.into_iter().enumerate() {
                most = most.max(loss);
                order.push((most, output as u32, position, tap as u32));
            }
        }
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        self.order.get_or_init(|| order.into_iter().map(|(_, output, _, tap)| (output, tap)).collect())
    }

    /// One channel's weights in the order of their removal, each with the error that it adds.
    fn trace(&self, output: usize) -> Vec<(usize, f32)> {
        let mut w = self.row(output);
        let mut elimination = self.elimination(self.weights.group(output));
        let mut trace = Vec::with_capacity(w.len());
        while let Some((slot, tap, loss)) =
            elimination.least(|slot, tap| Some(w[tap] * w[tap] / elimination.diagonal(slot)))
        {
            let error = w[tap];
            elimination.remove(slot, &mut [(&mut w, error)]);
            trace.push((tap, loss));
        }
        trace
    }

    fn pattern(&self, kept: u8, of: u8, rows: usize) -> Vec<bool> {
        let cached = |key: &(u8, u8, usize)| -> Option<Vec<bool>> {
            self.patterns.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
        };
        if let Some(mask) = cached(&(of, kept, rows)) {
            return mask;
        }
        // Sparser patterns go on from denser ones of the same group size.
        let mut start = kept;
        while start > 0 && start.saturating_mul(2) <= of / 2 {
            start *= 2;
        }
        let mut levels = vec![start];
        while levels[levels.len() - 1] > kept {
            levels.push(levels[levels.len() - 1] / 2);
        }
        while self.exact() && levels[levels.len() - 1].is_multiple_of(2) && levels[levels.len() - 1] > 0 {
            levels.push(levels[levels.len() - 1] / 2);
        }
        if !self.exact() {
            levels = vec![kept];
        }
        let sets = self.weights.outputs() / rows;
        let masks: Vec<Vec<Vec<bool>>> = (0..sets)
            .into_par_iter()
            .map(|set| {
                let outputs: Vec<usize> = (set * rows..(set + 1) * rows).collect();
                if self.exact() {
                    self.eliminate_groups(&outputs, of, &levels)
                } else {
                    self.sweep_groups(&outputs, of, kept)
                }
            })
            .collect();
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, &level) in levels.iter().enumerate() {
            let mask = masks.iter().flat_map(|set| (0..rows).flat_map(|_| set[position].iter().copied())).collect();
            patterns.insert((of, level, rows), mask);
        }
        patterns[&(of, kept, rows)].clone()
    }

    /// The pattern's group of a weight, and the size of that group.
    fn pattern_group(&self, tap: usize, of: u8) -> (usize, usize) {
        let (inputs, of) = (self.weights.shape[3], usize::from(of));
        let (position, input) = (tap / inputs, tap % inputs);
        let group = position * inputs.div_ceil(of) + input / of;
        (group, of.min(inputs - input / of * of))
    }

    /// The number of input channels in a pattern's group.
    fn pattern_group_size(&self, group: usize, of: u8) -> usize {
        let (inputs, of) = (self.weights.shape[3], usize::from(of));
        of.min(inputs - group % inputs.div_ceil(of) * of)
    }

    /// Removes the weights that matter least by themselves: of each set (which `set` tells by a
    /// weight's index) as many as `removed` says. `rows` neighbouring channels share a mask.
    fn least_squares(&self, set: impl Fn(usize) -> usize, removed: &[usize], rows: usize) -> Vec<bool> {
        let taps = self.weights.taps();
        let score = |index: usize| {
            let moments = &self.statistics.groups()[self.weights.group(index / taps)];
            f64::from(self.weights.real[index]).powi(2) * moments.products()[index % taps]
        };
        let leads = (0..self.weights.real.len()).filter(|index| (index / taps).is_multiple_of(rows));
        let mut order: Vec<(f64, usize)> =
            leads.map(|index| ((0..rows).map(|row| score(index + row * taps)).sum(), index)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut left = removed.to_vec();
        let mut mask = vec![true; self.weights.real.len()];
        for (_, index) in order {
            let left = &mut left[set(index)];
            if *left >= rows {
                *left -= rows;
                (0..rows).for_each(|row| mask[index + row * taps] = false);
            }
        }
        mask
    }

    /// The masks that some channels share, for each level.
    fn eliminate_groups(&self, outputs: &[usize], of: u8, levels: &[u8]) -> Vec<Vec<bool>> {
        let taps = self.weights.taps();
        let mut rows: Vec<Vec<f32>> = outputs.iter().map(|&output| self.row(output)).collect();
        let mut elimination = self.elimination(self.weights.group(outputs[0]));
        let groups: Vec<(usize, usize)> = (0..taps).map(|tap| self.pattern_group(tap, of)).collect();
        let mut removed = vec![0usize; taps];
        let mut mask = vec![true; taps];
        let mut masks = Vec::with_capacity(levels.len());
        for &kept in levels {
            let full = |removed: &[usize], tap: usize| {
                let (group, size) = groups[tap];
                removed[group] >= size.saturating_sub(usize::from(kept))
            };
            // By weight: its group may still lose one.
            let mut open: Vec<bool> = (0..taps).map(|tap| !full(&removed, tap)).collect();
            let next = |elimination: &Elimination, rows: &[Vec<f32>], open: &[bool]| {
                elimination.least(|slot, tap| {
                    let square = || rows.iter().map(|w| w[tap] * w[tap]).sum::<f32>();
                    open[tap].then(|| square() / elimination.diagonal(slot))
                })
            };
            while let Some((slot, tap, _)) = next(&elimination, &rows, &open) {
                let mut weights: Vec<(&mut [f32], f32)> = rows
                    .iter_mut()
                    .map(|w| {
                        let error = w[tap];
                        (&mut w[..], error)
                    })
                    .collect();
                elimination.remove(slot, &mut weights);
                let group = groups[tap].0;
                removed[group] += 1;
                if full(&removed, tap) {
                    open.iter_mut().zip(&groups).filter(|(_, of)| of.0 == group).for_each(|(open, _)| *open = false);
                }
                mask[tap] = false;
            }
            masks.push(mask.clone());
        }
        masks
    }

    /// As [`Self::eliminate_groups`] for wide layers: in the order of the weights, each group
    /// decided when the sweep reaches it.
    fn sweep_groups(&self, outputs: &[usize], of: u8, kept: u8) -> Vec<Vec<bool>> {
        let taps = self.weights.taps();
        let sweep = self.sweep(self.weights.group(outputs[0]));
        let mut rows: Vec<Sweep> = outputs.iter().map(|&output| Sweep::new(self.weights.row(output), sweep)).collect();
        let mut mask = vec![true; taps];
        let mut start = 0;
        while start < taps {
            let (_, size) = self.pattern_group(start, of);
            for row in &mut rows {
                row.adapt(start, start + size);
            }
            let mut scores: Vec<(f64, usize)> =
                (start..start + size).map(|tap| (rows.iter().map(|row| row.score(tap)).sum(), tap)).collect();
            scores.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for &(_, tap) in &scores[..size.saturating_sub(usize::from(kept))] {
                mask[tap] = false;
            }
            for row in &mut rows {
                row.mask(start, &mask[start..start + size]);
            }
            start += size;
        }
        vec![mask]
    }

    /// Removes weights of wide layers: the same share of every block of columns.
    fn sweep_free(&self, removed: usize, mask: &mut [bool]) {
        let (taps, outputs) = (self.weights.taps(), self.weights.outputs());
        let mut rows: Vec<Sweep> = (0..outputs)
            .map(|output| Sweep::new(self.weights.row(output), self.sweep(self.weights.group(output))))
            .collect();
        let mut gone = 0;
        for start in (0..taps).step_by(BLOCK) {
            let end = (start + BLOCK).min(taps);
            let due = (removed as u128 * end as u128 / taps as u128) as usize - gone;
            gone += due;
            rows.par_iter_mut().for_each(|row| row.adapt(start, end));
            let mut scores: Vec<(f64, usize, usize)> = (0..outputs)
                .flat_map(|output| (start..end).map(move |tap| (output, tap)))
                .map(|(output, tap)| (rows[output].score(tap), output, tap))
                .collect();
            scores.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
            for &(_, output, tap) in &scores[..due] {
                mask[output * taps + tap] = false;
            }
            rows.par_iter_mut()
                .enumerate()
                .for_each(|(output, row)| row.mask(start, &mask[output * taps + start..output * taps + end]));
        }
    }
}

fn identity(size: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; size * size];
    (0..size).for_each(|i| matrix[i * size + i] = 1.0);
    matrix
}

/// One channel's weights while a sweep removes some of them in order.
struct Sweep<'f> {
    w: Vec<f64>,
    /// The factor of the reversed products.
    factor: &'f [f64],
    /// What the errors so far ask of each weight, by reversed position.
    asked: Vec<f64>,
    /// The weights that are still free, with their share of that; by reversed position.
    adapted: Vec<f64>,
}

impl<'f> Sweep<'f> {
    fn new(w: Vec<f64>, factor: &'f [f64]) -> Self {
        let size = w.len();
        Self { w, factor, asked: vec![0.0; size], adapted: vec![0.0; size] }
    }

    /// Finds the best values of the weights from `start` on, of which those before `end` are
    /// wanted.
    fn adapt(&mut self, start: usize, end: usize) {
        let size = self.w.len();
        // Solves factor' * x = asked over the free weights, which come first in reversed order.
        let free = size - start;
        let mut b = self.asked[..free].to_vec();
        for i in (size - end..free).rev() {
            let row = &self.factor[i * size..=i * size + i];
            b[i] /= row[i];
            let x = b[i];
            b[..i].iter_mut().zip(row).for_each(|(b, l)| *b -= l * x);
            self.adapted[i] = self.w[size - 1 - i] + x;
        }
    }

    /// What removing a weight costs, as far as weights after it can make up for it.
    fn score(&self, tap: usize) -> f64 {
        let at = self.w.len() - 1 - tap;
        (self.adapted[at] * self.factor[at * self.w.len() + at]).powi(2)
    }

    /// Removes the weights from `start` on for which the mask is false; the weights after each
    /// make up for it.
    fn mask(&mut self, start: usize, mask: &[bool]) {
        let size = self.w.len();
        for (tap, &stays) in (start..).zip(mask) {
            let at = size - 1 - tap;
            let row = &self.factor[at * size..=at * size + at];
            let value = self.w[tap] + self.asked[at] / row[at];
            let error = self.w[tap] - if stays { value } else { 0.0 };
            self.asked[..at].iter_mut().zip(row).for_each(|(asked, l)| *asked += l * error);
        }
    }
}
