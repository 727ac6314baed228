//! Between reals and integers: `QuantizeLinear` and `DequantizeLinear`.

use super::{Imported, one};
use crate::import::Importer;
use crate::literal::{Kind, Literal, strides};
use crate::node::Node;
use crate::value::{Value, Weights};
use lutweave_ir::op::{Binary, Dequantize, Quantize};
use lutweave_ir::{Diagnostic, NodeId, Op, Quantization};

/// Scales and zero points from constant operands.
pub struct Affine {
    /// One scale, or one per index of an axis.
    pub scales: Vec<f32>,
    /// As many zero points.
    pub zero_points: Vec<i32>,
    /// Element type of the zero points, if they are given.
    pub kind: Option<Kind>,
}

impl Affine {
    /// Reads the operands at the positions of the scale and the zero point.
    pub fn read(node: &Node, scale: usize, zero_point: usize) -> Result<Self, Diagnostic> {
        let scales = node.constant(scale, "the scale")?;
        let zeros = node.optional_constant(zero_point, "the zero point")?;
        if scales.as_floats().is_none() || scales.count() == 0 {
            return Err(node.invalid("the scale must be floats"));
        }
        if scales.shape.len() > 1 {
            return Err(node
                .unsupported("the scale has more than one axis: blocked quantization", "")
                .help("quantize with one scale per tensor or per channel"));
        }
        if node.int("block_size").is_some_and(|size| size != 0) {
            return Err(node
                .unsupported("`block_size` asks for blocked quantization", "")
                .help("quantize with one scale per tensor or per channel"));
        }
        let count = scales.count();
        let zero_points = match &zeros {
            None => vec![0; count],
            Some(zeros) => {
                let given = zeros.as_ints().ok_or_else(|| {
                    node.unsupported("the zero point is a float", "quantize to int8, uint8, int4 or uint4")
                })?;
                let given: Result<Vec<i32>, _> = given.iter().map(|&zero| i32::try_from(zero)).collect();
                given.map_err(|_| node.invalid("a zero point does not fit 32 bits"))?
            }
        };
        if zero_points.len() != count {
            return Err(node.invalid(format!("{count} scales, but {} zero points", zero_points.len())));
        }
        let scales = scales.to_floats();
        if scales.iter().any(|scale| !scale.is_finite()) {
            return Err(node.invalid("a scale is not finite"));
        }
        Ok(Self { scales, zero_points, kind: zeros.map(|zeros| zeros.kind) })
    }

    /// The one scale and zero point of an activation.
    pub fn single(&self, node: &Node) -> Result<Quantization, Diagnostic> {
        let first = Quantization { scale: self.scales[0], zero_point: self.zero_points[0] };
        let same = |(scale, zero): (&f32, &i32)| *scale == first.scale && *zero == first.zero_point;
        if !self.scales.iter().zip(&self.zero_points).all(same) {
            return Err(node
                .unsupported("an activation has one scale per channel", "")
                .help("quantize activations with one scale per tensor"));
        }
        if first.scale <= 0.0 {
            return Err(node.invalid(format!("the scale {} is not positive", first.scale)));
        }
        Ok(first)
    }

    /// Checks that an axis of a shape has as many indices as there are scales, and returns it.
    pub fn axis(&self, node: &Node, shape: &[usize]) -> Result<usize, Diagnostic> {
        if self.scales.len() == 1 {
            return Ok(0);
        }
        let axis = node.axis(node.int("axis").unwrap_or(1), shape.len())?;
        if shape[axis] != self.scales.len() {
            return Err(node.invalid(format!("{} scales for axis {axis} of {shape:?}", self.scales.len())));
        }
        Ok(axis)
    }
}

/// `QuantizeLinear`.
pub fn quantize(importer: &mut Importer, node: &Node) -> Imported {
    let affine = Affine::read(node, 1, 2)?;
    let declared = node.int("output_dtype").filter(|&data_type| data_type != 0);
    let declared = declared.map(|data_type| i32::try_from(data_type).ok().and_then(Kind::of));
    let kind = match (affine.kind, declared) {
        (Some(kind), _) | (None, Some(Some(kind))) => kind,
        (None, None) => Kind::Int { bits: 8, signed: false },
        (None, Some(None)) => Kind::Float,
    };
    let (Some(element), Kind::Int { bits: 4..=16, .. }) = (kind.element(), kind) else {
        return Err(node.unsupported("the result's element type", "quantize to int8, uint8, int4 or uint4"));
    };
    match node.operand(0)? {
        constant @ (Value::Constant(_) | Value::Weights(_)) => {
            let literal = constant.literal().ok_or_else(|| node.not_constant("the operand"))?;
            Ok(vec![Value::Constant(quantized(node, &literal, &affine, kind)?)])
        }
        operand => {
            let x = importer.node(operand)?;
            importer.require_float(node, x)?;
            let quantization = affine.single(node)?;
            one(importer, |importer| importer.pointwise(Op::Quantize(Quantize { element, quantization }), x))
        }
    }
}

fn quantized(node: &Node, literal: &Literal, affine: &Affine, kind: Kind) -> Result<Literal, Diagnostic> {
    let axis = affine.axis(node, &literal.shape)?;
    let (lo, hi) = kind.range().ok_or_else(|| node.invalid("the result must be integers"))?;
    let (stride, extent) = match literal.shape.get(axis) {
        Some(&extent) if affine.scales.len() > 1 => (strides(&literal.shape)[axis], extent),
        _ => (1, 1),
    };
    let floats = literal.to_floats();
    let integer = |(position, &x): (usize, &f32)| {
        let index = if extent == 1 { 0 } else { position / stride % extent };
        let q = Quantization { scale: affine.scales[index], zero_point: affine.zero_points[index] };
        i64::from(q.quantize(x, lo as i32, hi as i32))
    };
    Literal::ints(literal.shape.clone(), kind, floats.iter().enumerate().map(integer).collect())
        .map_err(|message| node.invalid(message))
}

/// `DequantizeLinear`.
pub fn dequantize(importer: &mut Importer, node: &Node) -> Imported {
    let affine = Affine::read(node, 1, 2)?;
    match node.operand(0)? {
        Value::Constant(integers) => {
            let data = integers.as_ints().ok_or_else(|| node.invalid("the operand must be integers"))?;
            if data.iter().any(|&q| i32::try_from(q).is_err()) {
                return Err(node.invalid("an integer does not fit 32 bits"));
            }
            let axis = affine.axis(node, &integers.shape)?;
            let Affine { scales, zero_points, .. } = affine;
            Ok(vec![Value::Weights(Weights { integers: integers.clone(), axis, scales, zero_points })])
        }
        operand => {
            let x = importer.node(operand)?;
            let quantization = affine.single(node)?;
            one(importer, |importer| importer.as_real(x, quantization))
        }
    }
}

impl Importer {
    /// The reals that a run-time integer tensor stands for.
    ///
    /// Integers carry their quantization in their type. Those of a graph input carry none at
    /// first: what its users ask for is recorded in `demands`, and the import starts again.
    pub fn as_real(&mut self, x: NodeId, quantization: Quantization) -> Result<NodeId, Diagnostic> {
        if !self.ty(x).element.is_int() {
            return Err(self.error("invalid-node", "the operand must be integers"));
        }
        match self.ty(x).quantization {
            Some(given) if given == quantization => self.pointwise(Op::Dequantize(Dequantize), x),
            Some(given) => {
                // s2 (q - z2) = s2 / s1 * (s1 (q - z1)) + s2 (z1 - z2)
                let real = self.pointwise(Op::Dequantize(Dequantize), x)?;
                let ratio = f64::from(quantization.scale) / f64::from(given.scale);
                let real = super::pointwise::scale(self, real, ratio as f32)?;
                let distance = i64::from(given.zero_point) - i64::from(quantization.zero_point);
                if distance == 0 {
                    return Ok(real);
                }
                let offset = super::pointwise::scalar(self, quantization.scale * distance as f32)?;
                self.broadcast(Op::Binary(Binary::Add), real, offset)
            }
            None => {
                let mut source = x;
                while let [operand, ..] = self.graph.node(source).operands[..]
                    && self.ty(operand).element.is_int()
                {
                    source = operand;
                }
                if matches!(self.graph.node(source).op, Op::Input) {
                    self.demands.entry(source).or_insert(quantization);
                }
                Err(self
                    .error("unknown-quantization", "the scale of these integers is not known")
                    .help("quantize the value with QuantizeLinear before it is dequantized"))
            }
        }
    }
}
