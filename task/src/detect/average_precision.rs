//! Average precision by the rules of PASCAL VOC (all points, from 2010 on) and of COCO (101 points).

use super::{Detection, Object};
use std::collections::BTreeMap;

/// Whose rules count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// PASCAL VOC at an overlap of 0.5. A detection is right if the object that it overlaps most
    /// is not taken and overlaps it enough; the area under the envelope of precision over recall.
    Voc,
    /// COCO: the mean over overlaps of 0.5, 0.55, .. 0.95. A detection takes the object that it
    /// overlaps most among those not taken; the mean of the envelope at 101 recalls.
    Coco,
}

impl Rules {
    fn thresholds(self) -> Vec<f64> {
        match self {
            Self::Voc => vec![0.5],
            Self::Coco => (0..10).map(|step| 0.5 + 0.05 * f64::from(step)).collect(),
        }
    }
}

/// What the detections of one image are worth, by class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matches(BTreeMap<usize, ClassMatches>);

#[derive(Clone, Debug, Default, PartialEq)]
struct ClassMatches {
    /// Objects that there are.
    objects: usize,
    /// For each detection, best first, its score and at which thresholds it is right (bits).
    detections: Vec<(f64, u16)>,
}

impl Matches {
    /// Compares an image's detections with its objects.
    pub fn new(rules: Rules, detections: &[Detection], objects: &[Object]) -> Self {
        let mut classes: BTreeMap<usize, ClassMatches> = BTreeMap::new();
        for object in objects {
            classes.entry(object.class).or_default().objects += 1;
        }
        let mut ranked: Vec<&Detection> = detections.iter().collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        for detection in &ranked {
            classes.entry(detection.class).or_default().detections.push((detection.score, 0));
        }
        for (&class, matches) in &mut classes {
            let own: Vec<&Object> = objects.iter().filter(|object| object.class == class).collect();
            let overlaps: Vec<Vec<f64>> = ranked
                .iter()
                .filter(|detection| detection.class == class)
                .map(|detection| own.iter().map(|object| detection.bounds.iou(&object.bounds)).collect())
                .collect();
            for (bit, threshold) in rules.thresholds().into_iter().enumerate() {
                let mut taken = vec![false; own.len()];
                for (overlaps, (_, right)) in overlaps.iter().zip(&mut matches.detections) {
                    if let Some(object) = matched(rules, overlaps, &taken, threshold) {
                        taken[object] = true;
                        *right |= 1 << bit;
                    }
                }
            }
        }
        Self(classes)
    }

    /// All that it holds, as numbers.
    pub fn numbers(&self) -> Vec<f64> {
        let mut numbers = Vec::new();
        for (&class, matches) in &self.0 {
            numbers.extend([class as f64, matches.objects as f64, matches.detections.len() as f64]);
            numbers.extend(matches.detections.iter().flat_map(|&(score, right)| [score, f64::from(right)]));
        }
        numbers
    }
}

/// The object that a detection with these overlaps is right about.
fn matched(rules: Rules, overlaps: &[f64], taken: &[bool], threshold: f64) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (object, &overlap) in overlaps.iter().enumerate() {
        let better = match (rules, best) {
            (Rules::Coco, _) if taken[object] => false,
            (_, None) => true,
            (Rules::Voc, Some(best)) => overlap > overlaps[best],
            (Rules::Coco, Some(best)) => overlap >= overlaps[best],
        };
        if better {
            best = Some(object);
        }
    }
    best.filter(|&object| overlaps[object] >= threshold && !taken[object])
}

/// Average precision of each class that some image has objects of.
pub fn by_class(rules: Rules, images: &[&Matches]) -> BTreeMap<usize, f64> {
    let mut classes: BTreeMap<usize, ClassMatches> = BTreeMap::new();
    for image in images {
        for (&class, matches) in &image.0 {
            let all = classes.entry(class).or_default();
            all.objects += matches.objects;
            all.detections.extend_from_slice(&matches.detections);
        }
    }
    classes.retain(|_, matches| matches.objects > 0);
    let precision = |mut matches: ClassMatches| {
        // Stable: equal scores stay in the order of the images.
        matches.detections.sort_by(|a, b| b.0.total_cmp(&a.0));
        let thresholds = rules.thresholds();
        let each = (0..thresholds.len()).map(|bit| {
            let right = matches.detections.iter().map(|&(_, right)| right >> bit & 1 == 1);
            average_precision(rules, right, matches.objects)
        });
        each.sum::<f64>() / thresholds.len() as f64
    };
    classes.into_iter().map(|(class, matches)| (class, precision(matches))).collect()
}

/// Mean of [`by_class`]; 0 if there are no objects.
pub fn mean(rules: Rules, images: &[&Matches]) -> f64 {
    let classes = by_class(rules, images);
    classes.values().sum::<f64>() / classes.len().max(1) as f64
}

/// Average precision of detections, best first, of which these are right.
fn average_precision(rules: Rules, right: impl Iterator<Item = bool>, objects: usize) -> f64 {
    // Right detections among the first so many, and precision there.
    let mut curve: Vec<(usize, f64)> = Vec::new();
    let mut hits = 0;
    for (index, right) in right.enumerate() {
        hits += usize::from(right);
        curve.push((hits, hits as f64 / (index + 1) as f64));
    }
    let mut best = 0.0f64;
    for point in curve.iter_mut().rev() {
        best = best.max(point.1);
        point.1 = best;
    }
    match rules {
        Rules::Voc => {
            let mut before = 0;
            let mut area = 0.0;
            for (hits, precision) in curve {
                area += (hits - before) as f64 * precision;
                before = hits;
            }
            area / objects as f64
        }
        Rules::Coco => {
            let at = |step: u32| {
                let wanted = f64::from(step) / 100.0;
                let reached = curve.partition_point(|&(hits, _)| (hits as f64) / (objects as f64) < wanted);
                curve.get(reached).map_or(0.0, |&(_, precision)| precision)
            };
            (0..=100).map(at).sum::<f64>() / 101.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Bounds;
    use lutweave_ir::random::SplitMix64;

    fn bounds(sides: [usize; 4], moved: [i32; 4]) -> Bounds {
        let [x1, y1, x2, y2] = std::array::from_fn(|side| sides[side] as f64 + f64::from(moved[side]));
        Bounds { x1, y1, x2, y2 }
    }

    /// Images with objects, detections near most of them, some of another class, and chance ones;
    /// many scores are equal.
    fn images(rules: Rules) -> Vec<Matches> {
        let mut random = SplitMix64::new(7);
        let image = |_| {
            let (mut objects, mut found) = (Vec::new(), Vec::new());
            for _ in 0..random.below(8) {
                let [x, y] = [random.below(100), random.below(100)];
                let sides = [x, y, x + 10 + random.below(40), y + 10 + random.below(40)];
                let class = random.below(3);
                objects.push(Object { bounds: bounds(sides, [0; 4]), class });
                for _ in 0..random.below(3) {
                    let moved = std::array::from_fn(|_| random.below(9) as i32 - 4);
                    let class = if random.below(8) == 0 { random.below(3) } else { class };
                    let score = random.below(20) as f64 / 20.0;
                    found.push(Detection { bounds: bounds(sides, moved), class, score });
                }
            }
            for _ in 0..random.below(4) {
                let [x, y] = [random.below(100), random.below(100)];
                let class = random.below(3);
                let score = random.below(20) as f64 / 20.0;
                found.push(Detection { bounds: bounds([x, y, x + 20, y + 20], [0; 4]), class, score });
            }
            Matches::new(rules, &found, &objects)
        };
        (0..12).map(image).collect()
    }

    /// The figures are those of a separate program in Python, written after VOC's development kit
    /// and COCO's evaluation code.
    #[test]
    fn figures_are_those_of_the_rules_authors() {
        let expected = [
            (Rules::Voc, [0.6710580441230597, 0.3029761904761905, 0.37507246376811587]),
            (Rules::Coco, [0.32003742631348153, 0.13459024473875955, 0.1396360505615779]),
        ];
        for (rules, expected) in expected {
            let images = images(rules);
            let images: Vec<&Matches> = images.iter().collect();
            let found = by_class(rules, &images);
            assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
            for (found, expected) in found.values().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{rules:?}: {found} is not {expected}");
            }
            assert!((mean(rules, &images) - expected.iter().sum::<f64>() / 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn an_object_is_found_once() {
        let object = Object { bounds: bounds([0, 0, 10, 10], [0; 4]), class: 0 };
        let detection = |score| Detection { bounds: object.bounds, class: 0, score };
        for rules in [Rules::Voc, Rules::Coco] {
            let once = Matches::new(rules, &[detection(0.5)], &[object]);
            assert_eq!(mean(rules, &[&once]), 1.0);
            let twice = Matches::new(rules, &[detection(0.5), detection(0.6)], &[object]);
            assert_eq!(mean(rules, &[&twice]), 1.0);
            let doubled = Matches::new(rules, &[detection(0.5), detection(0.6)], &[object, object]);
            // VOC's rule looks at the first of equal boxes only.
            assert!(mean(rules, &[&doubled]) < 1.0 || rules == Rules::Coco);
        }
    }

    #[test]
    fn classes_without_objects_do_not_count() {
        let wrong = Detection { bounds: bounds([0, 0, 10, 10], [0; 4]), class: 5, score: 0.9 };
        let right = Detection { class: 2, ..wrong };
        let object = Object { bounds: wrong.bounds, class: 2 };
        let matches = Matches::new(Rules::Voc, &[wrong, right], &[object]);
        assert_eq!(by_class(Rules::Voc, &[&matches]), BTreeMap::from([(2, 1.0)]));
        assert_eq!(mean(Rules::Voc, &[&Matches::new(Rules::Voc, &[wrong], &[])]), 0.0);
        assert_eq!(mean(Rules::Voc, &[]), 0.0);
    }
}
