//! From graph to kernels.

mod argmax;
mod convolution;
mod deformable;
mod movement;
mod pointwise;
mod pool;
mod requantize;
mod top_peaks;
mod window;

use crate::program::{Copy, Dimension, Kernel, Location, Program, Space, Step};
use crate::target::Capabilities;
use lutweave_ir::op::{Concat, MaxPool, Pad, Select, Slice, Transpose};
use lutweave_ir::range::accumulator_range;
use lutweave_ir::{Diagnostic, Diagnostics, Element, Graph, Node, NodeId, Op, TensorType};

/// Turns a graph without dead nodes into kernels.
///
/// # Errors
/// One diagnostic for every node that this backend cannot express.
pub(crate) fn lower(graph: &Graph, capabilities: Capabilities) -> Result<Program, Diagnostics> {
    let mut lowering =
        Lowering { graph, capabilities, program: Program::default(), locations: vec![None; graph.nodes().len()] };
    let mut diagnostics = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        if node.operands.iter().any(|&operand| !lowering.is_known(operand)) {
            continue;
        }
        if let Err(diagnostic) = lowering.node(id) {
            diagnostics.push(diagnostic.at(&node.name).operator(node.op.name()));
        }
    }
    if diagnostics.is_empty() {
        for (index, &id) in graph.outputs().iter().enumerate() {
            if let Err(diagnostic) = lowering.output(index, id) {
                diagnostics.push(diagnostic.at(&graph.node(id).name));
            }
        }
    }
    if diagnostics.is_empty() { Ok(lowering.program) } else { Err(Diagnostics(diagnostics)) }
}

/// Range of an element type that a byte can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteRange {
    /// Smallest value; it is held as the byte 0.
    pub least: i32,
    /// Largest byte.
    pub span: i32,
}

/// The range of an activation type.
pub(crate) fn byte_range(element: Element) -> Result<ByteRange, Diagnostic> {
    match element.range() {
        Some((least, most)) if most - least <= 255 => {
            Ok(ByteRange { least: least as i32, span: (most - least) as i32 })
        }
        _ => Err(Diagnostic::error(
            "unsupported-element",
            format!("the CPU backend holds activations in one byte, but this value is {element}"),
        )
        .help("quantize the model to at most 8 bits per activation")),
    }
}

struct Lowering<'g> {
    graph: &'g Graph,
    capabilities: Capabilities,
    program: Program,
    /// Where the value of a node lies, once it is in memory.
    locations: Vec<Option<Location>>,
}

impl<'g> Lowering<'g> {
    fn is_known(&self, id: NodeId) -> bool {
        self.locations[id.index()].is_some() || matches!(self.graph.node(id).op, Op::Constant(_))
    }

    fn node(&mut self, id: NodeId) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        match &node.op {
            Op::Input => self.input(id),
            // Constants enter the ROM when an operator reads them as data.
            Op::Constant(_) => Ok(()),
            Op::QConv(conv) => self.convolution(id, conv),
            Op::QDeformConv(conv) => self.deformable_convolution(id, conv),
            Op::QAveragePool(pool) => self.average_pool(id, pool),
            Op::MaxPool(MaxPool { window }) => self.max_pool(id, window),
            Op::QAdd(add) => self.add(id, add),
            Op::QMul(mul) => self.multiply(id, mul),
            Op::Table(table) => self.lookup(id, table),
            Op::QArgMax(argmax) => self.argmax(id, argmax),
            Op::TopPeaks(peaks) => self.top_peaks(id, peaks),
            Op::Concat(Concat { axis }) => self.concat(id, *axis),
            Op::Slice(Slice { starts, steps, .. }) => self.slice(id, starts, steps),
            Op::Select(Select { channels }) => self.select(id, channels),
            Op::Pad(Pad { before, value, .. }) => self.pad(id, before, *value),
            Op::Resize(resize) => self.resize(id, resize),
            Op::Transpose(Transpose { permutation }) => self.transpose(id, permutation),
            Op::Reshape(_) => {
                let location = self.data(node.operands[0])?;
                self.locations[id.index()] = Some(location);
                Ok(())
            }
            Op::Conv(_)
            | Op::DeformConv(_)
            | Op::Dense(_)
            | Op::BatchNorm(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::PRelu(_)
            | Op::Site(_)
            | Op::AveragePool(_)
            | Op::ReduceMean(_)
            | Op::Softmax(_)
            | Op::ArgMax(_)
            | Op::Quantize(_)
            | Op::Dequantize(_)
            | Op::DequantizeWeights(_)
            | Op::JoinBytes(_) => Err(Diagnostic::error(
                "unsupported-operator",
                format!("the CPU backend takes integer operators only, but `{}` is not one", node.op.name()),
            )
            .help("quantize the graph and cut out its integer core first; the interpreter runs the rest")),
        }
    }

    fn input(&mut self, id: NodeId) -> Result<(), Diagnostic> {
        let index = self.graph.inputs().iter().position(|&input| input == id);
        let index = index.ok_or_else(|| {
            Diagnostic::error("invalid-graph", "this input is not among the graph's inputs")
                .help("build the graph with `Graph::input`")
        })?;
        let range = byte_range(self.graph.node(id).ty.element)?;
        let target = self.result(id);
        let copy = Copy {
            source: Location { space: Space::Input(index), offset: 0 },
            target,
            dimensions: vec![run(self.graph.node(id).ty.count())],
            add: (-range.least) as u8,
            widen: false,
        };
        self.program.steps.push(Step { kernels: vec![Kernel::Copy(copy)] });
        Ok(())
    }

    fn output(&mut self, index: usize, id: NodeId) -> Result<(), Diagnostic> {
        let ty = &self.graph.node(id).ty;
        let copy = Copy {
            source: self.data(id)?,
            target: Location { space: Space::Output(index), offset: 0 },
            dimensions: vec![run(ty.count())],
            add: byte_range(ty.element)?.least as u8,
            widen: false,
        };
        self.program.steps.push(Step { kernels: vec![Kernel::Copy(copy)] });
        Ok(())
    }

    /// Where the bytes of an operand lie; constants enter the ROM.
    fn data(&mut self, id: NodeId) -> Result<Location, Diagnostic> {
        if let Some(location) = self.locations[id.index()] {
            return Ok(location);
        }
        let constant = self.graph.constant_of(id).expect("invariant: only constants are not yet in memory");
        let range = byte_range(self.graph.node(id).ty.element)?;
        let bytes: Option<Vec<u8>> = constant
            .ints()
            .iter()
            .map(|&value| value.checked_sub(range.least).and_then(|byte| u8::try_from(byte).ok()))
            .collect();
        let bytes = bytes.ok_or_else(|| {
            Diagnostic::error("invalid-graph", format!("operand `{}` holds values outside its type", self.name(id)))
        })?;
        let location = Location::rom(self.program.table(bytes));
        self.locations[id.index()] = Some(location);
        Ok(location)
    }

    /// The integers of a constant operand.
    fn constant(&self, id: NodeId, what: &str) -> Result<&'g [i32], Diagnostic> {
        let constant = self.graph.constant_of(id).filter(|_| self.graph.node(id).ty.element.is_int());
        constant.map(|tensor| tensor.ints()).ok_or_else(|| {
            Diagnostic::error(
                "unsupported-operand",
                format!("the {what} `{}` must be an integer constant", self.name(id)),
            )
            .help("fold constants before compiling for the CPU")
        })
    }

    /// Smallest and largest accumulator of a node, which fit 32 bits in a valid graph.
    fn accumulator(&self, id: NodeId) -> Result<(i32, i32), Diagnostic> {
        let (least, most) = accumulator_range(self.graph, id);
        match (i32::try_from(least), i32::try_from(most)) {
            (Ok(least), Ok(most)) => Ok((least, most)),
            _ => {
                let message = format!("the accumulator can reach {least} to {most}, which leaves 32 bits");
                Err(Diagnostic::error("accumulator-overflow", message)
                    .help("split the node into a sum of smaller ones, or use smaller weights or scales"))
            }
        }
    }

    /// A new buffer for the value of a node.
    fn result(&mut self, id: NodeId) -> Location {
        let location = Location::buffer(self.program.buffer(self.graph.node(id).ty.count()));
        self.locations[id.index()] = Some(location);
        location
    }

    fn push(&mut self, kernels: Vec<Kernel>) {
        self.program.steps.push(Step { kernels });
    }

    fn name(&self, id: NodeId) -> &str {
        &self.graph.node(id).name
    }

    fn operand_type(&self, node: &Node, position: usize) -> &'g TensorType {
        &self.graph.node(node.operands[position]).ty
    }
}

/// The larger magnitude of two numbers.
fn magnitude((least, most): (i32, i32)) -> f64 {
    f64::from(least).abs().max(f64::from(most).abs())
}

/// A contiguous run.
fn run(count: usize) -> Dimension {
    Dimension { count, source: 1, target: 1 }
}

/// Extents `(n, h, w, c)` of images.
fn images(ty: &TensorType) -> Result<[usize; 4], Diagnostic> {
    <[usize; 4]>::try_from(ty.shape.as_slice())
        .map_err(|_| Diagnostic::error("unsupported-shape", format!("an image is required, not {ty}")))
}
