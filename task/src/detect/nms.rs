//! Non-maximum suppression.

use super::Detection;

/// Keeps, best first, what overlaps nothing better of its class by more than `overlap`, at most
/// `limit` detections. Equal scores keep their order.
pub fn non_maximum_suppression(mut detections: Vec<Detection>, overlap: f64, limit: usize) -> Vec<Detection> {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for detection in detections {
        if kept.len() == limit {
            break;
        }
        let covers =
            |better: &Detection| better.class == detection.class && better.bounds.iou(&detection.bounds) > overlap;
        if !kept.iter().any(covers) {
            kept.push(detection);
        }
    }
    kept
}

/// Checks what a task file says of scores and overlaps.
///
/// # Errors
/// One sentence.
pub fn check(overlap: f64, min_score: f64, limit: usize) -> Result<(), String> {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    if !share(overlap) || !share(min_score) {
        return Err("overlap and min_score of [decode] are from 0 to 1".to_owned());
    }
    if limit == 0 { Err("limit of [decode] is a positive number".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Bounds;

    fn detection(x1: f64, class: usize, score: f64) -> Detection {
        Detection { bounds: Bounds { x1, y1: 0.0, x2: x1 + 10.0, y2: 10.0 }, class, score }
    }

    #[test]
    fn the_better_of_two_stays() {
        let [weak, strong, far, other] =
            [detection(1.0, 0, 0.4), detection(0.0, 0, 0.9), detection(8.0, 0, 0.5), detection(0.0, 1, 0.3)];
        let all = vec![weak, strong, far, other];
        assert_eq!(non_maximum_suppression(all.clone(), 0.5, 9), [strong, far, other]);
        assert_eq!(non_maximum_suppression(all.clone(), 0.5, 1), [strong]);
        assert_eq!(non_maximum_suppression(all, 0.95, 9), [strong, far, weak, other]);
        assert_eq!(non_maximum_suppression(Vec::new(), 0.5, 9), []);
    }

    #[test]
    fn equal_scores_keep_their_order() {
        let [first, second] = [detection(0.0, 0, 0.5), detection(1.0, 0, 0.5)];
        assert_eq!(non_maximum_suppression(vec![first, second], 0.5, 9), [first]);
        assert_eq!(non_maximum_suppression(vec![second, first], 0.5, 9), [second]);
    }
}
