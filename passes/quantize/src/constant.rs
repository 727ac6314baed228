//! Constant folding that remembers the integers a quantized model gives for its weights.

use lutweave_ir::op::{Reshape, Transpose};
use lutweave_ir::{Element, Graph, NodeId, Op, Tensor, TensorType};

/// A folded value.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    /// The value: real, or integers of an integer constant.
    pub tensor: Tensor,
    /// Its type.
    pub ty: TensorType,
    /// The integers behind a real value, where the model states them.
    pub given: Option<Given>,
}

/// Integers with a scale and a zero point per index of an axis, or one of each.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The integers, in the shape of the real value.
    pub integers: Tensor,
    /// The axis of the scales.
    pub axis: usize,
    /// One scale per index of the axis, or one for all.
    pub scales: Vec<f32>,
    /// As many zero points.
    pub zero_points: Vec<i32>,
    /// Width of the integers in the model.
    pub bits: u8,
}

impl Given {
    fn bits_of(element: Element) -> u8 {
        match element {
            Element::F32 => 32,
            Element::Int { bits, .. } => bits,
        }
    }

    /// The same constant after a transposition.
    fn transposed(&self, op: &Op, permutation: &[usize], ty: &TensorType) -> Option<Self> {
        let integers = op.eval(ty, &[], &[&self.integers]);
        let axis = if self.scales.len() == 1 { 0 } else { permutation.iter().position(|&from| from == self.axis)? };
        Some(Self { integers, axis, ..self.clone() })
    }

    /// The same constant with another shape, if the axis of the scales survives.
    fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let integers = self.integers.reshaped(shape);
        if self.scales.len() == 1 {
            return Some(Self { integers, axis: 0, ..self.clone() });
        }
        let old = &self.integers.shape;
        let (before, extent): (usize, usize) = (old[..self.axis].iter().product(), old[self.axis]);
        let axis = (0..shape.len()).find(|&a| shape[a] == extent && shape[..a].iter().product::<usize>() == before)?;
        Some(Self { integers, axis, ..self.clone() })
    }

    /// Scale and zero point per index of axis 0, if that is how the scales lie.
    pub fn per_output(&self, outputs: usize) -> Option<(Vec<f32>, Vec<i32>)> {
        match self.scales.len() {
            1 => Some((vec![self.scales[0]; outputs], vec![self.zero_points[0]; outputs])),
            n if n == outputs && self.axis == 0 => Some((self.scales.clone(), self.zero_points.clone())),
            _ => None,
        }
    }
}

/// For every node its value if it depends on constants only.
pub(super) fn fold(graph: &Graph) -> Vec<Option<Folded>> {
    let mut folded: Vec<Option<Folded>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let value = match &node.op {
            Op::Input => None,
            Op::Constant(tensor) => Some(Folded { tensor: tensor.clone(), ty: node.ty.clone(), given: None }),
            op => {
                let operands: Option<Vec<&Folded>> =
                    node.operands.iter().map(|operand: &NodeId| folded[operand.index()].as_ref()).collect();
                operands.map(|operands| evaluate(op, &node.ty, &operands))
            }
        };
        folded.push(value);
    }
    folded
}

fn evaluate(op: &Op, ty: &TensorType, operands: &[&Folded]) -> Folded {
    let types: Vec<&TensorType> = operands.iter().map(|operand| &operand.ty).collect();
    let tensors: Vec<&Tensor> = operands.iter().map(|operand| &operand.tensor).collect();
    let tensor = op.eval(ty, &types, &tensors);
    let source = operands.first();
    let given = match (op, source) {
        (Op::DequantizeWeights(weights), Some(source)) => Some(Given {
            integers: source.tensor.clone(),
            axis: weights.axis,
            scales: weights.scales.clone(),
            zero_points: weights.zero_points.clone(),
            bits: Given::bits_of(source.ty.element),
        }),
        (Op::Dequantize(_), Some(source)) => source.ty.quantization.map(|quantization| Given {
            integers: source.tensor.clone(),
            axis: 0,
            scales: vec![quantization.scale],
            zero_points: vec![quantization.zero_point],
            bits: Given::bits_of(source.ty.element),
        }),
        (Op::Transpose(Transpose { permutation }), Some(source)) => {
            source.given.as_ref().and_then(|given| given.transposed(op, permutation, ty))
        }
        (Op::Reshape(Reshape { shape }), Some(source)) => source.given.as_ref().and_then(|given| given.reshaped(shape)),
        _ => None,
    };
    Folded { tensor, ty: ty.clone(), given }
}
