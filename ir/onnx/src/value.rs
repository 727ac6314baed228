//! What a name in the model stands for while it is imported.

use crate::literal::{Literal, strides};
use lutweave_ir::NodeId;

/// The value behind a name.
#[derive(Clone, Debug)]
pub enum Value {
    /// Computed by a node of the graph, with the shape it has in the model.
    Runtime(NodeId),
    /// Known now.
    Constant(Literal),
    /// Known now, integers that stand for reals: the weights of a quantized model.
    Weights(Weights),
    /// Depends on something that was refused and reported.
    Poisoned,
}

impl Value {
    /// The literal behind a constant; quantized weights are turned into reals.
    pub fn literal(&self) -> Option<Literal> {
        match self {
            Self::Constant(literal) => Some(literal.clone()),
            Self::Weights(weights) => Some(weights.dequantized()),
            Self::Runtime(_) | Self::Poisoned => None,
        }
    }

    /// The shape of a constant.
    pub fn constant_shape(&self) -> Option<&[usize]> {
        match self {
            Self::Constant(literal) => Some(&literal.shape),
            Self::Weights(weights) => Some(&weights.integers.shape),
            Self::Runtime(_) | Self::Poisoned => None,
        }
    }

    /// A constant with its axes permuted; quantized weights stay quantized.
    pub fn transposed(&self, permutation: &[usize]) -> Option<Self> {
        match self {
            Self::Constant(literal) => Some(Self::Constant(literal.transposed(permutation))),
            Self::Weights(weights) => Some(Self::Weights(weights.transposed(permutation))),
            Self::Runtime(_) | Self::Poisoned => None,
        }
    }

    /// A constant with another shape; quantized weights stay quantized where their axis survives.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Result<Self, String>> {
        match self {
            Self::Constant(literal) => Some(literal.reshaped(shape.to_vec()).map(Self::Constant)),
            Self::Weights(weights) => Some(match weights.reshaped(shape) {
                Some(reshaped) => Ok(Self::Weights(reshaped)),
                None => weights.dequantized().reshaped(shape.to_vec()).map(Self::Constant),
            }),
            Self::Runtime(_) | Self::Poisoned => None,
        }
    }
}

/// Constant integers and what they stand for: `scale * (q - zero_point)`.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The integers; each fits 32 bits.
    pub integers: Literal,
    /// The axis that scales belong to; 0 if there is a single scale.
    pub axis: usize,
    /// One scale per index of the axis, or one for all.
    pub scales: Vec<f32>,
    /// As many zero points as scales.
    pub zero_points: Vec<i32>,
}

impl Weights {
    /// The reals.
    pub fn dequantized(&self) -> Literal {
        let integers = self.integers.as_ints().expect("invariant: weights are integers");
        let shape = &self.integers.shape;
        let (stride, extent) = match shape.get(self.axis) {
            Some(&extent) if self.scales.len() > 1 => (strides(shape)[self.axis], extent),
            _ => (1, 1),
        };
        let real = |(position, &q): (usize, &i64)| {
            let index = if extent == 1 { 0 } else { position / stride % extent };
            (q - i64::from(self.zero_points[index])) as f32 * self.scales[index]
        };
        Literal::floats(shape.clone(), integers.iter().enumerate().map(real).collect())
            .expect("invariant: the count is that of the integers")
    }

    fn transposed(&self, permutation: &[usize]) -> Self {
        let axis = match self.scales.len() {
            1 => 0,
            _ => permutation.iter().position(|&axis| axis == self.axis).expect("invariant: a permutation has all axes"),
        };
        Self { integers: self.integers.transposed(permutation), axis, ..self.clone() }
    }

    fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let integers = self.integers.reshaped(shape.to_vec()).ok()?;
        if self.scales.len() == 1 {
            return Some(Self { integers, ..self.clone() });
        }
        let old = &self.integers.shape;
        let outer: usize = old[..self.axis].iter().product();
        let mut before = 1;
        for (axis, &extent) in shape.iter().enumerate() {
            if before == outer && extent == old[self.axis] {
                return Some(Self { integers, axis, ..self.clone() });
            }
            before *= extent;
        }
        None
    }
}
