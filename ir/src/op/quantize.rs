//! Reals to integers and back.

use super::attributes::attributes;
use super::operator::Operator;
use super::shape;
use crate::quant::Quantization;
use crate::tensor::{Element, Tensor, TensorType};

/// Real to integer, see [`Quantization::quantize`]: `x f32 -> q`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantize {
    /// Element type of the result.
    pub element: Element,
    /// Scale and zero point of the result.
    pub quantization: Quantization,
}
attributes!(Quantize, "quantize", element, quantization);

impl Operator for Quantize {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Self { element, quantization } = *self;
        let [x] = shape::exactly(operands)?;
        shape::float("the operand", x)?;
        if !element.is_int() {
            return Err("the result must be an integer tensor".to_owned());
        }
        let ty = TensorType::int(x.shape.clone(), element).quantized(quantization);
        shape::check_type(&ty)?;
        Ok(ty)
    }

    fn eval(&self, _ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let Self { element, quantization } = *self;
        let (lo, hi) = element.range().expect("invariant: inference admits integer elements only");
        let (lo, hi) = (lo as i32, hi as i32);
        let y: Vec<i32> = operands[0].f32s().iter().map(|&x| quantization.quantize(x, lo, hi)).collect();
        Tensor::int(operands[0].shape.clone(), y)
    }
}

/// Integer to real by the operand's quantization: `q -> x f32`.
#[derive(Clone, Debug, PartialEq, Eq, Copy)]
pub struct Dequantize;
attributes!(Dequantize, "dequantize");

impl Operator for Dequantize {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        shape::integer("the operand", x)?;
        if x.quantization.is_none() {
            return Err(format!("the operand {x} has no quantization parameters"));
        }
        Ok(TensorType::f32(x.shape.clone()))
    }

    fn eval(&self, _ty: &TensorType, types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let quantization = types[0].quantization.expect("invariant: inference demands quantization parameters");
        let y: Vec<f32> = operands[0].ints().iter().map(|&q| quantization.dequantize(q)).collect();
        Tensor::f32(operands[0].shape.clone(), y)
    }
}
