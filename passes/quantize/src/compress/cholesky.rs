//! Factors, solutions and inverses of symmetric positive definite matrices, row-major.

pub(super) use super::dot::dot;
use super::dot::dots;

/// Matrix times vector.
pub(super) fn product(matrix: &[f64], vector: &[f64]) -> Vec<f64> {
    let size = vector.len().max(1);
    let (blocks, rest) = matrix.split_at(matrix.len() / (ROWS * size) * (ROWS * size));
    let together = blocks.chunks_exact(ROWS * size).flat_map(|block| {
        let rows = [0, 1, 2, 3].map(|row| &block[row * size..(row + 1) * size]);
        dots(vector, rows)
    });
    together.chain(rest.chunks_exact(size).map(|row| dot(row, vector))).collect()
}

/// A matrix times several vectors, each as by [`product`]; the matrix is read once for four of them.
pub(super) fn products(matrix: &[f64], vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (together, alone) = vectors.as_chunks::<4>();
    let mut results = Vec::with_capacity(vectors.len());
    for vectors in together {
        let size = vectors[0].len().max(1);
        let mut images = [0; 4].map(|_| Vec::with_capacity(size));
        for row in matrix.chunks_exact(size) {
            let image = dots(row, [&vectors[0], &vectors[1], &vectors[2], &vectors[3]]);
            images.iter_mut().zip(image).for_each(|(images, image)| images.push(image));
        }
        results.extend(images);
    }
    results.extend(alone.iter().map(|vector| product(matrix, vector)));
    results
}

/// The rows and columns of a matrix that `indices` names, in that order.
pub(super) fn submatrix(matrix: &[f64], size: usize, indices: &[usize]) -> Vec<f64> {
    let mut result = Vec::with_capacity(indices.len() * indices.len());
    for &i in indices {
        let row = &matrix[i * size..(i + 1) * size];
        result.extend(indices.iter().map(|&j| row[j]));
    }
    result
}

/// Replaces the lower triangle of a matrix by its lower Cholesky factor; the upper triangle keeps
/// what it held. A pivot that rounding made too small is raised to `1e-12` of its diagonal
/// element, so that there is always a factor; `None` only for values that are not finite or
/// matrices with diagonal elements that are not positive.
pub(super) fn factor(mut matrix: Vec<f64>, size: usize) -> Option<Vec<f64>> {
    for i in 0..size {
        if i % ROWS == 0 && i + ROWS <= size {
            eliminate_together(&mut matrix, size, i);
        }
        let (done, rest) = matrix.split_at_mut(i * size);
        let row = &mut rest[..size];
        // Rows of a block have seen those before the block.
        let first = if i / ROWS * ROWS + ROWS <= size { i / ROWS * ROWS } else { 0 };
        for j in first..i {
            let other = &done[j * size..=j * size + j];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let diagonal = row[i];
        let pivot = (diagonal - dot(&row[..i], &row[..i])).max(diagonal * 1e-12);
        if !(pivot.is_finite() && pivot > 0.0) {
            return None;
        }
        row[i] = pivot.sqrt();
    }
    Some(matrix)
}

/// Rows that are multiplied together.
const ROWS: usize = 4;

/// The elements of four rows before column `first`, their own first: each as if by itself.
fn eliminate_together(matrix: &mut [f64], size: usize, first: usize) {
    let (done, rest) = matrix.split_at_mut(first * size);
    let (block, _) = rest.split_at_mut(ROWS * size);
    for j in 0..first {
        let other = &done[j * size..=j * size + j];
        let rows = [0, 1, 2, 3].map(|row| &block[row * size..row * size + j]);
        let products = dots(&other[..j], rows);
        for (row, product) in products.into_iter().enumerate() {
            let element = &mut block[row * size + j];
            *element = (*element - product) / other[j];
        }
    }
}

/// Solves `factor * factor' * x = b` in place.
pub(super) fn solve(factor: &[f64], size: usize, b: &mut [f64]) {
    for i in 0..size {
        let row = &factor[i * size..=i * size + i];
        b[i] = (b[i] - dot(&row[..i], &b[..i])) / row[i];
    }
    for i in (0..size).rev() {
        let row = &factor[i * size..=i * size + i];
        b[i] /= row[i];
        let x = b[i];
        b[..i].iter_mut().zip(row).for_each(|(b, l)| *b -= l * x);
    }
}

/// The inverse of a matrix from its lower factor.
pub(super) fn inverse(factor: &[f64], size: usize) -> Vec<f64> {
    // Row c holds column c of the inverse of the factor, which is 0 before c.
    let mut columns = vec![0.0f64; size * size];
    for c in 0..size {
        let x = &mut columns[c * size..(c + 1) * size];
        x[c] = 1.0 / factor[c * size + c];
        for i in c + 1..size {
            let row = &factor[i * size..=i * size + i];
            x[i] = -dot(&row[c..i], &x[c..i]) / row[i];
        }
    }
    let mut inverse = vec![0.0f64; size * size];
    for i in 0..size {
        for j in 0..=i {
            let value = dot(&columns[i * size + i..(i + 1) * size], &columns[j * size + i..(j + 1) * size]);
            inverse[i * size + j] = value;
            inverse[j * size + i] = value;
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(size: usize) -> Vec<f64> {
        let entry = |i: usize, j: usize| ((i * 7 + j * 13) % 11) as f64 / 5.0 - 1.0;
        let mut h = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..size {
                h[i * size + j] = (0..2 * size).map(|k| entry(k * k, i) * entry(k * k, j)).sum();
            }
            h[i * size + i] += 0.5;
        }
        h
    }

    #[test]
    fn solutions_and_inverses_solve() {
        let size = 19;
        let h = matrix(size);
        let l = factor(h.clone(), size).unwrap();
        let b: Vec<f64> = (0..size).map(|i| (i as f64).sin()).collect();
        let mut x = b.clone();
        solve(&l, size, &mut x);
        let inverse = inverse(&l, size);
        let vectors: Vec<Vec<f64>> = (0..6).map(|n| b.iter().map(|b| b * f64::from(n) - 0.3).collect()).collect();
        for (vector, image) in vectors.iter().zip(products(&h, &vectors)) {
            assert_eq!(image, product(&h, vector));
            assert_eq!(image, h.chunks_exact(size).map(|row| dot(row, vector)).collect::<Vec<_>>());
        }
        for (i, (back, same)) in product(&h, &x).iter().zip(product(&inverse, &b)).enumerate() {
            assert!((back - b[i]).abs() < 1e-9, "{back} for {}", b[i]);
            assert!((same - x[i]).abs() < 1e-9, "{same} for {}", x[i]);
        }
    }

    #[test]
    fn a_singular_matrix_has_a_factor_and_a_zero_matrix_has_none() {
        let l = factor(vec![1.0; 9], 3).unwrap();
        assert!(l.iter().all(|value| value.is_finite()));
        assert!(factor(vec![0.0; 9], 3).is_none());
        assert!(factor(vec![f64::NAN; 9], 3).is_none());
    }
}
