//! From a decoded file to a graph: header, inputs, constants, nodes in order, outputs.

use crate::decode::decode;
use crate::faults::merged;
use crate::import::Importer;
use crate::literal::{Kind, count};
use crate::node::{Node, display_name};
use crate::op::{self, Operator};
use crate::order::topological_order;
use crate::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::value::Value;
use crate::{ImportOptions, Imported, NEWEST_OPSET, OLDEST_OPSET};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, Quantization, TensorType};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most nodes of a model, and most constants.
const MAX_NODES: usize = 20_000;

/// How often an import starts again with what it learned about integer inputs.
const MAX_ROUNDS: usize = 16;

/// Imports a decoded model.
pub fn import(model: &ModelProto, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    let graph = model.graph.as_ref().ok_or_else(|| {
        Diagnostic::error("malformed-file", "the file holds no graph").help("check that it is an ONNX model")
    })?;
    let opset = opset(model)?;
    for (what, found) in [("nodes", graph.node.len()), ("initializers", graph.initializer.len())] {
        if found > MAX_NODES {
            let message = format!("{found} {what}, of which at most {MAX_NODES} are read");
            return Err(Diagnostic::error("too-large", message)
                .help("cut the model into parts, or export it with constants folded")
                .into());
        }
    }
    let constants = Constants::read(graph, options);
    let (order, unordered) = topological_order(&graph.node);
    let mut inputs = BTreeMap::new();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut session = Session::new(graph, options, opset, &constants, &inputs);
        session.faults.extend(unordered.iter().cloned());
        for &index in &order {
            session.node(&graph.node[index]);
        }
        // Integer inputs learn from their users what they stand for; every round settles one more.
        let mut learned = false;
        for (id, quantization) in std::mem::take(&mut session.importer.demands) {
            let name = session.importer.graph.node(id).name.clone();
            if let Entry::Vacant(entry) = inputs.entry(name) {
                entry.insert(quantization);
                learned = true;
            }
        }
        if !learned || rounds == MAX_ROUNDS {
            return session.finish();
        }
    }
}

fn opset(model: &ModelProto) -> Result<i64, Diagnostic> {
    let own = model.opset_import.iter().find(|set| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")));
    let Some(version) = own.and_then(|set| set.version) else {
        return Err(Diagnostic::error("malformed-file", "the file names no version of ONNX's operator set")
            .help("write it again with a current exporter"));
    };
    let refuse = |message: String| {
        Diagnostic::error("unsupported-opset", message).help(format!(
            "export with `opset_version` between {OLDEST_OPSET} and {NEWEST_OPSET}, or convert with \
             `onnx.version_converter.convert_version(model, 17)`"
        ))
    };
    if version < OLDEST_OPSET {
        return Err(refuse(format!("operator set {version} is older than {OLDEST_OPSET}")));
    }
    if version > NEWEST_OPSET {
        return Err(refuse(format!("operator set {version} is newer than {NEWEST_OPSET}")));
    }
    Ok(version)
}

/// The file's constants, decoded once.
struct Constants<'a> {
    values: HashMap<&'a str, Value>,
    faults: Vec<Diagnostic>,
}

impl<'a> Constants<'a> {
    fn read(graph: &'a GraphProto, options: &ImportOptions) -> Self {
        let mut constants = Self { values: HashMap::new(), faults: Vec::new() };
        if !graph.sparse_initializer.is_empty() {
            let message = format!("{} sparse initializers", graph.sparse_initializer.len());
            let fault = Diagnostic::error("unsupported-constant", message).help("store the constants as dense tensors");
            constants.faults.push(fault);
        }
        for tensor in &graph.initializer {
            let name = tensor.name.as_deref().unwrap_or("");
            let value = match decode(tensor, options.base.as_deref()) {
                Ok(literal) => Value::Constant(literal),
                Err(message) => {
                    let fault = Diagnostic::error("invalid-constant", message).at(name);
                    constants.faults.push(fault.help("check that the file is complete, or export the model again"));
                    Value::Poisoned
                }
            };
            if constants.values.insert(name, value).is_some() {
                constants.faults.push(duplicate(name));
            }
        }
        constants
    }
}

fn duplicate(name: &str) -> Diagnostic {
    Diagnostic::error("duplicate-value", "two values have this name")
        .at(name)
        .help("give every value a name of its own")
}

/// One pass over the nodes.
struct Session<'a> {
    proto: &'a GraphProto,
    importer: Importer,
    values: HashMap<&'a str, Value>,
    missing: HashSet<&'a str>,
    warnings: Vec<Diagnostic>,
    faults: Vec<Diagnostic>,
}

impl<'a> Session<'a> {
    fn new(
        proto: &'a GraphProto,
        options: &ImportOptions,
        opset: i64,
        constants: &Constants<'a>,
        quantizations: &BTreeMap<String, Quantization>,
    ) -> Self {
        let own = proto.name.as_deref().unwrap_or("");
        let name = if options.name.is_empty() { own } else { &options.name };
        let mut session = Self {
            proto,
            importer: Importer::new(name, opset, options.base.clone()),
            values: constants.values.clone(),
            missing: HashSet::new(),
            warnings: Vec::new(),
            faults: constants.faults.clone(),
        };
        for input in &proto.input {
            let name = input.name.as_deref().unwrap_or("");
            // Files of IR version 3 list the constants among the inputs.
            if constants.values.contains_key(name) {
                continue;
            }
            let value = match session.input(name, input, quantizations.get(name).copied()) {
                Ok(id) => Value::Runtime(id),
                Err(fault) => {
                    session.faults.push(fault);
                    Value::Poisoned
                }
            };
            if session.values.insert(name, value).is_some() {
                session.faults.push(duplicate(name));
            }
        }
        session
    }

    fn input(
        &mut self,
        name: &str,
        info: &ValueInfoProto,
        quantization: Option<Quantization>,
    ) -> Result<NodeId, Diagnostic> {
        let fault = |message: String| Diagnostic::error("invalid-input", message).at(name);
        let tensor = info.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
        let tensor = tensor.ok_or_else(|| {
            fault("the input is no tensor".into()).help("sequences, maps and optional values cannot be compiled")
        })?;
        let data_type = tensor.elem_type.unwrap_or(0);
        let kind = Kind::of(data_type);
        let Some(element) = kind.and_then(Kind::element) else {
            let name = crate::literal::data_type_name(data_type);
            return Err(fault(format!("an input of type {name}")).help("use float32, int8 or uint8 inputs"));
        };
        let shape = tensor.shape.as_ref().ok_or_else(|| {
            fault("the input has no shape".into())
                .help("fix it: `python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name .. --input_shape ..`")
        })?;
        let mut extents = Vec::with_capacity(shape.dim.len());
        for (axis, dim) in shape.dim.iter().enumerate() {
            match (dim.dim_value, dim.dim_param.as_deref()) {
                (Some(value), _) if value > 0 => extents.push(value as usize),
                (Some(value), _) if value < 0 && axis > 0 => {
                    return Err(fault(format!("axis {axis} has the extent {value}")));
                }
                (Some(0), _) if axis > 0 => return Err(fault(format!("axis {axis} has no elements"))),
                (_, symbol) if axis == 0 => {
                    let symbol = symbol.filter(|symbol| !symbol.is_empty()).unwrap_or("?");
                    let message = format!("the batch `{symbol}` of the input is fixed to 1");
                    self.warnings.push(Diagnostic::note("batch-fixed", message).at(name));
                    extents.push(1);
                }
                (_, symbol) => {
                    let symbol = symbol.filter(|symbol| !symbol.is_empty()).unwrap_or("?");
                    return Err(Diagnostic::error(
                        "symbolic-shape",
                        format!("axis {axis} has the symbolic extent `{symbol}`"),
                    )
                    .at(name)
                    .help(
                        "fix it: `python -m onnxruntime.tools.make_dynamic_shape_fixed --dim_param .. --dim_value ..`, \
                             or export without `dynamic_axes`",
                    ));
                }
            }
        }
        match count(&extents) {
            Some(elements) if elements > 0 => self.importer.reserve(elements).map_err(|error| error.at(name))?,
            _ => return Err(fault(format!("the shape {extents:?} has too many elements"))),
        }
        let mut ty = TensorType::int(extents, element);
        if let Some(quantization) = quantization {
            let (lo, hi) = element.range().unwrap_or((0, 0));
            if !(lo..=hi).contains(&i64::from(quantization.zero_point)) {
                let message = format!("the zero point {} does not fit {element}", quantization.zero_point);
                return Err(fault(message));
            }
            ty = ty.quantized(quantization);
        }
        Ok(self.importer.input(name, ty))
    }

    /// Imports a node or records why not. Its results are poisoned then, so that what depends on
    /// them is silent.
    fn node(&mut self, proto: &'a NodeProto) {
        let mut poisoned = false;
        let mut operands = Vec::with_capacity(proto.input.len());
        for name in &proto.input {
            operands.push(match self.values.get(name.as_str()) {
                _ if name.is_empty() => None,
                Some(Value::Poisoned) => {
                    poisoned = true;
                    Some(Value::Poisoned)
                }
                Some(value) => Some(value.clone()),
                None => {
                    poisoned = true;
                    if self.missing.insert(name) {
                        self.faults.push(
                            Diagnostic::error("missing-value", format!("nothing computes its operand `{name}`"))
                                .at(display_name(proto))
                                .operator(proto.op_type.clone().unwrap_or_default())
                                .help("check that the file is complete, or export the model again"),
                        );
                    }
                    Some(Value::Poisoned)
                }
            });
        }
        let node = Node::new(proto, operands);
        let results = match op::find(&node, proto.domain.as_deref().unwrap_or("")) {
            Ok(_) if poisoned => None,
            Ok(operator) => self.apply(operator, node),
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        };
        if let Some(computed) = results.as_ref().map(Vec::len)
            && let Some(name) = proto.output.iter().skip(computed).find(|name| !name.is_empty())
        {
            let message = format!("its result `{name}` is not one that the importer computes");
            self.faults.push(
                Diagnostic::error("unsupported-node", message)
                    .at(display_name(proto))
                    .operator(proto.op_type.clone().unwrap_or_default()),
            );
        }
        let mut results = results.unwrap_or_default().into_iter();
        for name in &proto.output {
            let value = results.next().unwrap_or(Value::Poisoned);
            if !name.is_empty() && self.values.insert(name, value).is_some() {
                self.faults.push(duplicate(name));
            }
        }
    }

    fn apply(&mut self, operator: &Operator, node: Node) -> Option<Vec<Value>> {
        self.importer.current.clear();
        self.importer.current.push_str(node.name);
        self.importer.current_operator.clear();
        self.importer.current_operator.push_str(node.operator());
        let results = import_node(&mut self.importer, operator, node);
        match results.and_then(|results| self.importer.charge(&results).map(|()| results)) {
            Ok(results) => Some(results),
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    /// An output's node, if it computes reals where the model gives reals, and integers where it gives
    /// integers.
    fn checked(&self, output: &ValueInfoProto, id: NodeId) -> Result<NodeId, Diagnostic> {
        let tensor = output.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
        let data_type = tensor.and_then(|tensor| tensor.elem_type).unwrap_or(0);
        let Some(declared) = Kind::of(data_type) else { return Ok(id) };
        let element = self.importer.ty(id).element;
        if (declared == Kind::Float) != element.is_int() {
            return Ok(id);
        }
        let name = crate::literal::data_type_name(data_type);
        Err(Diagnostic::error(
            "unsupported-output",
            format!("the model gives it as {name}, and it is computed as {element}"),
        )
        .at(output.name.as_deref().unwrap_or(""))
        .help("put a Cast to float behind it, or quantize it with QuantizeLinear"))
    }

    fn finish(mut self) -> Result<Imported, Diagnostics> {
        let mut outputs = Vec::new();
        for output in &self.proto.output {
            let name = output.name.as_deref().unwrap_or("");
            self.importer.current = name.to_owned();
            self.importer.current_operator.clear();
            match self.values.get(name).cloned() {
                Some(Value::Poisoned) => {}
                Some(value) => match self.importer.output(&value).and_then(|id| self.checked(output, id)) {
                    Ok(id) => outputs.push((name, id)),
                    Err(fault) => self.faults.push(fault),
                },
                None => self.faults.push(
                    Diagnostic::error("missing-value", "nothing computes this output")
                        .at(name)
                        .help("check that the file is complete, or export the model again"),
                ),
            }
        }
        if self.proto.output.is_empty() {
            self.faults.push(Diagnostic::error("malformed-file", "the graph has no outputs"));
        }
        if self.faults.is_empty() {
            match named_outputs(&self.importer, &outputs) {
                Ok(graph) => {
                    let outputs = outputs.iter().map(|(name, _)| (*name).to_owned()).collect();
                    return Ok(Imported { graph, outputs, warnings: self.warnings });
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        Err(Diagnostics(merged(self.faults)))
    }
}

fn import_node(importer: &mut Importer, operator: &Operator, node: Node) -> op::Imported {
    let constant = node.operand_count() > 0
        && node.operands().all(|value| matches!(value, Value::Constant(_) | Value::Weights(_)));
    let node = if constant && !operator.moves { node.dequantized() } else { node };
    if constant
        && let Some(fold) = operator.fold
        && let Some(value) = fold(&node)?
    {
        return Ok(vec![value]);
    }
    match operator.import {
        Some(import) => import(importer, &node),
        None => Err(node
            .error("not-constant", format!("`{}` is supported on constants only", node.operator()))
            .help("export with constant folding on and fixed input shapes, or replace the node")),
    }
}

/// The live part of a graph, with the nodes of outputs named after the outputs.
fn named_outputs(importer: &Importer, outputs: &[(&str, NodeId)]) -> Result<Graph, Diagnostic> {
    let graph = &importer.graph;
    let mut live = vec![false; graph.nodes().len()];
    for &id in graph.inputs().iter().chain(outputs.iter().map(|(_, id)| id)) {
        live[id.index()] = true;
    }
    for id in graph.ids().rev() {
        if live[id.index()] {
            for operand in &graph.node(id).operands {
                live[operand.index()] = true;
            }
        }
    }
    let mut names: HashMap<NodeId, &str> = HashMap::new();
    for &(name, id) in outputs {
        names.entry(id).or_insert(name);
    }
    let taken: HashSet<&str> = outputs.iter().map(|&(name, _)| name).collect();
    let mut result = Graph::new(&graph.name);
    let mut map = vec![NodeId(u32::MAX); graph.nodes().len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let wanted = importer.wanted_name(id);
        let name = match names.get(&id) {
            Some(name) if !matches!(node.op, Op::Input) => (*name).to_owned(),
            _ if taken.contains(wanted) && !matches!(node.op, Op::Input) => format!("{wanted}/inner"),
            _ => wanted.to_owned(),
        };
        let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand.index()]).collect();
        map[id.index()] = match &node.op {
            Op::Input => result.input(&name, node.ty.clone()),
            Op::Constant(value) => result.constant(&name, value.clone(), node.ty.clone()),
            op => result.add_typed(&name, op.clone(), &operands, node.ty.clone())?,
        };
    }
    result.set_outputs(outputs.iter().map(|(_, id)| map[id.index()]).collect());
    Ok(result)
}
