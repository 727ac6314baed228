//! Changes of layout, hoisted towards the inputs: before the first layer they are best done by
//! whoever sends the data, outside the quantized region.

use super::{op, permutation};
use crate::egraph::term::name;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec, Term};
use egg::Id;
use lutweave_ir::op::{Binary, Concat, Dequantize, Pad, Quantize, Slice};
use lutweave_ir::{Element, Op};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "hoist-transpose",
        class: RuleClass::Integer,
        lhs: "(transpose (@unary|quantize|dequantize|table|slice|pad|concat|@binary|prelu|cscale|cbias ..))",
        rhs: "(op (transpose ?x))",
        why: "functions of elements, boxes and joins follow their axes",
        apply: hoist_transpose,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "hoist-reshape",
        class: RuleClass::Integer,
        lhs: "(reshape (quantize|dequantize|table ?x))",
        rhs: "(op (reshape ?x))",
        why: "a pointwise function does not see the shape",
        apply: |egraph, found| {
            let pointwise = op(egraph, found, 1)?.clone();
            let ty = egraph.ty(found.root)?.clone();
            let x = egraph.reshaped(found.classes[0], &ty.shape)?;
            egraph.add_quantized(pointwise, &[x], ty.quantization)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "quantize-pad",
        class: RuleClass::Integer,
        lhs: "(quantize (pad ?x))",
        rhs: "(pad[quantized value] (quantize ?x))",
        why: "the border is quantized like the rest",
        apply: |egraph, found| {
            let quantize = op(egraph, found, 0)?.clone();
            let &Op::Quantize(Quantize { element, quantization }) = &quantize else { return None };
            let Op::Pad(Pad { before, after, value }) = op(egraph, found, 1)?.clone() else { return None };
            let (lo, hi) = narrow_range(element)?;
            let value = quantization.quantize(value, lo, hi) as f32;
            let q = egraph.add_op(quantize, &found.vars::<1>())?;
            egraph.add_op(Op::Pad(Pad { before, after, value }), &[q])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "dequantize-pad",
        class: RuleClass::Integer,
        lhs: "(dequantize (pad ?q))",
        rhs: "(pad[real value] (dequantize ?q))",
        why: "the border is dequantized like the rest; the zero point becomes the 0 of a convolution's padding",
        apply: |egraph, found| {
            let Op::Pad(Pad { before, after, value }) = op(egraph, found, 1)?.clone() else { return None };
            let [q] = found.vars();
            narrow_range(egraph.ty(q)?.element)?;
            let value = egraph.ty(q)?.quantization?.dequantize(value as i32);
            let x = egraph.add_op(Op::Dequantize(Dequantize), &[q])?;
            egraph.add_op(Op::Pad(Pad { before, after, value }), &[x])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "quantize-dequantize",
        class: RuleClass::Integer,
        lhs: "(quantize (dequantize ?q))",
        rhs: "?q",
        guards: &[
            Guard {
                name: "scale, zero point and width are the same",
                holds: |egraph, found| egraph.ty(found.root) == egraph.ty(found.classes[0]),
            },
            Guard {
                name: "no real value overflows or loses bits",
                holds: |egraph, found| {
                    egraph.ty(found.classes[0]).is_some_and(|ty| {
                        let ordinary = |scale: f32| (1e-30..1e30).contains(&scale);
                        narrow_range(ty.element).is_some() && ty.quantization.is_some_and(|q| ordinary(q.scale))
                    })
                },
            },
        ],
        why: "a real that stands for an integer rounds back to it",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
];

/// The range of integers that a float holds without rounding.
fn narrow_range(element: Element) -> Option<(i32, i32)> {
    let (lo, hi) = element.range()?;
    (lo >= -(1 << 16) && hi <= 1 << 16).then_some((lo as i32, hi as i32))
}

fn hoist_transpose(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let outer = permutation(egraph, &found.terms[0])?.to_vec();
    let term = found.terms[1].clone();
    let permuted = |attributes: &[usize]| -> Vec<usize> { outer.iter().map(|&axis| attributes[axis]).collect() };
    if matches!(term.name, name::CHANNEL_SCALE | name::CHANNEL_BIAS) {
        return hoist_affine(egraph, &outer, &term);
    }
    let moved = match egraph.op(&term)? {
        Op::Slice(Slice { starts, sizes, steps }) => {
            Op::Slice(Slice { starts: permuted(starts), sizes: permuted(sizes), steps: permuted(steps) })
        }
        Op::Pad(Pad { before, after, value }) => {
            Op::Pad(Pad { before: permuted(before), after: permuted(after), value: *value })
        }
        Op::Concat(Concat { axis }) => Op::Concat(Concat { axis: outer.iter().position(|other| other == axis)? }),
        other => other.clone(),
    };
    let stated = egraph.ty(found.root)?.quantization;
    let mut operands = Vec::with_capacity(term.children.len());
    for &child in &term.children {
        let shape = egraph.shape(child).to_vec();
        // A single element needs no layout.
        if shape.iter().all(|&extent| extent == 1) && shape.len() < outer.len() {
            operands.push(child);
            continue;
        }
        let mut full = vec![1; outer.len().checked_sub(shape.len())?];
        full.extend(shape);
        let child = egraph.reshaped(child, &full)?;
        operands.push(egraph.transposed(child, &outer)?);
    }
    egraph.add_quantized(moved, &operands, stated)
}

fn hoist_affine(egraph: &mut EGraph, outer: &[usize], term: &Term) -> Option<Id> {
    let [x, k] = term.children[..] else { return None };
    let scale = term.name == name::CHANNEL_SCALE;
    let x = egraph.transposed(x, outer)?;
    if outer.last() == Some(&(outer.len() - 1)) {
        return if scale { egraph.add_scale(x, k) } else { egraph.add_bias(x, k) };
    }
    let mut shape = vec![1; outer.len()];
    shape[outer.iter().position(|&axis| axis + 1 == outer.len())?] = *egraph.shape(k).first()?;
    let k = egraph.reshaped(k, &shape)?;
    egraph.add_op(Op::Binary(if scale { Binary::Mul } else { Binary::Add }), &[x, k])
}
