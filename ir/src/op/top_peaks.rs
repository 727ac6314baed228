//! The largest peaks of a heatmap, and what other maps hold there: the head of a detector that
//! finds objects as points (Zhou et al., "Objects as Points", 2019).

use super::attributes::attributes;
use super::operator::Operator;
use super::{bytes, shape};
use crate::tensor::{Element, Tensor, TensorType};

/// Records that a [`TopPeaks`] gives at most.
pub const MAX_RECORDS: usize = 1024;

/// Finds peaks: `heatmap [1,h,w,c] int, maps [1,h,w,m] int .. -> [1,1,count,fields] u8`, all
/// operands of at most 8 bits.
///
/// An element of the heatmap is a peak if it is larger than every neighbour (of eight, in the same
/// channel) that comes before it in row order, and not smaller than any that comes after it: of
/// equal elements side by side the first is the peak. What lies outside the image is smaller than
/// everything.
///
/// The `count` largest peaks are kept, largest first; of equal ones the first in row-major order
/// (rows, columns, channels) comes first. Each is a record of bytes:
///
/// * one byte: the peak's value less the smallest of the heatmap's element type;
/// * [`TopPeaks::index_bytes`] bytes, low byte first: its position in the heatmap,
///   `(row * w + column) * c + channel`;
/// * for each map, for each of its channels, one byte: its value at the peak's row and column less
///   the smallest of its element type.
///
/// Where there are fewer peaks, the remaining records have index bytes of 255, which no position
/// has, and 0 elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopPeaks {
    /// Records of the result, 1 to [`MAX_RECORDS`].
    pub count: usize,
}
attributes!(TopPeaks, "top_peaks", count);

/// A record of a [`TopPeaks`], read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Value in the heatmap.
    pub value: i32,
    /// Row of the heatmap.
    pub row: usize,
    /// Column of the heatmap.
    pub column: usize,
    /// Channel of the heatmap.
    pub channel: usize,
    /// Values of all maps' channels there, in order.
    pub gathered: Vec<i32>,
}

impl TopPeaks {
    /// Bytes of a position among so many elements: no position has all bits set.
    pub fn index_bytes(elements: usize) -> usize {
        bytes::count(elements)
    }

    /// Bytes of a record for operands of these types, the heatmap first.
    pub fn fields(operands: &[&TensorType]) -> usize {
        let (heatmap, maps) = (operands[0], &operands[1..]);
        1 + Self::index_bytes(heatmap.count()) + maps.iter().map(|map| map.shape[3]).sum::<usize>()
    }

    /// The peaks that records hold, best first. `types` are those of the operands.
    pub fn peaks(records: &Tensor, types: &[&TensorType]) -> Vec<Peak> {
        let [_, _, width, channels] = types[0].shape[..] else { return Vec::new() };
        let elements = types[0].count();
        let index_bytes = Self::index_bytes(elements);
        let leasts = types[1..].iter().flat_map(|ty| std::iter::repeat_n(least(ty.element), ty.shape[3]));
        let leasts: Vec<i32> = leasts.collect();
        let peak = |record: &[i32]| {
            let (index, gathered) = record[1..].split_at(index_bytes);
            let index = bytes::join(index);
            (index < elements).then(|| Peak {
                value: record[0] + least(types[0].element),
                row: index / channels / width,
                column: index / channels % width,
                channel: index % channels,
                gathered: gathered.iter().zip(&leasts).map(|(byte, least)| byte + least).collect(),
            })
        };
        records.ints().chunks_exact(Self::fields(types)).filter_map(peak).collect()
    }
}

impl Operator for TopPeaks {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Some((heatmap, maps)) = operands.split_first() else {
            return Err("a heatmap is required, but there are no operands".to_owned());
        };
        if !(1..=MAX_RECORDS).contains(&self.count) {
            return Err(format!("count {} is not in 1 to {MAX_RECORDS}", self.count));
        }
        shape::activation("the heatmap", heatmap)?;
        let [1, height, width, _] = shape::rank4("the heatmap", heatmap)? else {
            return Err(format!("the heatmap must be one image, but is {heatmap}"));
        };
        for map in maps {
            shape::activation("a map", map)?;
            match shape::rank4("a map", map)? {
                [1, rows, columns, _] if (rows, columns) == (height, width) => {}
                _ => return Err(format!("a map must be [1,{height},{width},m], as the heatmap is, but is {map}")),
            }
        }
        Ok(TensorType::int(shape::checked(vec![1, 1, self.count, Self::fields(operands)])?, Element::U8))
    }

    fn eval(&self, ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let [_, height, width, channels] = types[0].shape[..] else {
            unreachable!("inference checks the heatmap's axes")
        };
        let heatmap = operands[0].ints();
        let at = |row: usize, column: usize, channel: usize| heatmap[(row * width + column) * channels + channel];
        let is_peak = |row: usize, column: usize, channel: usize| {
            let own = at(row, column, channel);
            (row.saturating_sub(1)..(row + 2).min(height)).all(|i| {
                (column.saturating_sub(1)..(column + 2).min(width)).all(|j| {
                    let other = at(i, j, channel);
                    if (i, j) < (row, column) { own > other } else { own >= other }
                })
            })
        };
        let mut peaks: Vec<usize> = (0..heatmap.len())
            .filter(|index| is_peak(index / channels / width, index / channels % width, index % channels))
            .collect();
        // Stable: equal ones stay in row-major order.
        peaks.sort_by_key(|&index| std::cmp::Reverse(heatmap[index]));
        let byte = |value: i32, ty: &TensorType| value - least(ty.element);
        let index_bytes = Self::index_bytes(heatmap.len());
        let mut records = Vec::with_capacity(ty.count());
        for index in peaks.into_iter().take(self.count) {
            records.push(byte(heatmap[index], types[0]));
            records.extend(bytes::split(index, index_bytes));
            for (map, ty) in operands.iter().zip(types).skip(1) {
                let extent = ty.shape[3];
                let pixel = index / channels * extent;
                records.extend(map.ints()[pixel..pixel + extent].iter().map(|&value| byte(value, ty)));
            }
        }
        while records.len() < ty.count() {
            records.push(0);
            records.extend(std::iter::repeat_n(255, index_bytes));
            records.resize(records.len() + ty.shape[3] - 1 - index_bytes, 0);
        }
        Tensor::int(ty.shape.clone(), records)
    }
}

/// The smallest value of an integer element of at most 8 bits.
fn least(element: Element) -> i32 {
    element.range().map_or(0, |(least, _)| least as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    const U4: Element = Element::Int { bits: 4, signed: false };

    fn eval(count: usize, operands: &[(&TensorType, &Tensor)]) -> Tensor {
        let types: Vec<&TensorType> = operands.iter().map(|(ty, _)| *ty).collect();
        let values: Vec<&Tensor> = operands.iter().map(|(_, value)| *value).collect();
        let op = Op::TopPeaks(TopPeaks { count });
        op.eval(&op.infer(&types).expect("the operands fit"), &types, &values)
    }

    #[test]
    fn records_hold_value_place_and_maps() {
        let heatmap = TensorType::int([1, 2, 3, 2], Element::I8);
        let map = TensorType::int([1, 2, 3, 2], U4);
        // Channel 0 has one peak on a plateau, channel 1 two of equal size apart from each other.
        let x = Tensor::int([1, 2, 3, 2], vec![-3, 7, -3, -8, -3, 7, -3, -8, -3, -8, -3, -8]);
        let m = Tensor::int([1, 2, 3, 2], (0..12).collect::<Vec<_>>());
        let records = eval(4, &[(&heatmap, &x), (&map, &m)]);
        let expected = [[135, 1, 0, 1], [135, 5, 4, 5], [125, 0, 0, 1], [0, 255, 0, 0]];
        assert_eq!(records.ints(), expected.concat());
        let peaks = TopPeaks::peaks(&records, &[&heatmap, &map]);
        assert_eq!(peaks.len(), 3);
        assert_eq!(peaks[1], Peak { value: 7, row: 0, column: 2, channel: 1, gathered: vec![4, 5] });
        assert_eq!(eval(1, &[(&heatmap, &x), (&map, &m)]).ints(), expected[0]);
    }

    #[test]
    fn the_smallest_value_can_be_a_peak() {
        let heatmap = TensorType::int([1, 3, 2, 1], Element::I8);
        let flat = eval(2, &[(&heatmap, &Tensor::int([1, 3, 2, 1], vec![-128; 6]))]);
        assert_eq!(flat.ints(), [0, 0, 0, 255]);
    }

    #[test]
    fn places_take_as_many_bytes_as_they_need() {
        for (elements, bytes) in [(1, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 3), (1 << 24, 4), (1 << 31, 4)] {
            assert_eq!(TopPeaks::index_bytes(elements), bytes, "{elements}");
        }
        let heatmap = TensorType::int([1, 20, 20, 1], Element::U8);
        let mut values = vec![0; 400];
        values[399] = 200;
        let records = eval(1, &[(&heatmap, &Tensor::int([1, 20, 20, 1], values))]);
        assert_eq!(records.ints(), [200, 143, 1]);
        assert_eq!(TopPeaks::peaks(&records, &[&heatmap])[0].row, 19);
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let infer = |count, types: &[&TensorType]| TopPeaks { count }.infer(types);
        let image = |shape: [usize; 4], element| TensorType::int(shape, element);
        let heatmap = image([1, 4, 5, 3], Element::I8);
        assert_eq!(infer(7, &[&heatmap]), Ok(image([1, 1, 7, 2], Element::U8)));
        assert_eq!(infer(7, &[&heatmap, &image([1, 4, 5, 2], U4)]), Ok(image([1, 1, 7, 4], Element::U8)));
        assert!(infer(7, &[]).is_err());
        for count in [0, MAX_RECORDS + 1] {
            assert!(infer(count, &[&heatmap]).is_err());
        }
        for bad in [
            image([2, 4, 5, 3], Element::I8),
            image([1, 4, 5, 3], Element::I32),
            TensorType::f32([1, 4, 5, 3]),
            TensorType::int([4, 5, 3], Element::I8),
        ] {
            assert!(infer(7, &[&bad]).is_err(), "{bad}");
            assert!(infer(7, &[&heatmap, &bad]).is_err(), "{bad}");
        }
        assert!(infer(7, &[&heatmap, &image([1, 5, 4, 3], Element::I8)]).is_err());
    }
}
