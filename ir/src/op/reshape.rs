//! The same elements with another shape.

use super::shape;
use crate::tensor::TensorType;

/// Type of the result.
pub(crate) fn infer(target: &[usize], operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    let target = shape::checked(target.to_vec())?;
    if target.iter().product::<usize>() != x.count() {
        return Err(format!("shape {target:?} has another element count than {x}"));
    }
    Ok(TensorType { shape: target, ..x.clone() })
}
