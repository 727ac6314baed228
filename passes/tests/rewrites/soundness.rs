//! The concrete-model check: leaves are bound to random tensors, every e-node of every class is
//! evaluated, and the e-nodes of a class must agree.

use crate::random::Random;
use egg::Id;
use lutweave_ir::{Data, Graph, Tensor};
use lutweave_passes::cleanup::{RewriteReport, Rewrites, saturate};
use lutweave_passes::egraph::{EGraph, Encoded, Facts, Term, encode};
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
        evaluate(graph, &encoded, tolerance, &mut Random(seed ^ round << 32))?;
    }
    Ok(report)
}

fn evaluate(graph: &Graph, encoded: &Encoded, tolerance: Tolerance, random: &mut Random) -> Result<(), String> {
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
                let value = egraph[class].nodes.iter().find_map(|term| of(egraph, term, &values));
                value.map(|value| values.insert(class, value));
            }
        }
        if values.len() == before {
            break;
        }
    }
    for &class in &classes {
        for term in &egraph[class].nodes {
            let (Some(class_value), Some(value)) = (values.get(&class), of(egraph, term, &values)) else { continue };
            if let Some(difference) = difference(class_value, &value, tolerance) {
                let others: Vec<&str> = egraph[class].nodes.iter().map(|term| term.name).collect();
                return Err(format!("class {class} {others:?}: `{}` {:?} {difference}", term.name, egraph.op(term)));
            }
        }
    }
    Ok(())
}

fn of(egraph: &EGraph, term: &Term, values: &BTreeMap<Id, Tensor>) -> Option<Tensor> {
    let operands: Option<Vec<&Tensor>> = term.children.iter().map(|&child| values.get(&egraph.find(child))).collect();
    egraph.eval(term, &operands?)
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
