//! Transposes: they move towards the outputs, meet, and cancel.

use super::{op, permutation};
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{ArgMax, Concat, Dense, Pad, ReduceMean, Slice, Softmax};

const MOVES_UNIT_AXES_ONLY: Guard = Guard {
    name: "only axes of extent 1 change places",
    holds: |egraph, found| {
        let x = egraph.shape(found.classes[0]);
        permutation(egraph, &found.terms[0])
            .is_some_and(|permutation| permutation.iter().filter(|&&axis| x[axis] > 1).is_sorted())
    },
};

const KEEPS_LAST_AXIS: Guard = Guard {
    name: "the last axis stays last",
    holds: |egraph, found| {
        permutation(egraph, &found.terms[1])
            .is_some_and(|permutation| permutation.last() == Some(&(permutation.len() - 1)))
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "transpose-transpose",
        class: RuleClass::Integer,
        lhs: "(transpose (transpose ?x))",
        rhs: "(transpose[composed] ?x)",
        why: "permutations compose; the identity vanishes",
        apply: |egraph, found| {
            let [outer, inner] = [0, 1].map(|position| permutation(egraph, &found.terms[position]));
            let inner = inner?;
            let composed: Vec<usize> = outer?.iter().map(|&axis| inner[axis]).collect();
            egraph.transposed(found.classes[0], &composed)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-identity",
        class: RuleClass::Integer,
        lhs: "(transpose ?x)",
        rhs: "?x",
        guards: &[Guard {
            name: "the permutation is the identity",
            holds: |egraph, found| permutation(egraph, &found.terms[0]).is_some_and(<[usize]>::is_sorted),
        }],
        why: "nothing moves",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-reshape-unit",
        class: RuleClass::Integer,
        lhs: "(transpose ?x)",
        rhs: "(reshape ?x)",
        guards: &[MOVES_UNIT_AXES_ONLY],
        why: "moving an axis of extent 1 moves no element",
        apply: |egraph, found| {
            let shape = egraph.shape(found.root).to_vec();
            egraph.reshaped(found.classes[0], &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-unary",
        class: RuleClass::Integer,
        lhs: "(@unary|quantize|dequantize|table (transpose ?x))",
        rhs: "(transpose (op ?x))",
        why: "a pointwise function does not see the layout",
        apply: |egraph, found| {
            let inner = permutation(egraph, &found.terms[1])?.to_vec();
            let pointwise = op(egraph, found, 0)?.clone();
            let stated = egraph.ty(found.root)?.quantization;
            let y = egraph.add_quantized(pointwise, &found.vars::<1>(), stated)?;
            egraph.transposed(y, &inner)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-binary",
        class: RuleClass::Integer,
        lhs: "(@binary ..)",
        rhs: "(transpose (op ?x ?y))",
        why: "operands in the same layout, or constant, or of a single axis, combine before the transpose",
        apply: |egraph, found| pull_from_all(egraph, found),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-prelu",
        class: RuleClass::Integer,
        lhs: "(prelu (transpose ?x) ?s)",
        rhs: "(transpose (prelu ?x s'))",
        why: "slopes follow their channels",
        apply: |egraph, found| pull_from_all(egraph, found),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-affine",
        class: RuleClass::Integer,
        lhs: "(cscale|cbias (transpose ?x) ?k)",
        rhs: "(transpose (mul|add ?x k'))",
        why: "factors and terms follow their axis",
        apply: affine,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-concat",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(transpose (concat ..))",
        why: "parts in the same layout join before the transpose",
        apply: |egraph, found| pull_from_all(egraph, found),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-box",
        class: RuleClass::Integer,
        lhs: "(slice|pad (transpose ?x))",
        rhs: "(transpose (op ?x))",
        why: "boxes follow their axes",
        apply: |egraph, found| {
            let inner = permutation(egraph, &found.terms[1])?.to_vec();
            let moved = match op(egraph, found, 0)? {
                Op::Slice(Slice { starts, sizes, steps }) => Op::Slice(Slice {
                    starts: unpermuted(&inner, starts),
                    sizes: unpermuted(&inner, sizes),
                    steps: unpermuted(&inner, steps),
                }),
                Op::Pad(Pad { before, after, value }) => {
                    Op::Pad(Pad { before: unpermuted(&inner, before), after: unpermuted(&inner, after), value: *value })
                }
                _ => return None,
            };
            let y = egraph.add_op(moved, &found.vars::<1>())?;
            egraph.transposed(y, &inner)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-softmax",
        class: RuleClass::Integer,
        lhs: "(softmax (transpose ?x))",
        rhs: "(transpose (softmax ?x))",
        why: "the axis is followed",
        apply: |egraph, found| {
            let inner = permutation(egraph, &found.terms[1])?.to_vec();
            let &Op::Softmax(Softmax { axis }) = op(egraph, found, 0)? else { return None };
            let y = egraph.add_op(Op::Softmax(Softmax { axis: inner[axis] }), &found.vars::<1>())?;
            egraph.transposed(y, &inner)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-reduce",
        class: RuleClass::Integer,
        lhs: "(reduce_mean|argmax (transpose ?x))",
        rhs: "(transpose (op ?x))",
        why: "the axes are followed; those that vanish need no place",
        apply: reduce,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-dense",
        class: RuleClass::Integer,
        lhs: "(dense (transpose ?x) ?w ?b)",
        rhs: "(transpose (dense ?x ?w ?b))",
        guards: &[KEEPS_LAST_AXIS],
        why: "a matrix product sees the last axis only",
        apply: |egraph, found| {
            let inner = permutation(egraph, &found.terms[1])?.to_vec();
            let y = egraph.add_op(Op::Dense(Dense), &found.vars::<3>())?;
            egraph.transposed(y, &inner)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "transpose-dequantize-weights",
        class: RuleClass::Integer,
        lhs: "(transpose (dequantize_weights ?q))",
        rhs: "(dequantize_weights (transpose ?q))",
        why: "weights of quantized models keep their integers; the axis of the scales is followed",
        apply: |egraph, found| {
            let outer = permutation(egraph, &found.terms[0])?.to_vec();
            let Op::DequantizeWeights(weights) = op(egraph, found, 1)? else { return None };
            let mut weights = weights.clone();
            if weights.scales.len() > 1 {
                weights.axis = outer.iter().position(|&axis| axis == weights.axis)?;
            }
            let moved = egraph.transposed(found.classes[0], &outer)?;
            egraph.add_op(Op::DequantizeWeights(weights), &[moved])
        },
        constants: true,
        ..RuleSpec::PLAIN
    },
];

/// Attributes per result axis as attributes per operand axis.
fn unpermuted(permutation: &[usize], attributes: &[usize]) -> Vec<usize> {
    let mut result = attributes.to_vec();
    permutation.iter().zip(attributes).for_each(|(&axis, &attribute)| result[axis] = attribute);
    result
}

/// The permutation that undoes another.
pub(super) fn inverse(permutation: &[usize]) -> Vec<usize> {
    let positions: Vec<usize> = (0..permutation.len()).collect();
    unpermuted(permutation, &positions)
}

/// The permutations of the transposes in a class, without repetition.
fn permutations(egraph: &EGraph, class: Id) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> =
        egraph.terms(class, "transpose").filter_map(|term| Some(permutation(egraph, term)?.to_vec())).collect();
    found.sort();
    found.dedup();
    found
}

/// `op(T x, T y, ..)` as `T op(x, y, ..)` for the first transpose `T` that all operands have or
/// can be given for free.
fn pull_from_all(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let term = &found.terms[0];
    let choices: Vec<Vec<usize>> = term.children.iter().flat_map(|&child| permutations(egraph, child)).collect();
    let rank = egraph.shape(found.root).len();
    let mut tried: Vec<&Vec<usize>> = Vec::new();
    for choice in choices.iter().filter(|choice| choice.len() == rank) {
        if tried.contains(&choice) || choice.is_sorted() {
            continue;
        }
        tried.push(choice);
        if !term.children.iter().all(|&child| can_untranspose(egraph, child, choice)) {
            continue;
        }
        let mut operands = Vec::with_capacity(term.children.len());
        for &child in &term.children {
            operands.push(untransposed(egraph, child, choice)?);
        }
        let moved = match egraph.op(term)? {
            Op::Concat(Concat { axis }) => Op::Concat(Concat { axis: choice[*axis] }),
            other => other.clone(),
        };
        let y = egraph.add_op(moved, &operands)?;
        return egraph.transposed(y, choice);
    }
    None
}

/// The operand of a transpose in a class.
fn source(egraph: &EGraph, class: Id, choice: &[usize]) -> Option<Id> {
    let mut terms = egraph.terms(class, "transpose");
    terms.find(|term| permutation(egraph, term) == Some(choice)).map(|term| term.children[0])
}

fn can_untranspose(egraph: &EGraph, class: Id, choice: &[usize]) -> bool {
    let shape = egraph.shape(class);
    source(egraph, class, choice).is_some()
        || egraph.is_constant(class) && shape.len() <= choice.len()
        || shape.iter().filter(|&&extent| extent > 1).count() <= 1 && shape.len() <= choice.len()
}

/// A class `y` with `transpose(y) = class`, up to leading axes of extent 1.
fn untransposed(egraph: &mut EGraph, class: Id, choice: &[usize]) -> Option<Id> {
    if let Some(source) = source(egraph, class, choice) {
        return Some(source);
    }
    let shape = egraph.shape(class);
    let mut full = vec![1; choice.len() - shape.len()];
    full.extend(shape);
    if egraph.is_constant(class) {
        let full = egraph.reshaped(class, &full)?;
        return egraph.transposed(full, &inverse(choice));
    }
    egraph.reshaped(class, &unpermuted(choice, &full))
}

fn affine(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let inner = permutation(egraph, &found.terms[1])?.to_vec();
    let [x, k] = found.vars();
    let channels = *egraph.shape(k).first()?;
    let axis = *inner.last()?;
    let scale = found.terms[0].name == crate::egraph::term::name::CHANNEL_SCALE;
    let y = if axis + 1 == inner.len() {
        if scale { egraph.add_scale(x, k)? } else { egraph.add_bias(x, k)? }
    } else {
        let mut shape = vec![1; inner.len()];
        shape[axis] = channels;
        let k = egraph.reshaped(k, &shape)?;
        let binary = if scale { lutweave_ir::op::Binary::Mul } else { lutweave_ir::op::Binary::Add };
        egraph.add_op(Op::Binary(binary), &[x, k])?
    };
    egraph.transposed(y, &inner)
}

fn reduce(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let inner = permutation(egraph, &found.terms[1])?.to_vec();
    let (reduced, moved, keep) = match op(egraph, found, 0)? {
        Op::ReduceMean(ReduceMean { axes, keep }) => {
            let mut own: Vec<usize> = axes.iter().map(|&axis| inner[axis]).collect();
            own.sort_unstable();
            (axes.clone(), Op::ReduceMean(ReduceMean { axes: own, keep: *keep }), *keep)
        }
        &Op::ArgMax(ArgMax { axis, keep, last }) => {
            (vec![axis], Op::ArgMax(ArgMax { axis: inner[axis], keep, last }), keep)
        }
        _ => return None,
    };
    let y = egraph.add_op(moved, &found.vars::<1>())?;
    if keep {
        return egraph.transposed(y, &inner);
    }
    let mut left: Vec<usize> =
        (0..inner.len()).filter(|axis| !reduced.contains(axis)).map(|axis| inner[axis]).collect();
    let mut sorted = left.clone();
    sorted.sort_unstable();
    left.iter_mut().for_each(|axis| *axis = sorted.partition_point(|other| other < axis));
    egraph.transposed(y, &left)
}
