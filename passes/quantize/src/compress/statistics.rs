//! Second-order statistics of a layer's inputs.

use super::dot::{dot, dots};
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
/// Largest number of weights of an output channel for which products of different inputs are taken:
/// memory grows with its square, and effort with its cube.
const WIDEST: usize = 1536;
/// Values gathered at a time.
const BLOCK_VALUES: usize = 1 << 18;

/// Mean products of the inputs that one group's output channels see.
#[derive(Clone, Debug)]
pub struct Moments {
    size: usize,
    /// Row-major, symmetric, positive definite; the diagonal alone if that is all there is.
    products: Vec<f64>,
    diagonal: bool,
    /// The mean of each input.
    mean: Vec<f64>,
    /// What was added to each square.
    damping: f64,
    /// Mean products of the reference's outputs (rows) and these inputs (columns).
    cross: Option<Vec<f64>>,
}

impl Moments {
    /// Weights of an output channel.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The damped mean products, row-major and symmetric; of the deviations from the mean if the
    /// statistics are centred. Of very wide layers the diagonal alone.
    pub fn products(&self) -> &[f64] {
        &self.products
    }

    /// True if only the inputs' own squares are known: weights cannot make up for each other.
    pub fn is_diagonal(&self) -> bool {
        self.diagonal
    }

    /// The mean of each input.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// From mean products, which get damped.
    fn damped(mut products: Vec<f64>, mean: Vec<f64>, cross: Option<Vec<f64>>) -> Self {
        let size = mean.len();
        let trace: f64 = (0..size).map(|i| products[i * size + i]).sum();
        let damping = DAMPING * trace / size as f64;
        if !damping.is_finite() || damping < f64::from(f32::MIN_POSITIVE) || trace < constant(&mean) {
            // Inputs that never change tell nothing: all weights count alike.
            products.fill(0.0);
            (0..size).for_each(|i| products[i * size + i] = 1.0);
            return Self { size, products, diagonal: false, mean, damping: 1.0, cross: None };
        }
        (0..size).for_each(|i| products[i * size + i] += damping);
        Self { size, products, diagonal: false, mean, damping, cross }
    }

    /// From mean squares, which get damped.
    fn diagonal(mut squares: Vec<f64>, mean: Vec<f64>) -> Self {
        let size = mean.len();
        let trace: f64 = squares.iter().sum();
        let damping = DAMPING * trace / size as f64;
        if damping.is_finite() && damping >= f64::from(f32::MIN_POSITIVE) && trace >= constant(&mean) {
            squares.iter_mut().for_each(|square| *square += damping);
        } else {
            squares.fill(1.0);
        }
        Self { size, products: squares, diagonal: true, mean, damping, cross: None }
    }

    /// Mean products of the reference's output and these inputs, damped like the inputs' own, for
    /// an output channel of the group and its weights.
    fn reference_image(&self, output: usize, w: &[f64]) -> Option<Vec<f64>> {
        let row = &self.cross.as_ref()?[output * self.size..(output + 1) * self.size];
        Some(row.iter().zip(w).map(|(product, w)| product + self.damping * w).collect())
    }

    /// `w H w'`.
    pub fn square(&self, w: &[f64]) -> f64 {
        if self.diagonal {
            return w.iter().zip(&self.products).map(|(w, square)| w * w * square).sum();
        }
        cholesky::dot(w, &cholesky::product(&self.products, w))
    }
}

/// What a layer gives in the uncompressed network.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// One image `[positions, o]` for each of the inputs.
    pub outputs: &'a [&'a [f32]],
    /// One for each output channel, to be taken off.
    pub bias: &'a [f32],
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

    /// As [`Statistics::new`], with what the layer gives in the uncompressed network.
    /// [`Statistics::target`] and [`Statistics::best_scales`] then make up for the difference of
    /// the inputs.
    pub fn with_reference(
        patch: &Patch,
        groups: usize,
        inputs: &[Vec<f32>],
        reference: Reference,
        centred: bool,
    ) -> Self {
        Self::gather(patch, groups, inputs, Some(reference), centred)
    }

    fn gather(patch: &Patch, groups: usize, inputs: &[Vec<f32>], reference: Option<Reference>, centred: bool) -> Self {
        let (all, channels) = (patch.taps(), patch.channels());
        let (size, per_group) = (all / groups, channels / groups);
        let available = patch.positions() * inputs.len();
        let diagonal = size > WIDEST;
        let reference = reference.filter(|reference| !diagonal && !reference.outputs.is_empty());
        let rows = (PRODUCTS / (size * size * groups).max(1)).clamp(FEWEST_WINDOWS, WINDOWS).min(available);
        let outputs = reference.map_or(0, |reference| reference.bias.len() / groups);
        let mut sums: Vec<Sums> = (0..groups).map(|_| Sums::new(size, outputs, diagonal)).collect();
        let block = (BLOCK_VALUES / all.max(1)).clamp(16, 512);
        let mut window = vec![0.0f32; all];
        for start in (0..rows).step_by(block) {
            let count = block.min(rows - start);
            // One row per tap, and one per output, over all groups: [taps][windows].
            let mut columns = vec![0.0f32; all * count];
            let mut results = vec![0.0f32; outputs * groups * count];
            for row in 0..count {
                let (sample, position) = drawn(start + row, rows, available, patch.positions());
                patch.gather(&inputs[sample], position, &mut window);
                for (tap, &value) in window.iter().enumerate() {
                    columns[tap * count + row] = value;
                }
                if let Some(Reference { outputs, bias }) = reference {
                    let pixel = &outputs[sample][position * bias.len()..(position + 1) * bias.len()];
                    for (output, (value, bias)) in pixel.iter().zip(bias).enumerate() {
                        results[output * count + row] = value - bias;
                    }
                }
            }
            sums.par_iter_mut().enumerate().for_each(|(group, sums)| {
                let column = |tap: usize| tap / per_group * channels + group * per_group + tap % per_group;
                let own: Vec<&[f32]> =
                    (0..size).map(|tap| &columns[column(tap) * count..(column(tap) + 1) * count]).collect();
                let results = results[group * outputs * count..(group + 1) * outputs * count].chunks_exact(count);
                sums.add(&own, &results.collect::<Vec<&[f32]>>());
            });
        }
        let groups = sums.into_par_iter().map(|sums| sums.moments(rows, centred)).collect();
        Self { groups, count: rows, centred }
    }

    /// From each group's mean products (row-major, symmetric) and means, which come from `count`
    /// windows.
    #[cfg(test)]
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
                let (group, moments) = (weights.group(output), &self.groups[weights.group(output)]);
                let image = moments.reference_image(output - group * weights.outputs_per_group(), &w);
                let (Some(factor), Some(mut b)) = (&factors[group], image) else {
                    return w.iter().map(|&w| w as f32).collect();
                };
                cholesky::solve(factor, moments.size, &mut b);
                let fitted: Vec<f32> = b.iter().map(|&w| w as f32).collect();
                // Inputs of which next to nothing is left ask for weights beyond all numbers.
                if fitted.iter().all(|w| w.is_finite()) { fitted } else { w.iter().map(|&w| w as f32).collect() }
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
                let (group, moments) = (weights.group(output), &self.groups[weights.group(output)]);
                let image =
                    moments.reference_image(output - group * weights.outputs_per_group(), &weights.row(output))?;
                let q: Vec<f64> = integers[output * taps..(output + 1) * taps].iter().map(|&q| f64::from(q)).collect();
                let scale = cholesky::dot(&image, &q) / moments.square(&q);
                (scale.is_finite() && scale > 0.0).then_some(scale)
            })
            .collect()
    }
}

/// Sums of squared deviations below this are what rounding leaves of inputs that never change.
fn constant(mean: &[f64]) -> f64 {
    const ROUNDING: f64 = 1e-5;
    ROUNDING * mean.iter().map(|mean| mean * mean).sum::<f64>()
}

/// Sample and position of a drawn window: all windows if there is room, otherwise samples in turn
/// and positions scattered over the image. A
/// stride would fall into step with the image's width and see few of its columns.
fn drawn(row: usize, rows: usize, available: usize, positions: usize) -> (usize, usize) {
    let at = (row as u128 * available as u128 / rows as u128) as usize;
    if rows == available {
        return (at / positions, at % positions);
    }
    // The finalizer of SplitMix64 (Steele et al. 2014).
    let mut mixed = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (at / positions, ((mixed ^ (mixed >> 31)) % positions as u64) as usize)
}

/// Sums over windows of one group.
struct Sums {
    size: usize,
    /// Only squares are summed.
    diagonal: bool,
    products: Vec<f64>,
    mean: Vec<f64>,
    cross: Vec<f64>,
    output_mean: Vec<f64>,
}

impl Sums {
    fn new(size: usize, outputs: usize, diagonal: bool) -> Self {
        Self {
            size,
            diagonal,
            products: vec![0.0; if diagonal { size } else { size * size }],
            mean: vec![0.0; size],
            cross: vec![0.0; outputs * size],
            output_mean: vec![0.0; outputs],
        }
    }

    /// Adds windows: the values of each tap, and of each output.
    fn add(&mut self, taps: &[&[f32]], outputs: &[&[f32]]) {
        let size = self.size;
        // Blocks are short enough for single precision within.
        let row = if self.diagonal { 1 } else { size };
        self.products.par_chunks_exact_mut(row).enumerate().for_each(|(i, row)| {
            let others = if self.diagonal { &taps[i..=i] } else { &taps[..=i] };
            add_dots(row, taps[i], others);
        });
        self.cross.par_chunks_exact_mut(size).zip(outputs).for_each(|(row, output)| {
            add_dots(row, output, taps);
        });
        let total = |values: &[f32]| values.iter().map(|&x| f64::from(x)).sum::<f64>();
        self.mean.iter_mut().zip(taps).for_each(|(sum, values)| *sum += total(values));
        self.output_mean.iter_mut().zip(outputs).for_each(|(sum, values)| *sum += total(values));
    }

    fn moments(mut self, count: usize, centred: bool) -> Moments {
        let size = self.size;
        let scale = 1.0 / count.max(1) as f64;
        let scaled = |values: &mut Vec<f64>| values.iter_mut().for_each(|value| *value *= scale);
        [&mut self.products, &mut self.mean, &mut self.cross, &mut self.output_mean].into_iter().for_each(scaled);
        if self.diagonal {
            for (square, mean) in self.products.iter_mut().zip(&self.mean) {
                *square = (*square - if centred { mean * mean } else { 0.0 }).max(0.0);
            }
            return Moments::diagonal(self.products, self.mean);
        }
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
            for (row, mean) in self.cross.chunks_exact_mut(size).zip(&self.output_mean) {
                row.iter_mut().zip(&self.mean).for_each(|(value, own)| *value -= mean * own);
            }
        }
        let cross = (!self.cross.is_empty()).then_some(self.cross);
        Moments::damped(self.products, self.mean, cross)
    }
}

/// Adds the dot products of a vector with others to sums.
fn add_dots(sums: &mut [f64], vector: &[f32], others: &[&[f32]]) {
    let (fours, rest) = others.as_chunks::<4>();
    let (sums_of_fours, sums_of_rest) = sums.split_at_mut(4 * fours.len());
    for (sums, four) in sums_of_fours.chunks_exact_mut(4).zip(fours) {
        for (sum, product) in sums.iter_mut().zip(dots(vector, *four)) {
            *sum += f64::from(product);
        }
    }
    for (sum, other) in sums_of_rest.iter_mut().zip(rest) {
        *sum += f64::from(dot(vector, other));
    }
}
