//! Images of another size.

/// Resizes an image `[height,width,channels]` by bilinear interpolation: the middle of a pixel lies
/// half a pixel from its edges in both images, and pixels beyond the border are those at it.
///
/// This is what OpenCV's `resize` computes by default (`INTER_LINEAR`), but for its rounding.
pub fn resize(image: &[f32], [height, width, channels]: [usize; 3], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let vertical = taps(height, rows);
    let horizontal = taps(width, columns);
    let mut result = Vec::with_capacity(rows * columns * channels);
    for &(above, below, down) in &vertical {
        for &(left, right, along) in &horizontal {
            for channel in 0..channels {
                let at = |row: usize, column: usize| f64::from(image[(row * width + column) * channels + channel]);
                let upper = at(above, left) * (1.0 - along) + at(above, right) * along;
                let lower = at(below, left) * (1.0 - along) + at(below, right) * along;
                result.push((upper * (1.0 - down) + lower * down) as f32);
            }
        }
    }
    result
}

/// For each of `count` pixels the two of `extent` between which it lies, and the second's weight.
fn taps(extent: usize, count: usize) -> Vec<(usize, usize, f64)> {
    let scale = extent as f64 / count as f64;
    let last = extent.saturating_sub(1);
    (0..count)
        .map(|index| {
            let place = ((index as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let first = place.floor() as usize;
            (first, (first + 1).min(last), place - first as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_changes_nothing() {
        let image: Vec<f32> = (0..24).map(|value| value as f32).collect();
        assert_eq!(resize(&image, [2, 4, 3], [2, 4]), image);
    }

    #[test]
    fn values_lie_between_their_neighbours() {
        assert_eq!(resize(&[0.0, 8.0], [1, 2, 1], [1, 4]), [0.0, 2.0, 6.0, 8.0]);
        assert_eq!(resize(&[0.0, 8.0], [2, 1, 1], [4, 1]), [0.0, 2.0, 6.0, 8.0]);
        assert_eq!(resize(&[0.0, 2.0, 4.0, 6.0], [2, 2, 1], [1, 1]), [3.0]);
        // Pixels 0.25 and 1.75 of three.
        assert_eq!(resize(&[0.0, 100.0, 200.0], [1, 3, 1], [1, 2]), [25.0, 175.0]);
    }

    #[test]
    fn channels_stay_apart() {
        let image = [10.0, 0.0, 20.0, 0.0, 30.0, 0.0, 40.0, 0.0];
        let result = resize(&image, [2, 2, 2], [3, 3]);
        assert!(result.iter().skip(1).step_by(2).all(|&value| value == 0.0));
        assert_eq!(result[8], 25.0);
    }
}
