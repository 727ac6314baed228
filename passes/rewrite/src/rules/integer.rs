//! Integer layers: tables, clamps and padding.

use super::fold::{add_pads, spatial_pads};
use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use lutweave_ir::op::{ArgMax, JoinBytes, Pad, QArgMax, QConv, Reshape, Table};
use lutweave_ir::{Op, Requantize};

const APART: Guard = Guard {
    name: "different integers of at most 8 bits stand for different reals",
    holds: |egraph, found| {
        let ty = egraph.ty(found.classes[0]);
        ty.and_then(|ty| ty.quantization.zip(ty.element.range())).is_some_and(|(quantization, (lo, hi))| {
            hi - lo <= 255
                && (lo as i32..hi as i32).all(|q| quantization.dequantize(q) < quantization.dequantize(q + 1))
        })
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "dequantize-argmax",
        class: RuleClass::Integer,
        lhs: "(argmax (dequantize ?q))",
        rhs: "(reshape (join_bytes (qargmax ?q)))",
        guards: &[
            Guard {
                name: "the axis is the last",
                holds: |egraph, found| {
                    let rank = egraph.shape(found.classes[0]).len();
                    matches!(op(egraph, found, 0), Some(Op::ArgMax(ArgMax { axis, .. })) if axis + 1 == rank)
                },
            },
            APART,
        ],
        why: "scales are positive, so that the largest integer stands for the largest real; a number leaves the chip \
              instead of all classes",
        apply: |egraph, found| {
            let &Op::ArgMax(ArgMax { last, .. }) = op(egraph, found, 0)? else { return None };
            let shape = egraph.ty(found.root)?.shape.clone();
            let bytes = egraph.add_op(Op::QArgMax(QArgMax { last }), &found.vars::<1>())?;
            let number = egraph.add_op(Op::JoinBytes(JoinBytes), &[bytes])?;
            egraph.add_op(Op::Reshape(Reshape { shape }), &[number])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "table-table",
        class: RuleClass::Integer,
        lhs: "(table (table ?x))",
        rhs: "(table[composed] ?x)",
        why: "functions compose",
        apply: |egraph, found| {
            let Op::Table(outer) = op(egraph, found, 0)? else { return None };
            let Op::Table(inner) = op(egraph, found, 1)? else { return None };
            let (lowest, _) = inner.element.range()?;
            let entries: Option<Vec<i32>> = inner
                .entries
                .iter()
                .map(|&middle| outer.entries.get(usize::try_from(i64::from(middle) - lowest).ok()?).copied())
                .collect();
            let composed = Table { entries: entries?.into(), element: outer.element };
            let stated = egraph.ty(found.root)?.quantization;
            egraph.add_quantized(Op::Table(composed), &found.vars::<1>(), stated)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "table-identity",
        class: RuleClass::Integer,
        lhs: "(table ?x)",
        rhs: "?x",
        guards: &[
            Guard {
                name: "every entry is its index",
                holds: |egraph, found| {
                    identity_offset(egraph, found).is_some_and(|table| {
                        table
                            .0
                            .entries
                            .iter()
                            .enumerate()
                            .all(|(index, &entry)| i64::from(entry) == index as i64 + table.1)
                    })
                },
            },
            Guard {
                name: "the type stays the same",
                holds: |egraph, found| egraph.ty(found.root) == egraph.ty(found.classes[0]),
            },
        ],
        why: "nothing changes",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "table-clamp",
        class: RuleClass::Integer,
        lhs: "(table (qconv|qaverage_pool|qadd|qmul ..))",
        rhs: "(qconv[lo, hi] ..)",
        guards: &[
            Guard {
                name: "element type and zero point stay the same",
                holds: |egraph, found| {
                    let zero = |id| egraph.ty(id).map(|ty| (ty.element, ty.quantization.map(|grid| grid.zero_point)));
                    zero(found.root) == zero(found.terms[0].children[0])
                },
            },
            Guard {
                name: "the table is a clamp on the layer's range",
                holds: |egraph, found| clamp(egraph, found).is_some_and(|(_, _, exact)| exact),
            },
        ],
        why: "the layer clamps its result anyway",
        apply: |egraph, found| {
            let (lo, hi, _) = clamp(egraph, found)?;
            let layer = match op(egraph, found, 1)?.clone() {
                Op::QConv(conv) => Op::QConv(QConv { requantize: clamped(conv.requantize, lo, hi), ..conv }),
                Op::QAveragePool(mut pool) => {
                    pool.requantize = clamped(pool.requantize, lo, hi);
                    Op::QAveragePool(pool)
                }
                Op::QMul(mut mul) => {
                    mul.requantize = clamped(mul.requantize, lo, hi);
                    Op::QMul(mul)
                }
                Op::QAdd(mut add) => {
                    (add.lo, add.hi) = (lo, hi);
                    Op::QAdd(add)
                }
                _ => return None,
            };
            let stated = egraph.ty(found.root)?.quantization;
            egraph.add_quantized(layer, &found.terms[1].children, stated)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "table-max-pool",
        class: RuleClass::Integer,
        lhs: "(table (max_pool (qconv|qaverage_pool|qadd|qmul ..)))",
        rhs: "(max_pool (table ..))",
        guards: &[Guard {
            name: "the table does not decrease",
            holds: |egraph, found| matches!(op(egraph, found, 0), Some(Op::Table(table)) if table.entries.is_sorted()),
        }],
        why: "the largest element stays the largest; a clamp joins the layer before the pool",
        apply: |egraph, found| {
            let Op::Table(table) = op(egraph, found, 0)?.clone() else { return None };
            let pool = op(egraph, found, 1)?.clone();
            let stated = egraph.ty(found.root)?.quantization;
            let y = egraph.add_quantized(Op::Table(table), &[found.terms[1].children[0]], stated)?;
            egraph.add_op(pool, &[y])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "qconv-pad",
        class: RuleClass::Integer,
        lhs: "(qconv (pad ?x) ?w ?b)",
        rhs: "(qconv[pads added] ?x ?w ?b)",
        guards: &[Guard {
            name: "both pad with the same value",
            holds: |egraph, found| match (op(egraph, found, 0), op(egraph, found, 1)) {
                (Some(Op::QConv(conv)), Some(Op::Pad(Pad { value, .. }))) => {
                    f64::from(conv.pad_value) == f64::from(*value)
                }
                (_, _) => false,
            },
        }],
        why: "a convolution pads itself",
        apply: |egraph, found| {
            let pads = spatial_pads(op(egraph, found, 1)?)?;
            let Op::QConv(mut conv) = op(egraph, found, 0)?.clone() else { return None };
            add_pads(&mut conv.geometry.pads, pads);
            let stated = egraph.ty(found.root)?.quantization;
            egraph.add_quantized(Op::QConv(conv), &found.vars::<3>(), stated)
        },
        ..RuleSpec::PLAIN
    },
];

/// The table of the root, and the operand's smallest value.
fn identity_offset<'a>(egraph: &'a EGraph, found: &Match) -> Option<(&'a Table, i64)> {
    let Op::Table(table) = op(egraph, found, 0)? else { return None };
    let (lowest, _) = egraph.ty(found.terms[0].children[0])?.element.range()?;
    Some((table, lowest))
}

/// Bounds that make the layer's clamp do what the table does, and whether they do so on the
/// whole range of the layer.
fn clamp(egraph: &EGraph, found: &Match) -> Option<(i32, i32, bool)> {
    let (table, lowest) = identity_offset(egraph, found)?;
    let (layer_lo, layer_hi) = match op(egraph, found, 1)? {
        Op::QConv(conv) => (conv.requantize.lo, conv.requantize.hi),
        Op::QAveragePool(pool) => (pool.requantize.lo, pool.requantize.hi),
        Op::QMul(mul) => (mul.requantize.lo, mul.requantize.hi),
        Op::QAdd(add) => (add.lo, add.hi),
        _ => return None,
    };
    let entry = |value: i32| table.entries.get(usize::try_from(i64::from(value) - lowest).ok()?).copied();
    let (lo, hi) = (entry(layer_lo)?, entry(layer_hi)?);
    let exact = lo <= hi && (layer_lo..=layer_hi).all(|value| entry(value) == Some(value.clamp(lo, hi)));
    Some((lo, hi, exact))
}

fn clamped(requantize: Requantize, lo: i32, hi: i32) -> Requantize {
    Requantize { lo, hi, ..requantize }
}
