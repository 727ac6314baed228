//! Which nodes run on the host before the chip, on the chip, and on the host after it.

use super::forms::{Fault, Form};
use lutweave_ir::op::Dialect;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op};
use std::collections::BTreeSet;

/// Where a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: its value is not needed, or constant.
    Nowhere,
    /// On the host, before the chip: movement of inputs.
    Prologue,
    /// On the chip.
    Chip,
    /// On the host, after the chip.
    Epilogue,
}

/// Places every node that the outputs depend on.
///
/// What cannot run on the chip runs on the host where only host operators follow; otherwise it
/// is an error, and all errors are reported together.
pub(super) fn place(graph: &Graph, forms: &[Result<Form, Fault>]) -> Result<Vec<Place>, Diagnostics> {
    let movable = movable_inputs(graph);
    let mut host = vec![false; graph.nodes().len()];
    let mut causes: Vec<BTreeSet<NodeId>> = vec![BTreeSet::new(); graph.nodes().len()];
    for id in graph.ids() {
        match &forms[id.index()] {
            Ok(form) => {
                let operands = form.operands(graph, id);
                host[id.index()] = operands.iter().any(|operand| host[operand.index()]);
                if host[id.index()] {
                    inherit(&mut causes, id, &graph.node(id).operands);
                }
            }
            Err(_) if movable[id.index()] => {}
            Err(_) => {
                host[id.index()] = true;
                causes[id.index()].insert(id);
                inherit(&mut causes, id, &graph.node(id).operands);
            }
        }
    }
    prefer_host(graph, forms, &movable, &mut host);
    let places = demand(graph, forms, &host, &movable);
    let mut blamed = BTreeSet::new();
    for id in graph.ids().filter(|id| places[id.index()] == Place::Epilogue && is_heavy(&graph.node(*id).op)) {
        blamed.extend(causes[id.index()].iter().copied());
    }
    blamed.extend(graph.ids().filter(|id| places[id.index()] == Place::Epilogue && is_chip_only(&graph.node(*id).op)));
    let computes = |id: &NodeId| {
        let edge = matches!(graph.node(*id).op, Op::Input | Op::Quantize(_) | Op::Dequantize(_))
            || matches!(forms[id.index()], Ok(Form::Reshape(_)));
        places[id.index()] == Place::Chip && !edge
    };
    if blamed.is_empty() && !graph.ids().any(|id| computes(&id)) {
        return Err(nothing_on_chip(graph, forms, &places));
    }
    let diagnostics: Vec<_> =
        blamed.into_iter().filter_map(|id| Some(forms[id.index()].as_ref().err()?.diagnostic(graph, id))).collect();
    if diagnostics.is_empty() { Ok(places) } else { Err(Diagnostics(diagnostics)) }
}

/// A model of which the device would compute nothing.
fn nothing_on_chip(graph: &Graph, forms: &[Result<Form, Fault>], places: &[Place]) -> Diagnostics {
    let refused = graph.ids().filter(|id| places[id.index()] == Place::Epilogue);
    let causes: Vec<Diagnostic> =
        refused.filter_map(|id| Some(forms[id.index()].as_ref().err()?.diagnostic(graph, id))).collect();
    let message = "no operator of the model would run on the device: what it computes is constant, only moves its \
                   inputs, or runs on the host";
    let whole = Diagnostic::error("nothing-to-compile", message)
        .at(&graph.name)
        .help("compile a model that has a layer, such as a convolution, a pooling or an addition");
    Diagnostics(std::iter::once(whole).chain(causes).collect())
}

fn inherit(causes: &mut [BTreeSet<NodeId>], id: NodeId, operands: &[NodeId]) {
    for operand in operands {
        let inherited = causes[operand.index()].clone();
        causes[id.index()].extend(inherited);
    }
}

/// Nodes that only move elements of inputs.
fn movable_inputs(graph: &Graph) -> Vec<bool> {
    let mut movable = vec![false; graph.nodes().len()];
    for id in graph.ids() {
        let node = graph.node(id);
        movable[id.index()] = match &node.op {
            Op::Input => true,
            op if is_movement(op) || matches!(op, Op::Quantize(_) | Op::Dequantize(_)) => {
                node.operands.iter().all(|operand| movable[operand.index()])
            }
            _ => false,
        };
    }
    movable
}

/// Joins stay on the host where nothing on the chip needs them. Along other axes than the channels
/// a stream has to be stored whole for them; and joined channels share one scale, which probabilities
/// beside distances would be lost in. What the model itself rounds after a join has that scale anyway.
fn prefer_host(graph: &Graph, forms: &[Result<Form, Fault>], movable: &[bool], host: &mut [bool]) {
    let mut feeds_layer = vec![false; graph.nodes().len()];
    for id in graph.ids().rev() {
        let op = &graph.node(id).op;
        let needed = feeds_layer[id.index()] || is_heavy(op) || matches!(op, Op::Quantize(_));
        let operands = match &forms[id.index()] {
            _ if !needed => Vec::new(),
            Ok(form) => form.operands(graph, id),
            // What the host moves before the chip feeds it all the same.
            Err(_) if movable[id.index()] => graph.node(id).operands.clone(),
            Err(_) => Vec::new(),
        };
        for operand in operands {
            feeds_layer[operand.index()] = true;
        }
    }
    for id in graph.ids() {
        let node = graph.node(id);
        let joins = matches!(node.op, Op::Concat(_));
        let follows = node.operands.iter().any(|operand| host[operand.index()]);
        if !feeds_layer[id.index()] && (joins || follows) && !is_heavy(&node.op) {
            host[id.index()] = true;
        }
    }
}

/// Places what the outputs need.
fn demand(graph: &Graph, forms: &[Result<Form, Fault>], host: &[bool], movable: &[bool]) -> Vec<Place> {
    let mut places = vec![Place::Nowhere; graph.nodes().len()];
    for output in graph.outputs() {
        places[output.index()] = Place::Chip;
    }
    for id in graph.ids().rev() {
        let demanded = places[id.index()];
        if demanded == Place::Nowhere {
            continue;
        }
        let form = &forms[id.index()];
        let place = match form {
            Ok(Form::Constant) => Place::Nowhere,
            _ if host[id.index()] => Place::Epilogue,
            Err(_) if movable[id.index()] => Place::Prologue,
            _ => demanded,
        };
        places[id.index()] = place;
        let operands = match (place, form) {
            (Place::Chip, Ok(form)) => form.operands(graph, id),
            _ => graph.node(id).operands.clone(),
        };
        let wanted = if place == Place::Prologue { Place::Prologue } else { Place::Chip };
        for operand in operands {
            let current = &mut places[operand.index()];
            if *current != Place::Prologue {
                *current = wanted;
            }
        }
    }
    for id in graph.ids() {
        if matches!(forms[id.index()], Ok(Form::Constant)) {
            places[id.index()] = Place::Nowhere;
        }
    }
    places
}

/// Operators that only move elements.
pub(super) fn is_movement(op: &Op) -> bool {
    op.dialect() == Dialect::Movement && !matches!(op, Op::MaxPool(_))
}

/// Operators that have no business on the host.
fn is_heavy(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::DeformConv(_)
            | Op::Dense(_)
            | Op::BatchNorm(_)
            | Op::PRelu(_)
            | Op::MaxPool(_)
            | Op::AveragePool(_)
    )
}

/// Operators that the float interpreter alone cannot place on the host either.
fn is_chip_only(op: &Op) -> bool {
    op.dialect() == Dialect::Integer || matches!(op, Op::Site(_) | Op::DequantizeWeights(_))
}
