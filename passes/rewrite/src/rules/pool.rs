//! Pooling windows and means.

use super::fold::{add_pads, spatial_pads};
use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{AveragePool, MaxPool, Pad, ReduceMean, Unary, Window};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "mean-average-pool",
        class: RuleClass::Real,
        lhs: "(reduce_mean ?x)",
        rhs: "(reshape (average_pool[whole image] ?x))",
        guards: &[Guard {
            name: "the axes are height and width",
            holds: |egraph, found| match op(egraph, found, 0) {
                Some(Op::ReduceMean(ReduceMean { axes, .. })) => axes.iter().all(|axis| [1, 2].contains(axis)),
                _ => false,
            },
        }],
        why: "a mean over the image is a pool whose window is the image",
        apply: mean,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "pool-nothing",
        class: RuleClass::Integer,
        lhs: "(max_pool|average_pool ?x)",
        rhs: "?x",
        guards: &[
            Guard {
                name: "the window has one tap",
                holds: |egraph, found| window(egraph, found, 0).is_some_and(|window| window.kernel == [1, 1]),
            },
            Guard {
                name: "the window keeps the extents",
                holds: |egraph, found| {
                    window(egraph, found, 0).is_some_and(|window| window.strides == [1, 1] && window.pads == [0; 4])
                },
            },
        ],
        why: "the mean or maximum of one element is that element",
        apply: |_, found| Some(found.classes[0]),
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "average-pool-uncounted",
        class: RuleClass::Integer,
        lhs: "(average_pool ?x)",
        rhs: "(average_pool[no counted padding] ?x)",
        guards: &[Guard {
            name: "there is no padding",
            holds: |egraph, found| window(egraph, found, 0).is_some_and(|window| window.pads == [0; 4]),
        }],
        why: "one spelling for windows without padding",
        apply: |egraph, found| {
            let &Op::AveragePool(pool) = op(egraph, found, 0)? else { return None };
            egraph.add_op(Op::AveragePool(AveragePool { counted_pads: None, ..pool }), &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "average-pool-pad",
        class: RuleClass::Integer,
        lhs: "(average_pool (pad ?x))",
        rhs: "(average_pool[counted padding] ?x)",
        guards: &[Guard {
            name: "the padding is 0",
            holds: |egraph, found| matches!(op(egraph, found, 1), Some(Op::Pad(Pad { value: 0.0, .. }))),
        }],
        why: "zeros around the image that count in the mean",
        apply: |egraph, found| {
            let pads = spatial_pads(op(egraph, found, 1)?)?;
            let &Op::AveragePool(mut pool) = op(egraph, found, 0)? else { return None };
            let mut counted = pool.counted_pads.unwrap_or([0; 4]);
            add_pads(&mut counted, pads);
            add_pads(&mut pool.window.pads, pads);
            pool.counted_pads = Some(counted);
            if !overlaps(&pool.window, egraph.shape(found.classes[0])) {
                return None;
            }
            egraph.add_op(Op::AveragePool(pool), &found.vars::<1>())
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "max-pool-pad",
        class: RuleClass::Integer,
        lhs: "(max_pool (pad (relu|sigmoid|hard_sigmoid ?x)))",
        rhs: "(max_pool[pads added] (relu ?x))",
        guards: &[Guard {
            name: "the padding is 0",
            holds: |egraph, found| matches!(op(egraph, found, 1), Some(Op::Pad(Pad { value: 0.0, .. }))),
        }],
        why: "among values that are not negative, 0 wins as little as no value",
        apply: |egraph, found| {
            let pads = spatial_pads(op(egraph, found, 1)?)?;
            let &Op::MaxPool(MaxPool { mut window }) = op(egraph, found, 0)? else { return None };
            add_pads(&mut window.pads, pads);
            let source = found.terms[1].children[0];
            if !overlaps(&window, egraph.shape(source)) {
                return None;
            }
            egraph.add_op(Op::MaxPool(MaxPool { window }), &[source])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "monotone-max-pool",
        class: RuleClass::Integer,
        lhs: "(relu|clip|leaky_relu (max_pool ?x))",
        rhs: "(max_pool (relu ?x))",
        guards: &[Guard {
            name: "the function does not decrease",
            holds: |egraph, found| match op(egraph, found, 0) {
                Some(Op::Unary(Unary::Relu | Unary::Clip { .. })) => true,
                Some(Op::Unary(Unary::LeakyRelu { alpha })) => *alpha >= 0.0,
                _ => false,
            },
        }],
        why: "the largest element stays the largest; the function joins the layer before the pool",
        apply: |egraph, found| {
            let function = op(egraph, found, 0)?.clone();
            let pool = op(egraph, found, 1)?.clone();
            let y = egraph.add_op(function, &found.vars::<1>())?;
            egraph.add_op(pool, &[y])
        },
        ..RuleSpec::PLAIN
    },
];

pub(super) fn window<'a>(egraph: &'a EGraph, found: &Match, position: usize) -> Option<&'a Window> {
    match op(egraph, found, position)? {
        Op::MaxPool(MaxPool { window }) => Some(window),
        Op::AveragePool(pool) => Some(&pool.window),
        _ => None,
    }
}

/// True if every window has a tap inside the image: pads are smaller than the window.
fn overlaps(window: &Window, shape: &[usize]) -> bool {
    let extent = |axis: usize| (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    window.dilations == [1, 1]
        && shape.len() == 4
        && (0..2).all(|axis| window.pads[axis] < extent(axis) && window.pads[axis + 2] < extent(axis))
}

fn mean(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let Op::ReduceMean(ReduceMean { axes, .. }) = op(egraph, found, 0)? else { return None };
    let [x] = found.vars();
    let &[_, height, width, _] = egraph.shape(x) else { return None };
    let kernel = [if axes.contains(&1) { height } else { 1 }, if axes.contains(&2) { width } else { 1 }];
    let window = Window { kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4] };
    let shape = egraph.shape(found.root).to_vec();
    let pooled = egraph.add_op(Op::AveragePool(AveragePool { window, counted_pads: None }), &[x])?;
    egraph.reshaped(pooled, &shape)
}
