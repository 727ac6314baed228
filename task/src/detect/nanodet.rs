//! NanoDet's decoding.

use super::activation::softmax;
use super::decode::Outputs;
use super::nms::{self, non_maximum_suppression};
use super::{Bounds, Detection};
use lutweave_ir::Diagnostic;
use serde::Deserialize;

/// Sides of a box.
const SIDES: usize = 4;

/// NanoDet's decoding (RangiLyu/nanodet, 2020; the boxes are those of Li et al., "Generalized Focal
/// Loss", 2020). Each stride has two outputs, whose rows are the cells row by row: the probability
/// of each class, and for each side of the box (left, top, right, bottom) a distribution over
/// 0, 1, 2, ... strides, before its softmax, whose mean is the side's distance from the cell's
/// middle. A cell may stand for several classes; boxes of a class that overlap a better one are
/// dropped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NanoDet {
    /// Names of the outputs `[cells,classes]`, stride by stride; any number of axes of extent 1 may
    /// come before.
    scores: Vec<String>,
    /// Names of the outputs `[cells,4*distances]`.
    distances: Vec<String>,
    /// Height and width of the model's input in pixels.
    image: [usize; 2],
    /// Pixels of a cell, level by level.
    strides: Vec<usize>,
    /// Overlap from which a box is dropped.
    overlap: f64,
    /// Least score of a detection.
    min_score: f64,
    /// Detections of an image at most.
    limit: usize,
}

/// The rows of an output.
struct Rows {
    width: usize,
    values: Vec<f64>,
}

impl Rows {
    fn find(outputs: &Outputs, name: &str, cells: usize) -> Result<Self, Diagnostic> {
        let tensor = outputs.find(name)?;
        match tensor.shape[..] {
            [ref ones @ .., rows, width] if rows == cells && width > 0 && ones.iter().all(|&extent| extent == 1) => {
                Ok(Self { width, values: tensor.reals() })
            }
            _ => {
                let message = format!("its shape {:?} is not [{cells},channels]", tensor.shape);
                Err(Diagnostic::error("bad-task", message).at(name))
            }
        }
    }

    fn row(&self, cell: usize) -> &[f64] {
        &self.values[cell * self.width..(cell + 1) * self.width]
    }
}

impl NanoDet {
    /// Detections of one image, best first.
    ///
    /// # Errors
    /// If the outputs are not what the task file says.
    pub fn detections(&self, outputs: &Outputs) -> Result<Vec<Detection>, Diagnostic> {
        let mut found = Vec::new();
        for ((scores, distances), &stride) in self.scores.iter().zip(&self.distances).zip(&self.strides) {
            let [rows, columns] = self.image.map(|extent| extent.div_ceil(stride));
            let probabilities = Rows::find(outputs, scores, rows * columns)?;
            let distributions = Rows::find(outputs, distances, rows * columns)?;
            if !distributions.width.is_multiple_of(SIDES) {
                let message = format!("its {} channels are not as many for each of four sides", distributions.width);
                return Err(Diagnostic::error("bad-task", message).at(distances.clone()));
            }
            for cell in 0..rows * columns {
                let likely = probabilities.row(cell).iter().enumerate();
                let likely = likely.filter(|&(_, &score)| score >= self.min_score);
                let bounds = bounds(distributions.row(cell), [cell / columns, cell % columns], stride as f64);
                found.extend(likely.map(|(class, &score)| Detection { bounds, class, score }));
            }
        }
        Ok(non_maximum_suppression(found, self.overlap, self.limit))
    }

    /// Checks what no type says.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), String> {
        let levels = self.strides.len();
        if levels == 0 || self.scores.len() != levels || self.distances.len() != levels {
            return Err("scores and distances of [decode] name one output each for each of the strides".to_owned());
        }
        if self.strides.contains(&0) || self.image.contains(&0) {
            return Err("image and strides of [decode] are positive numbers".to_owned());
        }
        nms::check(self.overlap, self.min_score, self.limit)
    }
}

/// The box around a cell's middle.
fn bounds(distributions: &[f64], [row, column]: [usize; 2], stride: f64) -> Bounds {
    let side = |side: usize| {
        let count = distributions.len() / SIDES;
        mean(&distributions[side * count..(side + 1) * count]) * stride
    };
    let [x, y] = [column, row].map(|index| (index as f64 + 0.5) * stride);
    Bounds { x1: x - side(0), y1: y - side(1), x2: x + side(2), y2: y + side(3) }
}

/// The mean position of a distribution before its softmax.
fn mean(logits: &[f64]) -> f64 {
    softmax(logits).iter().enumerate().map(|(position, share)| position as f64 * share).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::Tensor;

    fn decode() -> NanoDet {
        NanoDet {
            scores: ["s8", "s16"].map(str::to_owned).to_vec(),
            distances: ["d8", "d16"].map(str::to_owned).to_vec(),
            image: [16, 32],
            strides: vec![8, 16],
            overlap: 0.5,
            min_score: 0.1,
            limit: 9,
        }
    }

    fn found(scores: [Vec<f32>; 2], distances: [Vec<f32>; 2]) -> Result<Vec<Detection>, Diagnostic> {
        let names = ["s8", "s16", "d8", "d16"].map(str::to_owned);
        let tensor = |cells: usize, values: Vec<f32>| Tensor::f32([1, cells, values.len() / cells], values);
        let ([s8, s16], [d8, d16]) = (scores, distances);
        let values = [tensor(8, s8), tensor(2, s16), tensor(8, d8), tensor(2, d16)];
        decode().detections(&Outputs { names: &names, values: &values })
    }

    #[test]
    fn sides_are_means_of_distributions_around_the_middle_of_a_cell() {
        let mut scores = [vec![0.0; 8 * 2], vec![0.0; 2 * 2]];
        let mut distances = [vec![0.0; 8 * 12], vec![0.0; 2 * 12]];
        // The second row's third cell: classes 0 and 1; sides at 2, between 0 and 1, at 0, at 1.
        scores[0][6 * 2..7 * 2].copy_from_slice(&[0.75, 0.5]);
        let far = -1e4;
        let sides = [far, far, 0.0, 3.0, 3.0, far, 0.0, far, far, far, 9.0, far];
        distances[0][6 * 12..7 * 12].copy_from_slice(&sides);
        scores[1][3] = 0.25;
        let found = found(scores, distances).expect("the outputs fit");
        let bounds = Bounds { x1: 20.0 - 16.0, y1: 12.0 - 4.0, x2: 20.0, y2: 12.0 + 8.0 };
        assert_eq!(found[0], Detection { bounds, class: 0, score: 0.75 });
        assert_eq!(found[1], Detection { bounds, class: 1, score: 0.5 });
        let bounds = Bounds { x1: 24.0 - 16.0, y1: 8.0 - 16.0, x2: 24.0 + 16.0, y2: 8.0 + 16.0 };
        assert_eq!(found[2..], [Detection { bounds, class: 1, score: 0.25 }]);
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        let refused = |scores, distances| found(scores, distances).expect_err("it does not fit").code;
        let scores = || [vec![0.0; 8], vec![0.0; 2]];
        assert_eq!(refused(scores(), [vec![0.0; 8 * 4], vec![0.0; 2 * 6]]), "bad-task");
        assert_eq!(refused(scores(), [vec![0.0; 8 * 4], Vec::new()]), "bad-task");
        let mut lacking = decode();
        lacking.scores.pop();
        assert!(lacking.check().is_err() && decode().check().is_ok());
    }
}
