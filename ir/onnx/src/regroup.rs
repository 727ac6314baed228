//! Reshapes as divisions and unions of axes: what lets a reshape pass a transpose, and a slice pass
//! a reshape.

use crate::layout::inverse;

/// How a reshape of a transposed value becomes a transposed reshape.
#[derive(Debug, PartialEq)]
pub struct Regrouping {
    /// First, order the inner axes so that those that are joined are neighbours.
    pub before: Vec<usize>,
    /// Then reshape to this.
    pub shape: Vec<usize>,
    /// Then transpose by this.
    pub after: Vec<usize>,
}

impl Regrouping {
    /// `inner` is the shape below the transpose, `target` the shape wanted above it.
    pub fn find(inner: &[usize], permutation: &[usize], target: &[usize]) -> Option<Self> {
        let outer: Vec<usize> = permutation.iter().map(|&axis| inner[axis]).collect();
        let mut groups = groups(&outer, target)?;
        // A group lies where the first of its longer axes lies.
        groups.sort_by_key(|(old, _)| {
            let place = |long: bool| {
                let axes = old.clone().filter(|&axis| !long || outer[axis] > 1);
                axes.map(|axis| permutation[axis]).min()
            };
            place(true).or_else(|| place(false))
        });
        let before = groups.iter().flat_map(|(old, _)| old.clone().map(|axis| permutation[axis])).collect();
        let mut order: Vec<usize> = groups.iter().flat_map(|(_, new)| new.clone()).collect();
        // A batch of one costs nothing anywhere; the graph's images have it in front.
        if target.first() == Some(&1)
            && let Some(place) = order.iter().position(|&axis| axis == 0)
        {
            order[..=place].rotate_right(1);
        }
        let shape = order.iter().map(|&axis| target[axis]).collect();
        Some(Self { before, shape, after: inverse(&order) })
    }
}

type Axes = std::ops::Range<usize>;

/// The finest division of two shapes into ranges of axes with equal products.
fn groups(old: &[usize], new: &[usize]) -> Option<Vec<(Axes, Axes)>> {
    let mut result: Vec<(Axes, Axes)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        let (first_old, first_new) = (i, j);
        let (mut left, mut right) = (old[i], new[j]);
        (i, j) = (i + 1, j + 1);
        while left != right {
            if left < right {
                left = left.checked_mul(*old.get(i)?)?;
                i += 1;
            } else {
                right = right.checked_mul(*new.get(j)?)?;
                j += 1;
            }
        }
        result.push((first_old..i, first_new..j));
    }
    let last = result.last_mut()?;
    if old[i..].iter().chain(&new[j..]).any(|&extent| extent != 1) {
        return None;
    }
    last.0.end = old.len();
    last.1.end = new.len();
    Some(result)
}

/// Starts, sizes and steps of a box per axis.
pub type Extents<T> = [T; 3];

/// A box of a reshaped value as a box of the value itself: where the reshape splits an axis, what
/// the box takes of its parts must be equally spaced.
pub fn unsplit(old: &[usize], new: &[usize], [starts, sizes, steps]: Extents<&[usize]>) -> Option<Extents<Vec<usize>>> {
    const MAX_EXTENT: usize = 1 << 16;
    let mut result = [vec![0; old.len()], old.to_vec(), vec![1; old.len()]];
    for (from, to) in groups(old, new)? {
        let whole = to.clone().all(|axis| sizes[axis] == new[axis]);
        if whole {
            continue;
        }
        if from.len() != 1 || old[from.start] > MAX_EXTENT {
            return None;
        }
        let mut indices = vec![0];
        for axis in to {
            let places =
                |outer: usize| (0..sizes[axis]).map(move |i| outer * new[axis] + starts[axis] + i * steps[axis]);
            indices = indices.into_iter().flat_map(places).collect();
        }
        let step = indices.get(1).map_or(1, |second| second - indices[0]);
        if indices.windows(2).any(|pair| pair[1] - pair[0] != step) {
            return None;
        }
        result[0][from.start] = indices[0];
        result[1][from.start] = indices.len();
        result[2][from.start] = step;
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_shuffle_stays_channels_last() {
        // [1,8,8,6] seen as [1,6,8,8], split to [1,2,3,8,8].
        let split = Regrouping::find(&[1, 8, 8, 6], &[0, 3, 1, 2], &[1, 2, 3, 8, 8]).unwrap();
        assert_eq!(split.before, [0, 1, 2, 3]);
        assert_eq!(split.shape, [1, 8, 8, 2, 3]);
        assert_eq!(split.after, [0, 3, 4, 1, 2]);
        // [1,8,8,2,3] seen as [1,3,2,8,8], joined to [1,6,8,8].
        let join = Regrouping::find(&[1, 8, 8, 2, 3], &[0, 4, 3, 1, 2], &[1, 6, 8, 8]).unwrap();
        assert_eq!(join.before, [0, 1, 2, 4, 3]);
        assert_eq!(join.shape, [1, 8, 8, 6]);
        assert_eq!(join.after, [0, 3, 1, 2]);
    }

    #[test]
    fn groups_are_finest() {
        assert_eq!(groups(&[2, 3, 4], &[6, 4]).unwrap(), [(0..2, 0..1), (2..3, 1..2)]);
        assert_eq!(groups(&[4, 1], &[4]).unwrap(), [(0..2, 0..1)]);
        assert_eq!(groups(&[6], &[2, 3, 1]).unwrap(), [(0..1, 0..3)]);
        assert_eq!(groups(&[2, 3], &[5]), None);
    }

    #[test]
    fn boxes_of_split_axes() {
        // [4,48] split to [4,24,2]: the second of each pair is every other channel.
        let odd = unsplit(&[4, 48], &[4, 24, 2], [&[0, 0, 1], &[4, 24, 1], &[1, 1, 1]]);
        assert_eq!(odd, Some([vec![0, 1], vec![4, 24], vec![1, 2]]));
        let half = unsplit(&[4, 48], &[4, 2, 24], [&[0, 1, 0], &[4, 1, 24], &[1, 1, 1]]);
        assert_eq!(half, Some([vec![0, 24], vec![4, 24], vec![1, 1]]));
        assert_eq!(unsplit(&[4, 48], &[4, 12, 4], [&[0, 0, 0], &[4, 12, 2], &[1, 1, 1]]), None);
    }
}
