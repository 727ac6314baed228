//! Rounding that takes into account what the other weights of a channel can make up for.

use super::cholesky;
use super::eliminate::Elimination;
use super::row::Problem;
use super::scale::Candidate;

/// Most rounds of coordinate descent.
const ROUNDS: usize = 8;

/// An order of a channel's weights and the Cholesky factor of their products in it.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    /// Weights, the last one rounded first.
    pub order: Vec<usize>,
    /// Lower triangular, of the products in that order.
    pub factor: Vec<f64>,
}

impl Ordered {
    /// Weights with the largest mean square are rounded first: most others are then left to make
    /// up for their errors. `None` if the products are not positive definite.
    pub fn new(products: &[f64], size: usize) -> Option<Self> {
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| products[a * size + a].total_cmp(&products[b * size + b]).then(b.cmp(&a)));
        let factor = cholesky::factor(cholesky::submatrix(products, size, &order), size)?;
        Some(Self { order, factor })
    }
}

/// Rounds weights one after the other (GPTQ); those whose mask is false become 0.
pub(super) fn sweep(
    w: &[f64],
    ordered: &Ordered,
    mask: Option<&[bool]>,
    scale: f64,
    (lowest, highest): (f64, f64),
) -> Vec<f64> {
    let n = w.len();
    let mut asked = vec![0.0; n];
    let mut integers = vec![0.0; n];
    let inverse = 1.0 / scale;
    for at in (0..n).rev() {
        let index = ordered.order[at];
        let row = &ordered.factor[at * n..=at * n + at];
        if mask.is_none_or(|mask| mask[index]) {
            let value = w[index] + asked[at] / row[at];
            integers[index] = (value * inverse).round_ties_even().clamp(lowest, highest);
        }
        let error = w[index] - integers[index] * scale;
        asked[..at].iter_mut().zip(row).for_each(|(asked, l)| *asked += l * error);
    }
    integers
}

/// Rounds the weight whose rounding costs least, lets the others make up for it, and so on (OBQ).
/// Weights beyond the range of the integers come first.
pub(super) fn greedy(problem: &Problem, inverse: &[f64], scale: f64, (lowest, highest): (f64, f64)) -> Vec<f64> {
    let n = problem.w.len();
    let mut w: Vec<f32> = problem.w.iter().map(|&w| w as f32).collect();
    let mut integers = vec![0.0; n];
    let mut elimination = Elimination::new(problem.products, inverse, n);
    let rounded = |w: f32| (f64::from(w) / scale).round_ties_even().clamp(lowest, highest);
    let half = (scale * 0.5001) as f32;
    while let Some((slot, index, _)) = elimination.least(|slot, index| {
        let error = w[index] - (rounded(w[index]) * scale) as f32;
        Some(if error.abs() > half { -error.abs() } else { error * error / elimination.diagonal(slot) })
    }) {
        integers[index] = rounded(w[index]);
        let error = (f64::from(w[index]) - integers[index] * scale) as f32;
        elimination.remove(slot, &mut [(&mut w, error)]);
    }
    integers
}

/// Changes one integer after the other to its best value given the others, until none changes.
pub(super) fn descend(problem: &Problem, candidate: &mut Candidate, (lowest, highest): (f64, f64)) {
    let n = candidate.integers.len();
    let scale = candidate.scale;
    for _ in 0..ROUNDS {
        let mut changed = false;
        for j in 0..n {
            let row = &problem.products[j * n..(j + 1) * n];
            let own = row[j] * scale * scale;
            let slope = (problem.image[j] - scale * candidate.image[j]) * scale;
            let better = (candidate.integers[j] + slope / own).round_ties_even().clamp(lowest, highest);
            let step = better - candidate.integers[j];
            // Ties and noise change nothing.
            if step != 0.0 && step * step * own - 2.0 * step * slope < -1e-9 * own {
                candidate.integers[j] = better;
                candidate.image.iter_mut().zip(row).for_each(|(image, h)| *image += h * step);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    problem.judge(candidate);
}
