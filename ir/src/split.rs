//! Cuts a quantized graph into what the host does before, the integer core, and what the host
//! does after.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{Graph, Node, NodeId};
use crate::interpret;
use crate::op::{Dialect, Op, Transpose};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// A graph in three parts that run one after the other.
///
/// The prologue has the graph's inputs; the epilogue has the graph's outputs. The prologue's
/// outputs are the core's inputs, in order, then the values that [bypass](Split::bypassed) the
/// core. The epilogue's inputs are the core's outputs, in order, then the same values. Nodes
/// keep their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Host: everything up to the quantization of the inputs, and their leading transposes and
    /// reshapes.
    pub prologue: Graph,
    /// Integers only: what the backends compile.
    pub core: Graph,
    /// Host: trailing transposes and reshapes, dequantization and everything after.
    pub epilogue: Graph,
}

impl Split {
    /// Number of values that go from the prologue to the epilogue without passing the core.
    pub fn bypassed(&self) -> usize {
        self.prologue.outputs().len() - self.core.inputs().len()
    }

    /// Runs the whole: prologue and epilogue in the interpreter, the core by the caller's
    /// executor.
    ///
    /// # Errors
    /// If the inputs do not match the graph's, or what the executor says.
    pub fn run(
        &self,
        inputs: &[Tensor],
        core: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, Diagnostic>,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let mut values = interpret::run(&self.prologue, inputs)?;
        let bypassed = values.split_off(self.core.inputs().len());
        let mut results = core(&values)?;
        results.extend(bypassed);
        interpret::run(&self.epilogue, &results)
    }
}

/// The operators that run on the host, without repetition, in order of execution.
pub fn host_ops(split: &Split) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for node in split.prologue.nodes().iter().chain(split.epilogue.nodes()) {
        let name = node.op.name();
        if !matches!(node.op, Op::Input | Op::Constant(_)) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Where a node runs. The order is the order of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Depends on constants only.
    Constant,
    Prologue,
    Core,
    Epilogue,
}

/// Cuts a graph that is valid.
///
/// # Errors
/// If the graph has no integer operator, or if integer operators depend on a float operator that
/// in turn depends on integer operators, which would make two cores.
pub fn split(graph: &Graph) -> Result<Split, Diagnostics> {
    let graph = graph.without_dead_nodes();
    let mut stages = assign(&graph)?;
    trail(&graph, &mut stages);
    if !stages.contains(&Stage::Core) {
        let diagnostic =
            Diagnostic::error("no-integer-core", "the graph has no integer operator that a device could run")
                .at(&graph.name)
                .help("compile a model that has a layer, such as a convolution, a pooling or an addition");
        return Err(diagnostic.into());
    }
    Ok(Parts::new(&graph, &stages).build())
}

/// What the operator's domain says about where it runs.
enum Kind {
    /// An integer operator that belongs to the core.
    Anchor,
    /// Movement of integers that the host does at the edges and the core in between.
    Layout,
    /// Runs on the host.
    Host,
    /// An input or a constant.
    Leaf,
}

fn kind(node: &Node) -> Kind {
    match node.op.dialect() {
        Dialect::Leaf => Kind::Leaf,
        Dialect::Integer => Kind::Anchor,
        Dialect::Movement if !node.ty.element.is_int() => Kind::Host,
        Dialect::Movement if matches!(node.op, Op::Transpose(_) | Op::Reshape(_)) => Kind::Layout,
        Dialect::Movement => Kind::Anchor,
        Dialect::Float | Dialect::Bridge => Kind::Host,
    }
}

/// The first stage in which each node can run.
fn assign(graph: &Graph) -> Result<Vec<Stage>, Diagnostics> {
    let mut stages = Vec::with_capacity(graph.nodes().len());
    let mut faults = Vec::new();
    let mut reported = vec![false; graph.nodes().len()];
    for id in graph.ids() {
        let node = graph.node(id);
        let latest = node.operands.iter().map(|operand| stages[operand.index()]).max().unwrap_or(Stage::Constant);
        let stage = match (kind(node), latest) {
            (Kind::Leaf, _) => {
                if matches!(node.op, Op::Input) {
                    Stage::Prologue
                } else {
                    Stage::Constant
                }
            }
            (Kind::Anchor | Kind::Layout | Kind::Host, Stage::Constant) => Stage::Constant,
            (Kind::Host | Kind::Layout, Stage::Prologue) => Stage::Prologue,
            (Kind::Host, Stage::Core) => Stage::Epilogue,
            (Kind::Anchor, Stage::Prologue | Stage::Core) | (Kind::Layout, Stage::Core) => Stage::Core,
            (Kind::Host | Kind::Layout, Stage::Epilogue) => Stage::Epilogue,
            (Kind::Anchor, Stage::Epilogue) => {
                if is_movement(&node.op) {
                    Stage::Epilogue
                } else {
                    faults.extend(float_between(graph, &stages, id, &mut reported));
                    Stage::Epilogue
                }
            }
        };
        stages.push(stage);
    }
    if faults.is_empty() { Ok(stages) } else { Err(Diagnostics(faults)) }
}

/// Movement that the host may do once a value is there.
fn is_movement(op: &Op) -> bool {
    op.dialect() == Dialect::Movement && !matches!(op, Op::Transpose(_) | Op::Reshape(_))
}

/// The diagnostic for the host operator, not yet reported, that stands before an integer
/// operator.
fn float_between(graph: &Graph, stages: &[Stage], anchor: NodeId, reported: &mut [bool]) -> Option<Diagnostic> {
    let later = |id: NodeId| graph.node(id).operands.iter().find(|operand| stages[operand.index()] == Stage::Epilogue);
    let path: Vec<NodeId> = std::iter::successors(later(anchor).copied(), |&id| later(id).copied()).collect();
    // The first operator after the core that computes with reals; failing that, the nearest.
    let computes = |id: &&NodeId| {
        matches!(kind(graph.node(**id)), Kind::Host)
            && !matches!(graph.node(**id).op, Op::Quantize(_) | Op::Dequantize(_))
    };
    let id = *path.iter().rev().find(computes).or(path.first())?;
    if std::mem::replace(&mut reported[id.index()], true) {
        return None;
    }
    let (host, anchor) = (graph.node(id), graph.node(anchor));
    let message = format!(
        "the integer operator `{}` ({}) depends on this float operator, which itself depends on integer operators",
        anchor.name,
        anchor.op.name()
    );
    let diagnostic = Diagnostic::error("float-between-integer", message).at(&host.name).operator(host.op.name());
    Some(diagnostic.help("quantize this operator, or cut the model before it and run the rest on the host"))
}

/// Moves from the core to the epilogue what only the epilogue and the outputs read: layout
/// changes, and movement of values that the core would have to transpose first.
fn trail(graph: &Graph, stages: &mut [Stage]) {
    let mut transposed = vec![false; stages.len()];
    for id in graph.ids().filter(|id| stages[id.index()] == Stage::Core) {
        let node = graph.node(id);
        let moves = matches!(kind(node), Kind::Layout) || is_movement(&node.op);
        let inherits = moves && node.operands.iter().any(|operand| transposed[operand.index()]);
        transposed[id.index()] = inherits || reorders(graph, node);
    }
    let users = graph.users();
    for id in graph.ids().rev() {
        let after = |user: &NodeId| stages[user.index()] == Stage::Epilogue;
        if stages[id.index()] == Stage::Core
            && (matches!(kind(graph.node(id)), Kind::Layout) || transposed[id.index()])
            && users[id.index()].iter().all(after)
        {
            stages[id.index()] = Stage::Epilogue;
        }
    }
}

/// True for a transpose that changes the order of the elements.
fn reorders(graph: &Graph, node: &Node) -> bool {
    let Op::Transpose(Transpose { permutation }) = &node.op else {
        return false;
    };
    let shape = &graph.node(node.operands[0]).ty.shape;
    !permutation.iter().filter(|&&axis| shape[axis] > 1).is_sorted()
}

/// The three graphs while they are built.
struct Parts<'g> {
    graph: &'g Graph,
    stages: &'g [Stage],
    prologue: Part,
    core: Part,
    epilogue: Part,
    /// Values of nodes that depend on constants only.
    constants: HashMap<NodeId, Tensor>,
}

struct Part {
    graph: Graph,
    ids: HashMap<NodeId, NodeId>,
}

impl Part {
    fn new(name: String) -> Self {
        Self { graph: Graph::new(name), ids: HashMap::new() }
    }

    fn input(&mut self, node: &Node, id: NodeId) {
        let own = self.graph.input(&node.name, node.ty.clone());
        self.ids.insert(id, own);
    }
}

impl<'g> Parts<'g> {
    fn new(graph: &'g Graph, stages: &'g [Stage]) -> Self {
        Self {
            graph,
            stages,
            prologue: Part::new(format!("{}.prologue", graph.name)),
            core: Part::new(graph.name.clone()),
            epilogue: Part::new(format!("{}.epilogue", graph.name)),
            constants: HashMap::new(),
        }
    }

    fn stage(&self, id: NodeId) -> Stage {
        self.stages[id.index()]
    }

    /// Values of one stage that another stage, or an output of the graph, reads; in order.
    fn crossing(&self, from: Stage, to: Stage) -> Vec<NodeId> {
        let mut read = vec![false; self.stages.len()];
        for id in self.graph.ids().filter(|&id| self.stage(id) == to) {
            for operand in &self.graph.node(id).operands {
                read[operand.index()] = true;
            }
        }
        if to == Stage::Epilogue {
            for output in self.graph.outputs() {
                read[output.index()] = true;
            }
        }
        self.graph.ids().filter(|&id| read[id.index()] && self.stage(id) == from).collect()
    }

    fn build(mut self) -> Split {
        let to_core = self.crossing(Stage::Prologue, Stage::Core);
        let bypass = self.crossing(Stage::Prologue, Stage::Epilogue);
        let from_core = self.crossing(Stage::Core, Stage::Epilogue);
        for &id in &to_core {
            self.core.input(self.graph.node(id), id);
        }
        for &id in from_core.iter().chain(&bypass) {
            self.epilogue.input(self.graph.node(id), id);
        }
        for id in self.graph.ids() {
            if self.stage(id) == Stage::Constant {
                self.fold(id);
            } else {
                self.place(id);
            }
        }
        let outputs = |part: &Part, ids: &mut dyn Iterator<Item = &NodeId>| ids.map(|id| part.ids[id]).collect();
        let ids = outputs(&self.prologue, &mut to_core.iter().chain(&bypass));
        self.prologue.graph.set_outputs(ids);
        let ids = outputs(&self.core, &mut from_core.iter());
        self.core.graph.set_outputs(ids);
        for &id in self.graph.outputs() {
            self.import_constant(Stage::Epilogue, id);
        }
        let ids = outputs(&self.epilogue, &mut self.graph.outputs().iter());
        self.epilogue.graph.set_outputs(ids);
        Split { prologue: self.prologue.graph, core: self.core.graph, epilogue: self.epilogue.graph }
    }

    /// Evaluates a node that depends on constants only.
    fn fold(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let value = if let Op::Constant(value) = &node.op {
            value.clone()
        } else {
            let operands: Vec<&Tensor> = node.operands.iter().map(|id| &self.constants[id]).collect();
            node.op.eval(&node.ty, &self.graph.types(&node.operands), &operands)
        };
        self.constants.insert(id, value);
    }

    /// Adds a node to the part of its stage.
    fn place(&mut self, id: NodeId) {
        let graph = self.graph;
        let stage = self.stage(id);
        let node = graph.node(id);
        if matches!(node.op, Op::Input) {
            self.prologue.input(node, id);
            return;
        }
        for &operand in &node.operands {
            self.import_constant(stage, operand);
        }
        let part = self.part(stage);
        let operands: Vec<NodeId> = node.operands.iter().map(|operand| part.ids[operand]).collect();
        let own = part
            .graph
            .add_typed(&node.name, node.op.clone(), &operands, node.ty.clone())
            .expect("invariant: a node of a graph has a type that inference gives");
        part.ids.insert(id, own);
    }

    /// Adds a constant to the part that reads it, unless it is there.
    fn import_constant(&mut self, stage: Stage, id: NodeId) {
        if self.stage(id) != Stage::Constant || self.part(stage).ids.contains_key(&id) {
            return;
        }
        let (node, value) = (self.graph.node(id), self.constants[&id].clone());
        let part = self.part(stage);
        let own = part.graph.constant(&node.name, value, node.ty.clone());
        part.ids.insert(id, own);
    }

    fn part(&mut self, stage: Stage) -> &mut Part {
        match stage {
            Stage::Constant | Stage::Prologue => &mut self.prologue,
            Stage::Core => &mut self.core,
            Stage::Epilogue => &mut self.epilogue,
        }
    }
}
