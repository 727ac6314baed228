//! Reshapes: they meet, vanish, and let transposes and functions pass.

use super::layout::inverse;
use super::{op, permutation};
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{Dense, ReduceMean};

const KEEPS_LAST_AXIS: Guard = Guard {
    name: "the last axis stays",
    holds: |egraph, found| egraph.shape(found.classes[0]).last() == egraph.shape(found.terms[0].children[0]).last(),
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "reshape-reshape",
        class: RuleClass::Integer,
        lhs: "(reshape (reshape ?x))",
        rhs: "(reshape ?x)",
        why: "the last shape counts; the same shape is no change",
        apply: |egraph, found| {
            let shape = egraph.shape(found.root).to_vec();
            egraph.reshaped(found.classes[0], &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "reshape-identity",
        class: RuleClass::Integer,
        lhs: "(reshape ?x)",
        rhs: "?x",
        guards: &[Guard {
            name: "the shape is the same",
            holds: |egraph, found| egraph.shape(found.root) == egraph.shape(found.classes[0]),
        }],
        why: "nothing changes",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "reshape-unary",
        class: RuleClass::Integer,
        lhs: "(@unary|quantize|dequantize|table (reshape ?x))",
        rhs: "(reshape (op ?x))",
        why: "a pointwise function does not see the shape",
        apply: |egraph, found| {
            let pointwise = op(egraph, found, 0)?.clone();
            let stated = egraph.ty(found.root)?.quantization;
            let shape = egraph.shape(found.root).to_vec();
            let y = egraph.add_quantized(pointwise, &found.vars::<1>(), stated)?;
            egraph.reshaped(y, &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "reshape-binary",
        class: RuleClass::Integer,
        lhs: "(@binary (reshape ?x) (reshape ?y))",
        rhs: "(reshape (op ?x ?y))",
        guards: &[
            Guard {
                name: "the operands have one shape before",
                holds: |egraph, found| egraph.shape(found.classes[0]) == egraph.shape(found.classes[1]),
            },
            Guard {
                name: "the operands have one shape after",
                holds: |egraph, found| {
                    egraph.shape(found.terms[0].children[0]) == egraph.shape(found.terms[0].children[1])
                },
            },
        ],
        why: "elements meet the same elements",
        apply: |egraph, found| {
            let function = op(egraph, found, 0)?.clone();
            let shape = egraph.shape(found.root).to_vec();
            let y = egraph.add_op(function, &found.vars::<2>())?;
            egraph.reshaped(y, &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "reshape-dense",
        class: RuleClass::Integer,
        lhs: "(dense (reshape ?x) ?w ?b)",
        rhs: "(reshape (dense ?x ?w ?b))",
        guards: &[KEEPS_LAST_AXIS],
        why: "a matrix product sees the last axis only",
        apply: |egraph, found| {
            let shape = egraph.shape(found.root).to_vec();
            let y = egraph.add_op(Op::Dense(Dense), &found.vars::<3>())?;
            egraph.reshaped(y, &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "reshape-affine",
        class: RuleClass::Integer,
        lhs: "(cscale|cbias (reshape ?x) ?k)",
        rhs: "(reshape (op ?x ?k))",
        guards: &[KEEPS_LAST_AXIS],
        why: "factors and terms follow the last axis",
        apply: |egraph, found| {
            let [x, k] = found.vars();
            let shape = egraph.shape(found.root).to_vec();
            let scale = found.terms[0].name == crate::egraph::term::name::CHANNEL_SCALE;
            let y = if scale { egraph.add_scale(x, k)? } else { egraph.add_bias(x, k)? };
            egraph.reshaped(y, &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "reshape-transpose",
        class: RuleClass::Integer,
        lhs: "(reshape (transpose ?x))",
        rhs: "(transpose (reshape (transpose ?x)))",
        why: "axes that a reshape merges or splits within themselves move as blocks afterwards",
        apply: |egraph, found| {
            let [x] = found.vars();
            let moved = permutation(egraph, &found.terms[1])?.to_vec();
            let blocks = Blocks::new(egraph.shape(x), &moved, egraph.shape(found.root))?;
            let inner = egraph.transposed(x, &blocks.inner)?;
            let middle = egraph.reshaped(inner, &blocks.shape)?;
            egraph.transposed(middle, &blocks.outer)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "mean-of-one",
        class: RuleClass::Integer,
        lhs: "(reduce_mean ?x)",
        rhs: "(reshape ?x)",
        guards: &[Guard {
            name: "the axes have extent 1",
            holds: |egraph, found| match op(egraph, found, 0) {
                Some(Op::ReduceMean(ReduceMean { axes, .. })) => {
                    axes.iter().all(|&axis| egraph.shape(found.classes[0]).get(axis) == Some(&1))
                }
                _ => false,
            },
        }],
        why: "the mean of one element is that element",
        apply: |egraph, found| {
            let shape = egraph.shape(found.root).to_vec();
            egraph.reshaped(found.classes[0], &shape)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "flatten-dense",
        class: RuleClass::Real,
        lhs: "(dense (reshape (transpose ?x)) ?w ?b)",
        rhs: "(dense (reshape ?x) w' ?b)",
        guards: &[Guard {
            name: "the matrix product sees all elements as one row",
            holds: |egraph, found| {
                let row = egraph.shape(found.terms[0].children[0]);
                row.iter().rev().skip(1).all(|&extent| extent == 1)
            },
        }],
        why: "the columns of the matrix take the place of the transpose",
        apply: flatten_dense,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "reshape-dequantize-weights",
        class: RuleClass::Integer,
        lhs: "(reshape (dequantize_weights ?q))",
        rhs: "(dequantize_weights (reshape ?q))",
        guards: &[Guard {
            name: "the axis of the scales stays first",
            holds: |egraph, found| match op(egraph, found, 1) {
                Some(Op::DequantizeWeights(weights)) => {
                    weights.scales.len() == 1
                        || weights.axis == 0
                            && egraph.shape(found.root).first() == egraph.shape(found.classes[0]).first()
                }
                _ => false,
            },
        }],
        why: "weights of quantized models keep their integers",
        apply: |egraph, found| {
            let weights = op(egraph, found, 1)?.clone();
            let shape = egraph.shape(found.root).to_vec();
            let q = egraph.reshaped(found.classes[0], &shape)?;
            egraph.add_op(weights, &[q])
        },
        constants: true,
        ..RuleSpec::PLAIN
    },
];

fn flatten_dense(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b] = found.vars();
    let moved = permutation(egraph, &found.terms[2])?.to_vec();
    let row = egraph.shape(found.terms[0].children[0]).to_vec();
    let (outputs, columns) = match egraph.shape(w) {
        &[outputs, columns] => (outputs, columns),
        _ => return None,
    };
    let mut shape = vec![outputs];
    shape.extend(moved.iter().map(|&axis| egraph.shape(x)[axis]));
    let mut back = vec![0];
    back.extend(inverse(&moved).iter().map(|axis| axis + 1));
    let w = egraph.reshaped(w, &shape)?;
    let w = egraph.transposed(w, &back)?;
    let w = egraph.reshaped(w, &[outputs, columns])?;
    let x = egraph.reshaped(x, &row)?;
    egraph.add_op(Op::Dense(Dense), &[x, w, b])
}

/// `reshape(transpose(x))` as `transpose[outer](reshape(transpose[inner](x)))`, where `inner`
/// reorders axes within blocks of neighbours only.
struct Blocks {
    inner: Vec<usize>,
    shape: Vec<usize>,
    outer: Vec<usize>,
}

impl Blocks {
    fn new(x: &[usize], moved: &[usize], result: &[usize]) -> Option<Self> {
        let middle: Vec<usize> = moved.iter().map(|&axis| x[axis]).collect();
        let groups = groups(&middle, result)?;
        let axes: Vec<usize> = (0..x.len()).filter(|&axis| x[axis] > 1).collect();
        // Per group: the position of its first axis among those of `x` that have elements to
        // move, its axes in the transposed order, and its axes in the result.
        let mut blocks = Vec::with_capacity(groups.len());
        for (own, results) in groups {
            let own: Vec<usize> = own.map(|axis| moved[axis]).filter(|&axis| x[axis] > 1).collect();
            let mut places: Vec<usize> = own.iter().map(|axis| axes.partition_point(|other| other < axis)).collect();
            places.sort_unstable();
            if places.windows(2).any(|pair| pair[1] != pair[0] + 1) {
                return None;
            }
            blocks.push((places.first().map_or(0, |first| first + 1), own, results));
        }
        blocks.sort_by_key(|(first, _, _)| *first);
        let mut inner: Vec<usize> = (0..x.len()).filter(|&axis| x[axis] == 1).collect();
        let (mut shape, mut order) = (Vec::new(), Vec::new());
        for (_, own, results) in blocks {
            inner.extend(own);
            shape.extend(results.clone().map(|axis| result[axis]));
            order.extend(results);
        }
        if inner.iter().filter(|&&axis| x[axis] > 1).is_sorted() {
            inner = (0..x.len()).collect();
        }
        let outer = inverse(&order);
        // Without a block that moves, the right-hand side would be the left-hand side.
        (!outer.is_sorted() || inner.is_sorted()).then_some(Self { inner, shape, outer })
    }
}

pub(super) type Ranges = Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>;

/// The finest split of two shapes of equal element count into runs of equal element count.
pub(super) fn groups(from: &[usize], to: &[usize]) -> Option<Ranges> {
    let (mut i, mut j) = (0, 0);
    let mut groups: Ranges = Vec::new();
    while i < from.len() && j < to.len() {
        let (first_i, first_j) = (i, j);
        let (mut left, mut right) = (from[i], to[j]);
        (i, j) = (i + 1, j + 1);
        while left != right {
            if left < right {
                left *= from.get(i)?;
                i += 1;
            } else {
                right *= to.get(j)?;
                j += 1;
            }
        }
        groups.push((first_i..i, first_j..j));
    }
    // What is left over has extent 1.
    match groups.last_mut() {
        Some((own, results)) => (own.end, results.end) = (from.len(), to.len()),
        None => groups.push((0..from.len(), 0..to.len())),
    }
    Some(groups)
}
