//! Functions of one real: fused forms, and forms that exporters spell out.

use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{ArgMax, Binary, Unary};

/// Relative error up to which a constant in a file is taken for the one in the definition.
const CONSTANT_TOLERANCE: f32 = 1e-5;

fn near(value: Option<f32>, expected: f32) -> bool {
    value.is_some_and(|value| (value - expected).abs() <= CONSTANT_TOLERANCE * expected.abs())
}

const SECOND_OPERAND_KEEPS_SHAPE: Guard = Guard {
    name: "the other operand does not widen the value",
    holds: |egraph, found| egraph.shape(found.classes[0]) == egraph.shape(found.root),
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "argmax-softmax",
        class: RuleClass::Real,
        lhs: "(argmax (softmax ?x))",
        rhs: "(argmax ?x)",
        guards: &[Guard {
            name: "both go along the same axis",
            holds: |egraph, found| match (op(egraph, found, 0), op(egraph, found, 1)) {
                (Some(Op::ArgMax(ArgMax { axis, .. })), Some(Op::Softmax(softmax))) => *axis == softmax.axis,
                (_, _) => false,
            },
        }],
        why: "a softmax keeps the order of what it compares, and the class decision needs no more",
        apply: |egraph, found| {
            let argmax = op(egraph, found, 0)?.clone();
            egraph.add_op(argmax, &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "relu-clip",
        class: RuleClass::Integer,
        lhs: "(relu ?x)",
        rhs: "(clip[0, inf] ?x)",
        why: "one form to merge with other clips",
        apply: |egraph, found| clip(egraph, found.classes[0], 0.0, f32::INFINITY),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "clip-relu",
        class: RuleClass::Integer,
        lhs: "(clip ?x)",
        rhs: "(relu ?x)",
        guards: &[Guard {
            name: "the bounds are 0 and infinity",
            holds: |egraph, found| bounds(egraph, found, 0) == Some((0.0, f32::INFINITY)),
        }],
        why: "the shorter name",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::Relu), &found.vars::<1>()),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "clip-clip",
        class: RuleClass::Integer,
        lhs: "(clip (clip ?x))",
        rhs: "(clip[composed] ?x)",
        why: "the outer bounds clip the inner ones",
        apply: |egraph, found| {
            let (outer_lo, outer_hi) = bounds(egraph, found, 0)?;
            let (lo, hi) = bounds(egraph, found, 1)?;
            let clipped = |bound: f32| bound.max(outer_lo).min(outer_hi);
            clip(egraph, found.classes[0], clipped(lo), clipped(hi))
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "clip-nothing",
        class: RuleClass::Integer,
        lhs: "(clip ?x)",
        rhs: "?x",
        guards: &[Guard {
            name: "the bounds are infinite",
            holds: |egraph, found| bounds(egraph, found, 0) == Some((f32::NEG_INFINITY, f32::INFINITY)),
        }],
        why: "nothing is cut off",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "max-constant",
        class: RuleClass::Integer,
        lhs: "(max ?x !k)",
        rhs: "(clip[k, inf] ?x)",
        guards: &[SECOND_OPERAND_KEEPS_SHAPE],
        why: "the larger of a value and a constant",
        apply: |egraph, found| {
            let lo = egraph.uniform(found.classes[1])?;
            clip(egraph, found.classes[0], lo, f32::INFINITY)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "min-constant",
        class: RuleClass::Integer,
        lhs: "(min ?x !k)",
        rhs: "(clip[-inf, k] ?x)",
        guards: &[SECOND_OPERAND_KEEPS_SHAPE],
        why: "the smaller of a value and a constant",
        apply: |egraph, found| {
            let hi = egraph.uniform(found.classes[1])?;
            clip(egraph, found.classes[0], f32::NEG_INFINITY, hi)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "prelu-leaky-relu",
        class: RuleClass::Integer,
        lhs: "(prelu ?x !s)",
        rhs: "(leaky_relu[s] ?x)",
        why: "one slope for all channels",
        apply: |egraph, found| {
            let alpha = egraph.uniform(found.classes[1])?;
            egraph.add_op(Op::Unary(Unary::LeakyRelu { alpha }), &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "leaky-relu-zero",
        class: RuleClass::Integer,
        lhs: "(leaky_relu ?x)",
        rhs: "(relu ?x)",
        guards: &[Guard {
            name: "the slope is 0",
            holds: |egraph, found| matches!(op(egraph, found, 0), Some(Op::Unary(Unary::LeakyRelu { alpha: 0.0 }))),
        }],
        why: "no slope is a relu",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::Relu), &found.vars::<1>()),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "silu",
        class: RuleClass::Real,
        lhs: "(mul ?x (sigmoid ?x))",
        rhs: "(silu ?x)",
        why: "the definition",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::Silu), &found.vars::<1>()),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "mish",
        class: RuleClass::Real,
        lhs: "(mul ?x (tanh (softplus ?x)))",
        rhs: "(mish ?x)",
        why: "the definition",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::Mish), &found.vars::<1>()),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "hard-swish",
        class: RuleClass::Real,
        lhs: "(mul ?x (hard_sigmoid ?x))",
        rhs: "(hard_swish ?x)",
        guards: &[Guard {
            name: "the hard sigmoid is x/6 + 1/2",
            holds: |egraph, found| match op(egraph, found, 1) {
                Some(&Op::Unary(Unary::HardSigmoid { alpha, beta })) => {
                    near(Some(alpha), 1.0 / 6.0) && near(Some(beta), 0.5)
                }
                _ => false,
            },
        }],
        why: "the definition",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::HardSwish), &found.vars::<1>()),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "hard-sigmoid-scaled",
        class: RuleClass::Real,
        lhs: "(cscale (clip (cbias ?x ?h)) ?g)",
        rhs: "(hard_sigmoid[g, g*h] ?x)",
        guards: &[Guard {
            name: "the scaled bounds are 0 and 1",
            holds: |egraph, found| {
                let g = egraph.uniform(found.classes[2]);
                bounds(egraph, found, 1).zip(g).is_some_and(|((lo, hi), g)| lo == 0.0 && near(Some(hi * g), 1.0))
            },
        }],
        why: "clip(x + h, 0, 1/g) * g, as exporters spell it",
        apply: |egraph, found| {
            let [x, h, g] = found.vars();
            let (h, g) = (egraph.uniform(h)?, egraph.uniform(g)?);
            hard_sigmoid(egraph, x, g, g * h)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "hard-sigmoid-affine",
        class: RuleClass::Real,
        lhs: "(clip (cbias (cscale ?x ?g) ?h))",
        rhs: "(hard_sigmoid[g, h] ?x)",
        guards: &[Guard {
            name: "the bounds are 0 and 1",
            holds: |egraph, found| bounds(egraph, found, 0) == Some((0.0, 1.0)),
        }],
        why: "the definition",
        apply: |egraph, found| {
            let [x, g, h] = found.vars();
            let (g, h) = (egraph.uniform(g)?, egraph.uniform(h)?);
            hard_sigmoid(egraph, x, g, h)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "gelu",
        class: RuleClass::Real,
        lhs: "(cscale (mul ?x (cbias (erf (cscale ?x ?r)) ?h)) ?g)",
        rhs: "(gelu ?x)",
        guards: &[
            Guard {
                name: "the argument is x / sqrt 2",
                holds: |egraph, found| near(egraph.uniform(found.classes[1]), std::f32::consts::FRAC_1_SQRT_2),
            },
            Guard { name: "the bias is 1", holds: |egraph, found| near(egraph.uniform(found.classes[2]), 1.0) },
            Guard { name: "the scale is 1/2", holds: |egraph, found| near(egraph.uniform(found.classes[3]), 0.5) },
        ],
        why: "the definition",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::Gelu), &found.vars::<1>()),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "one-over",
        class: RuleClass::Integer,
        lhs: "(div ?n ?y)",
        rhs: "(reciprocal ?y)",
        guards: &[
            Guard { name: "the numerator is 1", holds: |egraph, found| egraph.uniform(found.classes[0]) == Some(1.0) },
            Guard {
                name: "the numerator does not widen the value",
                holds: |egraph, found| egraph.shape(found.classes[1]) == egraph.shape(found.root),
            },
        ],
        why: "one operand fewer; a table on the chip",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::Reciprocal), &[found.vars::<2>()[1]]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "sigmoid",
        class: RuleClass::Real,
        lhs: "(reciprocal (cbias (exp (cscale ?x ?r)) ?h))",
        rhs: "(sigmoid ?x)",
        guards: &[
            Guard { name: "the argument is -x", holds: |egraph, found| near(egraph.uniform(found.classes[1]), -1.0) },
            Guard { name: "the bias is 1", holds: |egraph, found| near(egraph.uniform(found.classes[2]), 1.0) },
        ],
        why: "the definition; in parts, 8 bits hold neither the exponential nor its reciprocal",
        apply: |egraph, found| egraph.add_op(Op::Unary(Unary::Sigmoid), &found.vars::<1>()),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "scale-into-product",
        class: RuleClass::Real,
        lhs: "(cscale (mul ?x ?y) ?g)",
        rhs: "(mul ?x (cscale ?y ?g))",
        guards: &[Guard {
            name: "the factor has all channels",
            holds: |egraph, found| egraph.shape(found.classes[1]).last() == egraph.shape(found.root).last(),
        }],
        why: "products are associative; brings the parts of a hard swish together",
        apply: |egraph, found| {
            let [x, y, g] = found.vars();
            if egraph.is_constant(x) || egraph.is_constant(y) {
                return None;
            }
            let y = egraph.add_scale(y, g)?;
            egraph.add_op(Op::Binary(Binary::Mul), &[x, y])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "scale-out-of-product",
        class: RuleClass::Real,
        lhs: "(mul (cscale ?x ?g) ?y)",
        rhs: "(cscale (mul ?x ?y) ?g)",
        guards: &[Guard {
            name: "the factor has all channels",
            holds: |egraph, found| egraph.shape(found.classes[0]).last() == egraph.shape(found.root).last(),
        }],
        why: "products are associative; brings the parts of a gelu together",
        apply: |egraph, found| {
            let [x, g, y] = found.vars();
            if egraph.is_constant(y) {
                return None;
            }
            let product = egraph.add_op(Op::Binary(Binary::Mul), &[x, y])?;
            egraph.add_scale(product, g)
        },
        ..RuleSpec::PLAIN
    },
];

fn bounds(egraph: &EGraph, found: &Match, position: usize) -> Option<(f32, f32)> {
    match op(egraph, found, position)? {
        &Op::Unary(Unary::Clip { lo, hi }) => Some((lo, hi)),
        _ => None,
    }
}

fn clip(egraph: &mut EGraph, x: Id, lo: f32, hi: f32) -> Option<Id> {
    egraph.add_op(Op::Unary(Unary::Clip { lo, hi }), &[x])
}

fn hard_sigmoid(egraph: &mut EGraph, x: Id, alpha: f32, beta: f32) -> Option<Id> {
    egraph.add_op(Op::Unary(Unary::HardSigmoid { alpha, beta }), &[x])
}
