//! Removal of dominated options.

/// Rows of a table that no other row dominates: a row is dominated if another has the same `state` and is nowhere
/// larger (of equal rows the first stays). `row(i)` are the coordinates of the i-th of `count` rows.
///
/// Rows are visited in order of their scaled sum, so that a dominator is met before what it dominates; a dominator
/// that is hit moves forward. Returns ascending indices.
pub(super) fn undominated<'a>(
    count: usize,
    row: impl Fn(usize) -> &'a [u64],
    state: impl Fn(usize) -> (u32, u32),
) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let width = row(0).len();
    let mut largest = vec![1u64; width];
    for index in 0..count {
        for (most, &value) in largest.iter_mut().zip(row(index)) {
            *most = (*most).max(value);
        }
    }
    let sum = |index: usize| -> f64 { row(index).iter().zip(&largest).map(|(&v, &most)| v as f64 / most as f64).sum() };
    let mut order: Vec<(f64, usize)> = (0..count).map(|index| (sum(index), index)).collect();
    // Rounded sums may tie where the rows are ordered; the rows themselves then decide, so that a dominator is first.
    order.sort_by(|a, b| {
        let states = state(a.1).cmp(&state(b.1));
        states.then(a.0.total_cmp(&b.0)).then_with(|| row(a.1).cmp(row(b.1))).then(a.1.cmp(&b.1))
    });
    let mut kept: Vec<usize> = Vec::new();
    let mut begin = 0;
    let mut current = None;
    for (_, candidate) in order {
        if current != Some(state(candidate)) {
            current = Some(state(candidate));
            begin = kept.len();
        }
        let values = row(candidate);
        let dominator = kept[begin..].iter().position(|&other| row(other).iter().zip(values).all(|(a, b)| a <= b));
        match dominator {
            Some(position) if position > 0 => kept.swap(begin + position, begin + position / 2),
            Some(_) => {}
            None => kept.push(candidate),
        }
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::undominated;

    proptest! {
        #[test]
        fn keeps_exactly_the_front(rows in prop::collection::vec((prop::collection::vec(0u64..5, 3), 0u32..2), 1..40)) {
            let kept = undominated(rows.len(), |i| &rows[i].0, |i| (rows[i].1, 0));
            let covers = |a: usize, b: usize| {
                rows[a].1 == rows[b].1 && rows[a].0.iter().zip(&rows[b].0).all(|(x, y)| x <= y)
            };
            for index in 0..rows.len() {
                let beaten = (0..rows.len()).any(|other| {
                    other != index && covers(other, index) && (!covers(index, other) || other < index)
                });
                prop_assert_eq!(kept.contains(&index), !beaten);
            }
        }
    }
}
