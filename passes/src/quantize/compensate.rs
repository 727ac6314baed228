//! Second-order statistics of a layer's inputs, and rounding that makes later weights make up for
//! the error of earlier ones (GPTQ).

use rayon::prelude::*;

/// Mean products of the inputs of a group's taps.
pub(super) struct Gram {
    size: usize,
    /// Row-major, symmetric.
    products: Vec<f32>,
    /// Upper triangular `u` with `transpose(u) * u = inverse(products + damping)`.
    factor: Option<Vec<f64>>,
}

/// Share of the mean square that is added to every square, so that taps that are always zero or
/// always equal do no harm.
const DAMPING: f64 = 0.01;

impl Gram {
    /// Of windows, one a row.
    pub fn new(rows: &[f32], size: usize) -> Self {
        let count = rows.len() / size;
        let mut columns = vec![0.0f32; rows.len()];
        for (row, values) in rows.chunks_exact(size).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                columns[column * count + row] = value;
            }
        }
        let column = |index: usize| &columns[index * count..(index + 1) * count];
        let scale = 1.0 / count.max(1) as f32;
        let mut products = vec![0.0f32; size * size];
        products.par_chunks_exact_mut(size).enumerate().for_each(|(i, row)| {
            for (j, product) in row.iter_mut().enumerate().skip(i) {
                *product = dot(column(i), column(j)) * scale;
            }
        });
        for i in 0..size {
            for j in 0..i {
                products[i * size + j] = products[j * size + i];
            }
        }
        let factor = inverse_factor(&products, size);
        Self { size, products, factor }
    }

    /// The products times a vector.
    pub fn times(&self, vector: &[f32]) -> Vec<f32> {
        self.products.chunks_exact(self.size).map(|row| dot(row, vector)).collect()
    }

    /// Rounds weights to `scale * q` with `q` between `lowest` and `highest`, one after the other;
    /// each error is spread over the weights still to come. `None` if the products are singular.
    pub fn compensated(&self, w: &[f32], scale: f64, lowest: f64, highest: f64) -> Option<Vec<i32>> {
        let factor = self.factor.as_ref()?;
        let mut w: Vec<f64> = w.iter().map(|&w| f64::from(w)).collect();
        let mut integers = Vec::with_capacity(self.size);
        for j in 0..self.size {
            let q = (w[j] / scale).round_ties_even().clamp(lowest, highest);
            integers.push(q as i32);
            let row = &factor[j * self.size..(j + 1) * self.size];
            let error = (w[j] - q * scale) / row[j];
            for (later, &u) in w[j + 1..].iter_mut().zip(&row[j + 1..]) {
                *later -= error * u;
            }
        }
        Some(integers)
    }
}

/// Dot product in eight lanes.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The upper Cholesky factor of the inverse of a damped symmetric matrix.
///
/// With `l` the lower factor of the matrix with rows and columns reversed, the inverse's upper
/// factor is the reversal of `inverse(l)`.
fn inverse_factor(products: &[f32], size: usize) -> Option<Vec<f64>> {
    let trace: f64 = (0..size).map(|i| f64::from(products[i * size + i])).sum();
    let damping = DAMPING * trace / size as f64;
    if !(damping.is_finite() && damping > 0.0) {
        return None;
    }
    let reversed = |i: usize, j: usize| {
        let value = f64::from(products[(size - 1 - i) * size + (size - 1 - j)]);
        if i == j { value + damping } else { value }
    };
    let mut lower = vec![0.0f64; size * size];
    for i in 0..size {
        let (done, rest) = lower.split_at_mut(i * size);
        let row = &mut rest[..size];
        for j in 0..i {
            let other = &done[j * size..j * size + j];
            row[j] = (reversed(i, j) - inner(&row[..j], other)) / done[j * size + j];
        }
        let pivot = reversed(i, i) - inner(&row[..i], &row[..i]);
        if !(pivot.is_finite() && pivot > 0.0) {
            return None;
        }
        row[i] = pivot.sqrt();
    }
    // Columns of the inverse of the lower factor, each a row here so that access is sequential.
    let mut factor = vec![0.0f64; size * size];
    let columns: Vec<Vec<f64>> = (0..size)
        .into_par_iter()
        .map(|column| {
            let mut x = vec![0.0f64; size];
            x[column] = 1.0 / lower[column * size + column];
            for i in column + 1..size {
                let sum = inner(&lower[i * size + column..i * size + i], &x[column..i]);
                x[i] = -sum / lower[i * size + i];
            }
            x
        })
        .collect();
    for (column, values) in columns.iter().enumerate() {
        for (row, &value) in values.iter().enumerate().skip(column) {
            factor[(size - 1 - row) * size + (size - 1 - column)] = value;
        }
    }
    Some(factor)
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 4;
    let mut lanes = [0.0f64; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, size: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut rows = Vec::new();
        for _ in 0..count {
            let common = noise();
            rows.extend((0..size).map(|_| common + 0.5 * noise()));
        }
        rows
    }

    #[test]
    fn the_factor_squares_to_the_inverse() {
        let size = 7;
        let gram = Gram::new(&rows(50, size), size);
        let u = gram.factor.as_ref().unwrap();
        let damping = DAMPING * (0..size).map(|i| f64::from(gram.products[i * size + i])).sum::<f64>() / size as f64;
        for i in 0..size {
            for j in 0..size {
                // (h * inverse)[i][j] with inverse = transpose(u) * u.
                let value: f64 = (0..size)
                    .map(|k| {
                        let h = f64::from(gram.products[i * size + k]) + if i == k { damping } else { 0.0 };
                        h * (0..size).map(|m| u[m * size + k] * u[m * size + j]).sum::<f64>()
                    })
                    .sum();
                assert!((value - f64::from(i == j)).abs() < 1e-6, "{i} {j} {value}");
            }
        }
    }

    #[test]
    fn compensation_lowers_the_output_error() {
        let size = 24;
        let rows = rows(400, size);
        let gram = Gram::new(&rows, size);
        let w: Vec<f32> = (0..size).map(|i| ((i * 29) % 17) as f32 / 17.0 - 0.45).collect();
        let scale = 0.1;
        let nearest: Vec<i32> = w.iter().map(|&w| (f64::from(w) / scale).round() as i32).collect();
        let compensated = gram.compensated(&w, scale, -8.0, 7.0).unwrap();
        let error = |q: &[i32]| {
            let d: Vec<f32> = w.iter().zip(q).map(|(w, &q)| w - q as f32 * scale as f32).collect();
            dot(&d, &gram.times(&d))
        };
        assert!(error(&compensated) < 0.7 * error(&nearest), "{} {}", error(&compensated), error(&nearest));
    }

    #[test]
    fn no_inputs_mean_no_compensation() {
        assert!(Gram::new(&[0.0; 30], 5).compensated(&[0.1; 5], 0.1, -8.0, 7.0).is_none());
    }
}
