//! FastestDet's decoding.

use super::activation::logistic;
use super::decode::Outputs;
use super::nms::{self, non_maximum_suppression};
use super::{Bounds, Detection};
use lutweave_ir::Diagnostic;
use serde::Deserialize;

/// FastestDet's decoding (dog-qiuqiu/FastestDet, 2022). The output is `[1,5+classes,rows,columns]`
/// over a grid of cells: the probability of an object; the centre's offset from the cell's corner,
/// in cells, before its hyperbolic tangent; width and height as shares of the image, before the
/// logistic function; and the probability of each class. A cell stands for its best class; boxes of
/// a class that overlap a better one are dropped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FastestDet {
    /// Name of the output.
    output: String,
    /// Height and width of the model's input in pixels.
    image: [usize; 2],
    /// Overlap from which a box is dropped.
    overlap: f64,
    /// Least score of a detection.
    min_score: f64,
    /// Detections of an image at most.
    limit: usize,
}

impl FastestDet {
    /// Detections of one image, best first.
    ///
    /// # Errors
    /// If the output is not what the task file says.
    pub fn detections(&self, outputs: &Outputs) -> Result<Vec<Detection>, Diagnostic> {
        let tensor = outputs.find(&self.output)?;
        let (channels, rows, columns) = match tensor.shape[..] {
            [1, channels, rows, columns] if channels > 5 => (channels, rows, columns),
            _ => {
                let message = format!("its shape {:?} is not [1,5+classes,rows,columns]", tensor.shape);
                return Err(Diagnostic::error("bad-task", message).at(self.output.clone()));
            }
        };
        let values = tensor.reals();
        let cells = rows * columns;
        let [height, width] = self.image.map(|extent| extent as f64);
        let found = (0..cells).filter_map(|cell| {
            let at = |channel: usize| values[channel * cells + cell];
            let class = (6..channels).fold(5, |best, other| if at(other) > at(best) { other } else { best });
            let score = at(0) * at(class);
            let x = ((cell % columns) as f64 + at(1).tanh()) / columns as f64 * width;
            let y = ((cell / columns) as f64 + at(2).tanh()) / rows as f64 * height;
            let [half_width, half_height] = [logistic(at(3)) * width / 2.0, logistic(at(4)) * height / 2.0];
            let bounds = Bounds { x1: x - half_width, y1: y - half_height, x2: x + half_width, y2: y + half_height };
            (score >= self.min_score).then_some(Detection { bounds, class: class - 5, score })
        });
        Ok(non_maximum_suppression(found.collect(), self.overlap, self.limit))
    }

    /// Checks what no type says.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.image.contains(&0) {
            return Err("image of [decode] is two positive numbers".to_owned());
        }
        nms::check(self.overlap, self.min_score, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::Tensor;

    fn found(shape: [usize; 4], values: Vec<f32>) -> Result<Vec<Detection>, Diagnostic> {
        let decode = FastestDet { output: "y".to_owned(), image: [40, 80], overlap: 0.5, min_score: 0.1, limit: 9 };
        decode.detections(&Outputs { names: &["y".to_owned()], values: &[Tensor::f32(shape, values)] })
    }

    #[test]
    fn cells_lie_row_by_row() {
        // Two rows of four cells, two classes; the last cell of the first row has an object.
        let mut values = vec![0.0f32; 7 * 8];
        let cell = [0.5, 0.5f32.atanh(), -(0.25f32.atanh()), 0.0, -(3.0f32.ln()), 0.25, 0.75];
        for (channel, value) in cell.into_iter().enumerate() {
            values[channel * 8 + 3] = value;
        }
        let found = found([1, 7, 2, 4], values).expect("the output fits");
        let [detection] = found[..] else { panic!("{found:?}") };
        assert_eq!((detection.class, detection.score), (1, 0.375));
        let Bounds { x1, y1, x2, y2 } = detection.bounds;
        // The centre is at 3.5 of 4 columns and -0.25 of 2 rows; half as wide, a quarter as high.
        for (side, expected) in [(x1, 50.0), (x2, 90.0), (y1, -10.0), (y2, 0.0)] {
            assert!((side - expected).abs() < 1e-4, "{:?}", detection.bounds);
        }
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        assert_eq!(found([1, 5, 2, 4], vec![0.0; 40]).expect_err("no class").code, "bad-task");
        assert_eq!(found([2, 6, 1, 4], vec![0.0; 48]).expect_err("two images").code, "bad-task");
    }
}
