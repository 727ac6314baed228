//! Functions of one or more reals, element by element.

use super::{Imported, one};
use crate::import::Importer;
use crate::literal::Literal;
use crate::node::Node;
use lutweave_ir::op::{Binary, PRelu, Unary};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// An operator that is one function of one real.
pub fn unary(importer: &mut Importer, node: &Node, function: Unary) -> Imported {
    let x = importer.float(node, 0)?;
    one(importer, |importer| importer.pointwise(Op::Unary(function), x))
}

/// `Clip`, bounds in attributes (before operator set 11) or operands.
pub fn clip(importer: &mut Importer, node: &Node) -> Imported {
    let lo = match node.optional_scalar(1, "the lower bound")? {
        Some(lo) => lo,
        None => node.float("min", f32::NEG_INFINITY),
    };
    let hi = match node.optional_scalar(2, "the upper bound")? {
        Some(hi) => hi,
        None => node.float("max", f32::INFINITY),
    };
    if lo.is_nan() || hi.is_nan() {
        return Err(node.invalid("a bound is not a number"));
    }
    // ONNX lets the upper bound win where they cross.
    unary(importer, node, Unary::Clip { lo: lo.min(hi), hi })
}

/// `LeakyRelu`.
pub fn leaky_relu(importer: &mut Importer, node: &Node) -> Imported {
    unary(importer, node, Unary::LeakyRelu { alpha: node.float("alpha", 0.01) })
}

/// `Elu`.
pub fn elu(importer: &mut Importer, node: &Node) -> Imported {
    unary(importer, node, Unary::Elu { alpha: node.float("alpha", 1.0) })
}

/// `HardSigmoid`.
pub fn hard_sigmoid(importer: &mut Importer, node: &Node) -> Imported {
    unary(importer, node, Unary::HardSigmoid { alpha: node.float("alpha", 0.2), beta: node.float("beta", 0.5) })
}

/// `Gelu`: exact, or by the hyperbolic tangent.
pub fn gelu(importer: &mut Importer, node: &Node) -> Imported {
    if node.string("approximate", "none") == "none" {
        return unary(importer, node, Unary::Gelu);
    }
    // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
    let x = importer.float(node, 0)?;
    one(importer, |importer| {
        let square = importer.broadcast(Op::Binary(Binary::Mul), x, x)?;
        let cube = importer.broadcast(Op::Binary(Binary::Mul), square, x)?;
        let scaled = scale(importer, cube, 0.044_715)?;
        let sum = importer.broadcast(Op::Binary(Binary::Add), x, scaled)?;
        let angle = scale(importer, sum, (2.0 / std::f32::consts::PI).sqrt())?;
        let tanh = importer.pointwise(Op::Unary(Unary::Tanh), angle)?;
        let one = scalar(importer, 1.0)?;
        let gate = importer.broadcast(Op::Binary(Binary::Add), tanh, one)?;
        let half = scale(importer, x, 0.5)?;
        importer.broadcast(Op::Binary(Binary::Mul), half, gate)
    })
}

/// `PRelu`: the slope is broadcast to the operand.
pub fn prelu(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let slope = importer.float(node, 1)?;
    one(importer, |importer| importer.broadcast(Op::PRelu(PRelu), x, slope))
}

/// An operator that joins two or more operands by one function.
pub fn variadic(importer: &mut Importer, node: &Node, function: Binary) -> Imported {
    one(importer, |importer| accumulate(importer, node, function))
}

/// `Mean` of several tensors.
pub fn mean(importer: &mut Importer, node: &Node) -> Imported {
    one(importer, |importer| {
        let sum = accumulate(importer, node, Binary::Add)?;
        scale(importer, sum, 1.0 / node.operand_count() as f32)
    })
}

fn accumulate(importer: &mut Importer, node: &Node, function: Binary) -> Result<NodeId, Diagnostic> {
    let mut result = importer.float(node, 0)?;
    for index in 1..node.operand_count() {
        let operand = importer.float(node, index)?;
        result = importer.broadcast(Op::Binary(function), result, operand)?;
    }
    Ok(result)
}

/// An operator of exactly two operands.
pub fn binary(importer: &mut Importer, node: &Node, function: Binary) -> Imported {
    if node.operand_count() != 2 {
        return Err(node.invalid(format!("{} operands instead of two", node.operand_count())));
    }
    variadic(importer, node, function)
}

/// `Pow`, whose exponent may be an integer.
pub fn power(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let exponent = match node.operand(1)?.literal() {
        Some(literal) => {
            let floats = Literal::floats(literal.shape.clone(), literal.to_floats());
            importer.constant(&floats.map_err(|message| node.invalid(message))?)?
        }
        None => importer.float(node, 1)?,
    };
    one(importer, |importer| importer.broadcast(Op::Binary(Binary::Pow), x, exponent))
}

/// A scalar constant.
pub fn scalar(importer: &mut Importer, value: f32) -> Result<NodeId, Diagnostic> {
    let literal = Literal::floats(Vec::new(), vec![value]).map_err(|message| importer.error("internal", message))?;
    importer.constant(&literal)
}

/// A value times a scalar.
pub fn scale(importer: &mut Importer, x: NodeId, factor: f32) -> Result<NodeId, Diagnostic> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = scalar(importer, factor)?;
    importer.broadcast(Op::Binary(Binary::Mul), x, factor)
}
