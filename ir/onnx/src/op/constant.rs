//! Operators whose results are known without any data: constants and shapes.

use super::Imported;
use crate::decode::decode;
use crate::import::Importer;
use crate::literal::{Kind, Literal, MAX_FOLDED, Numbers, count};
use crate::node::Node;
use crate::proto::attribute_type;
use crate::value::Value;
use lutweave_ir::Diagnostic;

/// `Constant`, in all its forms.
pub fn constant(importer: &mut Importer, node: &Node) -> Imported {
    let invalid = |message: String| node.invalid(message);
    let literal = if let Some(tensor) = node.tensor("value") {
        decode(tensor, importer.base.as_deref()).map_err(invalid)?
    } else if let Some(value) = node.attribute("value_float") {
        Literal::floats(Vec::new(), vec![value.f.unwrap_or(0.0)]).map_err(invalid)?
    } else if let Some(values) = node.floats("value_floats") {
        Literal::floats(vec![values.len()], values.to_vec()).map_err(invalid)?
    } else if let Some(value) = node.int("value_int") {
        Literal::ints(Vec::new(), Kind::I64, vec![value]).map_err(invalid)?
    } else if let Some(values) = node.ints("value_ints") {
        Literal::indices(values.to_vec())
    } else {
        let kinds: Vec<&str> = node.attributes().iter().filter_map(|attribute| attribute.name.as_deref()).collect();
        return Err(node.unsupported(
            format!("no tensor, number or list of numbers among its attributes {kinds:?}"),
            "text and sparse constants cannot be compiled",
        ));
    };
    Ok(vec![Value::Constant(literal)])
}

/// `ConstantOfShape`.
pub fn constant_of_shape(node: &Node) -> Result<Option<Value>, Diagnostic> {
    let extents = node.optional_ints(0, "the shape")?.ok_or_else(|| node.invalid("the shape is missing"))?;
    let shape: Result<Vec<usize>, _> = extents.iter().map(|&extent| usize::try_from(extent)).collect();
    let shape = shape.map_err(|_| node.invalid("an extent is negative"))?;
    let count = count(&shape).filter(|&count| count <= MAX_FOLDED);
    let count = count.ok_or_else(|| node.error("too-large", format!("{shape:?} has more than 2^24 elements")))?;
    let value =
        node.attribute("value").filter(|attribute| attribute.r#type.is_none_or(|t| t == attribute_type::TENSOR));
    let filled = match value.and_then(|attribute| attribute.t.as_ref()) {
        None => Literal::floats(shape, vec![0.0; count]),
        Some(tensor) => {
            let element = decode(tensor, None).map_err(|message| node.invalid(message))?;
            match &element.numbers {
                Numbers::Float(data) if data.len() == 1 => Literal::floats(shape, vec![data[0]; count]),
                Numbers::Int(data) if data.len() == 1 => Literal::ints(shape, element.kind, vec![data[0]; count]),
                _ => Err("`value` must be a single number".to_owned()),
            }
        }
    };
    filled.map(|literal| Some(Value::Constant(literal))).map_err(|message| node.invalid(message))
}

/// `Range` of constants.
pub fn range(node: &Node) -> Result<Option<Value>, Diagnostic> {
    let (start, limit, delta) =
        (node.constant(0, "the start")?, node.constant(1, "the limit")?, node.constant(2, "the step")?);
    if [&start, &limit, &delta].iter().any(|literal| literal.count() != 1) {
        return Err(node.invalid("start, limit and step must be single numbers"));
    }
    let too_large = || node.error("too-large", "the range has more than 2^24 elements");
    let literal = match (start.as_ints(), limit.as_ints(), delta.as_ints()) {
        (Some(&[start]), Some(&[limit]), Some(&[delta])) => {
            if delta == 0 {
                return Err(node.invalid("a step of 0"));
            }
            let (first, last, step) = (i128::from(start), i128::from(limit), i128::from(delta));
            let distance = if step > 0 { last - first } else { first - last };
            let length = (distance.max(0) as u128).div_ceil(step.unsigned_abs());
            if length > MAX_FOLDED as u128 {
                return Err(too_large());
            }
            let data =
                (0..length as i64).map(|index| start.wrapping_add(index.wrapping_mul(delta))).collect::<Vec<_>>();
            Literal::indices(data)
        }
        _ => {
            let (start, limit, delta) = (start.to_floats()[0], limit.to_floats()[0], delta.to_floats()[0]);
            let length = ((limit - start) / delta).ceil().max(0.0);
            if length.is_nan() || length > MAX_FOLDED as f32 {
                return Err(too_large());
            }
            let data: Vec<f32> = (0..length as usize).map(|index| start + index as f32 * delta).collect();
            Literal::floats(vec![data.len()], data).map_err(|message| node.invalid(message))?
        }
    };
    Ok(Some(Value::Constant(literal)))
}

/// `Shape`: extents are known.
pub fn shape(importer: &mut Importer, node: &Node) -> Imported {
    let shape = importer.shape_of(node.operand(0)?);
    let rank = shape.len() as i64;
    let bound = |index: i64| if index < 0 { index.saturating_add(rank) } else { index }.clamp(0, rank) as usize;
    let start = bound(node.int("start").unwrap_or(0));
    let end = bound(node.int("end").unwrap_or(rank)).max(start);
    let extents = shape[start..end].iter().map(|&extent| extent as i64).collect();
    Ok(vec![Value::Constant(Literal::indices(extents))])
}

/// `Size`.
pub fn size(importer: &mut Importer, node: &Node) -> Imported {
    let count = count(importer.shape_of(node.operand(0)?)).ok_or_else(|| node.invalid("too many elements"))?;
    let literal = Literal::ints(Vec::new(), Kind::I64, vec![count as i64]);
    literal.map(|literal| vec![Value::Constant(literal)]).map_err(|message| node.invalid(message))
}
