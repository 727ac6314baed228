//! The best values of the weights that stay: `w_S = H_SS^-1 (H w)_S`.

use super::cholesky;
use super::mask::LayerCompressor;
use rayon::prelude::*;

/// Systems up to this size are always solved by a factor.
const FACTORED: usize = 256;
/// Largest effort of factors for one layer, in products; beyond it conjugate gradients.
const FACTOR_PRODUCTS: f64 = 8e9;
/// Most steps of conjugate gradients.
const GRADIENT_STEPS: usize = 96;

impl LayerCompressor<'_> {
    /// The weights that give the nearest output with some weights removed. `mask` holds one
    /// entry for each weight of the layer, true for those that stay.
    pub fn refit(&self, mask: &[bool]) -> Vec<f32> {
        let taps = self.weights.taps();
        let effort: f64 = mask
            .chunks_exact(taps.max(1))
            .map(|mask| {
                let kept = mask.iter().filter(|kept| **kept).count();
                (kept.min(taps - kept) as f64).powi(3) / 6.0
            })
            .sum();
        let rows: Vec<Vec<f32>> = (0..self.weights.outputs())
            .into_par_iter()
            .map(|output| {
                let mask = &mask[output * taps..(output + 1) * taps];
                let fitted = self.refit_row(output, mask, effort <= FACTOR_PRODUCTS);
                fitted.iter().map(|&w| w as f32).collect()
            })
            .collect();
        rows.concat()
    }

    fn refit_row(&self, output: usize, mask: &[bool], affordable: bool) -> Vec<f64> {
        let w = self.weights.row(output);
        let group = self.weights.group(output);
        let moments = &self.statistics.groups()[group];
        let size = moments.size();
        let kept: Vec<usize> = (0..size).filter(|&tap| mask[tap]).collect();
        let gone: Vec<usize> = (0..size).filter(|&tap| !mask[tap] && w[tap] != 0.0).collect();
        if kept.is_empty() {
            return vec![0.0; size];
        }
        let mut masked = w.clone();
        (0..size).filter(|&tap| !mask[tap]).for_each(|tap| masked[tap] = 0.0);
        if gone.is_empty() || moments.is_diagonal() {
            return masked;
        }
        let removed: Vec<usize> = (0..size).filter(|&tap| !mask[tap]).collect();
        let smaller = kept.len().min(removed.len());
        let fitted = if smaller > FACTORED && !affordable {
            gradients(moments.products(), &w, &masked, &kept)
        } else if removed.len() < kept.len() {
            // By the removed weights: w - Hinv_P (Hinv_PP)^-1 w_P.
            let inverse = self.inverse(group);
            cholesky::factor(cholesky::submatrix(inverse, size, &removed), removed.len()).map(|factor| {
                let mut b: Vec<f64> = removed.iter().map(|&tap| w[tap]).collect();
                cholesky::solve(&factor, removed.len(), &mut b);
                let mut fitted = w.clone();
                for (&tap, b) in removed.iter().zip(&b) {
                    let row = &inverse[tap * size..(tap + 1) * size];
                    fitted.iter_mut().zip(row).for_each(|(w, h)| *w -= b * h);
                }
                removed.iter().for_each(|&tap| fitted[tap] = 0.0);
                fitted
            })
        } else {
            let products = moments.products();
            cholesky::factor(cholesky::submatrix(products, size, &kept), kept.len()).map(|factor| {
                let mut b: Vec<f64> =
                    kept.iter().map(|&tap| cholesky::dot(&products[tap * size..(tap + 1) * size], &w)).collect();
                cholesky::solve(&factor, kept.len(), &mut b);
                let mut fitted = vec![0.0; size];
                kept.iter().zip(&b).for_each(|(&tap, &b)| fitted[tap] = b);
                fitted
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
