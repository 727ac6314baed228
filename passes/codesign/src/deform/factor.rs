//! Dense layers as one filter per channel and a mixture of channels.

use super::edit::{DeformableLayer, Edit};
use lutweave_ir::op::{Conv, DeformConv, Geometry};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// Rounds of the power iteration; the vectors have as many elements as a kernel has taps.
const ROUNDS: usize = 200;

/// Name of the deformable layer that [`factor`] leaves of a layer: the pointwise one, which gives
/// its result, has its name.
pub(super) fn depthwise_name(layer: &str) -> String {
    format!("{layer}.depthwise")
}

/// A dense layer as a depthwise deformable one and a pointwise one. For each input channel the
/// filters of all outputs are multiples of one: the best in the sum of squares, by the largest
/// singular value. `None` for layers with groups, of one tap, or whose weights are no constant.
pub(super) fn factor(edit: &mut Edit, layer: &DeformableLayer) -> Result<Option<NodeId>, Diagnostic> {
    let node = edit.source.node(layer.node);
    let name = node.name.clone();
    let weights = edit.source.constant_of(node.operands[1]);
    let Some(weights) = weights.filter(|weights| layer.conv.geometry.groups == 1 && weights.shape[3] > 1) else {
        return Ok(None);
    };
    let [outputs, height, width, channels] = [0, 1, 2, 3].map(|axis| weights.shape[axis]);
    let taps = height * width;
    if taps == 1 {
        return Ok(None);
    }
    let (mut filters, mut mixture) = (vec![0.0; channels * taps], vec![0.0; outputs * channels]);
    for channel in 0..channels {
        let rows: Vec<f64> =
            (0..outputs * taps).map(|index| f64::from(weights.f32s()[index * channels + channel])).collect();
        let (gains, filter) = largest_singular(&rows, taps);
        filters[channel * taps..(channel + 1) * taps].iter_mut().zip(&filter).for_each(|(to, from)| *to = *from as f32);
        for (output, gain) in gains.iter().enumerate() {
            mixture[output * channels + channel] = *gain as f32;
        }
    }
    let mut operands = edit.operands(layer.node);
    let bias = operands[2];
    operands[1] = edit.floats(&format!("{name}.depthwise.weight"), &[channels, height, width, 1], filters);
    operands[2] = edit.floats(&format!("{name}.depthwise.bias"), &[channels], vec![0.0; channels]);
    let geometry = Geometry { groups: channels, ..layer.conv.geometry };
    let op = Op::DeformConv(DeformConv { geometry, ..layer.conv });
    let filtered = edit.graph.add(&depthwise_name(&name), op, &operands)?;
    let mixture = edit.floats(&format!("{name}.weight"), &[outputs, 1, 1, channels], mixture);
    edit.graph.add(&name, Op::Conv(Conv { geometry: Geometry::PLAIN }), &[filtered, mixture, bias]).map(Some)
}

/// For a matrix of rows of `columns` elements, `u` and `v` of which `u v'` is nearest to it; `v`
/// has length 1.
fn largest_singular(matrix: &[f64], columns: usize) -> (Vec<f64>, Vec<f64>) {
    let times = |v: &[f64]| -> Vec<f64> {
        matrix.chunks_exact(columns).map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum()).collect()
    };
    // From the row of largest norm: it is not orthogonal to the largest singular vector unless
    // rows are nearly so among themselves, where any of them does.
    let norm = |row: &[f64]| row.iter().map(|a| a * a).sum::<f64>();
    let mut longest = &matrix[..columns];
    for row in matrix.chunks_exact(columns) {
        if norm(row) > norm(longest) {
            longest = row;
        }
    }
    let mut v = longest.to_vec();
    for _ in 0..ROUNDS {
        let length = norm(&v).sqrt();
        if length == 0.0 {
            break;
        }
        v.iter_mut().for_each(|a| *a /= length);
        let u = times(&v);
        let mut next = vec![0.0; columns];
        for (row, gain) in matrix.chunks_exact(columns).zip(&u) {
            next.iter_mut().zip(row).for_each(|(sum, a)| *sum += gain * a);
        }
        v = next;
    }
    let length = norm(&v).sqrt();
    if length > 0.0 {
        v.iter_mut().for_each(|a| *a /= length);
    }
    (times(&v), v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_of_rank_one_is_nearer(
            matrix in prop::collection::vec(-1.0f64..1.0, 45),
            other in prop::collection::vec(-1.0f64..1.0, 9),
        ) {
            let (u, v) = largest_singular(&matrix, 9);
            let error = |u: &[f64], v: &[f64]| -> f64 {
                matrix.iter().enumerate().map(|(index, a)| (a - u[index / 9] * v[index % 9]).powi(2)).sum()
            };
            let best = error(&u, &v);
            // The best multiples of another filter.
            let square: f64 = other.iter().map(|a| a * a).sum::<f64>().max(1e-9);
            let gains: Vec<f64> = matrix
                .chunks_exact(9)
                .map(|row| row.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>() / square)
                .collect();
            prop_assert!(best <= error(&gains, &other) + 1e-6);
            // Nor is one nearby.
            let near: Vec<f64> = v.iter().zip(&other).map(|(a, b)| a + 0.05 * b).collect();
            let square: f64 = near.iter().map(|a| a * a).sum();
            let gains: Vec<f64> = matrix
                .chunks_exact(9)
                .map(|row| row.iter().zip(&near).map(|(a, b)| a * b).sum::<f64>() / square)
                .collect();
            prop_assert!(best <= error(&gains, &near) + 1e-3);
        }
    }

    #[test]
    fn a_matrix_of_rank_one_is_found_again() {
        let matrix: Vec<f64> = (0..12).map(|index| [2.0, -1.0, 0.5][index / 4] * (index % 4) as f64).collect();
        let (u, v) = largest_singular(&matrix, 4);
        let close = |index: usize| (u[index / 4] * v[index % 4] - matrix[index]).abs() < 1e-9;
        assert!((0..12).all(close), "{u:?} {v:?}");
        assert_eq!(largest_singular(&[0.0; 4], 2).0, [0.0, 0.0]);
    }
}
