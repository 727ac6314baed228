//! The place of the largest integer of each pixel (a class decision on the chip), and what makes a
//! number of it again.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::{bytes, shape};
use crate::range::Operands;
use crate::tensor::{Element, Tensor, TensorType};

/// Finds the largest channel: `x [..,c] int -> y [..,b] u8`, where `x` has at most 8 bits.
///
/// `y` holds the number of the channel in [`QArgMax::bytes`] bytes, low byte first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QArgMax {
    /// The last of equals instead of the first.
    pub last: bool,
}
attributes!(QArgMax, "qargmax", last);

impl QArgMax {
    /// Bytes of a channel's number.
    pub fn bytes(channels: usize) -> usize {
        bytes::count(channels.saturating_sub(1))
    }
}

impl Operator for QArgMax {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        shape::activation("the operand", x)?;
        let Some((&channels, outer)) = x.shape.split_last() else {
            return Err(format!("{x} has no channels"));
        };
        Ok(TensorType::int([outer, &[Self::bytes(channels)]].concat(), Element::U8))
    }

    fn eval(&self, ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let channels = types[0].shape[types[0].shape.len() - 1];
        let replaces = |new: i32, best: i32| new > best || self.last && new == best;
        let mut y = Vec::with_capacity(ty.count());
        for pixel in operands[0].ints().chunks_exact(channels) {
            let best = (1..channels).fold(0, |best, at| if replaces(pixel[at], pixel[best]) { at } else { best });
            y.extend(bytes::split(best, Self::bytes(channels)));
        }
        Tensor::int(ty.shape.clone(), y)
    }

    fn values(&self, operands: &Operands) -> Values {
        let channels = operands.ty(0).shape.last().map_or(1, |&channels| channels as i64);
        Values::Between(0, (channels - 1).min(255))
    }
}

/// Most bytes that [`JoinBytes`] joins.
const MOST_BYTES: usize = 3;

/// One number of the bytes of each pixel: `x [..,b] u8 -> y [..,1] i32`, low byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinBytes;
attributes!(JoinBytes, "join_bytes");

impl Operator for JoinBytes {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        let Some((&bytes, outer)) = x.shape.split_last() else {
            return Err(format!("{x} has no bytes to join"));
        };
        if x.element != Element::U8 || bytes > MOST_BYTES {
            return Err(format!("the operand must be 1 to {MOST_BYTES} channels of u8, but is {x}"));
        }
        Ok(TensorType::int([outer, &[1]].concat(), Element::I32))
    }

    fn eval(&self, ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let pixels = operands[0].ints().chunks_exact(types[0].shape[types[0].shape.len() - 1]);
        Tensor::int(ty.shape.clone(), pixels.map(|pixel| bytes::join(pixel) as i32).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    /// The place of the largest channel, through both operators.
    fn largest(last: bool, ty: &TensorType, x: Vec<i32>) -> Vec<i32> {
        let ops = [Op::QArgMax(QArgMax { last }), Op::JoinBytes(JoinBytes)];
        let bytes = ops[0].infer(&[ty]).unwrap();
        let y = ops[0].eval(&bytes, &[ty], &[&Tensor::int(ty.shape.clone(), x)]);
        let number = ops[1].infer(&[&bytes]).unwrap();
        ops[1].eval(&number, &[&bytes], &[&y]).ints().to_vec()
    }

    #[test]
    fn of_equal_channels_the_first_or_the_last_is_chosen() {
        let ty = TensorType::int([1, 1, 2, 3], Element::I8);
        let x = vec![-3, 5, 5, -128, -128, -128];
        assert_eq!(largest(false, &ty, x.clone()), [1, 0]);
        assert_eq!(largest(true, &ty, x), [2, 2]);
    }

    #[test]
    fn a_thousand_classes_take_two_bytes() {
        assert_eq!([1, 256, 257, 65_536, 65_537].map(QArgMax::bytes), [1, 1, 2, 2, 3]);
        let ty = TensorType::int([1, 1000], Element::U8);
        let mut x = vec![7; 1000];
        x[770] = 8;
        assert_eq!(largest(false, &ty, x), [770]);
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        assert!(QArgMax { last: false }.infer(&[&TensorType::f32([1, 4])]).is_err());
        assert!(QArgMax { last: false }.infer(&[&TensorType::int([1, 4], Element::I32)]).is_err());
        assert!(JoinBytes.infer(&[&TensorType::int([1, 4], Element::U8)]).is_err());
        assert!(JoinBytes.infer(&[&TensorType::int([1, 2], Element::I8)]).is_err());
    }
}
