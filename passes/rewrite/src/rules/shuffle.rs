//! Channel shuffles: permutations of the last axis, spelled reshape, transpose, reshape.

use super::fold::geometry;
use super::layout::inverse;
use super::{op, permutation};
use crate::egraph::term::name;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::Reshape;

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "shuffle-into-conv",
        class: RuleClass::Real,
        lhs: "(conv|dense (reshape (transpose (reshape ?x))) ?w ?b)",
        rhs: "(conv ?x w[shuffled back] ?b)",
        guards: &[Guard {
            name: "the layer has no groups",
            holds: |egraph, found| geometry(egraph, found, 0).is_none_or(|geometry| geometry.groups == 1),
        }],
        why: "the weights of a layer follow the channels of its input",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let layer = op(egraph, found, 0)?.clone();
            let back = Shuffle::new(egraph, found, 1, x)?.inverted();
            let axis = egraph.shape(w).len() - 1;
            let w = back.apply(egraph, w, axis)?;
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "shuffle-of-conv",
        class: RuleClass::Integer,
        lhs: "(reshape (transpose (reshape (conv|dense ?x ?w ?b))))",
        rhs: "(conv ?x w[shuffled] b[shuffled])",
        guards: &[Guard {
            name: "the layer has no groups",
            holds: |egraph, found| geometry(egraph, found, 3).is_none_or(|geometry| geometry.groups == 1),
        }],
        why: "the channels of a layer's result follow the rows of its weights",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let layer = op(egraph, found, 3)?.clone();
            let shuffle = Shuffle::new(egraph, found, 0, found.terms[2].children[0])?;
            let w = shuffle.apply(egraph, w, 0)?;
            let b = shuffle.apply(egraph, b, 0)?;
            egraph.add_op(layer, &[x, w, b])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "shuffle-depthwise",
        class: RuleClass::Integer,
        lhs: "(conv (reshape (transpose (reshape ?x))) ?w ?b)",
        rhs: "(reshape (transpose (reshape (conv ?x w[shuffled back] b[shuffled back]))))",
        guards: &[Guard {
            name: "every channel is a group with one filter",
            holds: |egraph, found| {
                let channels = egraph.shape(found.classes[0]).last().copied();
                geometry(egraph, found, 0).is_some_and(|own| Some(own.groups) == channels)
                    && egraph.shape(found.root).last().copied() == channels
            },
        }],
        why: "channels that do not meet may be shuffled afterwards, where a pointwise layer takes the shuffle",
        apply: |egraph, found| {
            let [x, w, b] = found.vars();
            let layer = op(egraph, found, 0)?.clone();
            let shuffle = Shuffle::new(egraph, found, 1, x)?;
            let back = shuffle.inverted();
            let w = back.apply(egraph, w, 0)?;
            let b = back.apply(egraph, b, 0)?;
            let y = egraph.add_op(layer, &[x, w, b])?;
            let last = egraph.shape(y).len() - 1;
            shuffle.apply(egraph, y, last)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "shuffle-affine",
        class: RuleClass::Integer,
        lhs: "(cscale|cbias (reshape (transpose (reshape ?x))) ?k)",
        rhs: "(reshape (transpose (reshape (op ?x k[shuffled back]))))",
        why: "factors and terms follow their channels",
        apply: |egraph, found| {
            let [x, k] = found.vars();
            let shuffle = Shuffle::new(egraph, found, 1, x)?;
            let k = shuffle.inverted().apply(egraph, k, 0)?;
            let scale = found.terms[0].name == name::CHANNEL_SCALE;
            let y = if scale { egraph.add_scale(x, k)? } else { egraph.add_bias(x, k)? };
            let last = egraph.shape(y).len() - 1;
            shuffle.apply(egraph, y, last)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "shuffle-window",
        class: RuleClass::Integer,
        lhs: "(max_pool|average_pool|resize (reshape (transpose (reshape ?x))))",
        rhs: "(reshape (transpose (reshape (op ?x))))",
        why: "what works on each channel alone does not see their order",
        apply: |egraph, found| {
            let [x] = found.vars();
            let window = op(egraph, found, 0)?.clone();
            let shuffle = Shuffle::new(egraph, found, 1, x)?;
            let y = egraph.add_op(window, &[x])?;
            shuffle.apply(egraph, y, 3)
        },
        ..RuleSpec::PLAIN
    },
];

/// A permutation of the indices of an axis: the axis is split, the parts change places, and they
/// are merged again.
pub(super) struct Shuffle {
    parts: Vec<usize>,
    order: Vec<usize>,
}

impl Shuffle {
    /// The shuffle that three matched terms, a reshape from position `at` on, make of the last
    /// axis of `x`; `None` if they do anything else.
    pub(super) fn new(egraph: &EGraph, found: &Match, at: usize, x: Id) -> Option<Self> {
        let [outer, transpose, _] = found.terms.get(at..at + 3)? else { return None };
        let own = egraph.shape(x).to_vec();
        let result = match egraph.op(outer)? {
            Op::Reshape(Reshape { shape }) => shape,
            _ => return None,
        };
        if *result != own || own.len() < 2 {
            return None;
        }
        let split = egraph.shape(transpose.children[0]).to_vec();
        let moved = permutation(egraph, transpose)?;
        // Axes of extent 1 do not matter.
        let long: Vec<usize> = (0..split.len()).filter(|&axis| split[axis] > 1).collect();
        let order: Vec<usize> = moved.iter().filter_map(|axis| long.iter().position(|other| other == axis)).collect();
        let extents: Vec<usize> = long.iter().map(|&axis| split[axis]).collect();
        let channels = *own.last()?;
        let first = (0..extents.len()).rev().find(|&axis| extents[axis..].iter().product::<usize>() >= channels)?;
        let exact = extents[first..].iter().product::<usize>() == channels;
        let rows_stay = order[..first].iter().enumerate().all(|(position, &axis)| position == axis);
        (exact && rows_stay && !order.is_sorted()).then(|| Self {
            parts: extents[first..].to_vec(),
            order: order[first..].iter().map(|axis| axis - first).collect(),
        })
    }

    /// For each index of the shuffled axis, the index that it was.
    pub(super) fn channels(&self) -> Vec<usize> {
        let extents: Vec<usize> = self.order.iter().map(|&part| self.parts[part]).collect();
        let stride = |part: usize| self.parts[part + 1..].iter().product::<usize>();
        let strides: Vec<usize> = self.order.iter().map(|&part| stride(part)).collect();
        let source = |mut index: usize| {
            let mut total = 0;
            for (extent, stride) in extents.iter().zip(&strides).rev() {
                total += index % extent * stride;
                index /= extent;
            }
            total
        };
        (0..extents.iter().product()).map(source).collect()
    }

    fn inverted(&self) -> Self {
        let parts = self.order.iter().map(|&part| self.parts[part]).collect();
        Self { parts, order: inverse(&self.order) }
    }

    /// Shuffles an axis of a class.
    fn apply(&self, egraph: &mut EGraph, x: Id, axis: usize) -> Option<Id> {
        let shape = egraph.shape(x).to_vec();
        let mut split = shape[..axis].to_vec();
        split.extend(&self.parts);
        split.extend(&shape[axis + 1..]);
        let mut order: Vec<usize> = (0..axis).collect();
        order.extend(self.order.iter().map(|part| axis + part));
        order.extend(axis + self.parts.len()..split.len());
        let x = egraph.reshaped(x, &split)?;
        let x = egraph.transposed(x, &order)?;
        egraph.reshaped(x, &shape)
    }
}
