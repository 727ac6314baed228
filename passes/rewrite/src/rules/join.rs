//! Layers of one input that become one layer.

use super::fold::geometry;
use super::op;
use crate::egraph::term::name;
use crate::egraph::{Build, EGraph, Facts, Match, RuleClass, RuleSpec, Term};
use egg::Id;
use lutweave_ir::Op;
use lutweave_ir::op::{Concat, Conv, Geometry, Slice};

/// The rules.
pub const RULES: &[RuleSpec] = &[
    RuleSpec {
        name: "concat-convs",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(conv ?x concat(v, w) concat(a, b))",
        why: "layers of one input and one geometry whose results are joined are one layer",
        apply: concat_convs,
        ..RuleSpec::PLAIN
    },
    RuleSpec {
        name: "concat-unary",
        class: RuleClass::Integer,
        lhs: "(concat ..)",
        rhs: "(op (concat ..))",
        why: "layers alike under one function join under it",
        apply: concat_unary,
        ..RuleSpec::PLAIN
    },
];

/// Rules that add terms without an end in themselves.
pub const GENERATIVE: &[RuleSpec] = &[RuleSpec {
    name: "convs-of-one-input",
    class: RuleClass::Integer,
    lhs: "(conv ?x ?w ?b)",
    rhs: "(slice (conv ?x concat(v, w, ..) concat(a, b, ..)))",
    why: "layers of one input and one geometry share one window; a later join makes the slices vanish",
    apply: convs_of_one_input,
    generative: true,
    ..RuleSpec::PLAIN
}];

/// A convolution without groups.
#[derive(Clone, Copy)]
struct PlainConvolution {
    x: Id,
    geometry: Geometry,
    kernel: [usize; 2],
    w: Id,
    b: Id,
}

impl PlainConvolution {
    /// Both move the same window over the same image.
    fn is_like(&self, other: &Self) -> bool {
        (self.x, self.geometry, self.kernel) == (other.x, other.geometry, other.kernel)
    }
}

/// The convolutions without groups in a class.
fn convolutions(egraph: &EGraph, class: Id) -> impl Iterator<Item = PlainConvolution> + '_ {
    egraph.terms(class, "conv").filter_map(|term| match egraph.op(term)? {
        Op::Conv(Conv { geometry }) if geometry.groups == 1 => {
            let [x, w, b] = [0, 1, 2].map(|position| egraph.find(term.children[position]));
            let &[_, height, width, _] = egraph.shape(w) else { return None };
            Some(PlainConvolution { x, geometry: *geometry, kernel: [height, width], w, b })
        }
        _ => None,
    })
}

/// The first run of at least two neighbours that are layers alike, and where it starts.
fn run_of_layers(egraph: &EGraph, parts: &[Id]) -> Option<(usize, Vec<PlainConvolution>)> {
    let layers: Vec<Vec<PlainConvolution>> = parts.iter().map(|&part| convolutions(egraph, part).collect()).collect();
    (0..parts.len()).find_map(|start| {
        layers[start].iter().find_map(|first| {
            let others = layers[start..].iter().map_while(|own| own.iter().find(|other| first.is_like(other)));
            let run: Vec<PlainConvolution> = others.copied().collect();
            (run.len() > 1).then_some((start, run))
        })
    })
}

fn concat_convs(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let &Op::Concat(Concat { axis }) = op(egraph, found, 0)? else { return None };
    let parts = found.terms[0].children.clone();
    if axis != 3 || egraph.shape(found.root).len() != 4 {
        return None;
    }
    let (start, run) = run_of_layers(egraph, &parts)?;
    let PlainConvolution { x, geometry, .. } = run[0];
    let weights: Vec<Id> = run.iter().map(|layer| layer.w).collect();
    let biases: Vec<Id> = run.iter().map(|layer| layer.b).collect();
    let w = egraph.add_op(Op::Concat(Concat { axis: 0 }), &weights)?;
    let b = egraph.add_op(Op::Concat(Concat { axis: 0 }), &biases)?;
    let joined = egraph.add_op(Op::Conv(Conv { geometry }), &[x, w, b])?;
    if run.len() == parts.len() {
        return Some(joined);
    }
    let mut rest = parts[..start].to_vec();
    rest.push(joined);
    rest.extend(&parts[start + run.len()..]);
    egraph.add_op(Op::Concat(Concat { axis }), &rest)
}

fn concat_unary(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let joined = op(egraph, found, 0)?.clone();
    let parts = &found.terms[0].children;
    let first = *parts.first()?;
    if !matches!(joined, Op::Concat(Concat { axis: 3 })) {
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

fn convs_of_one_input(egraph: &mut EGraph, found: &Match) -> Option<Id> {
    let [x, w, b] = found.vars();
    let own = *geometry(egraph, found, 0)?;
    let &[outputs, height, width, _] = egraph.shape(w) else { return None };
    // A layer that was merged already would merge with its parts for ever.
    let merged = |egraph: &EGraph, w: Id| egraph.terms(w, "concat").next().is_some();
    if own.groups != 1 || merged(egraph, w) {
        return None;
    }
    let this = PlainConvolution {
        x: egraph.find(x),
        geometry: own,
        kernel: [height, width],
        w: egraph.find(w),
        b: egraph.find(b),
    };
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
    let layers: Vec<(Id, PlainConvolution)> = classes.iter().filter_map(alike).collect();
    let place =
        layers.iter().position(|(class, layer)| *class == found.root && (layer.w, layer.b) == (this.w, this.b))?;
    if layers.len() < 2 {
        return None;
    }
    let start = layers[..place].iter().map(|(_, layer)| egraph.shape(layer.w)[0]).sum();
    let weights: Vec<Id> = layers.iter().map(|(_, layer)| layer.w).collect();
    let biases: Vec<Id> = layers.iter().map(|(_, layer)| layer.b).collect();
    let w = egraph.add_op(Op::Concat(Concat { axis: 0 }), &weights)?;
    let b = egraph.add_op(Op::Concat(Concat { axis: 0 }), &biases)?;
    let all = egraph.add_op(Op::Conv(Conv { geometry: own }), &[x, w, b])?;
    let mut sizes = egraph.shape(found.root).to_vec();
    sizes[3] = outputs;
    egraph.add_op(Op::Slice(Slice { starts: vec![0, 0, 0, start], sizes, steps: vec![1; 4] }), &[all])
}
