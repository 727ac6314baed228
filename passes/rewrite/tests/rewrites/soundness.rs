//! The concrete-model check: leaves are bound to random tensors, every e-node of every class is
//! evaluated, and the e-nodes of a class must agree.

use crate::random::Random;
use egg::Id;
use lutweave_ir::op::{Site, SiteKind};
use lutweave_ir::{Data, Graph, Op, Tensor};
use lutweave_rewrite::cleanup::{RewriteReport, Rewrites, saturate};
use lutweave_rewrite::egraph::{EGraph, Encoded, Facts, Term, encode};
use std::collections::BTreeMap;

/// How far the e-nodes of a class may differ.
#[derive(Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Not at all.
    Exact,
    /// By floating-point rounding.
    Rounding,
}

/// Relative difference that rounding may make on values of order 1.
const ROUNDING: f32 = 2e-4;

/// Saturates, then evaluates everything for some random inputs.
pub fn check(graph: &Graph, rewrites: &Rewrites, tolerance: Tolerance, seed: u64) -> Result<RewriteReport, String> {
    let mut encoded = encode(graph);
    let report = saturate(&mut encoded, rewrites, graph.nodes().len());
    if let Some(conflict) = encoded.egraph.analysis.conflicts().first() {
        return Err(conflict.clone());
    }
    if !report.saturated {
        return Err(format!("not saturated: {report:?}"));
    }
    for round in 0..2 {
        let seed = seed ^ round << 32;
        let settings = Settings { seed, smooth: tolerance == Tolerance::Rounding };
        evaluate(graph, &encoded, tolerance, settings, &mut Random(seed))?;
    }
    Ok(report)
}

/// Random settings of all sites.
#[derive(Clone, Copy)]
struct Settings {
    seed: u64,
    /// Activations are bent instead of rounded, so that rounding of floats does not grow.
    smooth: bool,
}

impl Settings {
    fn apply(self, site: &Site, x: &Tensor) -> Tensor {
        let own = self.seed.wrapping_mul(31).wrapping_add(u64::from(site.number));
        let elements = x.f32s().iter();
        let elements: Vec<f32> = match site.kind {
            SiteKind::Weights => {
                let setting = |(position, &w): (usize, &f32)| {
                    let mut random = Random(own ^ (position as u64) << 20);
                    if random.flip() { 0.0 } else { (w * 8.0 + random.real()).round() / 8.0 }
                };
                elements.enumerate().map(setting).collect()
            }
            SiteKind::Activation if self.smooth => {
                let phase = Random(own).real();
                elements.map(|&v| v + 0.3 * ((v + phase).sin() - phase.sin())).collect()
            }
            SiteKind::Activation => {
                let mut random = Random(own);
                let (step, limit) = (random.pick(&[0.25, 0.5, 0.375]), random.from(2, 12) as f32);
                elements.map(|&v| (v / step).round().clamp(-limit, limit + 1.0) * step).collect()
            }
        };
        Tensor::f32(x.shape.clone(), elements)
    }
}

fn evaluate(
    graph: &Graph,
    encoded: &Encoded,
    tolerance: Tolerance,
    settings: Settings,
    random: &mut Random,
) -> Result<(), String> {
    let egraph = &encoded.egraph;
    let mut values: BTreeMap<Id, Tensor> = BTreeMap::new();
    for &input in graph.inputs() {
        let value = random.tensor(&graph.node(input).ty);
        values.insert(egraph.find(encoded.classes[input.index()]), value);
    }
    let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    classes.sort_unstable();
    loop {
        let before = values.len();
        for &class in &classes {
            if !values.contains_key(&class) {
                let value = egraph[class].nodes.iter().find_map(|term| of(egraph, term, settings, &values));
                value.map(|value| values.insert(class, value));
            }
        }
        if values.len() == before {
            break;
        }
    }
    for &class in &classes {
        for term in &egraph[class].nodes {
            let (Some(class_value), Some(value)) = (values.get(&class), of(egraph, term, settings, &values)) else {
                continue;
            };
            if let Some(difference) = difference(class_value, &value, tolerance) {
                let others: Vec<&str> = egraph[class].nodes.iter().map(|term| term.name).collect();
                return Err(format!("class {class} {others:?}: `{}` {:?} {difference}", term.name, egraph.op(term)));
            }
        }
    }
    Ok(())
}

fn of(egraph: &EGraph, term: &Term, settings: Settings, values: &BTreeMap<Id, Tensor>) -> Option<Tensor> {
    let operands: Option<Vec<&Tensor>> = term.children.iter().map(|&child| values.get(&egraph.find(child))).collect();
    match egraph.op(term) {
        Some(Op::Site(site)) => Some(settings.apply(site, operands?[0])),
        _ => egraph.eval(term, &operands?),
    }
}

/// What differs, in words.
pub fn difference(a: &Tensor, b: &Tensor, tolerance: Tolerance) -> Option<String> {
    if a.shape != b.shape {
        return Some(format!("has shape {:?} instead of {:?}", b.shape, a.shape));
    }
    match (&a.data, &b.data) {
        (Data::Int(a), Data::Int(b)) => (a != b).then(|| "has other integers".to_owned()),
        (Data::F32(a), Data::F32(b)) => {
            let finite = a.iter().filter(|value| value.is_finite());
            let largest = finite.fold(1f32, |largest, value| largest.max(value.abs()));
            let allowed = match tolerance {
                Tolerance::Exact => 0.0,
                Tolerance::Rounding => ROUNDING * largest,
            };
            a.iter().zip(b.iter()).enumerate().find_map(|(index, (&a, &b))| {
                let close = a.is_finite() && b.is_finite() && (a - b).abs() <= allowed;
                let same = a == b || close || a.is_nan() && b.is_nan();
                (!same).then(|| format!("is {b} instead of {a} at {index}"))
            })
        }
        (Data::Int(_), Data::F32(_)) | (Data::F32(_), Data::Int(_)) => Some("has another element type".to_owned()),
    }
}
