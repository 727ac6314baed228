//! Rewrites the float graph into the few operators that have an integer counterpart.

use super::constant::{self, Folded};
use super::deform::{Deform, OFFSET, Offsets, PIXELS};
use super::forms::{self, Form, Pair};
use super::linear::{Linear, Weights};
use super::place::{self, Place};
use lutweave_ir::op::{
    AveragePool, Binary, Conv, DeformConv, Dequantize, Geometry, Quantize, Reshape, Sampling, Select, Unary,
};
use lutweave_ir::{Diagnostic, Diagnostics, Element, Graph, NodeId, Op, Tensor, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// A float graph of few operators, each with its place.
///
/// On the chip there are `Conv` and `DeformConv` with constant weights, `Unary`, `Binary` (`Add`, `Sub` or `Mul`
/// of two values, or any with a scalar constant), `MaxPool`, `AveragePool` over equal windows,
/// movement without transpositions, and `Quantize` and `Dequantize`.
#[derive(Debug)]
pub(super) struct Model {
    /// The graph.
    pub graph: Graph,
    /// Where each node runs.
    pub places: Vec<Place>,
    /// The convolutions on the chip.
    pub layers: BTreeMap<NodeId, ChipConvolution>,
}

/// A convolution on the chip.
#[derive(Debug)]
pub(super) struct ChipConvolution {
    /// Strides, dilations, padding and groups.
    pub geometry: Geometry,
    /// Weights and bias.
    pub weights: Weights,
    /// It stands for a layer of the model that holds trained weights.
    pub trained: bool,
    /// Where its taps read, if they do not lie still.
    pub deformed: Option<Deformed>,
    /// Its result says where the taps of another layer read.
    pub steers: bool,
}

/// How the taps of a layer move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deformed {
    /// What the offsets mean.
    pub sampling: Sampling,
    /// Largest magnitude of an offset.
    pub reach: u32,
}

/// Normalises a graph.
///
/// # Errors
/// Everything in the graph that cannot be compiled.
pub(super) fn normalise(source: &Graph) -> Result<Model, Diagnostics> {
    let folded = constant::fold(source);
    let forms = forms::forms(source, &folded);
    let places = place::place(source, &forms)?;
    let mut builder = Builder {
        source,
        folded: &folded,
        model: Model { graph: Graph::new(&source.name), places: Vec::new(), layers: BTreeMap::new() },
        map: vec![None; source.nodes().len()],
        offsets: BTreeMap::new(),
    };
    for &input in source.inputs() {
        let node = source.node(input);
        let id = builder.model.graph.input(&node.name, node.ty.clone());
        builder.map[input.index()] = Some(id);
        builder.model.places.push(places[input.index()]);
    }
    for id in source.ids() {
        let place = places[id.index()];
        if place == Place::Nowhere || matches!(source.node(id).op, Op::Input) {
            continue;
        }
        let built = match (place, &forms[id.index()]) {
            (Place::Chip, Ok(form)) => builder.form(id, form)?,
            _ => builder.copy(id, place)?,
        };
        builder.map[id.index()] = Some(built);
    }
    let mut outputs = Vec::new();
    for &output in source.outputs() {
        outputs.push(builder.value(output));
    }
    builder.model.graph.set_outputs(outputs);
    Ok(builder.model)
}

struct Builder<'s> {
    source: &'s Graph,
    folded: &'s [Option<Folded>],
    model: Model,
    map: Vec<Option<NodeId>>,
    /// Offsets so far: layers may share them.
    offsets: BTreeMap<Offsets, NodeId>,
}

impl Builder<'_> {
    /// The new node of a source node; constants are made when they are asked for.
    fn value(&mut self, id: NodeId) -> NodeId {
        if let Some(mapped) = self.map[id.index()] {
            return mapped;
        }
        let folded = self.folded[id.index()].as_ref().expect("invariant: every demanded value is placed");
        let (tensor, ty) = (folded.tensor.clone(), folded.ty.clone());
        let name = self.source.node(id).name.clone();
        let mapped = self.constant(&name, tensor, ty);
        self.map[id.index()] = Some(mapped);
        mapped
    }

    fn constant(&mut self, name: &str, tensor: Tensor, ty: TensorType) -> NodeId {
        let id = self.model.graph.constant(name, tensor, ty);
        self.model.places.push(Place::Nowhere);
        id
    }

    fn add(&mut self, name: &str, op: Op, operands: &[NodeId], place: Place) -> Result<NodeId, Diagnostic> {
        let id = self.model.graph.add(name, op, operands)?;
        self.model.places.push(place);
        Ok(id)
    }

    fn copy(&mut self, id: NodeId, place: Place) -> Result<NodeId, Diagnostic> {
        let node = self.source.node(id);
        let operands: Vec<NodeId> = node.operands.iter().map(|&operand| self.value(operand)).collect();
        self.add(&node.name, node.op.clone(), &operands, place)
    }

    /// The value before it was reshaped on the chip.
    fn unshaped(&self, value: NodeId) -> NodeId {
        let node = self.model.graph.node(value);
        match node.op {
            Op::Reshape(_) if self.model.places[value.index()] == Place::Chip => node.operands[0],
            _ => value,
        }
    }

    /// The value with another shape; itself if that is its shape.
    fn reshape(&mut self, name: &str, value: NodeId, shape: &[usize]) -> Result<NodeId, Diagnostic> {
        let value = self.unshaped(value);
        if self.model.graph.node(value).ty.shape == shape {
            return Ok(value);
        }
        self.add(name, Op::Reshape(Reshape { shape: shape.to_vec() }), &[value], Place::Chip)
    }

    fn form(&mut self, id: NodeId, form: &Form) -> Result<NodeId, Diagnostic> {
        let node = self.source.node(id);
        let name = node.name.clone();
        let shape = node.ty.shape.clone();
        match form {
            Form::Constant => Ok(self.value(id)),
            // What works on each element commutes with a reshape; next to the operator that
            // computes its operand it can be fused.
            Form::Keep if matches!(node.op, Op::Unary(_) | Op::Quantize(_) | Op::Dequantize(_)) => {
                let operand = self.value(node.operands[0]);
                let operand = self.unshaped(operand);
                let result = self.add(&name, node.op.clone(), &[operand], Place::Chip)?;
                self.reshape(&format!("{name}.shape"), result, &shape)
            }
            Form::Keep => self.copy(id, Place::Chip),
            Form::Reshape(source) => {
                let value = self.value(*source);
                self.reshape(&name, value, &shape)
            }
            Form::Select { source, channels } => {
                let operand = self.value(*source);
                self.add(&name, Op::Select(Select { channels: channels.clone() }), &[operand], Place::Chip)
            }
            Form::Linear(linear) => {
                let trained =
                    matches!(node.op, Op::Conv(_) | Op::Dense(_) | Op::Binary(_)) && linear.weights.taps() > 1;
                let result = self.linear(&name, linear, trained)?;
                self.reshape(&format!("{name}.shape"), result, &shape)
            }
            Form::Deform(deform) => self.deform(&name, deform),
            Form::PRelu(slopes) => self.prelu(id, slopes),
            Form::Mean { view, window } => {
                let operand = self.value(node.operands[0]);
                let image = self.reshape(&format!("{name}.image"), operand, view)?;
                let pool = AveragePool { window: *window, counted_pads: None };
                let result = self.add(&name, Op::AveragePool(pool), &[image], Place::Chip)?;
                self.reshape(&format!("{name}.shape"), result, &shape)
            }
            Form::Pair(pair) => {
                let result = self.pair(&name, pair)?;
                self.reshape(&format!("{name}.shape"), result, &shape)
            }
        }
    }

    fn linear(&mut self, name: &str, linear: &Linear, trained: bool) -> Result<NodeId, Diagnostic> {
        let input = self.value(linear.input);
        let image = self.reshape(&format!("{name}.image"), input, &linear.view)?;
        self.layer(name, image, linear, trained)
    }

    fn layer(&mut self, name: &str, image: NodeId, linear: &Linear, trained: bool) -> Result<NodeId, Diagnostic> {
        let [w, b] = self.parameters(name, &linear.weights);
        let id = self.add(name, Op::Conv(Conv { geometry: linear.geometry }), &[image, w, b], Place::Chip)?;
        let layer = ChipConvolution {
            geometry: linear.geometry,
            weights: linear.weights.clone(),
            trained,
            deformed: None,
            steers: false,
        };
        self.model.layers.insert(id, layer);
        Ok(id)
    }

    /// Weights and bias of a layer as constants.
    fn parameters(&mut self, name: &str, weights: &Weights) -> [NodeId; 2] {
        let real = Tensor::f32(weights.shape, weights.real.clone());
        let bias: Vec<f32> = weights.bias.iter().map(|&b| b as f32).collect();
        let bias = Tensor::f32([bias.len()], bias);
        let w = self.constant(&format!("{name}.weight"), real, TensorType::f32(weights.shape));
        let b = self.constant(&format!("{name}.bias"), bias, TensorType::f32([weights.outputs()]));
        [w, b]
    }

    fn deform(&mut self, name: &str, deform: &Deform) -> Result<NodeId, Diagnostic> {
        let offsets = self.offsets(deform.offsets)?;
        let linear = &deform.linear;
        let input = self.value(linear.input);
        let image = self.reshape(&format!("{name}.image"), input, &linear.view)?;
        let [w, b] = self.parameters(name, &linear.weights);
        let (geometry, sampling) = (linear.geometry, deform.sampling);
        let op = Op::DeformConv(DeformConv { geometry, sampling, modulated: false });
        let id = self.add(name, op, &[image, w, b, offsets], Place::Chip)?;
        let layer = ChipConvolution {
            geometry,
            weights: linear.weights.clone(),
            trained: linear.weights.taps() > 1,
            deformed: Some(Deformed { sampling, reach: deform.offsets.reach() }),
            steers: false,
        };
        self.model.layers.insert(id, layer);
        Ok(id)
    }

    /// Whole pixels: what the chip reads them as, so that everything that is measured on this
    /// graph knows of their rounding.
    fn offsets(&mut self, offsets: Offsets) -> Result<NodeId, Diagnostic> {
        if let Some(&known) = self.offsets.get(&offsets) {
            return Ok(known);
        }
        let name = format!("{}.offsets", self.source.node(offsets.source).name);
        let source = self.value(offsets.source);
        if let Some(layer) = self.model.layers.get_mut(&source) {
            layer.steers = true;
        }
        let clip = Op::Unary(Unary::Clip { lo: offsets.lo as f32, hi: offsets.hi as f32 });
        let clamped = self.add(&name, clip, &[source], Place::Chip)?;
        let quantize = Op::Quantize(Quantize { element: OFFSET, quantization: PIXELS });
        let whole = self.add(&format!("{name}.whole"), quantize, &[clamped], Place::Chip)?;
        let real = self.add(&format!("{name}.real"), Op::Dequantize(Dequantize), &[whole], Place::Chip)?;
        self.offsets.insert(offsets, real);
        Ok(real)
    }

    fn prelu(&mut self, id: NodeId, slopes: &[f32]) -> Result<NodeId, Diagnostic> {
        let node = self.source.node(id);
        let (name, shape) = (node.name.clone(), node.ty.shape.clone());
        let x = self.value(node.operands[0]);
        if slopes.iter().all(|&slope| slope == slopes[0]) {
            let leaky = Op::Unary(Unary::LeakyRelu { alpha: slopes[0] });
            let result = self.add(&name, leaky, &[x], Place::Chip)?;
            return self.reshape(&format!("{name}.shape"), result, &shape);
        }
        let view = image(&self.model.graph.node(x).ty);
        let x = self.reshape(&format!("{name}.image"), x, &view)?;
        let positive = self.add(&format!("{name}.positive"), Op::Unary(Unary::Relu), &[x], Place::Chip)?;
        let clip = Op::Unary(Unary::Clip { lo: f32::NEG_INFINITY, hi: 0.0 });
        let negative = self.add(&format!("{name}.negative"), clip, &[x], Place::Chip)?;
        let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: view[3] };
        let bias = vec![0.0; slopes.len()];
        let weights = Weights { shape: [slopes.len(), 1, 1, 1], real: slopes.to_vec(), given: None, bias };
        let scaled = Linear { input: id, view, geometry, weights };
        let scaled = self.layer(&format!("{name}.slope"), negative, &scaled, false)?;
        let result = self.add(&name, Op::Binary(Binary::Add), &[positive, scaled], Place::Chip)?;
        self.reshape(&format!("{name}.shape"), result, &shape)
    }

    fn pair(&mut self, name: &str, pair: &Pair) -> Result<NodeId, Diagnostic> {
        let channels = pair.views[0][3].max(pair.views[1][3]);
        let mut operands = [self.value(pair.operands[0]), self.value(pair.operands[1])];
        for (position, operand) in operands.iter_mut().enumerate() {
            let view = pair.views[position];
            *operand = self.reshape(&format!("{name}.image{position}"), *operand, &view)?;
            if pair.repeat[position] {
                let repeat = Op::Select(Select { channels: vec![0; channels] });
                *operand = self.add(&format!("{name}.repeat{position}"), repeat, &[*operand], Place::Chip)?;
            }
        }
        let [a, b] = operands;
        match pair.op {
            Binary::Add | Binary::Mul => self.add(name, Op::Binary(pair.op), &[a, b], Place::Chip),
            Binary::Sub if pair.swapped => self.add(name, Op::Binary(Binary::Sub), &[b, a], Place::Chip),
            Binary::Sub => self.add(name, Op::Binary(Binary::Sub), &[a, b], Place::Chip),
            // max(a, b) = b + relu(a - b) and min(a, b) = a - relu(a - b).
            Binary::Max | Binary::Min => {
                let difference =
                    self.add(&format!("{name}.difference"), Op::Binary(Binary::Sub), &[a, b], Place::Chip)?;
                let excess = self.add(&format!("{name}.excess"), Op::Unary(Unary::Relu), &[difference], Place::Chip)?;
                if pair.op == Binary::Max {
                    self.add(name, Op::Binary(Binary::Add), &[excess, b], Place::Chip)
                } else {
                    self.add(name, Op::Binary(Binary::Sub), &[a, excess], Place::Chip)
                }
            }
            Binary::Div | Binary::Pow => {
                Err(Diagnostic::error("unsupported-operator", "a division or power of two computed values").at(name))
            }
        }
    }
}

/// Extents `[1,h,w,c]` of a value on the chip.
pub(super) fn image(ty: &TensorType) -> [usize; 4] {
    let (h, w, c) = ty.image().expect("invariant: values on the chip are images");
    [1, h, w, c]
}

impl Model {
    /// The results of the pointwise operators between `source` and `id`, for values of `source`.
    pub fn function(&self, id: NodeId, source: NodeId, values: &[f32]) -> Vec<f32> {
        let graph = &self.graph;
        let mut needed = BTreeSet::from([id]);
        let mut pending = vec![id];
        while let Some(at) = pending.pop() {
            if at != source {
                let inputs = self.inputs_of(at);
                pending.extend(inputs.into_iter().filter(|&input| needed.insert(input)));
            }
        }
        let ty = TensorType::f32([values.len()]);
        let mut values = BTreeMap::from([(source, Tensor::f32([values.len()], values.to_vec()))]);
        for at in needed.into_iter().filter(|&at| at != source) {
            let node = graph.node(at);
            let operands: Vec<Tensor> = node
                .operands
                .iter()
                .map(|operand| match graph.constant_of(*operand) {
                    Some(constant) => Tensor::f32([1], vec![constant.f32s()[0]]),
                    None => values[operand].clone(),
                })
                .collect();
            let types: Vec<TensorType> = operands.iter().map(|value| TensorType::f32(value.shape.clone())).collect();
            let types: Vec<&TensorType> = types.iter().collect();
            let value = node.op.eval(&ty, &types, &operands.iter().collect::<Vec<_>>());
            values.insert(at, value);
        }
        values.remove(&id).expect("invariant: the function's own value is computed last").f32s().to_vec()
    }

    /// True if the node's value is an integer tensor.
    pub fn is_int(&self, id: NodeId) -> bool {
        self.graph.node(id).ty.element != Element::F32
    }

    /// True if the node is a constant.
    pub fn is_constant(&self, id: NodeId) -> bool {
        self.graph.constant_of(id).is_some()
    }

    /// The operands of a node that are not constant.
    pub fn inputs_of(&self, id: NodeId) -> Vec<NodeId> {
        self.graph.node(id).operands.iter().copied().filter(|&operand| !self.is_constant(operand)).collect()
    }
}
