//! Operators that pick elements along axes: slices, splits, gathers, joins, padding.

use super::{Imported, one};
use crate::import::Importer;
use crate::literal::Literal;
use crate::node::Node;
use crate::value::Value;
use lutweave_ir::op::Pad;
use lutweave_ir::{Diagnostic, NodeId, Op};

/// Most slices that a gather is taken apart into.
pub const MAX_RUNS: usize = 64;

/// A strided box of a tensor.
pub struct Extent {
    /// First index per axis.
    pub starts: Vec<i64>,
    /// Number of indices per axis.
    pub sizes: Vec<usize>,
    /// Distance per axis; negative ones run backwards.
    pub steps: Vec<i64>,
}

/// What a `Slice` node takes of an operand of a shape.
pub fn extent(node: &Node, shape: &[usize]) -> Result<Extent, Diagnostic> {
    let rank = shape.len();
    let required = |what: &str, index| -> Result<Vec<i64>, Diagnostic> {
        node.ints_or_operand(what, index)?.ok_or_else(|| node.invalid(format!("`{what}` is missing")))
    };
    let (starts, ends) = (required("starts", 1)?, required("ends", 2)?);
    let axes = match node.ints_or_operand("axes", 3)? {
        Some(axes) => axes.iter().map(|&axis| node.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = node.optional_ints(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if starts.len() != ends.len() || starts.len() != axes.len() || starts.len() != steps.len() {
        return Err(node.invalid("starts, ends, axes and steps differ in length"));
    }
    let mut result = Extent { starts: vec![0; rank], sizes: shape.to_vec(), steps: vec![1; rank] };
    for (index, &axis) in axes.iter().enumerate() {
        let Some(&extent) = shape.get(axis) else { return Err(node.invalid(format!("axis {axis} does not exist"))) };
        let (extent, step) = (extent as i64, steps[index]);
        if step == 0 || step == i64::MIN {
            return Err(node.invalid(format!("a step of {step}")));
        }
        let from_end = |index: i64| if index < 0 { index.saturating_add(extent) } else { index };
        let (start, end) = (from_end(starts[index]), from_end(ends[index]));
        let (start, end) = if step > 0 {
            (start.clamp(0, extent), end.clamp(0, extent))
        } else {
            (start.clamp(-1, extent - 1), end.clamp(-1, extent - 1))
        };
        let distance = if step > 0 { end - start } else { start - end };
        result.starts[axis] = start;
        result.sizes[axis] = (distance.max(0) as u64).div_ceil(step.unsigned_abs()) as usize;
        result.steps[axis] = step;
    }
    Ok(result)
}

/// `Slice`.
pub fn slice(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let shape = importer.shape(x).to_vec();
    let extent = extent(node, &shape)?;
    if extent.sizes.contains(&0) {
        return Err(node.unsupported(format!("the slice of {shape:?} is empty"), "remove the node"));
    }
    one(importer, |importer| {
        let mut y = x;
        // Slices that run backwards are gathers; those of a single element need not run at all.
        for axis in 0..shape.len() {
            let (start, size, step) = (extent.starts[axis], extent.sizes[axis], extent.steps[axis]);
            if step < 0 && size > 1 {
                if size > MAX_RUNS {
                    return Err(node.unsupported(
                        format!("a slice of {size} elements along axis {axis} runs backwards"),
                        "flip the data before the model or the weights behind the slice",
                    ));
                }
                let indices: Vec<usize> = (0..size as i64).map(|index| (start + index * step) as usize).collect();
                y = gather_runs(importer, node, y, axis, &indices)?;
            }
        }
        let now = importer.shape(y).to_vec();
        let reversed = |axis: usize| extent.steps[axis] < 0 && extent.sizes[axis] > 1;
        let starts: Vec<usize> =
            (0..now.len()).map(|axis| if reversed(axis) { 0 } else { extent.starts[axis] as usize }).collect();
        let steps: Vec<usize> = (0..now.len())
            .map(|axis| if reversed(axis) || extent.sizes[axis] == 1 { 1 } else { extent.steps[axis] as usize })
            .collect();
        importer.slice(y, &starts, &extent.sizes, &steps)
    })
}

/// A strided range of one axis.
pub fn range(
    importer: &mut Importer,
    x: NodeId,
    axis: usize,
    start: usize,
    size: usize,
    step: usize,
) -> Result<NodeId, Diagnostic> {
    let mut sizes = importer.shape(x).to_vec();
    let (mut starts, mut steps) = (vec![0; sizes.len()], vec![1; sizes.len()]);
    (starts[axis], sizes[axis], steps[axis]) = (start, size, if size == 1 { 1 } else { step });
    importer.slice(x, &starts, &sizes, &steps)
}

/// The sizes that a `Split` node divides an extent into.
pub fn split_sizes(node: &Node, extent: usize) -> Result<Vec<usize>, Diagnostic> {
    let parts = node.outputs().len();
    let sizes: Vec<usize> = match node.ints_or_operand("split", 1)? {
        Some(sizes) => {
            let sizes: Result<Vec<_>, _> = sizes.iter().map(|&size| usize::try_from(size)).collect();
            sizes.map_err(|_| node.invalid("a size is negative"))?
        }
        None => {
            if node.int("num_outputs").is_some_and(|given| given != parts as i64) {
                return Err(node.invalid(format!("`num_outputs` is not the number of outputs, {parts}")));
            }
            let size = extent.div_ceil(parts.max(1));
            (0..parts).map(|part| size.min(extent.saturating_sub(part * size))).collect()
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if sizes.len() != parts || total != Some(extent) {
        return Err(node.invalid(format!("sizes {sizes:?} do not divide {extent} among {parts} outputs")));
    }
    Ok(sizes)
}

/// `Split`: one slice per output.
pub fn split(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let shape = importer.shape(x).to_vec();
    let axis = node.axis(node.int("axis").unwrap_or(0), shape.len())?;
    let mut start = 0;
    let mut parts = Vec::new();
    for size in split_sizes(node, shape[axis])? {
        if size == 0 {
            return Err(node.unsupported("a part is empty", "remove the empty output"));
        }
        let part = range(importer, x, axis, start, size, 1)?;
        parts.push(importer.value(part));
        start += size;
    }
    Ok(parts)
}

/// `Gather` of a run-time value by constant indices.
pub fn gather(importer: &mut Importer, node: &Node) -> Imported {
    let indices = node.constant(1, "the indices")?;
    let x = importer.node(node.operand(0)?)?;
    let shape = importer.shape(x).to_vec();
    let axis = node.axis(node.int("axis").unwrap_or(0), shape.len())?;
    let places = places(node, &indices, shape[axis])?;
    if places.is_empty() {
        return Err(node.unsupported("nothing is gathered", "remove the node"));
    }
    one(importer, |importer| {
        let y = gather_runs(importer, node, x, axis, &places)?;
        let mut result = shape[..axis].to_vec();
        result.extend(&indices.shape);
        result.extend(&shape[axis + 1..]);
        importer.reshape(y, &result)
    })
}

/// Indices along an axis, those from the end resolved.
pub fn places(node: &Node, indices: &Literal, extent: usize) -> Result<Vec<usize>, Diagnostic> {
    let indices = indices.as_ints().ok_or_else(|| node.invalid("the indices must be integers"))?;
    indices
        .iter()
        .map(|&index| node.axis(index, extent))
        .collect::<Result<_, _>>()
        .map_err(|_| node.invalid(format!("an index lies outside the extent {extent}")))
}

/// The elements at some indices of an axis: slices of equally spaced indices, joined.
pub fn gather_runs(
    importer: &mut Importer,
    node: &Node,
    x: NodeId,
    axis: usize,
    indices: &[usize],
) -> Result<NodeId, Diagnostic> {
    let runs = runs(indices);
    if runs.len() > MAX_RUNS {
        return Err(node
            .unsupported(format!("the indices along axis {axis} fall into {} runs", runs.len()), "")
            .help(format!("at most {MAX_RUNS} slices are made of one node; permute the weights that follow instead")));
    }
    let parts = runs
        .iter()
        .map(|&(start, size, step)| range(importer, x, axis, start, size, step))
        .collect::<Result<Vec<_>, _>>()?;
    importer.concat(&parts, axis)
}

/// Indices as few equally spaced ascending runs: start, count, step.
fn runs(indices: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut result: Vec<(usize, usize, usize)> = Vec::new();
    for &index in indices {
        match result.last_mut() {
            Some((start, size @ 1, step)) if index > *start => (*size, *step) = (2, index - *start),
            Some((start, size, step)) if *size > 1 && index == *start + *size * *step => *size += 1,
            _ => result.push((index, 1, 1)),
        }
    }
    result
}

/// `Concat`.
pub fn concat(importer: &mut Importer, node: &Node) -> Imported {
    let operands = node.operands().map(|value| importer.node(value)).collect::<Result<Vec<_>, _>>()?;
    let &first = operands.first().ok_or_else(|| node.invalid("there is nothing to join"))?;
    let axis = node.int("axis").ok_or_else(|| node.invalid("`axis` is missing"))?;
    let axis = node.axis(axis, importer.shape(first).len())?;
    one(importer, |importer| importer.concat(&operands, axis))
}

/// `Pad` with a constant.
pub fn pad(importer: &mut Importer, node: &Node) -> Imported {
    let mode = node.string("mode", "constant");
    if mode != "constant" {
        return Err(node.unsupported(
            format!("`mode` is `{mode}`"),
            "only constant padding can be compiled; export with zero padding",
        ));
    }
    let x = importer.node(node.operand(0)?)?;
    let shape = importer.shape(x).to_vec();
    let rank = shape.len();
    let given = match node.ints("pads").or_else(|| node.ints("paddings")) {
        Some(pads) => pads.to_vec(),
        None => node.optional_ints(1, "the padding")?.ok_or_else(|| node.invalid("the padding is missing"))?,
    };
    let value = match node.optional_scalar(2, "the padding's value")? {
        Some(value) => value,
        None => node.float("value", 0.0),
    };
    let axes = match node.optional_ints(3, "the padding's axes")? {
        Some(axes) => axes.iter().map(|&axis| node.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if given.len() != 2 * axes.len() {
        return Err(node.invalid(format!("{} paddings for {} axes", given.len(), axes.len())));
    }
    let (mut before, mut after) = (vec![0i64; rank], vec![0i64; rank]);
    for (index, &axis) in axes.iter().enumerate() {
        before[axis] = given[index];
        after[axis] = given[axes.len() + index];
    }
    if before.iter().chain(&after).any(|pad| pad.unsigned_abs() > 1 << 24) {
        return Err(node.invalid("a padding exceeds 2^24"));
    }
    let crop = |pad: &i64| (-pad).max(0) as usize;
    let starts: Vec<usize> = before.iter().map(crop).collect();
    let sizes: Option<Vec<usize>> = (0..rank)
        .map(|axis| shape[axis].checked_sub(starts[axis] + crop(&after[axis])).filter(|&size| size > 0))
        .collect();
    let sizes = sizes.ok_or_else(|| {
        node.unsupported(
            format!("negative padding leaves nothing of {shape:?}"),
            "its result does not depend on the input: replace it by a constant",
        )
    })?;
    let grow = |pads: &[i64]| pads.iter().map(|&pad| pad.max(0) as usize).collect::<Vec<_>>();
    let (before, after) = (grow(&before), grow(&after));
    one(importer, |importer| {
        let y = importer.slice(x, &starts, &sizes, &vec![1; rank])?;
        if before.iter().chain(&after).all(|&pad| pad == 0) {
            return Ok(y);
        }
        importer
            .per_axis(y, |order| Op::Pad(Pad { before: order.arrange(&before), after: order.arrange(&after), value }))
    })
}

/// A literal of the elements of a box.
pub fn literal_box(node: &Node, literal: &Literal, extent: &Extent) -> Result<Value, Diagnostic> {
    let strides = crate::literal::strides(&literal.shape);
    let mut positions = vec![0i64];
    for (axis, &stride) in strides.iter().enumerate() {
        let (start, step) = (extent.starts[axis], extent.steps[axis]);
        let size = extent.sizes[axis] as i64;
        positions = positions
            .iter()
            .flat_map(|&base| (0..size).map(move |index| base + (start + index * step) * stride as i64))
            .collect();
    }
    let positions: Vec<usize> = positions.into_iter().map(|position| position as usize).collect();
    literal.taken(extent.sizes.clone(), &positions).map(Value::Constant).map_err(|message| node.invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_equally_spaced() {
        assert_eq!(runs(&[0, 2, 4, 1, 3, 5]), [(0, 3, 2), (1, 3, 2)]);
        assert_eq!(runs(&[2, 1, 0]), [(2, 1, 1), (1, 1, 1), (0, 1, 1)]);
        assert_eq!(runs(&[3, 4, 5]), [(3, 3, 1)]);
        assert_eq!(runs(&[1, 1]), [(1, 1, 1), (1, 1, 1)]);
    }
}
