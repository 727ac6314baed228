//! Builds the integer graph, node by node, and runs it on the calibration samples as it grows.

use super::QuantizeOptions;
use super::arithmetic;
use super::assign::{self, Origin, QuantParams};
use super::calibrate::{KEPT_SAMPLES, Observations};
use super::fidelity::{self, Fidelity};
use super::float_reference::{FloatReference, ReferenceValues};
use super::fuse::Fusion;
use super::normalise::Model;
use super::place::Place;
use super::range::{Function, Observed, RangeMethod};
use super::report::LayerReport;
use lutweave_ir::op::{Dequantize, Pad, Quantize};
use lutweave_ir::{Diagnostic, Diagnostics, Element, Graph, NodeId, Op, Tensor, TensorType};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A value of the integer graph, and what it is for each calibration sample.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub id: NodeId,
    pub samples: Arc<[Tensor]>,
}

/// The integer graph under construction.
pub(super) struct Lowering<'m> {
    pub model: &'m Model,
    pub fusion: &'m Fusion,
    pub observations: &'m Observations,
    pub options: &'m QuantizeOptions<'m>,
    pub graph: Graph,
    pub report: Vec<LayerReport>,
    /// Layers that keep 8-bit weights because they are first or last.
    pub edge_layers: BTreeSet<NodeId>,
    /// The float graph beside it, where corrections need it.
    pub shadow: Option<FloatReference<'m>>,
    origins: &'m [Option<Origin>],
    /// The nodes that read each value.
    readers: Vec<Vec<NodeId>>,
    /// The quantizations of the observed values.
    grids: &'m BTreeMap<NodeId, QuantParams>,
    values: Vec<Option<Value>>,
    /// Values of the prologue as integers.
    integers: Vec<Option<Value>>,
    /// Values as the host sees them: reals, on the samples that are compared.
    reals: Vec<Option<Value>>,
    /// How well the values of the chip stand for the float graph's.
    fidelity: Vec<Fidelity>,
}

/// The integer graph, and how well it stands for the float graph.
pub(super) struct Lowered {
    /// The graph.
    pub graph: Graph,
    /// The arithmetic layers.
    pub report: Vec<LayerReport>,
    /// The values of the chip, in order.
    pub values: Vec<Fidelity>,
    /// The outputs, as the host gives them.
    pub outputs: Vec<Fidelity>,
}

/// What a model is lowered by.
pub(super) struct Context<'m> {
    pub model: &'m Model,
    pub fusion: &'m Fusion,
    pub origins: &'m [Option<Origin>],
    pub observations: &'m Observations,
    pub grids: &'m BTreeMap<NodeId, QuantParams>,
    pub options: &'m QuantizeOptions<'m>,
}

/// Lowers a model. `samples` are the inputs on which the graph runs as it grows; there need be
/// none where no weights are rounded. `reference` gives the float graph's values for them, if they are kept.
///
/// # Errors
/// Scales that integer arithmetic cannot bridge.
pub(super) fn lower<'m>(
    context: &Context<'m>,
    samples: &'m [Vec<Tensor>],
    reference: &dyn Fn() -> Option<&'m ReferenceValues>,
) -> Result<Lowered, Diagnostics> {
    let &Context { model, fusion, origins, observations, grids, options } = context;
    let count = model.graph.nodes().len();
    let wanted = options.asymmetric || options.corrects_scales();
    let rounds = model.layers.keys().any(|&root| options.rounds(model, root));
    let shadow =
        (wanted && rounds && !samples.is_empty()).then(|| FloatReference::new(model, fusion, samples, reference()));
    let mut lowering = Lowering {
        model,
        fusion,
        observations,
        options,
        graph: Graph::new(&model.graph.name),
        report: Vec::new(),
        edge_layers: arithmetic::edge_layers(model, fusion),
        shadow,
        origins,
        readers: assign::readers(model, fusion),
        grids,
        values: vec![None; count],
        integers: vec![None; count],
        reals: vec![None; count],
        fidelity: Vec::new(),
    };
    let last_reads = lowering.last_reads();
    for (position, &input) in model.graph.inputs().iter().enumerate() {
        let node = model.graph.node(input);
        let id = lowering.graph.input(&node.name, node.ty.clone());
        let samples = samples.iter().map(|inputs| inputs[position].clone()).collect();
        lowering.values[input.index()] = Some(Value { id, samples });
    }
    let mut faults = Vec::new();
    let computed =
        |id: &NodeId| fusion.demanded[id.index()] && !matches!(model.graph.node(*id).op, Op::Input | Op::Constant(_));
    let work: Vec<NodeId> = model.graph.ids().filter(computed).collect();
    for (done, &id) in work.iter().enumerate() {
        // A node after a fault has no operands; only the first faults are real.
        if !faults.is_empty() && lowering.reads(id).iter().any(|read| lowering.values[read.index()].is_none()) {
            continue;
        }
        if let Some(shadow) = &mut lowering.shadow {
            shadow.advance(id);
        }
        match lowering.node(id) {
            Ok(value) => {
                lowering.measure(id, &value);
                lowering.values[id.index()] = Some(value);
            }
            Err(fault) => faults.push(fault),
        }
        lowering.release(id, &last_reads);
        if let Some(shadow) = &mut lowering.shadow {
            shadow.release(id);
        }
        options.progress(super::Stage::Lower, done + 1, work.len())?;
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults));
    }
    let mut outputs = Vec::new();
    let mut outputs_seen = Vec::new();
    for &output in model.graph.outputs() {
        let value = lowering.host_value(output)?;
        let judged = fidelity::judged(model, output);
        let real = model.graph.node(judged).ty.element == Element::F32;
        let kept = observations.kept.get(&judged);
        if let Some(kept) = kept.filter(|_| real && options.measures_fidelity()) {
            let value = lowering.host_value(judged)?;
            let values = value.samples.iter().map(Tensor::reals);
            outputs_seen.extend(if judged == output {
                Fidelity::of(judged, kept.iter(), values)
            } else {
                Fidelity::of_differences(judged, kept.iter(), values)
            });
        }
        outputs.push(value.id);
    }
    lowering.graph.set_outputs(outputs);
    Ok(Lowered { graph: lowering.graph, report: lowering.report, values: lowering.fidelity, outputs: outputs_seen })
}

/// The quantizations that were not given, from what was observed.
pub(super) fn grids(
    model: &Model,
    fusion: &Fusion,
    observations: &Observations,
    method: RangeMethod,
) -> BTreeMap<NodeId, QuantParams> {
    let readers = assign::readers(model, fusion);
    let grid = |(&id, observed): (&NodeId, &Observed)| {
        // Inputs are often bytes or normalised bytes: their extremes are real.
        if matches!(model.graph.node(id).op, Op::Input) {
            return (id, observed.grid(RangeMethod::MinMax));
        }
        let readers = &readers[id.index()];
        let functions_only = readers.iter().all(|reader| fusion.sources[reader.index()] == Some(id));
        if method != RangeMethod::Mse || readers.is_empty() || !functions_only {
            return (id, observed.grid(method));
        }
        let functions: Vec<_> =
            readers.iter().map(|&reader| move |values: &[f32]| model.function(reader, id, values)).collect();
        let functions: Vec<&Function> = functions.iter().map(|function| function as &Function).collect();
        (id, observed.grid_through(&functions))
    };
    observations.values.par_iter().map(grid).collect()
}

impl Lowering<'_> {
    /// True if nothing but functions, that become tables, reads a value.
    pub fn only_functions_read(&self, id: NodeId) -> bool {
        let readers = &self.readers[id.index()];
        !readers.is_empty() && readers.iter().all(|reader| self.fusion.sources[reader.index()] == Some(id))
    }

    /// The values that a node reads.
    fn reads(&self, id: NodeId) -> Vec<NodeId> {
        match self.model.places[id.index()] {
            Place::Chip => self.fusion.reads(self.model, id),
            Place::Nowhere | Place::Prologue | Place::Epilogue => self.model.inputs_of(id),
        }
    }

    /// For every node the values that nobody reads after it.
    fn last_reads(&self) -> Vec<Vec<NodeId>> {
        let mut last = vec![None; self.values.len()];
        for id in self.model.graph.ids().filter(|id| self.fusion.demanded[id.index()]) {
            for read in self.reads(id) {
                last[read.index()] = Some(id);
            }
        }
        // Outputs are read when all is done.
        for output in self.model.graph.outputs() {
            last[output.index()] = None;
        }
        let mut last_reads = vec![Vec::new(); self.values.len()];
        for id in self.model.graph.ids() {
            if let Some(reader) = last[id.index()] {
                last_reads[reader.index()].push(id);
            }
        }
        last_reads
    }

    /// Frees the samples of values that are not read any more.
    fn release(&mut self, id: NodeId, last_reads: &[Vec<NodeId>]) {
        for read in &last_reads[id.index()] {
            for value in [&mut self.values[read.index()], &mut self.integers[read.index()]].into_iter().flatten() {
                value.samples = Arc::new([]);
            }
        }
    }

    fn node(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        match self.model.places[id.index()] {
            Place::Epilogue => self.on_host(id),
            Place::Prologue => self.moved(id),
            Place::Chip | Place::Nowhere => self.on_chip(id),
        }
    }

    /// A node on the host after the chip.
    fn on_host(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let node = self.model.graph.node(id);
        let operands =
            node.operands.iter().map(|&operand| self.host_value(operand)).collect::<Result<Vec<_>, Diagnostic>>()?;
        self.emit(&node.name, node.op.clone(), &operands.iter().collect::<Vec<_>>(), None)
    }

    /// A value as the host sees it: reals where the model has reals.
    fn host_value(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let model = self.model;
        if let Some(real) = &self.reals[id.index()] {
            return Ok(real.clone());
        }
        let node = model.graph.node(id);
        let real = if let Op::Constant(tensor) = &node.op {
            let id = self.graph.constant(&node.name, tensor.clone(), node.ty.clone());
            Value { id, samples: Arc::new([]) }
        } else {
            let mut value = self.value(id);
            if value.samples.len() > KEPT_SAMPLES {
                value.samples = value.samples[..KEPT_SAMPLES].into();
            }
            if self.graph.node(value.id).ty.element == node.ty.element {
                value
            } else {
                self.emit(&format!("{}.dequantize", node.name), Op::Dequantize(Dequantize), &[&value], None)?
            }
        };
        self.reals[id.index()] = Some(real.clone());
        Ok(real)
    }

    fn on_chip(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let model = self.model;
        if let Some(source) = self.fusion.sources[id.index()] {
            return self.function(id, source);
        }
        let root = self.fusion.root(id);
        match &model.graph.node(root).op {
            Op::Conv(_) | Op::DeformConv(_) => self.convolution(id, root),
            Op::AveragePool(pool) => self.average_pool(id, root, pool),
            Op::Binary(binary) => self.pair(id, root, *binary),
            Op::Quantize(_) => {
                let operand = model.graph.node(id).operands[0];
                let value = self.value(operand);
                let node = model.graph.node(id);
                if self.is_int(&value) {
                    let value = self.integer(operand)?;
                    return self.rescale(&node.name, &value, &self.grid(id));
                }
                self.emit(&node.name, node.op.clone(), &[&value], None)
            }
            Op::Dequantize(_) => Ok(self.integer(model.graph.node(id).operands[0])?),
            Op::Concat(_) => {
                let node = model.graph.node(id);
                let grid = self.grid(id);
                let mut operands = Vec::new();
                for (position, &operand) in node.operands.iter().enumerate() {
                    let value = self.integer(operand)?;
                    operands.push(self.rescale(&format!("{}.rescale{position}", node.name), &value, &grid)?);
                }
                let operands: Vec<&Value> = operands.iter().collect();
                self.emit(&node.name, node.op.clone(), &operands, None)
            }
            Op::Pad(Pad { before, after, value }) => {
                let node = model.graph.node(id);
                let operand = self.integer(node.operands[0])?;
                let operand = self.rescale(&format!("{}.rescale", node.name), &operand, &self.grid(id))?;
                let own = self.model.is_int(id);
                let value = if own { *value } else { self.grid_of(&operand).quantize(*value) as f32 };
                let op = Op::Pad(Pad { before: before.clone(), after: after.clone(), value });
                self.emit(&node.name, op, &[&operand], None)
            }
            Op::MaxPool(_) | Op::Slice(_) | Op::Select(_) | Op::Resize(_) | Op::Reshape(_) => {
                let node = model.graph.node(id);
                let operand = self.integer(node.operands[0])?;
                self.emit(&node.name, node.op.clone(), &[&operand], None)
            }
            _ => unreachable!("invariant: normalisation leaves no such operator on the chip"),
        }
    }

    /// Movement of inputs on the host: in the integers that they come in where one quantization holds all
    /// that is moved, otherwise in reals.
    fn moved(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let node = self.model.graph.node(id);
        let operands: Vec<Value> = node.operands.iter().map(|&operand| self.value(operand)).collect();
        let grids: Vec<Option<QuantParams>> =
            operands.iter().map(|value| self.is_int(value).then(|| self.grid_of(value))).collect();
        let [Some(grid), ..] = grids[..] else {
            let real = grids.iter().all(Option::is_none);
            return self.moved_as(id, node.op.clone(), operands, real);
        };
        match node.op {
            Op::Dequantize(_) => Ok(operands[0].clone()),
            Op::Quantize(Quantize { element, quantization }) if grid == (QuantParams { element, quantization }) => {
                Ok(operands[0].clone())
            }
            Op::Quantize(_) => self.moved_as(id, node.op.clone(), operands, false),
            Op::Pad(Pad { ref before, ref after, value }) if self.model.graph.node(id).ty.element == Element::F32 => {
                let held = grid.with(value) == grid;
                let value = if held { grid.quantize(value) as f32 } else { value };
                self.moved_as(id, Op::Pad(Pad { before: before.clone(), after: after.clone(), value }), operands, held)
            }
            _ => self.moved_as(id, node.op.clone(), operands, grids.iter().all(|other| *other == Some(grid))),
        }
    }

    /// Movement on the host, of the values themselves or of the reals that they stand for.
    fn moved_as(
        &mut self,
        id: NodeId,
        op: Op,
        mut operands: Vec<Value>,
        themselves: bool,
    ) -> Result<Value, Diagnostic> {
        let node = self.model.graph.node(id);
        if !themselves {
            for (position, value) in operands.iter_mut().enumerate() {
                if self.is_int(value) {
                    let name = format!("{}.dequantize{position}", node.name);
                    *value = self.emit(&name, Op::Dequantize(Dequantize), &[&value.clone()], None)?;
                }
            }
        }
        self.emit(&node.name, op, &operands.iter().collect::<Vec<_>>(), None)
    }

    /// The value of a node as it was lowered.
    fn value(&self, id: NodeId) -> Value {
        self.values[id.index()].clone().expect("invariant: operands are lowered before users")
    }

    pub fn is_int(&self, value: &Value) -> bool {
        self.graph.node(value.id).ty.element.is_int()
    }

    /// The value of a node as integers.
    pub fn integer(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let value = self.value(id);
        match self.graph.node(value.id).ty.element {
            Element::Int { bits, .. } if bits > 8 => {
                let node = self.model.graph.node(id);
                let message = format!("an activation of {bits} bits is wider than 8 bits");
                return Err(Diagnostic::error("wide-activation", message)
                    .at(&node.name)
                    .operator(node.op.name())
                    .help("quantize activations to 8 or 4 bits"));
            }
            Element::Int { .. } => return Ok(value),
            Element::F32 => {}
        }
        if let Some(value) = &self.integers[id.index()] {
            return Ok(value.clone());
        }
        let grid = self.grid(id);
        let op = Op::Quantize(Quantize { element: grid.element, quantization: grid.quantization });
        let name = format!("{}.quantize", self.model.graph.node(id).name);
        let integer = self.emit(&name, op, &[&value], None)?;
        self.integers[id.index()] = Some(integer.clone());
        Ok(integer)
    }

    /// The quantization that a node's value has or will have.
    pub fn grid(&self, id: NodeId) -> QuantParams {
        let mut at = id;
        loop {
            match self.origins[at.index()].expect("invariant: every demanded value has an origin") {
                Origin::Given(grid) => return grid,
                Origin::SameAs(other) => at = other,
                Origin::Calibrated(other) => return self.grids[&other],
            }
        }
    }

    /// The quantization of an integer value.
    pub fn grid_of(&self, value: &Value) -> QuantParams {
        let ty = &self.graph.node(value.id).ty;
        let quantization = ty.quantization.expect("invariant: integer activations have a scale");
        QuantParams { element: ty.element, quantization }
    }

    /// Adds an operator and runs it on the samples. `grid` is that of an integer result, where
    /// the operator does not tell.
    pub fn emit(
        &mut self,
        name: &str,
        op: Op,
        operands: &[&Value],
        grid: Option<&QuantParams>,
    ) -> Result<Value, Diagnostic> {
        let ids: Vec<NodeId> = operands.iter().map(|value| value.id).collect();
        let id = match grid {
            None => self.graph.add(name, op, &ids)?,
            Some(grid) => {
                let types = self.graph.types(&ids);
                let inferred = op
                    .infer(&types)
                    .map_err(|message| Diagnostic::error("invalid-operands", message).at(name).operator(op.name()))?;
                self.graph.add_typed(name, op, &ids, inferred.quantized(grid.quantization))?
            }
        };
        let graph = &self.graph;
        let node = graph.node(id);
        let types = graph.types(&node.operands);
        let count =
            operands.iter().filter(|value| graph.constant_of(value.id).is_none()).map(|v| v.samples.len()).min();
        let samples = (0..count.unwrap_or(0))
            .into_par_iter()
            .map(|sample| {
                let tensors: Vec<&Tensor> = operands
                    .iter()
                    .map(|value| graph.constant_of(value.id).unwrap_or_else(|| &value.samples[sample]))
                    .collect();
                node.op.eval(&node.ty, &types, &tensors)
            })
            .collect::<Vec<Tensor>>();
        Ok(Value { id, samples: samples.into() })
    }

    /// Adds an integer constant.
    pub fn constant(&mut self, name: &str, shape: &[usize], data: Vec<i32>, element: Element) -> Value {
        let id = self.graph.constant(name, Tensor::int(shape, data), TensorType::int(shape, element));
        Value { id, samples: Arc::new([]) }
    }

    /// Compares a value of the chip with the float graph's on the samples that were kept.
    fn measure(&mut self, id: NodeId, value: &Value) {
        let Some(kept) = self.observations.kept.get(&id) else { return };
        if self.model.graph.node(id).ty.element != Element::F32 {
            return;
        }
        let Some(quantization) = self.graph.node(value.id).ty.quantization else { return };
        let reals = |tensor: &Tensor| -> Vec<f64> {
            tensor.ints().iter().map(|&q| f64::from(quantization.dequantize(q))).collect()
        };
        if self.options.measures_fidelity() {
            self.fidelity.extend(Fidelity::of(id, kept.iter(), value.samples.iter().map(reals)));
        }
        let Some(entry) = self.report.iter_mut().rev().find(|entry| entry.node == id) else { return };
        let (mut signal, mut noise, mut count) = (0.0f64, 0.0f64, 0usize);
        for (real, integer) in kept.iter().zip(value.samples.iter()) {
            for (&real, &q) in real.f32s().iter().zip(integer.ints()) {
                let error = f64::from(quantization.dequantize(q) - real);
                signal += f64::from(real) * f64::from(real);
                noise += error * error;
            }
            count += real.count();
        }
        if count > 0 {
            entry.mse = Some(noise / count as f64);
            entry.sqnr_db = (signal > 0.0).then(|| 10.0 * (signal / noise.max(signal * 1e-20)).log10());
        }
    }
}
