//! Two integer operands of which the second may be broadcast over height and width.

use super::shape;
use crate::tensor::{Tensor, TensorType};

/// The result's shape: that of the first operand. Both are images of at most 8 bits; the second
/// has the same shape or extent 1 in all axes but the last.
pub(crate) fn infer(operands: &[&TensorType]) -> Result<Vec<usize>, String> {
    let [x0, x1] = shape::exactly(operands)?;
    shape::activation("the first operand", x0)?;
    shape::activation("the second operand", x1)?;
    if x0.image().is_none() {
        return Err(format!("the first operand {x0} is not an image of batch extent 1"));
    }
    let broadcast = x1.shape.len() == x0.shape.len()
        && x1.shape.last() == x0.shape.last()
        && x1.shape.iter().rev().skip(1).all(|&extent| extent == 1);
    if x1.shape != x0.shape && !broadcast {
        return Err(format!("the second operand {x1} has neither the shape of {x0} nor one value per channel"));
    }
    Ok(x0.shape.clone())
}

/// `f` of the operands' elements.
pub(crate) fn eval(ty: &TensorType, operands: &[&Tensor], f: impl Fn(i32, i32) -> i32) -> Tensor {
    let [x0, x1] = [operands[0].ints(), operands[1].ints()];
    let y: Vec<i32> =
        x0.chunks_exact(x1.len()).flat_map(|row| row.iter().zip(x1).map(|(&x0, &x1)| f(x0, x1))).collect();
    Tensor::int(ty.shape.clone(), y)
}
