//! The square form of deformable convolutions, one distance per pixel (Huang et al., "CoDeNet", 2021),
//! behind the ways in which exporters write it.

use super::deform::layer;
use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::op::{Binary, Conv, DeformConv, Geometry, Sampling, Unary};
use lutweave_ir::{Op, Tensor};

const FACTORS_ARE_A_SQUARE: Guard = Guard {
    name: "the factors are a multiple of the square's",
    holds: |egraph, found| {
        let square = || {
            let (layer, [side, _]) = layer(egraph, found, 0)?;
            let factors = egraph.value(found.classes[4])?;
            let groups = layer.sampling.offset_groups();
            let unit = unit(factors.f32s(), side)?;
            let template = template(side, groups);
            Some(template.iter().zip(factors.f32s()).all(|(&steps, &factor)| steps * unit == factor))
        };
        square().unwrap_or(true)
    },
};

const FILTERS_ARE_A_SQUARE: Guard = Guard {
    name: "all filters are the square's multiples of one",
    holds: |egraph, found| {
        let square = || {
            let (layer, [side, _]) = layer(egraph, found, 0)?;
            let (filters, bias) = (egraph.value(found.classes[4])?, egraph.value(found.classes[5])?);
            let template = template(side, layer.sampling.offset_groups());
            let one = reference(side);
            let size = filters.count() / template.len();
            let filter = filters.f32s().get(one * size..(one + 1) * size)?;
            let start = *bias.f32s().get(one)?;
            Some(template.iter().enumerate().all(|(row, &steps)| {
                let own = &filters.f32s()[row * size..(row + 1) * size];
                bias.f32s()[row] == steps * start && own.iter().zip(filter).all(|(&w, &one)| w == steps * one)
            }))
        };
        square().unwrap_or(true)
    },
};

const FACTORS_ARE_SIGNS: Guard = Guard {
    name: "all factors are -1, 0 or 1",
    holds: |egraph, found| {
        egraph.value(found.classes[1]).is_some_and(|value| value.f32s().iter().all(|&t| t == 0.0 || t.abs() == 1.0))
    },
};

const BOUNDS_ARE_OPPOSITE: Guard = Guard {
    name: "the bounds are opposite",
    holds: |egraph, found| !matches!(op(egraph, found, 0), Some(&Op::Unary(Unary::Clip { lo, hi })) if lo != -hi),
};

const TERMS_ARE_MULTIPLES: Guard = Guard {
    name: "the terms are one multiple of the factors",
    holds: |egraph, found| {
        let (Some(factors), Some(terms)) = (egraph.value(found.classes[1]), egraph.value(found.classes[2])) else {
            return true;
        };
        let multiple = multiple(&factors, &terms);
        multiple.is_none_or(|multiple| factors.f32s().iter().zip(terms.f32s()).all(|(&t, &h)| h == multiple * t))
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "deform-square",
        class: RuleClass::Real,
        lhs: "(deform_conv ?x ?w ?b (mul ?e !t))",
        rhs: "(deform_conv[square] ?x ?w ?b unit*e+dilation)",
        guards: &[FACTORS_ARE_A_SQUARE],
        why: "offsets that grow with the way from the centre have one distance per pixel",
        apply: square,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "deform-square-layer",
        class: RuleClass::Real,
        lhs: "(deform_conv ?x ?w ?b (conv ?y !v !a))",
        rhs: "(deform_conv[square] ?x ?w ?b (conv ?y v' a'+dilation))",
        guards: &[FILTERS_ARE_A_SQUARE],
        why: "a layer that took the square's template into its weights makes one distance",
        apply: square_layer,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "template-after-function",
        class: RuleClass::Integer,
        lhs: "(clip|round (mul ?e !t))",
        rhs: "(mul (clip|round ?e) ?t)",
        guards: &[FACTORS_ARE_SIGNS, BOUNDS_ARE_OPPOSITE],
        why: "odd functions commute with signs; done where the product widens its operand",
        apply: |egraph, found| {
            let [e, t] = found.vars();
            if !widens(egraph, e, found.root) {
                return None;
            }
            let function = op(egraph, found, 0)?.clone();
            let narrow = egraph.add_op(function, &[e])?;
            egraph.add_op(Op::Binary(Binary::Mul), &[narrow, t])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "template-after-bias",
        class: RuleClass::Real,
        lhs: "(cbias (mul ?e !t) ?h)",
        rhs: "(mul (cbias ?e h/t) ?t)",
        guards: &[TERMS_ARE_MULTIPLES],
        why: "distributivity; done where the product widens its operand",
        apply: |egraph, found| {
            let [e, t, h] = found.vars();
            if egraph.shape(e).last() != Some(&1) || !widens(egraph, e, found.root) {
                return None;
            }
            let (factors, terms) = (egraph.value(t)?, egraph.value(h)?);
            let multiple = multiple(&factors, &terms)?;
            let term = egraph.add_floats(&[1], vec![multiple])?;
            let moved = egraph.add_bias(e, term)?;
            egraph.add_op(Op::Binary(Binary::Mul), &[moved, t])
        },
        ..RuleSpec::PLAIN
    },
];

/// A result has more elements than an operand.
fn widens(egraph: &EGraph, operand: Id, result: Id) -> bool {
    let count = |id: Id| egraph.shape(id).iter().product::<usize>();
    count(operand) < count(result)
}

/// The quotient of terms and factors, by the first factor that is not 0.
fn multiple(factors: &Tensor, terms: &Tensor) -> Option<f32> {
    if factors.count() != terms.count() {
        return None;
    }
    let pair = factors.f32s().iter().zip(terms.f32s()).find(|(factor, _)| **factor != 0.0);
    pair.map(|(factor, term)| term / factor).filter(|multiple| multiple.is_finite())
}

/// For each offset group and tap of a square kernel of odd extent, how many steps from the centre
/// it lies: down, then right.
pub fn template(side: usize, groups: usize) -> Vec<f32> {
    let centre = (side / 2) as f32;
    let taps = (0..groups * side * side).map(|number| [number / side % side, number % side]);
    taps.flat_map(|tap| tap.map(|steps| steps as f32 - centre)).collect()
}

/// Where the offset of the tap one step down from the centre stands.
fn reference(side: usize) -> usize {
    let centre = side / 2;
    2 * ((centre + 1) * side + centre)
}

/// The factor of the tap one step down from the centre.
fn unit(factors: &[f32], side: usize) -> Option<f32> {
    factors.get(reference(side)).copied()
}

/// The square form of a matched layer with free taps: the operator, and the dilation that it had;
/// `None` if it has none.
fn squared(egraph: &EGraph, found: &Match) -> Option<(DeformConv, usize)> {
    let (layer, [side, width]) = layer(egraph, found, 0)?;
    let [vertical, horizontal] = layer.geometry.dilations;
    // A kernel of one tap has no square: its offsets are a shift.
    if layer.sampling == Sampling::Square || side != width || side % 2 == 0 || side == 1 || vertical != horizontal {
        return None;
    }
    let spread = (side / 2) * (vertical - 1);
    let mut pads = layer.geometry.pads;
    for pad in &mut pads {
        *pad = pad.checked_sub(spread)?;
    }
    let geometry = Geometry { dilations: [1, 1], pads, ..layer.geometry };
    Some((DeformConv { geometry, sampling: Sampling::Square, modulated: false }, vertical))
}

fn square(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b, e, t] = found.vars();
    let (square, dilation) = squared(egraph, found)?;
    let (layer, [side, _]) = layer(egraph, found, 0)?;
    let factors = egraph.value(t)?;
    let distances = egraph.shape(e).to_vec();
    if factors.count() != layer.sampling.channels([side, side]) || distances.len() != 4 || distances[3] != 1 {
        return None;
    }
    let unit = egraph.add_floats(&[1], vec![unit(factors.f32s(), side)?])?;
    let dilation = egraph.add_floats(&[1], vec![dilation as f32])?;
    let scaled = if egraph.uniform(unit) == Some(1.0) { e } else { egraph.add_scale(e, unit)? };
    let d = egraph.add_bias(scaled, dilation)?;
    egraph.add_op(Op::DeformConv(square), &[x, w, b, d])
}

fn square_layer(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b, y, v, a] = found.vars();
    let (square, dilation) = squared(egraph, found)?;
    let (_, [side, _]) = layer(egraph, found, 0)?;
    let &Op::Conv(Conv { geometry }) = op(egraph, found, 1)? else { return None };
    let &[_, height, width, depth] = egraph.shape(v) else { return None };
    if geometry.groups != 1 {
        return None;
    }
    let (filters, bias) = (egraph.value(v)?, egraph.value(a)?);
    let (one, size) = (reference(side), height * width * depth);
    let filter = filters.f32s().get(one * size..(one + 1) * size)?.to_vec();
    let start = bias.f32s().get(one)? + dilation as f32;
    let filter = egraph.add_floats(&[1, height, width, depth], filter)?;
    let start = egraph.add_floats(&[1], vec![start])?;
    let d = egraph.add_op(Op::Conv(Conv { geometry }), &[y, filter, start])?;
    egraph.add_op(Op::DeformConv(square), &[x, w, b, d])
}
