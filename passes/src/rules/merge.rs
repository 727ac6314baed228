//! Layers that become one: in sequence, in a sum, or side by side.

use super::fold::{NO_PADDING, geometry, response};
use super::op;
use crate::egraph::term::name;
use crate::egraph::{Build, EGraph, Facts, Guard, Match, RuleClass, RuleSpec, Term};
use egg::Id;
use lutweave_ir::op::{Binary, Conv, Geometry};
use lutweave_ir::{Op, TensorType};

const INNER_HAS_NO_STRIDE: Guard = Guard {
    name: "the inner convolution has no stride",
    holds: |egraph, found| geometry(egraph, found, 1).is_none_or(|inner| inner.strides == [1, 1]),
};

const INNER_HAS_NO_PADDING: Guard = Guard {
    name: "the inner convolution has no padding",
    holds: |egraph, found| geometry(egraph, found, 1).is_none_or(|inner| inner.pads == [0; 4]),
};

const NO_BIAS_UNDER_PADDING: Guard = Guard {
    name: "the outer convolution has no padding, or the inner one no bias",
    holds: |egraph, found| {
        geometry(egraph, found, 0).is_none_or(|outer| outer.pads == [0; 4])
            || egraph.uniform(found.classes[2]) == Some(0.0)
    },
};

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
        name: "merge-conv-pointwise",
        class: RuleClass::Real,
        lhs: "(conv (conv ?x ?v ?a) ?w ?b)",
        rhs: "(conv ?x w*v b+w*a)",
        guards: &[NO_PADDING],
        why: "a pointwise layer combines the filters of the layer before it; done where it has fewer products",
        apply: merge_conv_pointwise,
        constants: false,
        generative: false,
    },
    RuleSpec {
        name: "merge-pointwise-conv",
        class: RuleClass::Real,
        lhs: "(conv (conv ?x ?v ?a) ?w ?b)",
        rhs: "(conv ?x w*v b+w*a)",
        guards: &[INNER_HAS_NO_STRIDE, INNER_HAS_NO_PADDING, NO_BIAS_UNDER_PADDING],
        why: "a layer takes a pointwise layer before it into its filters; done where it has fewer products",
        apply: merge_pointwise_conv,
        constants: false,
        generative: false,
    },
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
        constants: false,
        generative: false,
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
        constants: false,
        generative: false,
    },
    RuleSpec {
        name: "concat-convs",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(conv ?x concat(v, w) concat(a, b))",
        guards: &[],
        why: "layers of one input and one geometry whose results are joined are one layer",
        apply: concat_convs,
        constants: false,
        generative: false,
    },
    RuleSpec {
        name: "concat-unary",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(op (concat ..))",
        guards: &[],
        why: "layers alike under one function join under it",
        apply: concat_unary,
        constants: false,
        generative: false,
    },
];

/// Rules that add terms without an end in themselves.
pub const GENERATIVE: &[RuleSpec] = &[
    RuleSpec {
        name: "sum-of-convs-two-inputs",
        class: RuleClass::Real,
        lhs: "(add (conv ?x ?v ?a) (conv ?y ?w ?b))",
        rhs: "(conv (concat ?x ?y) concat(v, w) a+b)",
        guards: &[SAME_STRIDES, ONE_SHAPE],
        why: "a sum of two layers is one layer of the joined inputs; worth it where a join moves less than a sum",
        apply: sum_over_two_inputs,
        constants: false,
        generative: true,
    },
    RuleSpec {
        name: "convs-of-one-input",
        class: RuleClass::Integer,
        lhs: "(conv ?x ?w ?b)",
        rhs: "(slice (conv ?x concat(v, w, ..) concat(a, b, ..)))",
        guards: &[],
        why: "layers of one input and one geometry share one window; a later join makes the slices vanish",
        apply: convs_of_one_input,
        constants: false,
        generative: true,
    },
];

/// Multiply-accumulates of an operator on operands of given classes; `None` if it does not fit.
fn macs(egraph: &EGraph, op: &Op, operands: &[Id]) -> Option<u64> {
    let types: Option<Vec<&TensorType>> = operands.iter().map(|&operand| egraph.ty(operand)).collect();
    let types = types?;
    op.infer(&types).ok().map(|ty| op.macs(&ty, &types))
}

fn add_ids(egraph: &mut EGraph, a: Id, b: Id) -> Option<Id> {
    egraph.add_op(Op::Binary(Binary::Add), &[a, b])
}

/// Multiply-accumulates of the two layers of a match `(conv (conv ..) ..)`.
fn macs_of_both(egraph: &EGraph, found: &Match) -> Option<u64> {
    let of = |position: usize| macs(egraph, op(egraph, found, position)?, &found.terms[position].children);
    Some(of(0)? + of(1)?)
}

/// Multiply-accumulates of an ungrouped convolution by its kernel.
fn macs_of(egraph: &EGraph, x: Id, geometry: &Geometry, weights: [usize; 4]) -> Option<u64> {
    let (x, w) = (egraph.ty(x)?, TensorType::f32(weights));
    let op = Op::Conv(Conv { geometry: *geometry });
    op.infer(&[x, &w]).ok().map(|ty| op.macs(&ty, &[x, &w]))
}

/// Weights of a convolution without groups that does the same: zeros between the groups.
fn ungrouped(egraph: &mut EGraph, w: Id, groups: usize) -> Option<Id> {
    let &[outputs, height, width, depth] = egraph.shape(w) else { return None };
    if groups == 1 {
        return Some(w);
    }
    let mut mask = vec![0.0; groups * groups];
    mask.iter_mut().step_by(groups + 1).for_each(|element| *element = 1.0);
    let mask = egraph.add_floats(&[groups, 1, 1, groups, 1], mask)?;
    let split = egraph.reshaped(w, &[groups, outputs / groups, height * width, 1, depth])?;
    let spread = egraph.add_op(Op::Binary(Binary::Mul), &[split, mask])?;
    egraph.reshaped(spread, &[outputs, height, width, groups * depth])
}

/// The product of matrices `[m,k]` and `[k,n]`.
fn product(egraph: &mut EGraph, a: Id, b: Id) -> Option<Id> {
    let &[_, columns] = egraph.shape(b) else { return None };
    let transposed = egraph.transposed(b, &[1, 0])?;
    let zeros = egraph.add_floats(&[columns], vec![0.0; columns])?;
    egraph.add_op(Op::Dense, &[a, transposed, zeros])
}

fn merge_conv_pointwise(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, v, a, w, b] = found.vars();
    let (outer, inner) = (*geometry(egraph, found, 0)?, *geometry(egraph, found, 1)?);
    let &[outputs, 1, 1, hidden] = egraph.shape(w) else { return None };
    let &[filters, height, width, depth] = egraph.shape(v) else { return None };
    if filters != hidden || [height, width, inner.groups] == [1, 1, 1] && inner.strides == [1, 1] {
        return None;
    }
    let inputs = depth * inner.groups;
    let strides = [0, 1].map(|axis| inner.strides[axis] * outer.strides[axis]);
    let geometry = Geometry { strides, groups: 1, ..inner };
    if macs_of(egraph, x, &geometry, [outputs, height, width, inputs])? >= macs_of_both(egraph, found)? {
        return None;
    }
    let rows = egraph.reshaped(w, &[outputs, hidden])?;
    let v = ungrouped(egraph, v, inner.groups)?;
    let v = egraph.reshaped(v, &[hidden, height * width * inputs])?;
    let merged = product(egraph, rows, v)?;
    let merged = egraph.reshaped(merged, &[outputs, height, width, inputs])?;
    let bias = egraph.reshaped(a, &[1, hidden])?;
    let bias = egraph.add_op(Op::Dense, &[bias, rows, b])?;
    let bias = egraph.reshaped(bias, &[outputs])?;
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, merged, bias])
}

fn merge_pointwise_conv(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, v, a, w, b] = found.vars();
    let (outer, inner) = (*geometry(egraph, found, 0)?, *geometry(egraph, found, 1)?);
    let &[hidden, 1, 1, depth] = egraph.shape(v) else { return None };
    let &[outputs, height, width, _] = egraph.shape(w) else { return None };
    if [height, width] == [1, 1] {
        return None;
    }
    let inputs = depth * inner.groups;
    let geometry = Geometry { groups: 1, ..outer };
    if macs_of(egraph, x, &geometry, [outputs, height, width, inputs])? >= macs_of_both(egraph, found)? {
        return None;
    }
    let layer = op(egraph, found, 0)?.clone();
    let bias = if egraph.uniform(a) == Some(0.0) { b } else { response(egraph, &layer, a, w, b)? };
    let v = ungrouped(egraph, v, inner.groups)?;
    let v = egraph.reshaped(v, &[hidden, inputs])?;
    let w = ungrouped(egraph, w, outer.groups)?;
    let rows = egraph.reshaped(w, &[outputs * height * width, hidden])?;
    let merged = product(egraph, rows, v)?;
    let merged = egraph.reshaped(merged, &[outputs, height, width, inputs])?;
    egraph.add_op(Op::Conv(Conv { geometry }), &[x, merged, bias])
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
            let pad = Op::Pad { before: before.to_vec(), after: vec![0, after[0], after[1], 0], value: 0.0 };
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

/// A convolution without groups.
#[derive(Clone, Copy)]
struct Layer {
    x: Id,
    geometry: Geometry,
    kernel: [usize; 2],
    w: Id,
    b: Id,
}

impl Layer {
    /// Both move the same window over the same image.
    fn is_like(&self, other: &Self) -> bool {
        (self.x, self.geometry, self.kernel) == (other.x, other.geometry, other.kernel)
    }
}

/// The convolutions without groups in a class.
fn convolutions(egraph: &EGraph, class: Id) -> impl Iterator<Item = Layer> + '_ {
    egraph.terms(class, "conv").filter_map(|term| match egraph.op(term)? {
        Op::Conv(Conv { geometry }) if geometry.groups == 1 => {
            let [x, w, b] = [0, 1, 2].map(|position| egraph.find(term.children[position]));
            let &[_, height, width, _] = egraph.shape(w) else { return None };
            Some(Layer { x, geometry: *geometry, kernel: [height, width], w, b })
        }
        _ => None,
    })
}

/// The first run of at least two neighbours that are layers alike, and where it starts.
fn run_of_layers(egraph: &EGraph, parts: &[Id]) -> Option<(usize, Vec<Layer>)> {
    let layers: Vec<Vec<Layer>> = parts.iter().map(|&part| convolutions(egraph, part).collect()).collect();
    (0..parts.len()).find_map(|start| {
        layers[start].iter().find_map(|first| {
            let others = layers[start..].iter().map_while(|own| own.iter().find(|other| first.is_like(other)));
            let run: Vec<Layer> = others.copied().collect();
            (run.len() > 1).then_some((start, run))
        })
    })
}

fn concat_convs(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::Concat { axis } = op(egraph, found, 0)? else { return None };
    let parts = found.terms[0].children.clone();
    if axis != 3 || egraph.shape(found.root).len() != 4 {
        return None;
    }
    let (start, run) = run_of_layers(egraph, &parts)?;
    let Layer { x, geometry, .. } = run[0];
    let weights: Vec<Id> = run.iter().map(|layer| layer.w).collect();
    let biases: Vec<Id> = run.iter().map(|layer| layer.b).collect();
    let w = egraph.add_op(Op::Concat { axis: 0 }, &weights)?;
    let b = egraph.add_op(Op::Concat { axis: 0 }, &biases)?;
    let joined = egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])?;
    if run.len() == parts.len() {
        return Some(joined);
    }
    let mut rest = parts[..start].to_vec();
    rest.push(joined);
    rest.extend(&parts[start + run.len()..]);
    egraph.add_op(Op::Concat { axis }, &rest)
}

fn concat_unary(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let joined = op(egraph, found, 0)?.clone();
    let parts = &found.terms[0].children;
    let first = *parts.first()?;
    if !matches!(joined, Op::Concat { axis: 3 }) {
        return None;
    }
    let mut functions = egraph[first].nodes.iter().filter_map(|term| match egraph.op(term)? {
        op @ Op::Unary(_) => Some((term.payload, op.clone())),
        _ => None,
    });
    let same = |payload: u32| {
        let operand = |&part: &Id| {
            let itself = |term: &&Term| egraph.find(term.children[0]) != egraph.find(part);
            let mut terms = egraph[part].nodes.iter().filter(|term| matches!(egraph.op(term), Some(Op::Unary(_))));
            terms.find(|term| term.payload == payload && itself(term)).map(|term| term.children[0])
        };
        parts.iter().map(operand).collect::<Option<Vec<Id>>>()
    };
    let (function, operands) = functions.find_map(|(payload, op)| Some((op, same(payload)?)))?;
    run_of_layers(egraph, &operands)?;
    let whole = egraph.add_op(joined, &operands)?;
    egraph.add_op(function, &[whole])
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
    let joined = egraph.add_op(Op::Concat { axis: 3 }, &[x, y])?;
    let w = egraph.add_op(Op::Concat { axis: 3 }, &weights)?;
    let b = add_ids(egraph, a, b)?;
    egraph.add_op(Op::Conv(Conv { geometry }), &[joined, w, b])
}

fn convs_of_one_input(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b] = found.vars();
    let own = *geometry(egraph, found, 0)?;
    let &[outputs, height, width, _] = egraph.shape(w) else { return None };
    // A layer that was merged already would merge with its parts for ever.
    let merged = |egraph: &EGraph, w: Id| egraph.terms(w, "concat").next().is_some();
    if own.groups != 1 || merged(egraph, w) {
        return None;
    }
    let this =
        Layer { x: egraph.find(x), geometry: own, kernel: [height, width], w: egraph.find(w), b: egraph.find(b) };
    let mut classes: Vec<Id> = egraph[x].parents().map(|parent| egraph.find(parent)).collect();
    classes.sort_unstable();
    classes.dedup();
    // One layer a class, as equal values need no second place; none whose result is scaled or
    // shifted next, as that is a layer too.
    let alike = |&class: &Id| {
        let affine = |term: &Term| {
            matches!(term.name, name::CHANNEL_SCALE | name::CHANNEL_BIAS) && egraph.find(term.children[0]) == class
        };
        if egraph[class].parents().any(|parent| egraph[egraph.find(parent)].nodes.iter().any(affine)) {
            return None;
        }
        let mut layers = convolutions(egraph, class).filter(|layer| layer.is_like(&this) && !merged(egraph, layer.w));
        layers.next().map(|layer| (class, layer))
    };
    let layers: Vec<(Id, Layer)> = classes.iter().filter_map(alike).collect();
    let place =
        layers.iter().position(|(class, layer)| *class == found.root && (layer.w, layer.b) == (this.w, this.b))?;
    if layers.len() < 2 {
        return None;
    }
    let start = layers[..place].iter().map(|(_, layer)| egraph.shape(layer.w)[0]).sum();
    let weights: Vec<Id> = layers.iter().map(|(_, layer)| layer.w).collect();
    let biases: Vec<Id> = layers.iter().map(|(_, layer)| layer.b).collect();
    let w = egraph.add_op(Op::Concat { axis: 0 }, &weights)?;
    let b = egraph.add_op(Op::Concat { axis: 0 }, &biases)?;
    let all = egraph.add_op(Op::Conv(Conv { geometry: own }), &[x, w, b])?;
    let mut sizes = egraph.shape(found.root).to_vec();
    sizes[3] = outputs;
    egraph.add_op(Op::Slice { starts: vec![0, 0, 0, start], sizes, steps: vec![1; 4] }, &[all])
}
