//! YOLOX's decoding.

use super::decode::Outputs;
use super::nms::{self, non_maximum_suppression};
use super::{Bounds, Detection};
use lutweave_ir::Diagnostic;
use serde::Deserialize;

/// YOLOX's decoding (Ge et al., "YOLOX: Exceeding YOLO Series in 2021"). The output is
/// `[1,cells,5+classes]`: for each stride the cells row by row, and in a cell the centre's offset
/// (cells), the logarithms of width and height (cells), the probability of an object and that of
/// each class. A cell stands for its best class; boxes of a class that overlap a better one are
/// dropped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yolox {
    /// Name of the output.
    output: String,
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

impl Yolox {
    /// Detections of one image, best first.
    ///
    /// # Errors
    /// If the output is not what the task file says.
    pub fn detections(&self, outputs: &Outputs) -> Result<Vec<Detection>, Diagnostic> {
        let tensor = outputs.find(&self.output)?;
        let cells: usize = self.strides.iter().map(|stride| (self.image[0] / stride) * (self.image[1] / stride)).sum();
        let width = match tensor.shape[..] {
            [1, rows, width] if rows == cells && width > 5 => width,
            _ => {
                let message = format!("its shape {:?} is not [1,{cells},5+classes]", tensor.shape);
                return Err(Diagnostic::error("bad-task", message).at(self.output.clone()));
            }
        };
        let values = tensor.reals();
        let places = self.strides.iter().flat_map(|&stride| {
            let columns = self.image[1] / stride;
            (0..self.image[0] / stride * columns).map(move |cell| (stride as f64, cell / columns, cell % columns))
        });
        let found = places.zip(values.chunks_exact(width)).filter_map(|((stride, row, column), cell)| {
            let mut class = 0;
            for (other, probability) in cell[5..].iter().enumerate() {
                if *probability > cell[5 + class] {
                    class = other;
                }
            }
            let score = cell[4] * cell[5 + class];
            let [x, y] = [cell[0] + column as f64, cell[1] + row as f64];
            let [half_width, half_height] = [cell[2].exp() / 2.0, cell[3].exp() / 2.0];
            let bounds = Bounds {
                x1: (x - half_width) * stride,
                y1: (y - half_height) * stride,
                x2: (x + half_width) * stride,
                y2: (y + half_height) * stride,
            };
            (score >= self.min_score).then_some(Detection { bounds, class, score })
        });
        Ok(non_maximum_suppression(found.collect(), self.overlap, self.limit))
    }

    /// Checks what no type says.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.strides.is_empty() || self.strides.contains(&0) || self.image.contains(&0) {
            return Err("image and strides of [decode] are positive numbers".to_owned());
        }
        nms::check(self.overlap, self.min_score, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::Tensor;

    fn decode() -> Yolox {
        Yolox { output: "y".to_owned(), image: [16, 8], strides: vec![4, 8], overlap: 0.5, min_score: 0.1, limit: 9 }
    }

    fn found(values: Vec<f32>) -> Result<Vec<Detection>, Diagnostic> {
        let tensor = Tensor::f32([1, values.len() / 7, 7], values);
        decode().detections(&Outputs { names: &["y".to_owned()], values: &[tensor] })
    }

    #[test]
    fn cells_lie_row_by_row_and_stride_by_stride() {
        // Eight cells of 4 pixels, then two of 8.
        let mut values = vec![0.0f32; 10 * 7];
        values[7 * 7..8 * 7].copy_from_slice(&[0.5, 0.25, 0.0, (2.0f32).ln(), 0.5, 0.25, 0.75]);
        values[9 * 7..].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.5]);
        let found = found(values).expect("the output fits");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].class, found[0].score), (0, 0.5));
        assert_eq!(found[0].bounds, Bounds { x1: -4.0, y1: 4.0, x2: 4.0, y2: 12.0 });
        assert_eq!((found[1].class, found[1].score), (1, 0.375));
        let Bounds { x1, y1, x2, y2 } = found[1].bounds;
        for (side, expected) in [(x1, 4.0), (x2, 8.0), (y1, 9.0), (y2, 17.0)] {
            assert!((side - expected).abs() < 1e-6, "{:?}", found[1].bounds);
        }
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        assert_eq!(found(vec![0.0; 9 * 7]).expect_err("a cell is missing").code, "bad-task");
    }
}
