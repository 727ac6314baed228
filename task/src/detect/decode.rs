//! A detector's outputs to detections.

use super::activation::logistic;
use super::fastestdet::FastestDet;
use super::head::Winner;
use super::nanodet::NanoDet;
use super::yolox::Yolox;
use super::{Bounds, Detection};
use lutweave_ir::{Diagnostic, Tensor};
use lutweave_quantize::head::HeadSpec;
use serde::Deserialize;

/// How a detector's outputs are read: the table `[decode]` of a task file.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decode {
    /// Objects as points: see [`CenterNet`].
    Centernet(CenterNet),
    /// One box per grid cell, over several feature levels: see [`Yolox`].
    Yolox(Yolox),
    /// One box per cell, on one grid: see [`FastestDet`].
    Fastestdet(FastestDet),
    /// One box per cell with distances as distributions, on several grids: see [`NanoDet`].
    Nanodet(NanoDet),
}

/// Outputs of a network with their names.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// Names, in the order of the values.
    pub names: &'a [String],
    /// Values.
    pub values: &'a [Tensor],
}

impl<'a> Outputs<'a> {
    /// The output of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, name: &str) -> Result<&'a Tensor, Diagnostic> {
        let position = self.names.iter().position(|known| known == name);
        position.and_then(|position| self.values.get(position)).ok_or_else(|| no_output(name, self.names))
    }
}

fn no_output(name: &str, names: &[String]) -> Diagnostic {
    Diagnostic::error("bad-task", "the model has no such output")
        .at(name)
        .help(format!("its outputs are: {}", names.join(", ")))
}

impl Decode {
    /// Detections of one image, best first.
    ///
    /// # Errors
    /// If the outputs are not what the task file says.
    pub fn detections(&self, outputs: &Outputs) -> Result<Vec<Detection>, Diagnostic> {
        match self {
            Self::Centernet(decode) => decode.detections(outputs),
            Self::Yolox(decode) => decode.detections(outputs),
            Self::Fastestdet(decode) => decode.detections(outputs),
            Self::Nanodet(decode) => decode.detections(outputs),
        }
    }

    /// Checks what no type says.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Centernet(decode) => decode.check(),
            Self::Yolox(decode) => decode.check(),
            Self::Fastestdet(decode) => decode.check(),
            Self::Nanodet(decode) => decode.check(),
        }
    }
}

/// CenterNet's decoding (Zhou et al., "Objects as Points", 2019), as CoDeNet uses it. Outputs are
/// `[1,channels,height,width]` and of the same height and width, one cell per `stride` pixels.
///
/// A cell of a class is a peak if its logit is larger than that of every neighbour (of eight, in
/// the same class) that comes before it in row order, and not smaller than that of any that comes
/// after it: of equal logits side by side the first is the peak. The `limit` largest peaks are
/// kept; of equal logits the first in the order of rows, columns, classes wins. The logistic
/// function is applied to these alone. A cell's box has its centre at the cell's column and row
/// plus the offset there, and the size there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterNet {
    /// Name of the output with one logit a class.
    heatmap: String,
    /// Name of the output with width and height.
    size: String,
    /// What width and height are given as.
    #[serde(default)]
    size_form: SizeForm,
    /// Name of the output with horizontal and vertical offset, in cells.
    offset: String,
    /// Pixels of a cell.
    stride: f64,
    /// Detections of an image at most.
    #[serde(default = "hundred")]
    limit: usize,
}

/// What a size is given as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SizeForm {
    /// Cells.
    #[default]
    Linear,
    /// The natural logarithm of cells.
    Log,
}

fn hundred() -> usize {
    100
}

/// `[1,channels,height,width]` and the values.
struct Map {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f64>,
}

impl Map {
    fn find(outputs: &Outputs, name: &str) -> Result<Self, Diagnostic> {
        let tensor = outputs.find(name)?;
        let [1, channels, height, width] = tensor.shape[..] else {
            let message = format!("its shape {:?} is not [1,channels,height,width]", tensor.shape);
            return Err(Diagnostic::error("bad-task", message).at(name));
        };
        let values = tensor.reals();
        Ok(Self { channels, height, width, values })
    }

    fn at(&self, channel: usize, row: usize, column: usize) -> f64 {
        self.values[(channel * self.height + row) * self.width + column]
    }

    fn is_peak(&self, channel: usize, row: usize, column: usize) -> bool {
        let own = self.at(channel, row, column);
        let rows = row.saturating_sub(1)..(row + 2).min(self.height);
        rows.into_iter().all(|i| {
            let columns = column.saturating_sub(1)..(column + 2).min(self.width);
            columns.into_iter().all(|j| {
                let other = self.at(channel, i, j);
                if (i, j) < (row, column) { own > other } else { own >= other }
            })
        })
    }
}

impl CenterNet {
    fn detections(&self, outputs: &Outputs) -> Result<Vec<Detection>, Diagnostic> {
        let heatmap = Map::find(outputs, &self.heatmap)?;
        let size = Map::find(outputs, &self.size)?;
        let offset = Map::find(outputs, &self.offset)?;
        for (name, map) in [(&self.size, &size), (&self.offset, &offset)] {
            if (map.channels, map.height, map.width) != (2, heatmap.height, heatmap.width) {
                let message = format!("it is not [1,2,{},{}], as the heatmap demands", heatmap.height, heatmap.width);
                return Err(Diagnostic::error("bad-task", message).at(name.clone()));
            }
        }
        let mut peaks = Vec::new();
        for row in 0..heatmap.height {
            for column in 0..heatmap.width {
                let classes = (0..heatmap.channels).filter(|&class| heatmap.is_peak(class, row, column));
                peaks.extend(classes.map(|class| (heatmap.at(class, row, column), row, column, class)));
            }
        }
        // Stable: equal logits stay in the order of rows, columns, classes.
        peaks.sort_by(|a, b| b.0.total_cmp(&a.0));
        peaks.truncate(self.limit);
        let detection = |(logit, row, column, class): (f64, usize, usize, usize)| {
            let at = |map: &Map| [map.at(0, row, column), map.at(1, row, column)];
            self.detection(logit, [row, column, class], at(&size), at(&offset))
        };
        Ok(peaks.into_iter().map(detection).collect())
    }

    /// The box of a winner: its logit, row, column and class, and what the maps hold there.
    fn detection(&self, logit: f64, place: [usize; 3], size: [f64; 2], offset: [f64; 2]) -> Detection {
        let [row, column, class] = place;
        let [half_width, half_height] = size.map(|side| match self.size_form {
            SizeForm::Linear => side / 2.0,
            SizeForm::Log => side.exp() / 2.0,
        });
        let x = column as f64 + offset[0];
        let y = row as f64 + offset[1];
        let bounds = Bounds {
            x1: (x - half_width) * self.stride,
            y1: (y - half_height) * self.stride,
            x2: (x + half_width) * self.stride,
            y2: (y + half_height) * self.stride,
        };
        Detection { bounds, class, score: logistic(logit) }
    }

    /// The head on the chip: size and offset belong to a record, in this order.
    pub(super) fn head(&self, names: &[String]) -> Result<HeadSpec, Diagnostic> {
        let position =
            |name: &String| names.iter().position(|known| known == name).ok_or_else(|| no_output(name, names));
        let maps = vec![position(&self.size)?, position(&self.offset)?];
        Ok(HeadSpec { heatmap: position(&self.heatmap)?, maps, count: self.limit })
    }

    /// Detections of what the head on the chip found.
    pub(super) fn detections_of(&self, winners: &[Winner]) -> Result<Vec<Detection>, Diagnostic> {
        let detection = |Winner { logit, place, gathered }: &Winner| match gathered[..] {
            [width, height, right, down] => Ok(self.detection(*logit, *place, [width, height], [right, down])),
            _ => {
                let message = format!("a record holds {} values of maps; size and offset are four", gathered.len());
                Err(Diagnostic::error("bad-task", message).at(self.size.clone()))
            }
        };
        winners.iter().take(self.limit).map(detection).collect()
    }

    fn check(&self) -> Result<(), String> {
        if !(self.stride.is_finite() && self.stride > 0.0) || self.limit == 0 {
            return Err("stride and limit of [decode] are positive numbers".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(limit: usize, size_form: SizeForm) -> Decode {
        let [heatmap, size, offset] = ["h", "s", "o"].map(str::to_owned);
        Decode::Centernet(CenterNet { heatmap, size, size_form, offset, stride: 4.0, limit })
    }

    fn names() -> Vec<String> {
        ["o", "h", "s"].map(str::to_owned).to_vec()
    }

    /// Two classes on two rows of three.
    fn values(heatmap: [i32; 12]) -> Vec<Tensor> {
        let size = Tensor::f32([1, 2, 2, 3], (0..12).map(|index| index as f32).collect::<Vec<_>>());
        let offset = Tensor::f32([1, 2, 2, 3], vec![0.25; 12]);
        let heatmap = Tensor::f32([1, 2, 2, 3], heatmap.map(|logit| logit as f32));
        vec![offset, heatmap, size]
    }

    fn places(heatmap: [i32; 12], limit: usize) -> Vec<(usize, usize, usize)> {
        let values = values(heatmap);
        let found = decode(limit, SizeForm::Linear).detections(&Outputs { names: &names(), values: &values });
        let place = |found: Detection| {
            let [x, y] = [(found.bounds.x1 + found.bounds.x2) / 8.0, (found.bounds.y1 + found.bounds.y2) / 8.0];
            (y as usize, x as usize, found.class)
        };
        found.expect("the outputs fit").into_iter().map(place).collect()
    }

    #[test]
    fn the_first_of_equal_logits_is_the_peak() {
        let flat = [0; 12];
        assert_eq!(places(flat, 9), [(0, 0, 0), (0, 0, 1)]);
        // The diagonal neighbours 3 are apart from each other by two columns.
        assert_eq!(places([3, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 0], 9), [(1, 1, 1), (0, 0, 0), (0, 2, 0)]);
        assert_eq!(places([0, 0, 3, 0, 3, 0, 0, 0, 0, 0, 0, 0], 9), [(0, 2, 0), (0, 0, 1)]);
    }

    #[test]
    fn the_limit_keeps_the_best() {
        assert_eq!(places([3, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 0], 2), [(1, 1, 1), (0, 0, 0)]);
    }

    #[test]
    fn boxes_have_the_size_and_offset_of_their_cell() {
        let values = values([0, 0, 0, 0, 1, 0, -9, -9, -9, -9, -9, -9]);
        let outputs = Outputs { names: &names(), values: &values };
        let found = decode(1, SizeForm::Linear).detections(&outputs).expect("the outputs fit");
        let bounds = Bounds { x1: -3.0, y1: -15.0, x2: 13.0, y2: 25.0 };
        assert_eq!(found, [Detection { bounds, class: 0, score: 1.0 / (1.0 + (-1.0f64).exp()) }]);
        let found = decode(1, SizeForm::Log).detections(&outputs).expect("the outputs fit");
        assert!((found[0].bounds.x2 - found[0].bounds.x1 - 4.0 * 4.0f64.exp()).abs() < 1e-9);
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        let mut values = values([0; 12]);
        let code = |values: &[Tensor], names: &[String]| {
            let found = decode(1, SizeForm::Linear).detections(&Outputs { names, values });
            found.expect_err("the outputs do not fit").code
        };
        assert_eq!(code(&values, &["o", "h", "size"].map(str::to_owned)), "bad-task");
        values[2] = Tensor::f32([1, 2, 3, 2], vec![0.0; 12]);
        assert_eq!(code(&values, &names()), "bad-task");
        values[1] = Tensor::f32([12], vec![0.0; 12]);
        assert_eq!(code(&values, &names()), "bad-task");
    }

    #[test]
    fn logits_that_are_no_numbers_are_no_peaks() {
        let mut values = values([0; 12]);
        values[1] = Tensor::f32([1, 2, 2, 3], vec![f32::NAN; 12]);
        let found = decode(9, SizeForm::Linear).detections(&Outputs { names: &names(), values: &values });
        assert_eq!(found.expect("the outputs fit"), []);
    }
}
