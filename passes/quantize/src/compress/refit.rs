//! The best values of the weights that stay: `w_S = H_SS^-1 (H w)_S`.

use super::mask::LayerCompressor;
use super::{Moments, cholesky};
use rayon::prelude::*;
use std::cell::OnceCell;

/// Systems up to this size are always solved by a factor.
const FACTORED: usize = 256;
/// Largest effort of factors for one layer, in products; beyond it conjugate gradients.
const FACTOR_PRODUCTS: f64 = 8e9;
/// Most steps of conjugate gradients.
const GRADIENT_STEPS: usize = 96;

/// Which weights of a channel stay, and the factor that fits them: channels that share a mask share it.
struct Places<'a> {
    moments: &'a Moments,
    /// The inverse of the moments' products, where the removed weights are fewer: the factor is then of its part.
    inverse: Option<&'a [f64]>,
    kept: Vec<usize>,
    removed: Vec<usize>,
    factor: OnceCell<Option<Vec<f64>>>,
}

impl LayerCompressor<'_> {
    /// The weights that give the nearest output with some weights removed. `mask` holds one
    /// entry for each weight of the layer, true for those that stay; so many neighbouring output channels `together`
    /// share theirs.
    pub fn refit(&self, mask: &[bool], together: usize) -> Vec<f32> {
        let taps = self.weights.taps();
        let effort: f64 = mask
            .chunks_exact(taps.max(1))
            .map(|mask| {
                let kept = mask.iter().filter(|kept| **kept).count();
                (kept.min(taps - kept) as f64).powi(3) / 6.0
            })
            .sum();
        let sets: Vec<Vec<f32>> = (0..self.weights.outputs() / together)
            .into_par_iter()
            .map(|set| {
                let first = set * together;
                let places = self.places(first, &mask[first * taps..(first + 1) * taps]);
                let row = |output| places.refit(&self.weights.row(output), effort <= FACTOR_PRODUCTS);
                (first..first + together).flat_map(row).map(|w| w as f32).collect()
            })
            .collect();
        sets.concat()
    }

    fn places(&self, output: usize, mask: &[bool]) -> Places<'_> {
        let group = self.weights.group(output);
        let moments = &self.statistics.groups()[group];
        let (kept, removed): (Vec<usize>, Vec<usize>) = (0..moments.size()).partition(|&tap| mask[tap]);
        let by_removed = !moments.is_diagonal() && !removed.is_empty() && removed.len() < kept.len();
        let inverse = by_removed.then(|| self.inverse(group));
        Places { moments, inverse, kept, removed, factor: OnceCell::new() }
    }
}

impl Places<'_> {
    fn factor(&self) -> Option<&Vec<f64>> {
        let (matrix, indices) = match self.inverse {
            Some(inverse) => (inverse, &self.removed),
            None => (self.moments.products(), &self.kept),
        };
        let part = || cholesky::submatrix(matrix, self.moments.size(), indices);
        self.factor.get_or_init(|| cholesky::factor(part(), indices.len())).as_ref()
    }

    /// The fitted weights of a channel. Where a factor is not `affordable`, conjugate gradients serve.
    fn refit(&self, w: &[f64], affordable: bool) -> Vec<f64> {
        let Self { moments, kept, removed, .. } = self;
        if kept.is_empty() {
            return vec![0.0; w.len()];
        }
        let mut masked = w.to_vec();
        removed.iter().for_each(|&tap| masked[tap] = 0.0);
        if removed.iter().all(|&tap| w[tap] == 0.0) || moments.is_diagonal() {
            return masked;
        }
        let fitted = if kept.len().min(removed.len()) > FACTORED && !affordable {
            gradients(moments.products(), w, &masked, kept)
        } else {
            self.factor().map(|factor| match self.inverse {
                Some(inverse) => self.by_removed(w, inverse, factor),
                None => self.by_kept(w, factor),
            })
        };
        let error = |candidate: &[f64]| {
            let difference: Vec<f64> = w.iter().zip(candidate).map(|(a, b)| a - b).collect();
            moments.square(&difference)
        };
        match fitted {
            // Near-singular products may leave a fit that errs more than none.
            Some(fitted) if error(&fitted) <= error(&masked) => fitted,
            _ => masked,
        }
    }

    /// `w - Hinv_P (Hinv_PP)^-1 w_P`, of the removed weights `P`.
    fn by_removed(&self, w: &[f64], inverse: &[f64], factor: &[f64]) -> Vec<f64> {
        let mut b: Vec<f64> = self.removed.iter().map(|&tap| w[tap]).collect();
        cholesky::solve(factor, b.len(), &mut b);
        let mut fitted = w.to_vec();
        for (&tap, b) in self.removed.iter().zip(&b) {
            let row = &inverse[tap * w.len()..(tap + 1) * w.len()];
            fitted.iter_mut().zip(row).for_each(|(w, h)| *w -= b * h);
        }
        self.removed.iter().for_each(|&tap| fitted[tap] = 0.0);
        fitted
    }

    /// `H_SS^-1 (H w)_S`, of the weights `S` that stay.
    fn by_kept(&self, w: &[f64], factor: &[f64]) -> Vec<f64> {
        let products = self.moments.products();
        let image = |&tap: &usize| cholesky::dot(&products[tap * w.len()..(tap + 1) * w.len()], w);
        let mut b: Vec<f64> = self.kept.iter().map(image).collect();
        cholesky::solve(factor, b.len(), &mut b);
        let mut fitted = vec![0.0; w.len()];
        self.kept.iter().zip(&b).for_each(|(&tap, &b)| fitted[tap] = b);
        fitted
    }
}

/// Conjugate gradients on the kept weights from the masked ones, scaled by the diagonal. The error
/// falls with every step.
fn gradients(products: &[f64], w: &[f64], masked: &[f64], kept: &[usize]) -> Option<Vec<f64>> {
    let (size, n) = (w.len(), kept.len());
    let h = cholesky::submatrix(products, size, kept);
    let difference: Vec<f64> = w.iter().zip(masked).map(|(a, b)| a - b).collect();
    let mut residual: Vec<f64> =
        kept.iter().map(|&tap| cholesky::dot(&products[tap * size..(tap + 1) * size], &difference)).collect();
    let scaled =
        |residual: &[f64]| -> Vec<f64> { residual.iter().enumerate().map(|(i, r)| r / h[i * n + i]).collect() };
    let mut x = vec![0.0; n];
    let mut z = scaled(&residual);
    let mut direction = z.clone();
    let mut rz = cholesky::dot(&residual, &z);
    let target = rz * 1e-12;
    for _ in 0..GRADIENT_STEPS {
        let image = cholesky::product(&h, &direction);
        let step = rz / cholesky::dot(&direction, &image);
        if !step.is_finite() || rz <= target {
            break;
        }
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= step * i);
        z = scaled(&residual);
        let next = cholesky::dot(&residual, &z);
        let share = next / rz;
        rz = next;
        direction.iter_mut().zip(&z).for_each(|(d, z)| *d = z + share * *d);
    }
    let mut fitted = masked.to_vec();
    kept.iter().zip(&x).for_each(|(&tap, x)| fitted[tap] += x);
    Some(fitted)
}
