//! One node of the model, as operator importers see it: operands resolved, attributes by name.

use crate::literal::Literal;
use crate::proto::{AttributeProto, NodeProto, TensorProto, attribute_type};
use crate::value::{Value, Weights};
use lutweave_ir::Diagnostic;

/// A node with resolved operands.
pub struct Node<'a> {
    proto: &'a NodeProto,
    /// The node's name, or that of its first output.
    pub name: &'a str,
    operands: Vec<Option<Value>>,
}

impl<'a> Node<'a> {
    /// A node; `operands` has one entry per input, `None` for those left out.
    pub fn new(proto: &'a NodeProto, operands: Vec<Option<Value>>) -> Self {
        Self { proto, name: display_name(proto), operands }
    }

    /// The same node with quantized constants turned into reals.
    #[must_use]
    pub fn dequantized(mut self) -> Self {
        for operand in self.operands.iter_mut().flatten() {
            if let Value::Weights(weights) = operand {
                *operand = Value::Constant(weights.dequantized());
            }
        }
        self
    }

    /// The operator as the file spells it.
    pub fn operator(&self) -> &'a str {
        self.proto.op_type.as_deref().unwrap_or("")
    }

    /// Names of the results; empty for those nobody reads.
    pub fn outputs(&self) -> &'a [String] {
        &self.proto.output
    }

    /// True if result `index` has a name.
    pub fn has_output(&self, index: usize) -> bool {
        self.proto.output.get(index).is_some_and(|name| !name.is_empty())
    }

    /// An error about this node.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message).at(self.name).operator(self.operator())
    }

    /// An error about an attribute or operand that ONNX does not allow.
    pub fn invalid(&self, message: impl Into<String>) -> Diagnostic {
        self.error("invalid-node", message)
    }

    /// An error about something that is valid ONNX but cannot be compiled.
    pub fn unsupported(&self, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        self.error("unsupported-node", message).help(help)
    }

    /// All operands that are given, in order.
    pub fn operands(&self) -> impl Iterator<Item = &Value> {
        self.operands.iter().flatten()
    }

    /// Number of operand positions.
    pub fn operand_count(&self) -> usize {
        self.operands.len()
    }

    /// An operand that may be left out.
    pub fn optional(&self, index: usize) -> Option<&Value> {
        self.operands.get(index).and_then(Option::as_ref)
    }

    /// An operand.
    pub fn operand(&self, index: usize) -> Result<&Value, Diagnostic> {
        self.optional(index).ok_or_else(|| self.invalid(format!("operand {index} is missing")))
    }

    /// An operand that must be a constant; `what` names it in the message.
    pub fn constant(&self, index: usize, what: &str) -> Result<Literal, Diagnostic> {
        match self.operand(index)?.literal() {
            Some(literal) => Ok(literal),
            None => Err(self.not_constant(what)),
        }
    }

    /// An operand that must be a constant if it is given.
    pub fn optional_constant(&self, index: usize, what: &str) -> Result<Option<Literal>, Diagnostic> {
        self.optional(index).map(|_| self.constant(index, what)).transpose()
    }

    /// The refusal of an operand that is computed at run time.
    pub fn not_constant(&self, what: &str) -> Diagnostic {
        self.error("not-constant", format!("{what} must be a constant, but is computed at run time")).help(
            "make it an initializer of the model; exporters do so with constant folding on and fixed input shapes, \
             `onnxsim` does it afterwards",
        )
    }

    /// Integers of a constant operand that may be left out.
    pub fn optional_ints(&self, index: usize, what: &str) -> Result<Option<Vec<i64>>, Diagnostic> {
        match self.optional_constant(index, what)? {
            None => Ok(None),
            Some(literal) => match literal.as_ints() {
                Some(ints) => Ok(Some(ints.to_vec())),
                None => Err(self.invalid(format!("{what} must be integers"))),
            },
        }
    }

    /// Integers that older operator sets keep in an attribute and newer ones in an operand.
    pub fn ints_or_operand(&self, attribute: &str, index: usize) -> Result<Option<Vec<i64>>, Diagnostic> {
        match self.ints(attribute) {
            Some(ints) => Ok(Some(ints.to_vec())),
            None => self.optional_ints(index, attribute),
        }
    }

    /// A single float from an operand that may be left out.
    pub fn optional_scalar(&self, index: usize, what: &str) -> Result<Option<f32>, Diagnostic> {
        match self.optional_constant(index, what)? {
            None => Ok(None),
            Some(literal) if literal.count() == 1 => Ok(literal.to_floats().first().copied()),
            Some(_) => Err(self.invalid(format!("{what} must be a single number"))),
        }
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// All attributes.
    pub fn attributes(&self) -> &'a [AttributeProto] {
        &self.proto.attribute
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.typed(name, attribute_type::INT)?.i
    }

    /// An integer attribute that is a flag.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name).is_some_and(|value| value != 0)
    }

    /// A float attribute, or its default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.typed(name, attribute_type::FLOAT).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    /// A string attribute, or its default.
    pub fn string(&self, name: &str, default: &'static str) -> &'a str {
        let text = self.typed(name, attribute_type::STRING).and_then(|attribute| attribute.s.as_ref());
        text.map_or(default, |text| std::str::from_utf8(text).unwrap_or(""))
    }

    /// An attribute that is a list of integers.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.typed(name, attribute_type::INTS).map(|attribute| attribute.ints.as_slice())
    }

    /// An attribute that is a list of floats.
    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.typed(name, attribute_type::FLOATS).map(|attribute| attribute.floats.as_slice())
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.typed(name, attribute_type::TENSOR).and_then(|attribute| attribute.t.as_ref())
    }

    /// Files of IR version 2 may leave the attribute's type out.
    fn typed(&self, name: &str, expected: i32) -> Option<&'a AttributeProto> {
        self.attribute(name).filter(|attribute| attribute.r#type.is_none_or(|found| found == 0 || found == expected))
    }

    /// An attribute of `rank` non-negative integers, or a default for each.
    pub fn extents(&self, name: &str, default: usize, rank: usize) -> Result<Vec<usize>, Diagnostic> {
        let Some(given) = self.ints(name) else { return Ok(vec![default; rank]) };
        if given.len() != rank {
            return Err(self.invalid(format!("`{name}` has {} entries instead of {rank}", given.len())));
        }
        let extents: Result<Vec<usize>, _> = given.iter().map(|&value| usize::try_from(value)).collect();
        extents.map_err(|_| self.invalid(format!("`{name}` {given:?} has a negative entry")))
    }

    /// An axis that may count from the end.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Diagnostic> {
        let signed = rank as i64;
        let index = if axis < 0 { axis.checked_add(signed) } else { Some(axis) };
        match index {
            Some(index) if (0..signed).contains(&index) => Ok(index as usize),
            _ => Err(self.invalid(format!("axis {axis} is not an axis of a tensor of rank {rank}"))),
        }
    }

    /// Distinct axes, ascending.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Diagnostic> {
        let mut result = axes.iter().map(|&axis| self.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        result.sort_unstable();
        if result.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.invalid(format!("axes {axes:?} name an axis twice")));
        }
        Ok(result)
    }

    /// A constant operand that is a weight: literal or quantized.
    pub fn parameter(&self, index: usize, what: &str) -> Result<Value, Diagnostic> {
        match self.operand(index)? {
            Value::Runtime(_) | Value::Poisoned => Err(self.not_constant(what)),
            Value::Constant(literal) if literal.as_floats().is_none() => {
                Err(self.invalid(format!("{what} must be floats or dequantized integers")))
            }
            constant @ (Value::Constant(_) | Value::Weights(_)) => Ok(constant.clone()),
        }
    }

    /// The integers of a constant operand together with what they stand for.
    pub fn weights(
        &self,
        index: usize,
        what: &str,
        axis: usize,
        scales: Vec<f32>,
        zero_points: Vec<i32>,
    ) -> Result<Weights, Diagnostic> {
        let integers = self.constant(index, what)?;
        if integers.as_ints().is_none() {
            return Err(self.invalid(format!("{what} must be integers")));
        }
        Ok(Weights { integers, axis, scales, zero_points })
    }
}

/// The node's name, or that of its first output.
pub fn display_name(proto: &NodeProto) -> &str {
    let given = proto.name.as_deref().filter(|name| !name.is_empty());
    given.or_else(|| proto.output.iter().find(|name| !name.is_empty()).map(String::as_str)).unwrap_or("")
}
