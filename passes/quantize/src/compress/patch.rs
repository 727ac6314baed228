//! The inputs that a convolution's windows see.

use lutweave_ir::op::Geometry;

/// The windows of a convolution on an image.
#[derive(Clone, Debug)]
pub struct Patch {
    image: [usize; 3],
    kernel: [usize; 2],
    output: [usize; 2],
    geometry: Geometry,
}

impl Patch {
    /// The windows of a kernel `[kh,kw]` on an image `[h,w,c]`.
    pub fn new(image: [usize; 3], kernel: [usize; 2], geometry: &Geometry) -> Self {
        let extents = [image[0], image[1]];
        let output = [0, 1].map(|axis| {
            let padded = extents[axis] + geometry.pads[axis] + geometry.pads[axis + 2];
            let reach = (kernel[axis] - 1) * geometry.dilations[axis] + 1;
            padded.saturating_sub(reach) / geometry.strides[axis] + 1
        });
        Self { image, kernel, output, geometry: *geometry }
    }

    /// Number of window positions.
    pub fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Number of values in a window, over all channels: `[kh,kw,c]`.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.image[2]
    }

    /// Position in the image of the pixel that a tap of a window reads, if it is inside.
    fn pixel(&self, row: usize, column: usize, ky: usize, kx: usize) -> Option<usize> {
        let y =
            (row * self.geometry.strides[0] + ky * self.geometry.dilations[0]).checked_sub(self.geometry.pads[0])?;
        let x =
            (column * self.geometry.strides[1] + kx * self.geometry.dilations[1]).checked_sub(self.geometry.pads[1])?;
        (y < self.image[0] && x < self.image[1]).then_some((y * self.image[1] + x) * self.image[2])
    }

    /// Number of input channels.
    pub fn channels(&self) -> usize {
        self.image[2]
    }

    /// Writes the window at a position into `window`; what lies outside the image is 0.
    pub fn gather(&self, image: &[f32], position: usize, window: &mut [f32]) {
        let (row, column) = (position / self.output[1], position % self.output[1]);
        let channels = self.image[2];
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                let tap = (ky * self.kernel[1] + kx) * channels;
                let target = &mut window[tap..tap + channels];
                match self.pixel(row, column, ky, kx) {
                    Some(start) => target.copy_from_slice(&image[start..start + channels]),
                    None => target.fill(0.0),
                }
            }
        }
    }

    /// The mean of each tap over all windows.
    pub fn mean(&self, image: &[f32]) -> Vec<f64> {
        let channels = self.image[2];
        let mut sums = vec![0.0f64; self.taps()];
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                let tap = (ky * self.kernel[1] + kx) * channels;
                let sums = &mut sums[tap..tap + channels];
                for row in 0..self.output[0] {
                    // Rows are short enough for single precision.
                    let mut line = vec![0.0f32; channels];
                    for column in 0..self.output[1] {
                        if let Some(start) = self.pixel(row, column, ky, kx) {
                            for (sum, value) in line.iter_mut().zip(&image[start..start + channels]) {
                                *sum += value;
                            }
                        }
                    }
                    for (sum, value) in sums.iter_mut().zip(&line) {
                        *sum += f64::from(*value);
                    }
                }
            }
        }
        let positions = self.positions() as f64;
        sums.iter_mut().for_each(|sum| *sum /= positions);
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_the_gathered_windows() {
        let geometry = Geometry { strides: [2, 1], dilations: [1, 2], pads: [1, 2, 0, 1], groups: 1 };
        let patch = Patch::new([5, 6, 3], [3, 2], &geometry);
        let image: Vec<f32> = (0..90).map(|i| ((i * 37) % 19) as f32 - 5.0).collect();
        let mut expected = vec![0.0f64; patch.taps()];
        let mut window = vec![0.0; patch.taps()];
        for position in 0..patch.positions() {
            patch.gather(&image, position, &mut window);
            for (sum, value) in expected.iter_mut().zip(&window) {
                *sum += f64::from(*value) / patch.positions() as f64;
            }
        }
        let mean = patch.mean(&image);
        assert!(mean.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{mean:?} {expected:?}");
    }
}
