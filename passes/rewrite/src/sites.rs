//! Sites: the places of a float graph where a lossy choice is made, and their names.
//!
//! [`place`] marks them on a cleaned graph, [`crate::cleanup::simplify_sites`] rewrites the marked
//! graph by rules that hold for every setting, [`resolve`] takes the marks out again and says what
//! became of each. Reports and tables of measured prices speak of [`Site`]s.
//!
//! Distortion is a function of the settings alone: rewriting moves sites, but neither joins two
//! nor splits one, so that two uses of a site are charged once.

use lutweave_ir::op::{Dialect, Reshape, Site as Mark, SiteKind, Unary};
use lutweave_ir::{Diagnostic, Element, Graph, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

/// A place of a lossy choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its number in [`lutweave_ir::op::Site`]; sites are numbered in the order of the graph.
    pub number: u32,
    /// What is rounded.
    pub kind: SiteKind,
    /// For weights the name of the layer, as in reports of quantization; for an activation the
    /// name of the value.
    pub name: String,
    /// The nodes it stands for: the layers that share the weights, or the value.
    pub nodes: Vec<String>,
    /// Extents of what is rounded.
    pub shape: Vec<usize>,
}

/// A graph with sites.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Computes the same as long as no setting is chosen.
    pub graph: Graph,
    /// The sites, by number.
    pub sites: Vec<Site>,
}

/// Marks the sites of a cleaned float graph: one for the weights of each layer, and one for each
/// value that a layer or an arithmetic operator reads and that the model does not give as
/// integers. Weights that the model gives as integers have no site: there is nothing to choose.
///
/// Layers that share their weights share a site. A value has its site after the clamps that only
/// it passes, where a layer's result is rounded.
///
/// # Errors
/// An internal error if the marked graph cannot be typed.
pub fn place(graph: &Graph) -> Result<Placed, Diagnostic> {
    let read = read_by_arithmetic(graph);
    let constant = constants(graph);
    let mut placing = Placing { placed: Graph::new(&graph.name), map: Vec::new(), sites: Vec::new() };
    let mut weights: BTreeMap<NodeId, (NodeId, usize)> = BTreeMap::new();
    let mut marked: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let mut operands: Vec<NodeId> = node.operands.iter().map(|operand| marked[operand.index()]).collect();
        if let (Op::Conv(_) | Op::DeformConv(_) | Op::Dense(_), Some(&w)) = (&node.op, node.operands.get(1))
            && constant[w.index()] == Some(false)
        {
            operands[1] = match weights.get(&w) {
                Some(&(mark, site)) => {
                    placing.sites[site].nodes.push(node.name.clone());
                    mark
                }
                None => {
                    let mark = placing.mark(SiteKind::Weights, graph, w, id)?;
                    weights.insert(w, (mark, placing.sites.len() - 1));
                    mark
                }
            };
        }
        let own = placing.copy(graph, id, &operands)?;
        placing.map.push(own);
        let rounded = read[id.index()] && constant[id.index()].is_none() && node.ty.element == Element::F32;
        marked.push(if rounded { placing.mark(SiteKind::Activation, graph, id, id)? } else { own });
    }
    // Outputs keep their names: their last rounding is their layer's own.
    placing.placed.set_outputs(graph.outputs().iter().map(|output| placing.map[output.index()]).collect());
    Ok(Placed { graph: placing.placed.without_dead_nodes(), sites: placing.sites })
}

struct Placing {
    placed: Graph,
    /// Unmarked node of every node.
    map: Vec<NodeId>,
    sites: Vec<Site>,
}

impl Placing {
    fn copy(&mut self, graph: &Graph, id: NodeId, operands: &[NodeId]) -> Result<NodeId, Diagnostic> {
        let node = graph.node(id);
        match &node.op {
            Op::Input => Ok(self.placed.input(&node.name, node.ty.clone())),
            Op::Constant(value) => Ok(self.placed.constant(&node.name, value.clone(), node.ty.clone())),
            op => self.placed.add_typed(&node.name, op.clone(), operands, node.ty.clone()),
        }
    }

    /// Adds a site over a node of the source graph, named after another.
    fn mark(&mut self, kind: SiteKind, graph: &Graph, value: NodeId, named: NodeId) -> Result<NodeId, Diagnostic> {
        let number = self.sites.len() as u32;
        let name = graph.node(named).name.clone();
        let suffix = match kind {
            SiteKind::Weights => "weights.site",
            SiteKind::Activation => "site",
        };
        let operand = self.map[value.index()];
        let mark = self.placed.add(&format!("{name}.{suffix}"), Op::Site(Mark { number, kind }), &[operand])?;
        let shape = graph.node(value).ty.shape.clone();
        self.sites.push(Site { number, kind, nodes: vec![name.clone()], name, shape });
        Ok(mark)
    }
}

/// For every node that depends on no input, whether it depends on integers that the model gives.
fn constants(graph: &Graph) -> Vec<Option<bool>> {
    let mut constant: Vec<Option<bool>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let operands = || node.operands.iter().map(|operand| constant[operand.index()]);
        let own = match &node.op {
            Op::Input => None,
            Op::Constant(_) => Some(false),
            Op::DequantizeWeights(_) | Op::Dequantize(_) => operands().all(|own| own.is_some()).then_some(true),
            _ => operands().try_fold(false, |given, own| Some(given || own?)),
        };
        constant.push(own);
    }
    constant
}

/// Values that a layer or an arithmetic operator reads, and that do not stand for integers of the
/// model already.
fn read_by_arithmetic(graph: &Graph) -> Vec<bool> {
    let users = graph.users();
    let mut read = vec![false; graph.nodes().len()];
    let mut on_grid = vec![false; graph.nodes().len()];
    for id in graph.ids() {
        let node = graph.node(id);
        on_grid[id.index()] = match &node.op {
            Op::Dequantize(_) | Op::DequantizeWeights(_) => true,
            Op::MaxPool(_)
            | Op::Slice(_)
            | Op::Select(_)
            | Op::Resize(_)
            | Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Concat(_) => node.operands.iter().all(|operand| on_grid[operand.index()]),
            _ => false,
        };
        let given = on_grid[id.index()];
        // A clamp that alone reads a value is part of the operator before it.
        let clamped = matches!(&users[id.index()][..], [user] if is_clamp(&graph.node(*user).op));
        let arithmetic = users[id.index()].iter().any(|user| is_arithmetic(&graph.node(*user).op));
        read[id.index()] = !given && !clamped && arithmetic;
    }
    read
}

fn is_clamp(op: &Op) -> bool {
    matches!(op, Op::Unary(Unary::Relu | Unary::Clip { .. }))
}

/// The operator computes with rounded operands on the chip.
fn is_arithmetic(op: &Op) -> bool {
    match op.dialect() {
        Dialect::Float => !matches!(op, Op::Softmax(_) | Op::ArgMax(_) | Op::Site(_)),
        Dialect::Movement => matches!(op, Op::MaxPool(_) | Op::Concat(_)),
        Dialect::Leaf | Dialect::Bridge | Dialect::Integer => false,
    }
}

/// The numbers of the sites in a graph: what a choice of settings is charged for.
pub fn used(graph: &Graph) -> BTreeSet<u32> {
    let marks = graph.nodes().iter().filter_map(|node| match &node.op {
        Op::Site(mark) => Some(mark.number),
        _ => None,
    });
    marks.collect()
}

/// A graph whose sites were taken out, and where they were.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The graph without sites.
    pub graph: Graph,
    /// Layers whose weights come from a site, with its number, in the graph's order. A layer has
    /// more than one entry if rewriting brought weights of several sites into it.
    pub weights: Vec<(String, u32)>,
    /// Values that were rounded at a site, with its number, in the graph's order. Values with one
    /// number must have one quantization.
    pub activations: Vec<(String, u32)>,
}

/// Takes all sites out of a graph: each becomes the identity, and what it was for is listed.
///
/// # Errors
/// An internal error if the graph cannot be typed without them.
pub fn resolve(graph: &Graph) -> Result<Resolved, Diagnostic> {
    let mut resolved = Resolved { graph: Graph::new(&graph.name), weights: Vec::new(), activations: Vec::new() };
    let mut map: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    // The weight sites that a value depends on without passing a layer or an input.
    let mut sites: Vec<BTreeSet<u32>> = Vec::with_capacity(graph.nodes().len());
    let constant = constants(graph);
    for id in graph.ids() {
        let node = graph.node(id);
        let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand.index()]).collect();
        let mut own: BTreeSet<u32> =
            node.operands.iter().flat_map(|operand| sites[operand.index()].iter().copied()).collect();
        let target = match &node.op {
            Op::Input => resolved.graph.input(&node.name, node.ty.clone()),
            Op::Constant(value) => resolved.graph.constant(&node.name, value.clone(), node.ty.clone()),
            Op::Site(Mark { number, kind: SiteKind::Weights }) => {
                own.insert(*number);
                operands[0]
            }
            Op::Site(Mark { number, kind: SiteKind::Activation }) => {
                let value = resolved.graph.node(operands[0]).name.clone();
                resolved.activations.push((value, *number));
                operands[0]
            }
            op => resolved.graph.add_typed(&node.name, op.clone(), &operands, node.ty.clone())?,
        };
        if constant[id.index()].is_none() {
            let layer = resolved.graph.node(target).name.clone();
            resolved.weights.extend(own.iter().map(|&number| (layer.clone(), number)));
            own.clear();
        }
        sites.push(own);
        map.push(target);
    }
    let mut outputs: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for &output in graph.outputs() {
        let node = graph.node(output);
        if matches!(node.op, Op::Site(_)) && !outputs.contains_key(&output) {
            // The name of an output is the model's.
            let alias = Op::Reshape(Reshape { shape: node.ty.shape.clone() });
            let named = resolved.graph.add_typed(&node.name, alias, &[map[output.index()]], node.ty.clone())?;
            outputs.insert(output, named);
        }
    }
    let target = |output: &NodeId| outputs.get(output).copied().unwrap_or(map[output.index()]);
    resolved.graph.set_outputs(graph.outputs().iter().map(target).collect());
    Ok(resolved)
}
