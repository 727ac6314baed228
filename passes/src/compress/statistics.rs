//! Second-order statistics of a layer's inputs.

use super::{LayerWeights, Patch, cholesky};
use rayon::prelude::*;

/// Share of the mean square that is added to every square, so that inputs that are always zero or
/// always equal do no harm.
const DAMPING: f64 = 0.01;
/// At most so many windows are taken.
const WINDOWS: usize = 8192;
/// Products spent on one group's statistics bound the windows of wide layers.
const PRODUCTS: usize = 4 << 30;
/// Fewest windows of a wide layer, as long as there are so many.
const FEWEST_WINDOWS: usize = 1024;
/// Values gathered at a time.
const BLOCK_VALUES: usize = 1 << 18;

/// Mean products of the inputs that one group's output channels see.
#[derive(Clone, Debug)]
pub struct Moments {
    size: usize,
    /// Row-major, symmetric, positive definite.
    products: Vec<f64>,
    /// The mean of each input.
    mean: Vec<f64>,
    /// Mean products of the reference's inputs (rows) and these (columns).
    cross: Option<Vec<f64>>,
}

impl Moments {
    /// Weights of an output channel.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The damped mean products, row-major and symmetric; of the deviations from the mean if the
    /// statistics are centred.
    pub fn products(&self) -> &[f64] {
        &self.products
    }

    /// The mean of each input.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// From mean products, which get damped.
    fn damped(mut products: Vec<f64>, mean: Vec<f64>, mut cross: Option<Vec<f64>>) -> Self {
        let size = mean.len();
        let trace: f64 = (0..size).map(|i| products[i * size + i]).sum();
        let damping = DAMPING * trace / size as f64;
        if !damping.is_finite() || damping < f64::from(f32::MIN_POSITIVE) {
            // Inputs that never change tell nothing: all weights count alike.
            products.fill(0.0);
            (0..size).for_each(|i| products[i * size + i] = 1.0);
            return Self { size, products, mean, cross: None };
        }
        for i in 0..size {
            products[i * size + i] += damping;
            if let Some(cross) = &mut cross {
                cross[i * size + i] += damping;
            }
        }
        Self { size, products, mean, cross }
    }

    /// `w H w'`.
    pub fn square(&self, w: &[f64]) -> f64 {
        cholesky::dot(w, &cholesky::product(&self.products, w))
    }
}

/// Statistics of a layer's inputs, by channel group.
#[derive(Clone, Debug)]
pub struct Statistics {
    groups: Vec<Moments>,
    count: usize,
    centred: bool,
}

impl Statistics {
    /// Of the windows of images, drawn evenly. With `centred` the products are those of the
    /// deviations from the mean: the bias takes the mean error. Without images all weights count
    /// alike.
    pub fn new(patch: &Patch, groups: usize, inputs: &[Vec<f32>], centred: bool) -> Self {
        Self::gather(patch, groups, inputs, None, centred)
    }

    /// As [`Statistics::new`], with the inputs that an uncompressed network would have had, one
    /// image for each of `inputs`: [`Statistics::target`] then makes up for their difference.
    pub fn with_reference(
        patch: &Patch,
        groups: usize,
        inputs: &[Vec<f32>],
        reference: &[Vec<f32>],
        centred: bool,
    ) -> Self {
        Self::gather(patch, groups, inputs, Some(reference), centred)
    }

    fn gather(
        patch: &Patch,
        groups: usize,
        inputs: &[Vec<f32>],
        reference: Option<&[Vec<f32>]>,
        centred: bool,
    ) -> Self {
        let (all, channels) = (patch.taps(), patch.channels());
        let (size, per_group) = (all / groups, channels / groups);
        let available = patch.positions() * inputs.len();
        let rows = (PRODUCTS / (size * size * groups).max(1)).clamp(FEWEST_WINDOWS, WINDOWS).min(available);
        let mut sums: Vec<Sums> = (0..groups).map(|_| Sums::new(size, reference.is_some())).collect();
        let block = (BLOCK_VALUES / all.max(1)).clamp(16, 512);
        let mut window = vec![0.0f32; all];
        for start in (0..rows).step_by(block) {
            let count = block.min(rows - start);
            let mut gathered = |images: &[Vec<f32>]| {
                // One row a tap, over all groups: [taps][windows].
                let mut columns = vec![0.0f32; all * count];
                for row in 0..count {
                    let (sample, position) = drawn(start + row, rows, available, patch.positions());
                    patch.gather(&images[sample], position, &mut window);
                    for (tap, &value) in window.iter().enumerate() {
                        columns[tap * count + row] = value;
                    }
                }
                columns
            };
            let own = gathered(inputs);
            let other = reference.map(&mut gathered);
            sums.par_iter_mut().enumerate().for_each(|(group, sums)| {
                let column = |tap: usize| tap / per_group * channels + group * per_group + tap % per_group;
                let columns = |of: &[f32]| -> Vec<f32> {
                    (0..size).flat_map(|tap| of[column(tap) * count..(column(tap) + 1) * count].to_vec()).collect()
                };
                sums.add(&columns(&own), other.as_deref().map(columns).as_deref(), count);
            });
        }
        let groups = sums.into_par_iter().map(|sums| sums.moments(rows, centred)).collect();
        Self { groups, count: rows, centred }
    }

    /// From each group's mean products (row-major, symmetric) and means, which come from `count`
    /// windows.
    pub fn from_products(groups: Vec<(Vec<f64>, Vec<f64>)>, count: usize, centred: bool) -> Self {
        let groups = groups.into_iter().map(|(products, mean)| Moments::damped(products, mean, None)).collect();
        Self { groups, count, centred }
    }

    /// The statistics of each channel group.
    pub fn groups(&self) -> &[Moments] {
        &self.groups
    }

    /// Windows that were seen.
    pub fn count(&self) -> usize {
        self.count
    }

    /// True if the products are those of deviations from the mean.
    pub fn centred(&self) -> bool {
        self.centred
    }

    /// The weights whose output on these inputs is nearest to what the given weights give on the
    /// reference's inputs (`w C H^-1`); the given weights where there is no reference.
    pub fn target(&self, weights: LayerWeights) -> Vec<f32> {
        let factors: Vec<Option<Vec<f64>>> = self
            .groups
            .par_iter()
            .map(|moments| {
                moments.cross.as_ref()?;
                cholesky::factor(moments.products.clone(), moments.size)
            })
            .collect();
        let rows: Vec<Vec<f32>> = (0..weights.outputs())
            .into_par_iter()
            .map(|output| {
                let w = weights.row(output);
                let moments = &self.groups[weights.group(output)];
                let (Some(factor), Some(cross)) = (&factors[weights.group(output)], &moments.cross) else {
                    return w.iter().map(|&w| w as f32).collect();
                };
                let mut b = vec![0.0; moments.size];
                for (&w, row) in w.iter().zip(cross.chunks_exact(moments.size)) {
                    b.iter_mut().zip(row).for_each(|(b, c)| *b += w * c);
                }
                cholesky::solve(factor, moments.size, &mut b);
                b.iter().map(|&w| w as f32).collect()
            })
            .collect();
        rows.concat()
    }
}

impl Statistics {
    /// The scale of each output channel with which integers give the output that is nearest to
    /// that of the given weights on the reference's inputs. `None` without a reference, and for
    /// channels without such a scale.
    pub fn best_scales(&self, weights: LayerWeights, integers: &[i32]) -> Vec<Option<f64>> {
        let taps = weights.taps();
        (0..weights.outputs())
            .into_par_iter()
            .map(|output| {
                let moments = &self.groups[weights.group(output)];
                let cross = moments.cross.as_ref()?;
                let q: Vec<f64> = integers[output * taps..(output + 1) * taps].iter().map(|&q| f64::from(q)).collect();
                let scale = cholesky::dot(&weights.row(output), &cholesky::product(cross, &q)) / moments.square(&q);
                (scale.is_finite() && scale > 0.0).then_some(scale)
            })
            .collect()
    }
}

/// Sample and position of a drawn window. An odd stride through the positions keeps rows from all
/// falling into one column.
fn drawn(row: usize, rows: usize, available: usize, positions: usize) -> (usize, usize) {
    let at = (row as u128 * available as u128 / rows as u128) as usize;
    (at / positions, if rows == available { at % positions } else { (at + row * 7) % positions })
}

/// Sums over windows of one group.
struct Sums {
    size: usize,
    products: Vec<f64>,
    mean: Vec<f64>,
    cross: Vec<f64>,
    reference_mean: Vec<f64>,
}

impl Sums {
    fn new(size: usize, reference: bool) -> Self {
        let (pairs, taps) = if reference { (size * size, size) } else { (0, 0) };
        Self {
            size,
            products: vec![0.0; size * size],
            mean: vec![0.0; size],
            cross: vec![0.0; pairs],
            reference_mean: vec![0.0; taps],
        }
    }

    /// Adds windows, one column of each tap after the other.
    fn add(&mut self, own: &[f32], reference: Option<&[f32]>, count: usize) {
        let size = self.size;
        let column = |of: &'_ [f32], tap: usize| -> std::ops::Range<usize> {
            debug_assert!(of.len() >= (tap + 1) * count);
            tap * count..(tap + 1) * count
        };
        // Blocks are short enough for single precision within.
        self.products.par_chunks_exact_mut(size).enumerate().for_each(|(i, row)| {
            let first = &own[column(own, i)];
            for (j, sum) in row.iter_mut().enumerate().take(i + 1) {
                *sum += f64::from(dot(first, &own[column(own, j)]));
            }
        });
        for (tap, sum) in self.mean.iter_mut().enumerate() {
            *sum += own[column(own, tap)].iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        let Some(reference) = reference else { return };
        self.cross.par_chunks_exact_mut(size).enumerate().for_each(|(i, row)| {
            let first = &reference[column(reference, i)];
            for (j, sum) in row.iter_mut().enumerate() {
                *sum += f64::from(dot(first, &own[column(own, j)]));
            }
        });
        for (tap, sum) in self.reference_mean.iter_mut().enumerate() {
            *sum += reference[column(reference, tap)].iter().map(|&x| f64::from(x)).sum::<f64>();
        }
    }

    fn moments(mut self, count: usize, centred: bool) -> Moments {
        let size = self.size;
        let scale = 1.0 / count.max(1) as f64;
        let scaled = |values: &mut Vec<f64>| values.iter_mut().for_each(|value| *value *= scale);
        [&mut self.products, &mut self.mean, &mut self.cross, &mut self.reference_mean].into_iter().for_each(scaled);
        for i in 0..size {
            for j in 0..=i {
                let shift = if centred { self.mean[i] * self.mean[j] } else { 0.0 };
                let mut value = self.products[i * size + j] - shift;
                if i == j {
                    value = value.max(0.0);
                }
                self.products[i * size + j] = value;
                self.products[j * size + i] = value;
            }
        }
        if centred {
            for (row, mean) in self.cross.chunks_exact_mut(size).zip(&self.reference_mean) {
                row.iter_mut().zip(&self.mean).for_each(|(value, own)| *value -= mean * own);
            }
        }
        let cross = (!self.cross.is_empty()).then_some(self.cross);
        Moments::damped(self.products, self.mean, cross)
    }
}

/// Dot product in eight lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
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
