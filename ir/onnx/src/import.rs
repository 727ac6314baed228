//! The importer's state: which name stands for which value, and how nodes enter the graph.

use crate::literal::{Kind, Literal, MAX_FOLDED, Numbers};
use crate::node::Node;
use crate::value::{Value, Weights};
use lutweave_ir::op::DequantizeWeights;
use lutweave_ir::tensor::Data;
use lutweave_ir::validate::{MAX_VALUE, MAX_VALUES};
use lutweave_ir::{Diagnostic, Element, Graph, NodeId, Op, Quantization, TensorType};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// State of one import.
pub struct Importer {
    /// The graph so far.
    pub graph: Graph,
    /// Version of ONNX's own operator set.
    pub opset: i64,
    /// Name of the node being imported: new graph nodes get it.
    pub current: String,
    /// Operator of the node being imported.
    pub current_operator: String,
    /// What integer inputs must stand for, as found by their users; see [`Importer::as_real`].
    pub demands: BTreeMap<NodeId, Quantization>,
    /// Transposes so far by operand and permutation.
    pub transposed: HashMap<(NodeId, Vec<usize>), NodeId>,
    /// Directory of tensors outside the file.
    pub base: Option<PathBuf>,
    /// Elements of constants computed so far.
    computed: usize,
    /// Elements of run-time values so far.
    reserved: usize,
    /// The name that each graph node was added under; the graph's own are made unique.
    wanted: Vec<String>,
    /// What constants are named after.
    role: &'static str,
}

/// Most elements of all constants that the importer computes.
const MAX_COMPUTED: usize = 1 << 28;

impl Importer {
    /// An importer into an empty graph.
    pub fn new(name: &str, opset: i64, base: Option<PathBuf>) -> Self {
        Self {
            graph: Graph::new(name),
            opset,
            current: String::new(),
            current_operator: String::new(),
            demands: BTreeMap::new(),
            transposed: HashMap::new(),
            base,
            computed: 0,
            reserved: 0,
            wanted: Vec::new(),
            role: "constant",
        }
    }

    /// Counts what a node computed at compile time, so that no file makes that take long.
    pub fn charge(&mut self, results: &[Value]) -> Result<(), Diagnostic> {
        let elements = results.iter().map(|value| match value {
            Value::Constant(literal) => literal.count(),
            Value::Weights(weights) => weights.integers.count(),
            Value::Runtime(_) | Value::Poisoned => 0,
        });
        self.spend(elements.sum())
    }

    fn spend(&mut self, elements: usize) -> Result<(), Diagnostic> {
        self.computed = self.computed.saturating_add(elements);
        if self.computed > MAX_COMPUTED {
            return Err(self
                .error("too-large", "the model's constant expressions have more than 2^28 elements in all")
                .help("fold them before export"));
        }
        Ok(())
    }

    /// Counts a run-time value, so that no file claims more than can be computed.
    ///
    /// # Errors
    /// If it, or all together, are too large.
    pub fn reserve(&mut self, elements: usize) -> Result<(), Diagnostic> {
        self.reserved = self.reserved.saturating_add(elements);
        let (found, most, what) = match elements {
            elements if elements > MAX_VALUE => (elements, MAX_VALUE, "its value has"),
            _ => (self.reserved, MAX_VALUES, "the model's values have in all"),
        };
        if found <= most {
            return Ok(());
        }
        Err(self
            .error("too-large", format!("{what} {found} elements, of which at most {most} are computed"))
            .help("export the model with smaller inputs"))
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> NodeId {
        self.wanted.push(name.to_owned());
        self.graph.input(name, ty)
    }

    /// The name that a graph node was added under.
    pub fn wanted_name(&self, id: NodeId) -> &str {
        &self.wanted[id.index()]
    }

    /// Type of a graph node.
    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.graph.node(id).ty
    }

    /// Shape of a graph node.
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.graph.node(id).ty.shape
    }

    /// Shape of a value of the model.
    pub fn shape_of<'a>(&'a self, value: &'a Value) -> &'a [usize] {
        match value {
            Value::Runtime(id) => self.shape(*id),
            Value::Constant(literal) => &literal.shape,
            Value::Weights(weights) => &weights.integers.shape,
            Value::Poisoned => &[],
        }
    }

    /// Adds an operator under the current name. Cheap functions of constants are evaluated.
    ///
    /// # Errors
    /// What inference says about the operands.
    pub fn emit(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, Diagnostic> {
        if let Some(id) = self.fold(&op, operands)? {
            return Ok(id);
        }
        let (at, operator) = (self.current.clone(), self.current_operator.clone());
        let name = match op {
            Op::Transpose(_) if operator != "Transpose" => format!("{at}/transpose"),
            Op::Reshape(_) if !matches!(&operator[..], "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") => {
                format!("{at}/reshape")
            }
            Op::DequantizeWeights(_) => format!("{at}/{}", self.role),
            _ => at.clone(),
        };
        let id = self.graph.add(&name, op, operands).map_err(|diagnostic| diagnostic.at(at).operator(operator))?;
        self.wanted.push(name);
        self.reserve(self.ty(id).count())?;
        Ok(id)
    }

    fn fold(&mut self, op: &Op, operands: &[NodeId]) -> Result<Option<NodeId>, Diagnostic> {
        let cheap = matches!(
            op,
            Op::Unary(_)
                | Op::Binary(_)
                | Op::PRelu(_)
                | Op::ReduceMean(_)
                | Op::Concat(_)
                | Op::Slice(_)
                | Op::Select(_)
                | Op::Pad(_)
                | Op::Transpose(_)
                | Op::Reshape(_)
                | Op::BatchNorm(_)
                | Op::Softmax(_)
        );
        if !cheap || operands.is_empty() {
            return Ok(None);
        }
        let constants: Option<Vec<_>> = operands.iter().map(|&id| self.graph.constant_of(id)).collect();
        let Some(constants) = constants else { return Ok(None) };
        let types: Vec<&TensorType> = operands.iter().map(|&id| self.ty(id)).collect();
        let ty = op.infer(&types).map_err(|message| self.error("invalid-operands", message))?;
        if ty.count() > MAX_FOLDED {
            return Err(self.error("too-large", format!("the constant result {ty} has more than 2^24 elements")));
        }
        let value = op.eval(&ty, &types, &constants);
        self.spend(ty.count())?;
        let name = format!("{}/{}", self.current, self.role);
        let id = self.graph.constant(&name, value, ty);
        self.wanted.push(name);
        Ok(Some(id))
    }

    /// An error about the current node.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message).at(self.current.clone()).operator(self.current_operator.clone())
    }

    /// Adds a literal as a constant node.
    pub fn constant(&mut self, literal: &Literal) -> Result<NodeId, Diagnostic> {
        let (tensor, ty) = literal.to_tensor().map_err(|message| self.error("unsupported-constant", message))?;
        let name = format!("{}/{}", self.current, self.role);
        let id = self.graph.constant(&name, tensor, ty);
        self.wanted.push(name);
        Ok(id)
    }

    /// A graph node for a constant that plays a role, such as `weights`, in the current node.
    pub fn node_as(&mut self, value: &Value, role: &'static str) -> Result<NodeId, Diagnostic> {
        let before = std::mem::replace(&mut self.role, role);
        let id = self.node(value);
        self.role = before;
        id
    }

    /// A graph node for a value. Integers of quantized weights stay integers.
    pub fn node(&mut self, value: &Value) -> Result<NodeId, Diagnostic> {
        match value {
            Value::Runtime(id) => Ok(*id),
            Value::Constant(literal) => self.constant(literal),
            Value::Weights(weights) => {
                let integers = self.constant(&weights.integers)?;
                let Weights { axis, scales, zero_points, .. } = weights.clone();
                let positive = scales.iter().all(|scale| scale.is_finite() && *scale > 0.0);
                if !positive {
                    return self.constant(&weights.dequantized());
                }
                self.emit(Op::DequantizeWeights(DequantizeWeights { axis, scales, zero_points }), &[integers])
            }
            // Nodes with a poisoned operand are not imported.
            Value::Poisoned => Err(self.error("internal", "an operand was refused")),
        }
    }

    /// A graph node for an output. Constant 64-bit integers and booleans get narrower types.
    pub fn output(&mut self, value: &Value) -> Result<NodeId, Diagnostic> {
        match value {
            Value::Constant(literal) if literal.kind.element().is_none() => {
                let bits = if literal.kind == Kind::Bool { 1 } else { 32 };
                let kind = Kind::Int { bits, signed: bits == 32 };
                self.constant(&Literal { kind, ..literal.clone() })
            }
            _ => self.node(value),
        }
    }

    /// A graph node for a float operand.
    pub fn float(&mut self, node: &Node, index: usize) -> Result<NodeId, Diagnostic> {
        let id = self.node(node.operand(index)?)?;
        self.require_float(node, id)?;
        Ok(id)
    }

    /// Refuses integers where the operator computes with reals.
    pub fn require_float(&self, node: &Node, id: NodeId) -> Result<(), Diagnostic> {
        match self.ty(id).element {
            Element::F32 => Ok(()),
            element => Err(node
                .error("integer-arithmetic", format!("the operand is a run-time tensor of {element}, not of floats"))
                .help("put a DequantizeLinear (or a Cast to float) before it and a QuantizeLinear behind it")),
        }
    }

    /// The value of a graph node that a finished operator returned.
    pub fn value(&self, id: NodeId) -> Value {
        let node = self.graph.node(id);
        let Op::Constant(tensor) = &node.op else { return Value::Runtime(id) };
        let numbers = match (&tensor.data, node.ty.element) {
            (Data::F32(data), _) => (Numbers::Float(data.clone()), Kind::Float),
            (Data::Int(data), Element::Int { bits, signed }) => {
                (Numbers::Int(data.iter().map(|&v| v.into()).collect()), Kind::Int { bits, signed })
            }
            (Data::Int(_), Element::F32) => return Value::Runtime(id),
        };
        Value::Constant(Literal { shape: tensor.shape.clone(), kind: numbers.1, numbers: numbers.0 })
    }
}
