//! Surrounding a tensor with a constant.

use super::attributes::attributes;
use super::operator::{Operator, Values};
use super::{gather, shape};
use crate::range::Operands;
use crate::tensor::{Data, Tensor, TensorType};

/// Surrounds a tensor with a constant: `x -> y`. The value is the real 0 unless stated; in an integer
/// graph it is an integer.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Elements added before, per axis.
    pub before: Vec<usize>,
    /// Elements added after, per axis.
    pub after: Vec<usize>,
    /// The constant (integral in integer graphs).
    pub value: f32,
}
attributes!(Pad, "pad", before, after, value);

impl Operator for Pad {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let &Self { ref before, ref after, value } = self;
        let [x] = shape::exactly(operands)?;
        shape::number(value)?;
        if before.len() != x.shape.len() || after.len() != x.shape.len() {
            return Err(format!("padding must have one entry per axis of {x}"));
        }
        if let Some((lo, hi)) = x.element.range()
            && !(value.fract() == 0.0 && (lo as f64..=hi as f64).contains(&f64::from(value)))
        {
            return Err(format!("padding value {value:?} is not a value of {}", x.element));
        }
        let extents = x.shape.iter().zip(before).zip(after);
        let padded: Option<Vec<usize>> =
            extents.map(|((extent, before), after)| extent.checked_add(*before)?.checked_add(*after)).collect();
        let padded = padded.ok_or_else(|| "padded extents are too large".to_owned())?;
        Ok(TensorType { shape: shape::checked(padded)?, ..x.clone() })
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let &Self { ref before, value, .. } = self;
        let x = operands[0];
        let offset = before.iter().zip(shape::strides(&ty.shape)).map(|(before, stride)| before * stride).sum();
        let data = match &x.data {
            Data::F32(data) => {
                let mut y = vec![value; ty.count()];
                gather::scatter(data, &x.shape, &mut y, &ty.shape, offset);
                Data::F32(y.into())
            }
            Data::Int(data) => {
                let mut y = vec![value as i32; ty.count()];
                gather::scatter(data, &x.shape, &mut y, &ty.shape, offset);
                Data::Int(y.into())
            }
        };
        Tensor { shape: ty.shape.clone(), data }
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(Some(self.value as i64))
    }
}
