//! Reals to integers and back.

use super::shape;
use crate::quant::Quantization;
use crate::tensor::{Element, Tensor, TensorType};

/// Type of a quantization's result.
pub(crate) fn infer(
    element: Element,
    quantization: Quantization,
    operands: &[&TensorType],
) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    shape::float("the operand", x)?;
    if !element.is_int() {
        return Err("the result must be an integer tensor".to_owned());
    }
    let ty = TensorType::int(x.shape.clone(), element).quantized(quantization);
    shape::check_type(&ty)?;
    Ok(ty)
}

/// Value of a quantization.
pub(crate) fn eval(element: Element, quantization: Quantization, operands: &[&Tensor]) -> Tensor {
    let (lo, hi) = element.range().expect("invariant: inference admits integer elements only");
    let (lo, hi) = (lo as i32, hi as i32);
    let y: Vec<i32> = operands[0].f32s().iter().map(|&x| quantization.quantize(x, lo, hi)).collect();
    Tensor::int(operands[0].shape.clone(), y)
}

/// Type of a dequantization's result.
pub(crate) fn infer_dequantize(operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    shape::integer("the operand", x)?;
    if x.quantization.is_none() {
        return Err(format!("the operand {x} has no quantization parameters"));
    }
    Ok(TensorType::f32(x.shape.clone()))
}

/// Value of a dequantization.
pub(crate) fn eval_dequantize(types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
    let quantization = types[0].quantization.expect("invariant: inference demands quantization parameters");
    let y: Vec<f32> = operands[0].ints().iter().map(|&q| quantization.dequantize(q)).collect();
    Tensor::f32(operands[0].shape.clone(), y)
}
