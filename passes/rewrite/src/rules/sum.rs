//! Sums of layers that become one layer.

use super::fold::geometry;
use super::merge::ungrouped;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec, Term};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{Binary, Concat, Conv, Geometry, Pad};

const SAME_STRIDES: Guard = Guard {
    name: "both convolutions have the same strides",
    holds: |egraph, found| {
        let strides = |position: usize| geometry(egraph, found, position).map(|geometry| geometry.strides);
        let last = found.terms.len() - 1;
        strides(last - 1) == strides(last)
    },
};

const ONE_SHAPE: Guard = Guard {
    name: "both results have one shape",
    holds: |egraph, found| {
        let convs = &found.terms[found.terms.len() - 2..];
        let shape = |term: &Term| egraph.lookup(term.clone()).map(|class| egraph.shape(class).to_vec());
        shape(&convs[0]) == shape(&convs[1])
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "sum-of-convs",
        class: RuleClass::Real,
        lhs: "(add (conv ?x ?v ?a) (conv ?x ?w ?b))",
        rhs: "(conv ?x v+w a+b)",
        guards: &[SAME_STRIDES, ONE_SHAPE],
        why: "filters on one input add up, the smaller kernel with a border of zeros; a block trained in branches is one layer",
        apply: |egraph, found| {
            let [x, v, a, w, b] = found.vars();
            let branches = [(*geometry(egraph, found, 1)?, v, a), (*geometry(egraph, found, 2)?, w, b)];
            let count = egraph.ty(found.root)?.count() as u64;
            sum_of_branches(egraph, x, branches, count)
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "sum-of-convs-nested",
        class: RuleClass::Real,
        lhs: "(add (add ?y (conv ?x ?v ?a)) (conv ?x ?w ?b))",
        rhs: "(add ?y (conv ?x v+w a+b))",
        guards: &[SAME_STRIDES, ONE_SHAPE],
        why: "filters on one input add up, whatever else is in the sum",
        apply: |egraph, found| {
            let [y, x, v, a, w, b] = found.vars();
            let branches = [(*geometry(egraph, found, 2)?, v, a), (*geometry(egraph, found, 3)?, w, b)];
            let count = egraph.ty(found.terms[1].children[1])?.count() as u64;
            let merged = sum_of_branches(egraph, x, branches, count)?;
            egraph.add_op(Op::Binary(Binary::Add), &[y, merged])
        },
        ..RuleSpec::PLAIN
    },
];

/// Rules that add terms without an end in themselves.
pub const GENERATIVE: &[RuleSpec] = &[RuleSpec {
    name: "sum-of-convs-two-inputs",
    class: RuleClass::Real,
    lhs: "(add (conv ?x ?v ?a) (conv ?y ?w ?b))",
    rhs: "(conv (concat ?x ?y) concat(v, w) a+b)",
    guards: &[SAME_STRIDES, ONE_SHAPE],
    why: "a sum of two layers is one layer of the joined inputs; worth it where a join moves less than a sum",
    apply: sum_over_two_inputs,
    generative: true,
    ..RuleSpec::PLAIN
}];

fn add_ids(egraph: &mut EGraph, a: Id, b: Id) -> Option<Id> {
    egraph.add_op(Op::Binary(Binary::Add), &[a, b])
}

/// A convolution's geometry, weights and bias.
type Branch = (Geometry, Id, Id);

/// Taps of two convolutions along one axis on a common raster.
struct Raster {
    dilation: usize,
    kernel: usize,
    /// Padding before and after.
    pads: [usize; 2],
    /// Zeros before each kernel.
    before: [usize; 2],
}

impl Raster {
    /// For kernels, dilations and paddings along an axis.
    fn new(kernels: [usize; 2], dilations: [usize; 2], pads: [[usize; 2]; 2]) -> Option<Self> {
        let dilation = match (kernels[0] > 1, kernels[1] > 1) {
            (true, true) if dilations[0] != dilations[1] => return None,
            (true, _) => dilations[0],
            (false, true) => dilations[1],
            (false, false) => pads[0][0].abs_diff(pads[1][0]).max(1),
        };
        let first = pads[0][0].max(pads[1][0]);
        let offsets = [0, 1].map(|branch| first - pads[branch][0]);
        if offsets.iter().any(|offset| offset % dilation != 0) {
            return None;
        }
        let before = offsets.map(|offset| offset / dilation);
        let kernel = (before[0] + kernels[0]).max(before[1] + kernels[1]);
        // As many positions as before: padding minus reach stays.
        let reach = |kernel: usize| (kernel - 1) * dilation;
        let after = (pads[0][0] + pads[0][1] + reach(kernel)).checked_sub(reach(kernels[0]) + first)?;
        Some(Self { dilation, kernel, pads: [first, after], before })
    }
}

/// Two kernels on a common raster: their geometry and the padded weights.
fn aligned(egraph: &mut EGraph, [one, two]: [Branch; 2]) -> Option<(Geometry, [Id; 2])> {
    let shapes: [[usize; 4]; 2] = [one.1, two.1].map(|w| egraph.shape(w).try_into().unwrap_or([0; 4]));
    let raster = |axis: usize| {
        let pads = [one.0, two.0].map(|geometry| [geometry.pads[axis], geometry.pads[axis + 2]]);
        let dilations = [one.0, two.0].map(|geometry| geometry.dilations[axis]);
        Raster::new(shapes.map(|shape| shape[axis + 1]), dilations, pads)
    };
    let [y, x] = [raster(0)?, raster(1)?];
    let mut weights = [one.1, two.1];
    for (branch, w) in weights.iter_mut().enumerate() {
        let before = [0, y.before[branch], x.before[branch], 0];
        let kernel = [0, y.kernel, x.kernel, 0];
        let after = [1, 2].map(|axis| kernel[axis] - before[axis] - shapes[branch][axis]);
        if before.iter().chain(&after).any(|&zeros| zeros > 0) {
            let pad = Op::Pad(Pad { before: before.to_vec(), after: vec![0, after[0], after[1], 0], value: 0.0 });
            *w = egraph.add_op(pad, &[*w])?;
        }
    }
    let geometry = Geometry {
        strides: one.0.strides,
        dilations: [y.dilation, x.dilation],
        pads: [y.pads[0], x.pads[0], y.pads[1], x.pads[1]],
        groups: one.0.groups,
    };
    Some((geometry, weights))
}

/// Taps of the common kernel of two convolutions.
fn common_taps(egraph: &EGraph, [one, two]: [Branch; 2]) -> Option<usize> {
    let shapes: [[usize; 4]; 2] = [one.1, two.1].map(|w| egraph.shape(w).try_into().unwrap_or([0; 4]));
    let kernel = |axis: usize| {
        let pads = [one.0, two.0].map(|geometry| [geometry.pads[axis], geometry.pads[axis + 2]]);
        let dilations = [one.0, two.0].map(|geometry| geometry.dilations[axis]);
        Raster::new(shapes.map(|shape| shape[axis + 1]), dilations, pads).map(|raster| raster.kernel)
    };
    Some(kernel(0)? * kernel(1)?)
}

/// The sum of two convolutions of one input as one, if it has no more products and moves.
/// `count` is the number of elements of the result.
fn sum_of_branches(egraph: &mut EGraph, x: Id, [one, two]: [Branch; 2], count: u64) -> Option<Id> {
    let outputs = *egraph.shape(one.1).first()?;
    if egraph.shape(two.1).first() != Some(&outputs) {
        return None;
    }
    let products = |branch: &Branch| egraph.shape(branch.1).iter().skip(1).product::<usize>() as u64;
    let before = count * (products(&one) + products(&two) + 2);
    let inputs = *egraph.shape(x).last()?;
    let groups = if one.0.groups == two.0.groups { one.0.groups } else { 1 };
    let area = common_taps(egraph, [one, two])?;
    if count * (area * inputs / groups) as u64 > before {
        return None;
    }
    let dense = |egraph: &mut EGraph, (geometry, w, b): Branch| {
        let w = if geometry.groups == groups { w } else { ungrouped(egraph, w, geometry.groups)? };
        Some((Geometry { groups, ..geometry }, w, b))
    };
    let branches = [dense(egraph, one)?, dense(egraph, two)?];
    let (geometry, [v, w]) = aligned(egraph, branches)?;
    let w = add_ids(egraph, v, w)?;
    let b = add_ids(egraph, one.2, two.2)?;
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])
}

fn sum_over_two_inputs(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, v, a, y, w, b] = found.vars();
    let branches = [(*geometry(egraph, found, 1)?, v, a), (*geometry(egraph, found, 2)?, w, b)];
    let (of_x, of_y) = (egraph.shape(x).to_vec(), egraph.shape(y).to_vec());
    if x == y || of_x[..3] != of_y[..3] || branches.iter().any(|branch| branch.0.groups != 1) {
        return None;
    }
    let elements = |shape: &[usize]| shape.iter().product::<usize>();
    let count = elements(egraph.shape(found.root));
    let taps = |shape: &[usize]| shape[1] * shape[2] * shape[3];
    let before = count * (taps(egraph.shape(v)) + taps(egraph.shape(w)) + 2);
    let area = common_taps(egraph, branches)?;
    if count * area * (of_x[3] + of_y[3]) + elements(&of_x) + elements(&of_y) >= before {
        return None;
    }
    let (geometry, weights) = aligned(egraph, branches)?;
    let joined = egraph.add_op(Op::Concat(Concat { axis: 3 }), &[x, y])?;
    let w = egraph.add_op(Op::Concat(Concat { axis: 3 }), &weights)?;
    let b = add_ids(egraph, a, b)?;
    egraph.add_op(Op::Conv(Conv { geometry }), &[joined, w, b])
}
