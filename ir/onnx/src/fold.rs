//! Operators on constants, as exporters use them to compute shapes and indices.
//!
//! Each function returns the value, or `None` where the graph's own float operators compute it.

use crate::literal::{Kind, Literal, MAX_FOLDED, Numbers, count, positions, strides};
use crate::node::Node;
use crate::op::select::{extent, literal_box, places};
use crate::proto::data_type;
use crate::value::Value;
use lutweave_ir::Diagnostic;

type Folded = Result<Option<Value>, Diagnostic>;

fn done(node: &Node, literal: Result<Literal, String>) -> Folded {
    literal.map(|literal| Some(Value::Constant(literal))).map_err(|message| node.invalid(message))
}

fn literals(node: &Node) -> Result<Vec<Literal>, Diagnostic> {
    (0..node.operand_count())
        .filter(|&index| node.optional(index).is_some())
        .map(|index| node.constant(index, "an operand"))
        .collect()
}

/// The shape that two shapes broadcast to.
fn broadcast(node: &Node, a: &[usize], b: &[usize]) -> Result<Vec<usize>, Diagnostic> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing { 1 } else { shape[axis - missing] }
    };
    let shape: Option<Vec<usize>> = (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect();
    let shape = shape.ok_or_else(|| node.invalid(format!("{a:?} and {b:?} do not broadcast")))?;
    bounded(node, &shape)?;
    Ok(shape)
}

fn bounded(node: &Node, shape: &[usize]) -> Result<(), Diagnostic> {
    match count(shape) {
        Some(count) if count <= MAX_FOLDED => Ok(()),
        _ => Err(node.error("too-large", format!("the constant of shape {shape:?} has more than 2^24 elements"))),
    }
}

/// A literal broadcast to a shape that it broadcasts to.
fn stretched(literal: &Literal, shape: &[usize]) -> Result<Literal, String> {
    let missing = shape.len().checked_sub(literal.shape.len()).ok_or("the shape has too few axes")?;
    let own = strides(&literal.shape);
    let steps: Vec<usize> = (0..shape.len())
        .map(|axis| if axis < missing || literal.shape[axis - missing] == 1 { 0 } else { own[axis - missing] })
        .collect();
    literal.taken(shape.to_vec(), &positions(shape, &steps))
}

fn wrap(kind: Kind, value: i64) -> i64 {
    match kind {
        Kind::Int { bits: 64, .. } | Kind::Float => value,
        Kind::Int { bits, signed: true } => value << (64 - bits) >> (64 - bits),
        Kind::Int { bits, signed: false } => value & ((1 << bits) - 1),
        Kind::Bool => i64::from(value != 0),
    }
}

/// A function of integers; `None` if an operand is a float.
fn integers(node: &Node, function: impl Fn(i64, i64) -> Option<i64>) -> Folded {
    let operands = literals(node)?;
    if operands.iter().any(|literal| literal.as_floats().is_some()) {
        return Ok(None);
    }
    let mut operands = operands.into_iter();
    let mut result = operands.next().ok_or_else(|| node.invalid("there is no operand"))?;
    for operand in operands {
        let shape = broadcast(node, &result.shape, &operand.shape)?;
        let kind = result.kind;
        let both = (stretched(&result, &shape), stretched(&operand, &shape));
        let (Ok(a), Ok(b)) = both else { return Err(node.invalid("the operands do not broadcast")) };
        let (Some(a), Some(b)) = (a.as_ints(), b.as_ints()) else { return Ok(None) };
        let data: Option<Vec<i64>> =
            a.iter().zip(b).map(|(&a, &b)| function(a, b).map(|value| wrap(kind, value))).collect();
        let data = data.ok_or_else(|| node.invalid("a division by zero, or a negative exponent"))?;
        result = Literal::ints(shape, kind, data).map_err(|message| node.invalid(message))?;
    }
    Ok(Some(Value::Constant(result)))
}

/// `Add`.
pub fn add(node: &Node) -> Folded {
    integers(node, |a, b| Some(a.wrapping_add(b)))
}

/// `Sub`.
pub fn sub(node: &Node) -> Folded {
    integers(node, |a, b| Some(a.wrapping_sub(b)))
}

/// `Mul`.
pub fn mul(node: &Node) -> Folded {
    integers(node, |a, b| Some(a.wrapping_mul(b)))
}

/// `Div`, which truncates.
pub fn div(node: &Node) -> Folded {
    integers(node, |a, b| (b != 0).then(|| a.wrapping_div(b)))
}

/// `Mod`: the sign is the divisor's, or with `fmod` the dividend's.
pub fn modulo(node: &Node) -> Folded {
    let truncating = node.flag("fmod");
    let result = integers(node, |a, b| {
        let remainder = (b != 0).then(|| a.wrapping_rem(b))?;
        let other_sign = remainder != 0 && (remainder < 0) != (b < 0);
        Some(if other_sign && !truncating { remainder + b } else { remainder })
    })?;
    match result {
        Some(value) => Ok(Some(value)),
        None => Err(node.unsupported("the remainder of floats", "compute it before export")),
    }
}

/// `Max`.
pub fn max(node: &Node) -> Folded {
    integers(node, |a, b| Some(a.max(b)))
}

/// `Min`.
pub fn min(node: &Node) -> Folded {
    integers(node, |a, b| Some(a.min(b)))
}

/// `Pow`.
pub fn power(node: &Node) -> Folded {
    integers(node, |a, b| u32::try_from(b).ok().map(|b| a.wrapping_pow(b)))
}

fn integer(node: &Node, function: impl Fn(i64) -> i64) -> Folded {
    let operand = node.constant(0, "the operand")?;
    let Some(data) = operand.as_ints() else { return Ok(None) };
    let data = data.iter().map(|&value| wrap(operand.kind, function(value))).collect();
    done(node, Literal::ints(operand.shape.clone(), operand.kind, data))
}

/// `Neg`.
pub fn negate(node: &Node) -> Folded {
    integer(node, i64::wrapping_neg)
}

/// `Abs`.
pub fn absolute(node: &Node) -> Folded {
    integer(node, i64::wrapping_abs)
}

/// `Not`.
pub fn not(node: &Node) -> Folded {
    integer(node, |value| i64::from(value == 0))
}

fn logical(node: &Node, compare: impl Fn(f64, f64) -> bool, exact: impl Fn(i64, i64) -> bool) -> Folded {
    let (a, b) = (node.constant(0, "the left operand")?, node.constant(1, "the right operand")?);
    let shape = broadcast(node, &a.shape, &b.shape)?;
    let (Ok(a), Ok(b)) = (stretched(&a, &shape), stretched(&b, &shape)) else {
        return Err(node.invalid("the operands do not broadcast"));
    };
    let data = match (a.as_ints(), b.as_ints()) {
        (Some(a), Some(b)) => a.iter().zip(b).map(|(&a, &b)| exact(a, b).into()).collect(),
        _ => {
            let pairs = a.to_floats().into_iter().zip(b.to_floats());
            pairs.map(|(a, b)| compare(a.into(), b.into()).into()).collect()
        }
    };
    done(node, Literal::ints(shape, Kind::Bool, data))
}

/// `Equal`.
pub fn equal(node: &Node) -> Folded {
    logical(node, |a, b| a == b, |a, b| a == b)
}

/// `Greater`.
pub fn greater(node: &Node) -> Folded {
    logical(node, |a, b| a > b, |a, b| a > b)
}

/// `GreaterOrEqual`.
pub fn greater_or_equal(node: &Node) -> Folded {
    logical(node, |a, b| a >= b, |a, b| a >= b)
}

/// `Less`.
pub fn less(node: &Node) -> Folded {
    logical(node, |a, b| a < b, |a, b| a < b)
}

/// `LessOrEqual`.
pub fn less_or_equal(node: &Node) -> Folded {
    logical(node, |a, b| a <= b, |a, b| a <= b)
}

/// `And`.
pub fn and(node: &Node) -> Folded {
    logical(node, |a, b| a != 0.0 && b != 0.0, |a, b| a != 0 && b != 0)
}

/// `Or`.
pub fn or(node: &Node) -> Folded {
    logical(node, |a, b| a != 0.0 || b != 0.0, |a, b| a != 0 || b != 0)
}

/// `Where`.
pub fn choose(node: &Node) -> Folded {
    let condition = node.constant(0, "the condition")?;
    let (a, b) = (node.constant(1, "the first choice")?, node.constant(2, "the second choice")?);
    let shape = broadcast(node, &a.shape, &b.shape)?;
    let shape = broadcast(node, &shape, &condition.shape)?;
    let stretch = |literal| stretched(literal, &shape).map_err(|message| node.invalid(message));
    let (condition, a, b) = (stretch(&condition)?, stretch(&a)?, stretch(&b)?);
    let chosen = condition.as_ints().ok_or_else(|| node.invalid("the condition must be booleans"))?;
    let literal = match (&a.numbers, &b.numbers) {
        (Numbers::Int(x), Numbers::Int(y)) => {
            let data = chosen.iter().enumerate().map(|(i, &c)| if c != 0 { x[i] } else { y[i] }).collect();
            Literal::ints(shape, a.kind, data)
        }
        (Numbers::Float(x), Numbers::Float(y)) => {
            let data = chosen.iter().enumerate().map(|(i, &c)| if c != 0 { x[i] } else { y[i] }).collect();
            Literal::floats(shape, data)
        }
        _ => Err("the choices differ in type".to_owned()),
    };
    done(node, literal)
}

/// The nearest value with the precision of binary16, ties to even.
fn to_half(value: f32) -> f32 {
    let magnitude = value.abs();
    if magnitude >= 65520.0 {
        return f32::INFINITY.copysign(value);
    }
    // Below the normal range all values are multiples of 2^-24.
    let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(-14);
    let step = 2f32.powi(exponent - 10);
    if value.is_finite() { (value / step).round_ties_even() * step } else { value }
}

/// The nearest value with the precision of bfloat16, ties to even.
fn to_upper_half(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let bits = value.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// `Cast`.
pub fn cast(node: &Node) -> Folded {
    let operand = node.constant(0, "the operand")?;
    let to = node.int("to").and_then(|to| i32::try_from(to).ok());
    let kind = to.and_then(Kind::of).ok_or_else(|| node.unsupported("the target type of the cast", ""))?;
    let literal = match (kind, &operand.numbers) {
        (Kind::Float, _) => {
            let round = match to {
                Some(data_type::FLOAT16) => to_half,
                Some(data_type::BFLOAT16) => to_upper_half,
                _ => |value| value,
            };
            Literal::floats(operand.shape.clone(), operand.to_floats().into_iter().map(round).collect())
        }
        (_, Numbers::Int(data)) => {
            let data = data.iter().map(|&value| wrap(kind, value)).collect();
            Literal::ints(operand.shape.clone(), kind, data)
        }
        (Kind::Bool, Numbers::Float(data)) => {
            let data = data.iter().map(|&value| i64::from(value != 0.0)).collect();
            Literal::ints(operand.shape.clone(), kind, data)
        }
        (_, Numbers::Float(data)) => {
            let data = data.iter().map(|&value| wrap(kind, value as i64)).collect();
            Literal::ints(operand.shape.clone(), kind, data)
        }
    };
    done(node, literal)
}

/// `Concat`.
pub fn concat(node: &Node) -> Folded {
    let operands = literals(node)?;
    let first = operands.first().ok_or_else(|| node.invalid("there is nothing to join"))?;
    let rank = first.shape.len();
    let axis = node.axis(node.int("axis").ok_or_else(|| node.invalid("`axis` is missing"))?, rank)?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for operand in &operands {
        let fits = operand.shape.len() == rank
            && (0..rank).all(|other| other == axis || operand.shape[other] == first.shape[other]);
        if !fits || operand.as_ints().is_some() != first.as_ints().is_some() {
            return Err(node.invalid("the operands differ in shape or type"));
        }
        shape[axis] = shape[axis].saturating_add(operand.shape[axis]);
    }
    bounded(node, &shape)?;
    let outer: usize = shape[..axis].iter().product();
    let block = |literal: &Literal| literal.shape[axis..].iter().product::<usize>();
    let literal = if first.as_ints().is_some() {
        let mut data = Vec::new();
        for row in 0..outer {
            for operand in &operands {
                let size = block(operand);
                data.extend_from_slice(&operand.as_ints().unwrap_or_default()[row * size..(row + 1) * size]);
            }
        }
        Literal::ints(shape, first.kind, data)
    } else {
        let mut data = Vec::new();
        for row in 0..outer {
            for operand in &operands {
                let size = block(operand);
                data.extend_from_slice(&operand.as_floats().unwrap_or_default()[row * size..(row + 1) * size]);
            }
        }
        Literal::floats(shape, data)
    };
    done(node, literal)
}

/// `Gather`.
pub fn gather(node: &Node) -> Folded {
    let (operand, indices) = (node.constant(0, "the operand")?, node.constant(1, "the indices")?);
    let rank = operand.shape.len();
    let axis = node.axis(node.int("axis").unwrap_or(0), rank)?;
    let places = places(node, &indices, operand.shape[axis])?;
    let mut shape = operand.shape[..axis].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&operand.shape[axis + 1..]);
    bounded(node, &shape)?;
    let outer: usize = operand.shape[..axis].iter().product();
    let inner: usize = operand.shape[axis + 1..].iter().product();
    let extent = operand.shape[axis];
    let places = &places;
    let sources: Vec<usize> = (0..outer)
        .flat_map(|row| {
            places.iter().flat_map(move |&place| (0..inner).map(move |column| (row * extent + place) * inner + column))
        })
        .collect();
    done(node, operand.taken(shape, &sources))
}

/// `Slice`.
pub fn slice(node: &Node) -> Folded {
    let operand = node.constant(0, "the operand")?;
    let extent = extent(node, &operand.shape)?;
    literal_box(node, &operand, &extent).map(Some)
}

/// `Expand`.
pub fn expand(node: &Node) -> Folded {
    let operand = node.constant(0, "the operand")?;
    let wanted = extents(node, 1)?;
    let shape = broadcast(node, &operand.shape, &wanted)?;
    done(node, stretched(&operand, &shape))
}

/// `Tile`.
pub fn tile(node: &Node) -> Folded {
    let operand = node.constant(0, "the operand")?;
    let repeats = extents(node, 1)?;
    if repeats.len() != operand.shape.len() {
        return Err(node.invalid(format!("{} repeats for {} axes", repeats.len(), operand.shape.len())));
    }
    // Repetition of an axis is broadcasting of a new axis before it.
    let (mut split, mut wide, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (&extent, &repeat) in operand.shape.iter().zip(&repeats) {
        split.extend([1, extent]);
        wide.extend([repeat, extent]);
        joined.push(extent.saturating_mul(repeat));
    }
    bounded(node, &wide)?;
    let result = operand.reshaped(split).and_then(|split| stretched(&split, &wide));
    done(node, result.and_then(|wide| wide.reshaped(joined)))
}

fn extents(node: &Node, index: usize) -> Result<Vec<usize>, Diagnostic> {
    let ints = node.optional_ints(index, "the extents")?.ok_or_else(|| node.invalid("the extents are missing"))?;
    let extents: Result<Vec<usize>, _> = ints.iter().map(|&extent| usize::try_from(extent)).collect();
    extents.map_err(|_| node.invalid("an extent is negative"))
}

fn reduce(node: &Node, start: f64, float: impl Fn(f64, f64) -> f64, integer: impl Fn(i64, i64) -> i64) -> Folded {
    let operand = node.constant(0, "the operand")?;
    let rank = operand.shape.len();
    let axes = match node.ints_or_operand("axes", 1)?.filter(|axes| !axes.is_empty()) {
        Some(axes) => node.axes(&axes, rank)?,
        None if node.flag("noop_with_empty_axes") => return Ok(Some(Value::Constant(operand))),
        None => (0..rank).collect(),
    };
    if operand.count() == 0 {
        return Err(node.invalid("the operand is empty"));
    }
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    let rest: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
    let order: Vec<usize> = rest.iter().chain(&axes).copied().collect();
    let inner: usize = axes.iter().map(|&axis| operand.shape[axis]).product();
    let moved = operand.transposed(&order);
    let shape: Vec<usize> = if keep {
        (0..rank).map(|axis| if axes.contains(&axis) { 1 } else { operand.shape[axis] }).collect()
    } else {
        rest.iter().map(|&axis| operand.shape[axis]).collect()
    };
    let literal = match &moved.numbers {
        Numbers::Int(data) => {
            let rows = data.chunks(inner);
            let data =
                rows.map(|row| row[1..].iter().fold(row[0], |a, &b| wrap(operand.kind, integer(a, b)))).collect();
            Literal::ints(shape, operand.kind, data)
        }
        Numbers::Float(data) => {
            let rows = data.chunks(inner);
            let data = rows.map(|row| row.iter().fold(start, |a, &b| float(a, b.into())) as f32).collect();
            Literal::floats(shape, data)
        }
    };
    done(node, literal)
}

/// `ReduceSum`.
pub fn reduce_sum(node: &Node) -> Folded {
    reduce(node, 0.0, |a, b| a + b, i64::wrapping_add)
}

/// `ReduceProd`.
pub fn reduce_product(node: &Node) -> Folded {
    reduce(node, 1.0, |a, b| a * b, i64::wrapping_mul)
}

/// `ReduceMax`.
pub fn reduce_max(node: &Node) -> Folded {
    reduce(node, f64::NEG_INFINITY, f64::max, i64::max)
}

/// `ReduceMin`.
pub fn reduce_min(node: &Node) -> Folded {
    reduce(node, f64::INFINITY, f64::min, i64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even() {
        assert_eq!(to_half(1.0 + 1.0 / 2048.0), 1.0);
        assert_eq!(to_half(1.0 + 3.0 / 2048.0), 1.0 + 2.0 / 1024.0);
        assert_eq!(to_half(-70000.0), f32::NEG_INFINITY);
        assert_eq!(to_half(2f32.powi(-25) * 1.5), 2f32.powi(-24));
        assert_eq!(to_upper_half(0.819_105_45), 0.820_312_5);
    }

    #[test]
    fn wrapping_keeps_the_kind() {
        assert_eq!(wrap(Kind::Int { bits: 8, signed: true }, 200), -56);
        assert_eq!(wrap(Kind::Int { bits: 8, signed: false }, -1), 255);
    }
}
