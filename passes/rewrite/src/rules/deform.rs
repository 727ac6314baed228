//! Deformable convolutions whose taps do not move, and what goes into their weights.

use super::fold::{PADDED_WITH_ZERO, add_pads, scale_inputs, spatial_pads};
use super::op;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec};
use egg::Id;
use lutweave_ir::op::{Binary, Conv, DeformConv, Geometry, ReduceMean, Sampling};
use lutweave_ir::{Op, Tensor};

const MASK_IS_STILL: Guard = Guard {
    name: "the mask is the same at every position",
    holds: |egraph, found| egraph.value(found.classes[4]).is_none_or(|mask| is_still(&mask)),
};

const OFFSETS_ARE_STILL: Guard = Guard {
    name: "the offsets are the same at every position",
    holds: |egraph, found| egraph.value(found.classes[3]).is_none_or(|offsets| is_still(&offsets)),
};

const OFFSETS_ON_A_GRID: Guard = Guard {
    name: "taps are whole, equal steps apart",
    holds: |egraph, found| {
        let grid = || {
            let (layer, kernel) = layer(egraph, found, 0)?;
            let offsets = egraph.value(found.classes[3])?;
            let row = offsets.f32s().get(..layer.sampling.channels(kernel))?;
            Some(Grid::of(&layer.geometry, kernel, row)?.gives(&layer.geometry, kernel, row))
        };
        grid().unwrap_or(true)
    },
};

const ONE_WHOLE_DISTANCE: Guard = Guard {
    name: "the distance is one whole number",
    holds: |egraph, found| {
        egraph.value(found.classes[3]).is_none_or(|distance| {
            let first = distance.f32s()[0];
            first == first.round() && distance.f32s().iter().all(|&other| other == first)
        })
    },
};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "deform-still-mask",
        class: RuleClass::Real,
        lhs: "(deform_conv ?x ?w ?b ?o !m)",
        rhs: "(deform_conv ?x w*m ?b ?o)",
        guards: &[MASK_IS_STILL],
        why: "a mask that never changes is a factor of each tap's weights; of ones, it is nothing",
        apply: still_mask,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "deform-still-offsets",
        class: RuleClass::Real,
        lhs: "(deform_conv ?x ?w ?b !o)",
        rhs: "(conv[dilations, pads] ?x ?w ?b)",
        guards: &[OFFSETS_ARE_STILL, OFFSETS_ON_A_GRID],
        why: "offsets of 0 move nothing; others that never change shift the window or set its taps apart",
        apply: still_offsets,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "deform-one-distance",
        class: RuleClass::Real,
        lhs: "(deform_conv ?x ?w ?b !d)",
        rhs: "(conv[dilation d] ?x ?w ?b)",
        guards: &[ONE_WHOLE_DISTANCE],
        why: "a distance that never changes is a dilation; at distance 0 all taps read the centre",
        apply: one_distance,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "deform-scale-out",
        class: RuleClass::Real,
        lhs: "(cscale (deform_conv ?x ?w ?b ?o) ?g)",
        rhs: "(deform_conv ?x w*g b*g ?o)",
        why: "a linear layer takes the scale of its outputs into its weights",
        apply: |egraph, found| {
            let [x, w, b, o, g] = found.vars();
            let layer = op(egraph, found, 1)?.clone();
            let rows = egraph.reshaped(g, &[*egraph.shape(g).first()?, 1, 1, 1])?;
            let w = egraph.add_op(Op::Binary(Binary::Mul), &[w, rows])?;
            let b = egraph.add_op(Op::Binary(Binary::Mul), &[b, g])?;
            egraph.add_op(layer, &[x, w, b, o])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "deform-bias-out",
        class: RuleClass::Real,
        lhs: "(cbias (deform_conv ?x ?w ?b ?o) ?h)",
        rhs: "(deform_conv ?x ?w b+h ?o)",
        why: "a linear layer takes a bias of its outputs into its own",
        apply: |egraph, found| {
            let [x, w, b, o, h] = found.vars();
            let layer = op(egraph, found, 1)?.clone();
            // The class of `h` itself: the integers of a quantized bias are not lost.
            let none = egraph.uniform(b) == Some(0.0);
            let b = if none { h } else { egraph.add_op(Op::Binary(Binary::Add), &[b, h])? };
            egraph.add_op(layer, &[x, w, b, o])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "deform-pad",
        class: RuleClass::Real,
        lhs: "(deform_conv (pad ?x) ?w ?b ?o)",
        rhs: "(deform_conv[pads added] ?x ?w ?b ?o)",
        guards: &[PADDED_WITH_ZERO],
        why: "what lies outside reads 0, also between the pixels of the border",
        apply: |egraph, found| {
            let [x, w, b, o] = found.vars();
            let pads = spatial_pads(op(egraph, found, 1)?)?;
            let (mut layer, _) = layer(egraph, found, 0)?;
            add_pads(&mut layer.geometry.pads, pads);
            egraph.add_op(Op::DeformConv(layer), &[x, w, b, o])
        },
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "deform-scale-in",
        class: RuleClass::Real,
        lhs: "(deform_conv (cscale ?x ?g) ?w ?b ?o)",
        rhs: "(deform_conv ?x w*g ?b ?o)",
        why: "interpolation is linear, and what lies outside stays 0",
        apply: |egraph, found| {
            let [x, g, w, b, o] = found.vars();
            let layer = op(egraph, found, 0)?.clone();
            let Op::DeformConv(DeformConv { geometry, .. }) = layer else { return None };
            let w = scale_inputs(egraph, &Op::Conv(Conv { geometry }), w, g)?;
            egraph.add_op(layer, &[x, w, b, o])
        },
        ..RuleSpec::PLAIN
    },
];

/// The deformable convolution at a position of the pattern, and its kernel's extents.
pub(super) fn layer(egraph: &EGraph, found: &Match, position: usize) -> Option<(DeformConv, [usize; 2])> {
    let Some(&Op::DeformConv(layer)) = op(egraph, found, position) else { return None };
    let &[_, height, width, _] = egraph.shape(*found.terms[position].children.get(1)?) else { return None };
    Some((layer, [height, width]))
}

/// Every position of a field `[n,h,w,c]` has the values of the first.
fn is_still(field: &Tensor) -> bool {
    let channels = field.shape.last().copied().unwrap_or(1);
    let mut rows = field.f32s().chunks_exact(channels);
    let Some(first) = rows.next() else { return true };
    rows.all(|row| row == first)
}

fn still_mask(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b, o, m] = found.vars();
    let (layer, [height, width]) = layer(egraph, found, 0)?;
    let &[outputs, _, _, depth] = egraph.shape(w) else { return None };
    let channels = *egraph.shape(x).last()?;
    let mask = egraph.value(m)?;
    let still = Op::DeformConv(DeformConv { modulated: false, ..layer });
    if egraph.uniform(m) == Some(1.0) {
        return egraph.add_op(still, &[x, w, b, o]);
    }
    // The channel that a weight reads decides the offset group, and so the factor of its tap.
    let taps = height * width;
    let per_group = channels / layer.sampling.offset_groups();
    let rows = outputs / layer.geometry.groups;
    let groups = layer.geometry.groups;
    let factor = |group: usize, tap: usize, input: usize| {
        mask.f32s().get((group * depth + input) / per_group * taps + tap).copied()
    };
    let mut factors = Vec::with_capacity(groups * taps * depth);
    for group in 0..groups {
        for tap in 0..taps {
            for input in 0..depth {
                factors.push(factor(group, tap, input)?);
            }
        }
    }
    let factors = egraph.add_floats(&[groups, 1, height, width, depth], factors)?;
    let grouped = egraph.reshaped(w, &[groups, rows, height, width, depth])?;
    let scaled = egraph.add_op(Op::Binary(Binary::Mul), &[grouped, factors])?;
    let w = egraph.reshaped(scaled, &[outputs, height, width, depth])?;
    egraph.add_op(still, &[x, w, b, o])
}

/// Where taps lie: `start + step * tap` along each axis, counted from the window's start.
struct Grid {
    starts: [i64; 2],
    steps: [i64; 2],
}

impl Grid {
    /// By the first two taps along each axis. `offsets` are those of one position.
    fn of(geometry: &Geometry, kernel: [usize; 2], offsets: &[f32]) -> Option<Self> {
        let [mut starts, mut steps] = [[0; 2], geometry.dilations.map(|dilation| dilation as i64)];
        for axis in 0..2 {
            let at = |tap: usize| {
                let number = if axis == 0 { tap * kernel[1] } else { tap };
                let offset = offsets.get(2 * number + axis)?;
                (offset.abs() < 1e6).then_some((tap * geometry.dilations[axis]) as i64 + *offset as i64)
            };
            starts[axis] = at(0)?;
            if kernel[axis] > 1 {
                steps[axis] = at(1)? - at(0)?;
            }
        }
        Some(Self { starts, steps })
    }

    /// True if the offsets put every tap of every offset group there.
    fn gives(&self, geometry: &Geometry, kernel: [usize; 2], offsets: &[f32]) -> bool {
        offsets.chunks_exact(2).enumerate().all(|(number, offset)| {
            let tap = [number / kernel[1] % kernel[0], number % kernel[1]];
            (0..2).all(|axis| {
                let wanted = self.starts[axis] + self.steps[axis] * tap[axis] as i64;
                offset[axis] == (wanted - (tap[axis] * geometry.dilations[axis]) as i64) as f32
            })
        })
    }
}

fn still_offsets(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b, o] = found.vars();
    let (layer, kernel) = layer(egraph, found, 0)?;
    let Sampling::Free { .. } = layer.sampling else { return None };
    let offsets = egraph.value(o)?;
    let grid = Grid::of(&layer.geometry, kernel, offsets.f32s())?;
    let image = spatial(egraph.shape(x))?;
    let output = spatial(egraph.shape(found.root))?;
    let mut geometry = layer.geometry;
    for axis in 0..2 {
        let step = usize::try_from(grid.steps[axis]).ok().filter(|&step| step > 0)?;
        let before = usize::try_from(layer.geometry.pads[axis] as i64 - grid.starts[axis]).ok()?;
        geometry.dilations[axis] = step;
        geometry.pads[axis] = before;
        geometry.pads[axis + 2] = padding_after(&geometry, axis, kernel[axis], image[axis], output[axis])?;
    }
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])
}

/// The padding behind an image that gives a number of positions; `None` if even none gives more.
fn padding_after(geometry: &Geometry, axis: usize, kernel: usize, image: usize, positions: usize) -> Option<usize> {
    let (stride, before) = (geometry.strides[axis], geometry.pads[axis]);
    let span = (kernel - 1) * geometry.dilations[axis] + 1;
    let after = ((positions - 1) * stride + span).saturating_sub(before + image);
    let given = (before + image + after).checked_sub(span)? / stride + 1;
    (given == positions).then_some(after)
}

/// Height and width of an image.
fn spatial(shape: &[usize]) -> Option<[usize; 2]> {
    match *shape {
        [_, height, width, _] => Some([height, width]),
        _ => None,
    }
}

fn one_distance(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b, d] = found.vars();
    let (layer, [side, _]) = layer(egraph, found, 0)?;
    let Sampling::Square = layer.sampling else { return None };
    let distance = *egraph.value(d)?.f32s().first()?;
    if !(0.0..65536.0).contains(&distance) {
        return None;
    }
    let centre = side / 2;
    let mut geometry = layer.geometry;
    if distance < 1.0 {
        // The sum of the weights at the centre.
        let inner = |pad: usize| pad.checked_sub(centre);
        let [top, left, bottom, right] = geometry.pads;
        geometry.pads = [inner(top)?, inner(left)?, inner(bottom)?, inner(right)?];
        let mean = egraph.add_op(Op::ReduceMean(ReduceMean { axes: vec![1, 2], keep: true }), &[w])?;
        let count = egraph.add_floats(&[1], vec![(side * side) as f32])?;
        let sum = egraph.add_op(Op::Binary(Binary::Mul), &[mean, count])?;
        return egraph.add_op(Op::Conv(Conv { geometry }), &[x, sum, b]);
    }
    let more = centre * (distance as usize - 1);
    geometry.dilations = [distance as usize; 2];
    geometry.pads.iter_mut().for_each(|pad| *pad += more);
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])
}
