//! Removing inputs from a least-squares problem one after the other (Optimal Brain Surgeon).

/// The inverse of the mean products of the inputs that are left.
///
/// Single precision serves: it decides an order, and what is left is fitted anew.
#[derive(Clone, Debug)]
pub(super) struct Elimination {
    /// Row length of `inverse`.
    size: usize,
    /// Lower triangle, row-major.
    inverse: Vec<f32>,
    /// The inverse's diagonal, which is read for every row at each step.
    diagonal: Vec<f32>,
    /// Reciprocal of each input's own mean square: a lower bound of the inverse's diagonal.
    floors: Vec<f32>,
    /// The input of each row.
    inputs: Vec<usize>,
    alive: Vec<bool>,
    left: usize,
    /// What was removed and is still in the inverse: a matrix larger than the nearest cache is better read once for
    /// several steps.
    pending: Vec<Step>,
}

/// Steps that are taken from the inverse together.
const STEPS: usize = 4;

/// An input's removal.
#[derive(Clone, Debug)]
struct Step {
    /// The inverse's column of the input, 0 for those removed before.
    column: Vec<f32>,
    /// Of its diagonal element.
    reciprocal: f32,
}

impl Elimination {
    /// Of all inputs, from the products and their inverse.
    pub fn new(products: &[f64], inverse: &[f64], size: usize) -> Self {
        Self {
            size,
            inverse: inverse.iter().map(|&value| value as f32).collect(),
            diagonal: (0..size).map(|i| inverse[i * size + i] as f32).collect(),
            floors: (0..size).map(|i| (1.0 / products[i * size + i]) as f32).collect(),
            inputs: (0..size).collect(),
            alive: vec![true; size],
            left: size,
            pending: Vec::with_capacity(STEPS),
        }
    }

    /// The rows of the inputs that are left, with their inputs.
    pub fn left(&self) -> impl Iterator<Item = (usize, usize)> {
        self.inputs.iter().copied().enumerate().filter(|(slot, _)| self.alive[*slot])
    }

    /// The diagonal element of a row: 1 over what fixing the input's weight a unit off costs.
    pub fn diagonal(&self, slot: usize) -> f32 {
        self.diagonal[slot].max(self.floors[slot])
    }

    /// Fixes the weight of a row's input `error` below its value in each of `weights` (indexed by
    /// input) and lets the weights that are left make up for it.
    pub fn remove(&mut self, slot: usize, weights: &mut [(&mut [f32], f32)]) {
        let d = self.diagonal(slot);
        let column = self.column(slot);
        self.alive[slot] = false;
        self.left -= 1;
        for (weights, error) in weights.iter_mut() {
            let step = *error / d;
            for (other, &input) in self.inputs.iter().enumerate() {
                weights[input] -= column[other] * step;
            }
        }
        let reciprocal = 1.0 / d;
        for (diagonal, column) in self.diagonal.iter_mut().zip(&column) {
            *diagonal -= column * reciprocal * column;
        }
        self.pending.push(Step { column, reciprocal });
        if self.pending.len() == STEPS {
            self.catch_up();
        }
        if self.left * 6 < self.size * 5 && self.size > 32 {
            self.compact();
        }
    }

    /// A row's column of the inverse, with the steps that it has not seen; 0 for removed inputs.
    fn column(&self, slot: usize) -> Vec<f32> {
        let (before, after) = (0..slot, slot + 1..self.size);
        let mut column = Vec::with_capacity(self.size);
        column.extend_from_slice(&self.inverse[slot * self.size..=slot * self.size + slot]);
        column.extend(after.clone().map(|other| self.inverse[other * self.size + slot]));
        for Step { column: seen, reciprocal } in &self.pending {
            let factor = seen[slot] * reciprocal;
            column[..=slot].iter_mut().zip(seen).for_each(|(value, seen)| *value -= factor * seen);
            let rest = column[after.clone()].iter_mut().zip(&seen[after.clone()]);
            rest.for_each(|(value, other)| *value -= other * reciprocal * seen[slot]);
        }
        let removed = before.chain(after).filter(|&other| !self.alive[other]);
        removed.for_each(|other| column[other] = 0.0);
        column
    }

    /// Takes the parts of the inputs that were removed since from the inverse.
    fn catch_up(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has the instructions.
            unsafe { self.catch_up_avx512() };
            return;
        } else if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the instructions.
            unsafe { self.catch_up_avx2() };
            return;
        }
        self.catch_up_rows();
    }

    /// The same code, compiled for AVX-512; products and differences stay apart.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn catch_up_avx512(&mut self) {
        self.catch_up_rows();
    }

    /// The same code, compiled for AVX2 (which does not include fused multiply-add).
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn catch_up_avx2(&mut self) {
        self.catch_up_rows();
    }

    #[inline(always)]
    fn catch_up_rows(&mut self) {
        for other in (0..self.size).filter(|&other| self.alive[other]) {
            let row = &mut self.inverse[other * self.size..=other * self.size + other];
            let factor = |step: &Step| step.column[other] * step.reciprocal;
            if let [a, b, c, d] = &self.pending[..] {
                let factors = [factor(a), factor(b), factor(c), factor(d)];
                let columns = a.column.iter().zip(&b.column).zip(&c.column).zip(&d.column);
                for (value, (((a, b), c), d)) in row.iter_mut().zip(columns) {
                    *value = *value - factors[0] * a - factors[1] * b - factors[2] * c - factors[3] * d;
                }
            } else {
                for step in &self.pending {
                    let factor = factor(step);
                    row.iter_mut().zip(&step.column).for_each(|(value, column)| *value -= factor * column);
                }
            }
        }
        self.pending.clear();
    }

    /// Drops the rows of removed inputs.
    fn compact(&mut self) {
        self.catch_up();
        let slots: Vec<usize> = (0..self.size).filter(|&slot| self.alive[slot]).collect();
        let size = slots.len();
        let mut inverse = vec![0.0f32; size * size];
        for (i, &from) in slots.iter().enumerate() {
            for (j, &column) in slots[..=i].iter().enumerate() {
                inverse[i * size + j] = self.inverse[from * self.size + column];
            }
        }
        self.diagonal = slots.iter().map(|&slot| self.diagonal[slot]).collect();
        self.floors = slots.iter().map(|&slot| self.floors[slot]).collect();
        self.inputs = slots.iter().map(|&slot| self.inputs[slot]).collect();
        self.alive = vec![true; size];
        self.inverse = inverse;
        self.size = size;
    }

    /// The row with the least score among those left for which there is one.
    pub fn least(&self, mut score: impl FnMut(usize, usize) -> Option<f32>) -> Option<(usize, usize, f32)> {
        let mut best: Option<(usize, usize, f32)> = None;
        for (slot, input) in self.left() {
            let Some(score) = score(slot, input) else { continue };
            // Scores that are not numbers come last.
            if best.is_none_or(|(_, _, least)| score < least || (least.is_nan() && !score.is_nan())) {
                best = Some((slot, input, score));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::super::cholesky;
    use super::*;

    #[test]
    fn what_is_left_is_the_inverse_of_what_is_left() {
        let size = 50;
        let mut h = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..size {
                h[i * size + j] = 1.0 / (1.0 + (i as f64 - j as f64).abs());
            }
        }
        let inverse = cholesky::inverse(&cholesky::factor(h.clone(), size).unwrap(), size);
        let mut elimination = Elimination::new(&h, &inverse, size);
        let w: Vec<f64> = (0..size).map(|i| ((i * 5) % 7) as f64 - 3.0).collect();
        let mut adapted: Vec<f32> = w.iter().map(|&w| w as f32).collect();
        let mut gone = Vec::new();
        for step in 0..20 {
            let (slot, input) = elimination.left().nth((step * 11) % (size - step)).unwrap();
            let error = adapted[input];
            elimination.remove(slot, &mut [(&mut adapted, error)]);
            gone.push(input);
        }
        let kept: Vec<usize> = (0..size).filter(|input| !gone.contains(input)).collect();
        assert_eq!(elimination.left().map(|(_, input)| input).collect::<Vec<_>>(), kept);
        // The weights are those of a direct fit.
        let image = cholesky::product(&h, &w);
        let factor = cholesky::factor(cholesky::submatrix(&h, size, &kept), kept.len()).unwrap();
        let mut fitted: Vec<f64> = kept.iter().map(|&i| image[i]).collect();
        cholesky::solve(&factor, kept.len(), &mut fitted);
        for (&input, fitted) in kept.iter().zip(&fitted) {
            assert!((f64::from(adapted[input]) - fitted).abs() < 1e-3, "{} for {fitted}", adapted[input]);
        }
        // So is the diagonal.
        let direct = cholesky::inverse(&factor, kept.len());
        for (at, (slot, _)) in elimination.left().enumerate() {
            let d = direct[at * kept.len() + at] as f32;
            assert!((elimination.diagonal(slot) - d).abs() < 1e-3 * d);
        }
    }
}
