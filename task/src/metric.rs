//! Metrics: what one sample's outputs are worth, and what that makes of many.

use crate::detect::average_precision::{self, Matches, Rules};
use serde::{Deserialize, Serialize};

/// How outputs are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of samples whose largest output is at the label.
    Top1,
    /// Mean squared difference of output and input, in the model's real units.
    Mse,
    /// Mean average precision of detections at an overlap of 0.5, by PASCAL VOC's rules.
    Ap50,
    /// Mean average precision of detections at overlaps of 0.5 to 0.95, by COCO's rules.
    Map,
}

/// What one sample's outputs are worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// 1 or 0 for a hit, or a squared error: the metric is the mean.
    Number(f64),
    /// A detector's hits and misses.
    Matches(Matches),
}

impl Verdict {
    /// All that it holds, as numbers.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Number(number) => vec![*number],
            Self::Matches(matches) => matches.numbers(),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Matches(_) => f64::NAN,
        }
    }

    fn matches(&self) -> Option<&Matches> {
        match self {
            Self::Number(_) => None,
            Self::Matches(matches) => Some(matches),
        }
    }
}

impl Metric {
    /// Its name in task files and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top1",
            Self::Mse => "mse",
            Self::Ap50 => "ap50",
            Self::Map => "map",
        }
    }

    /// True if larger is better.
    pub fn larger_is_better(self) -> bool {
        match self {
            Self::Top1 | Self::Ap50 | Self::Map => true,
            Self::Mse => false,
        }
    }

    /// Whether the outputs are logits of classes, of which the largest decides.
    pub fn decides_classes(self) -> bool {
        match self {
            Self::Top1 => true,
            Self::Mse | Self::Ap50 | Self::Map => false,
        }
    }

    /// The rules by which detections are judged, if they are.
    pub fn rules(self) -> Option<Rules> {
        match self {
            Self::Top1 | Self::Mse => None,
            Self::Ap50 => Some(Rules::Voc),
            Self::Map => Some(Rules::Coco),
        }
    }

    /// Text for a table.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Top1 | Self::Ap50 | Self::Map => format!("{:.2} %", 100.0 * value),
            Self::Mse => format!("{value:.4}"),
        }
    }

    /// The metric over samples.
    pub fn value(self, verdicts: &[Verdict]) -> f64 {
        match self.rules() {
            None => verdicts.iter().map(Verdict::number).sum::<f64>() / verdicts.len().max(1) as f64,
            Some(rules) => {
                average_precision::mean(rules, &verdicts.iter().filter_map(Verdict::matches).collect::<Vec<_>>())
            }
        }
    }

    /// A detector's metric of each class that there are objects of.
    pub fn by_class(self, verdicts: &[Verdict]) -> Vec<(usize, f64)> {
        self.rules().map_or_else(Vec::new, |rules| {
            let matches: Vec<&Matches> = verdicts.iter().filter_map(Verdict::matches).collect();
            average_precision::by_class(rules, &matches).into_iter().collect()
        })
    }

    /// How many points worse `after` is than `before` on the same samples (percent for errors),
    /// and the standard error of that. Samples are paired, so only those whose verdicts differ
    /// count: for detections by the jackknife over images.
    pub fn drop(self, before: &[Verdict], after: &[Verdict]) -> (f64, f64) {
        let unit =
            if self.larger_is_better() { -100.0 } else { 100.0 / self.value(before).abs().max(f64::MIN_POSITIVE) };
        if self.rules().is_none() {
            let losses = after.iter().zip(before).map(|(after, before)| unit * (after.number() - before.number()));
            return mean(&losses.collect::<Vec<f64>>());
        }
        let drop = unit * (self.value(after) - self.value(before));
        let without: Vec<f64> = (0..after.len())
            .map(|index| unit * (self.value(&all_except(after, index)) - self.value(&all_except(before, index))))
            .collect();
        // The jackknife: the square is (n-1)/n times the sum of squares about the mean.
        let count = without.len().max(1) as f64;
        (drop, mean(&without).1 * (count * (count - 1.0)).sqrt())
    }
}

/// A mean and its standard error.
pub fn mean(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, (variance / count).sqrt())
}

/// Leave-one-out scores (jackknife).
fn all_except(verdicts: &[Verdict], index: usize) -> Vec<Verdict> {
    verdicts.iter().enumerate().filter(|&(other, _)| other != index).map(|(_, verdict)| verdict.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Bounds, Detection, Object};

    fn numbers(values: &[f64]) -> Vec<Verdict> {
        values.iter().map(|&value| Verdict::Number(value)).collect()
    }

    /// One image with an object that is found, or not.
    fn image(found: bool) -> Verdict {
        let bounds = Bounds { x1: 0.0, y1: 0.0, x2: 8.0, y2: 8.0 };
        let detection = Detection { bounds, class: 3, score: 0.9 };
        let found = if found { vec![detection] } else { Vec::new() };
        Verdict::Matches(Matches::new(Rules::Voc, &found, &[Object { bounds, class: 3 }]))
    }

    #[test]
    fn drops_are_paired() {
        let (drop, error) = Metric::Top1.drop(&numbers(&[1.0, 1.0, 0.0, 1.0]), &numbers(&[1.0, 0.0, 0.0, 1.0]));
        assert_eq!(drop, 25.0);
        assert!((error - (3.0f64 / 16.0 / 4.0).sqrt() * 100.0).abs() < 1e-9);
        let (drop, _) = Metric::Mse.drop(&numbers(&[2.0, 2.0]), &numbers(&[3.0, 2.0]));
        assert_eq!(drop, 25.0);
        assert_eq!(Metric::Top1.drop(&[], &[]), (0.0, 0.0));
    }

    #[test]
    fn a_detectors_drop_has_the_error_of_the_jackknife() {
        let (before, after) = ([true; 4].map(image), [true, false, true, true].map(image));
        assert_eq!(Metric::Ap50.value(&after), 0.75);
        assert_eq!(Metric::Ap50.by_class(&after), [(3, 0.75)]);
        let (drop, error) = Metric::Ap50.drop(&before, &after);
        assert_eq!(drop, 25.0);
        // Without the second image the drop is 0, without another it is a third.
        let mean: f64 = 100.0 / 3.0 * 3.0 / 4.0;
        let squares = mean.powi(2) + 3.0 * (100.0 / 3.0 - mean).powi(2);
        assert!((error - (0.75 * squares).sqrt()).abs() < 1e-9, "{error}");
        assert_eq!(Metric::Ap50.drop(&before, &before), (0.0, 0.0));
    }
}
