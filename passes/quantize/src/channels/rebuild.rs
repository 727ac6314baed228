//! The graph without the classes that nobody needs.

use super::constancy::Constancy;
use super::lanes::{Channels, Lanes};
use super::layer::{MixingLayer, frozen_value};
use lutweave_ir::op::{Conv, DequantizeWeights, Pad, Reshape, Select, Slice};
use lutweave_ir::{Data, Diagnostic, Graph, NodeId, Op, Tensor, TensorType};
use std::collections::{BTreeMap, HashSet};

/// The indices that stay, of each axis that loses some.
type Selection = Vec<(usize, Vec<usize>)>;

/// Builds the graph of what is needed. Names stay; constants that the bias of a layer absorbs
/// are added to it.
///
/// # Errors
/// An internal error if the classes are not consistent.
pub(super) fn rebuild(
    graph: &Graph,
    lanes: &Lanes,
    layers: &BTreeMap<NodeId, MixingLayer>,
    constancy: &Constancy,
    needed: &[bool],
) -> Result<Graph, Diagnostic> {
    let mut rebuild = Rebuild {
        source: graph,
        lanes,
        layers,
        constancy,
        needed,
        graph: Graph::new(&graph.name),
        map: vec![None; graph.nodes().len()],
        constants: BTreeMap::new(),
        taken: graph.nodes().iter().map(|node| node.name.clone()).collect(),
        used: HashSet::new(),
    };
    for id in graph.ids().filter(|id| !lanes.frozen[id.index()]) {
        let new = rebuild.node(id)?;
        rebuild.map[id.index()] = Some(new);
    }
    let mut outputs = Vec::with_capacity(graph.outputs().len());
    for &output in graph.outputs() {
        outputs.push(rebuild.value(output)?);
    }
    rebuild.graph.set_outputs(outputs);
    Ok(rebuild.graph)
}

/// Positions along the channel axis that stay.
pub(super) fn kept(channels: &Channels, needed: &[bool]) -> Vec<usize> {
    (0..channels.classes.len()).filter(|&index| needed[channels.classes[index]]).collect()
}

struct Rebuild<'a> {
    source: &'a Graph,
    lanes: &'a Lanes,
    layers: &'a BTreeMap<NodeId, MixingLayer>,
    constancy: &'a Constancy,
    needed: &'a [bool],
    graph: Graph,
    map: Vec<Option<NodeId>>,
    constants: BTreeMap<(NodeId, Selection), NodeId>,
    /// Names of the source and of what was added to it, which nothing else may have.
    taken: HashSet<String>,
    /// Constants whose own name is in use.
    used: HashSet<NodeId>,
}

impl Rebuild<'_> {
    fn value(&mut self, id: NodeId) -> Result<NodeId, Diagnostic> {
        match self.map[id.index()] {
            Some(mapped) => Ok(mapped),
            None => self.frozen(id, Vec::new()),
        }
    }

    fn kept(&self, id: NodeId) -> Option<(usize, Vec<usize>)> {
        self.lanes.of(id).map(|channels| (channels.axis, kept(channels, self.needed)))
    }

    fn node(&mut self, id: NodeId) -> Result<NodeId, Diagnostic> {
        let node = self.source.node(id);
        let mut ty = node.ty.clone();
        if let Some((axis, kept)) = self.kept(id) {
            ty.shape[axis] = kept.len();
        }
        if matches!(node.op, Op::Input) {
            return Ok(self.graph.input(&node.name, ty));
        }
        let operands = match self.layers.get(&id) {
            Some(layer) => self.layer_operands(id, layer)?,
            None => self.operands(id)?,
        };
        let op = self.op(id, &ty);
        self.graph.add_typed(&node.name, op, &operands, ty)
    }

    /// The operator with the attributes that count channels.
    fn op(&self, id: NodeId, ty: &TensorType) -> Op {
        let node = self.source.node(id);
        let channels = self.lanes.of(id);
        let operand = node.operands.first().and_then(|&operand| self.lanes.of(operand));
        let stay = |classes: &[usize]| classes.iter().filter(|&&class| self.needed[class]).count();
        match (&node.op, channels, operand) {
            (Op::Conv(conv), Some(_), Some(operand)) if conv.geometry.groups > 1 => {
                let mut geometry = conv.geometry;
                geometry.groups = geometry.groups * stay(&operand.classes) / operand.classes.len();
                Op::Conv(Conv { geometry })
            }
            (Op::Slice(Slice { starts, steps, .. }), Some(channels), Some(operand)) => {
                let mut starts = starts.clone();
                starts[channels.axis] = stay(&operand.classes[..starts[channels.axis]]);
                Op::Slice(Slice { starts, sizes: ty.shape.clone(), steps: steps.clone() })
            }
            (Op::Select(Select { channels: selected }), Some(own), Some(operand)) if own.axis + 1 == ty.shape.len() => {
                let stays = |&channel: &usize| self.needed[operand.classes[channel]];
                let place = |&channel: &usize| stay(&operand.classes[..channel]);
                Op::Select(Select { channels: selected.iter().filter(|channel| stays(channel)).map(place).collect() })
            }
            (Op::Pad(Pad { before, after, value }), Some(channels), Some(_)) => {
                let (axis, count) = (channels.axis, channels.classes.len());
                let (mut before, mut after) = (before.clone(), after.clone());
                after[axis] = stay(&channels.classes[count - after[axis]..]);
                before[axis] = stay(&channels.classes[..before[axis]]);
                Op::Pad(Pad { before, after, value: *value })
            }
            (Op::Reshape(_), _, _) => Op::Reshape(Reshape { shape: ty.shape.clone() }),
            (op, _, _) => op.clone(),
        }
    }

    fn operands(&mut self, id: NodeId) -> Result<Vec<NodeId>, Diagnostic> {
        let node = self.source.node(id);
        let mut operands = Vec::with_capacity(node.operands.len());
        for (position, &operand) in node.operands.iter().enumerate() {
            let selection = if self.lanes.frozen[operand.index()] { self.selection(id, position) } else { Vec::new() };
            // A constant of a concatenation of which nothing is left.
            if selection.iter().any(|(_, kept)| kept.is_empty()) {
                continue;
            }
            operands.push(match self.map[operand.index()] {
                Some(mapped) => mapped,
                None => self.frozen(operand, selection)?,
            });
        }
        Ok(operands)
    }

    /// What stays of a constant operand that is no weight.
    fn selection(&self, id: NodeId, position: usize) -> Selection {
        let node = self.source.node(id);
        let shape = &self.source.node(node.operands[position]).ty.shape;
        let Some((axis, kept)) = self.kept(id) else { return Vec::new() };
        match &node.op {
            Op::BatchNorm(_) => vec![(0, kept)],
            Op::Binary(_) | Op::PRelu(_) => match (axis + shape.len()).checked_sub(node.ty.shape.len()) {
                Some(own) if shape[own] == node.ty.shape[axis] => vec![(own, kept)],
                Some(_) | None => Vec::new(),
            },
            Op::Concat(_) => {
                let channels = self.lanes.constants.get(&(id, position));
                channels.map_or_else(Vec::new, |channels| vec![(channels.axis, self::kept(channels, self.needed))])
            }
            _ => Vec::new(),
        }
    }

    /// Operand, weights and bias of a layer. What did not change stays as the model gives it.
    fn layer_operands(&mut self, id: NodeId, layer: &MixingLayer) -> Result<Vec<NodeId>, Diagnostic> {
        let node = self.source.node(id);
        let missing = || Diagnostic::error("internal-error", "a layer without channels").at(&node.name);
        let (_, outputs) = self.kept(id).ok_or_else(missing)?;
        let inputs = match layer.groups {
            1 => self.kept(layer.operand).ok_or_else(missing)?.1,
            _ => (0..layer.inputs).collect(),
        };
        let mut bias = layer.bias.clone();
        if layer.groups == 1 {
            let channels = self.lanes.of(layer.operand).ok_or_else(missing)?;
            for &output in &outputs {
                let gone = (0..layer.inputs).filter(|&input| !self.needed[channels.classes[input]]);
                let constants = gone.filter_map(|input| {
                    Some(f64::from(self.constancy.channel(layer.operand, input)?) * layer.sum(output, input))
                });
                bias[output] = (f64::from(bias[output]) + constants.sum::<f64>()) as f32;
            }
        }
        let mut weights = self.source.node(node.operands[1]).ty.shape.clone();
        let last = weights.len() - 1;
        let selection = vec![(0, outputs.clone()), (last, inputs.clone())];
        let mut elements = Vec::with_capacity(outputs.len() * layer.taps * inputs.len());
        for &output in &outputs {
            for tap in 0..layer.taps {
                elements.extend(inputs.iter().map(|&input| layer.weights[layer.weight(output, tap, input)]));
            }
        }
        (weights[0], weights[last]) = (outputs.len(), inputs.len());
        let weights = Tensor::f32(weights, elements);
        let bias = Tensor::f32([outputs.len()], outputs.iter().map(|&output| bias[output]).collect::<Vec<_>>());
        let mut operands = vec![self.value(layer.operand)?];
        operands.push(self.replaced(node.operands[1], selection, weights)?);
        match node.operands.get(2) {
            Some(&old) => operands.push(self.replaced(old, vec![(0, outputs)], bias)?),
            None if bias.f32s().iter().any(|&bias| bias != 0.0) => {
                let ty = TensorType::f32(bias.shape.clone());
                let name = self.new_name(format!("{}.bias", node.name));
                operands.push(self.graph.constant(&name, bias, ty));
            }
            None => {}
        }
        Ok(operands)
    }

    /// What stays of a constant, or a new constant of its name if the values have changed.
    fn replaced(&mut self, id: NodeId, selection: Selection, value: Tensor) -> Result<NodeId, Diagnostic> {
        let old = selection.iter().fold(frozen_value(self.source, id), |old, (axis, kept)| gather(&old, *axis, kept));
        if old == value {
            return self.frozen(id, selection);
        }
        let ty = TensorType::f32(value.shape.clone());
        let name = self.own_name(id);
        Ok(self.graph.constant(&name, value, ty))
    }

    /// The name of a constant, or a new one for its second part.
    fn own_name(&mut self, id: NodeId) -> String {
        let name = self.source.node(id).name.clone();
        if self.used.insert(id) { name } else { self.new_name(name) }
    }

    fn new_name(&mut self, base: String) -> String {
        let mut name = base.clone();
        let mut suffix = 1;
        while !self.taken.insert(name.clone()) {
            suffix += 1;
            name = format!("{base}.{suffix}");
        }
        name
    }

    /// A part of a node that depends on no input. Integers with scales stay such.
    fn frozen(&mut self, id: NodeId, mut selection: Selection) -> Result<NodeId, Diagnostic> {
        let node = self.source.node(id);
        selection.retain(|(axis, kept)| kept.len() < node.ty.shape[*axis]);
        if let Some(&known) = self.constants.get(&(id, selection.clone())) {
            return Ok(known);
        }
        let mut ty = node.ty.clone();
        for (axis, kept) in &selection {
            ty.shape[*axis] = kept.len();
        }
        let new = match &node.op {
            Op::DequantizeWeights(weights) => {
                let integers = self.frozen(node.operands[0], selection.clone())?;
                let op = Op::DequantizeWeights(scales(weights, &selection));
                let name = self.own_name(id);
                self.graph.add_typed(&name, op, &[integers], ty)?
            }
            op if selection.is_empty() && !matches!(op, Op::Constant(_)) => {
                let mut operands = Vec::with_capacity(node.operands.len());
                for &operand in &node.operands {
                    operands.push(self.frozen(operand, Vec::new())?);
                }
                let name = self.own_name(id);
                self.graph.add_typed(&name, op.clone(), &operands, ty)?
            }
            _ => {
                let whole = frozen_value(self.source, id);
                let value = selection.iter().fold(whole, |value, (axis, kept)| gather(&value, *axis, kept));
                let name = self.own_name(id);
                self.graph.constant(&name, value, ty)
            }
        };
        self.constants.insert((id, selection), new);
        Ok(new)
    }
}

fn scales(weights: &DequantizeWeights, selection: &Selection) -> DequantizeWeights {
    let mut weights = weights.clone();
    if let Some((_, kept)) = selection.iter().find(|(axis, _)| *axis == weights.axis && weights.scales.len() > 1) {
        weights.scales = kept.iter().map(|&index| weights.scales[index]).collect();
        weights.zero_points = kept.iter().map(|&index| weights.zero_points[index]).collect();
    }
    weights
}

/// Some indices of an axis.
fn gather(tensor: &Tensor, axis: usize, kept: &[usize]) -> Tensor {
    fn pick<T: Copy>(elements: &[T], extent: usize, inner: usize, kept: &[usize]) -> Vec<T> {
        let blocks = elements.chunks_exact(extent * inner);
        blocks.flat_map(|block| kept.iter().flat_map(|&index| &block[index * inner..][..inner])).copied().collect()
    }
    let (extent, inner) = (tensor.shape[axis], tensor.shape[axis + 1..].iter().product());
    let mut shape = tensor.shape.clone();
    shape[axis] = kept.len();
    match &tensor.data {
        Data::F32(elements) => Tensor::f32(shape, pick(elements, extent, inner, kept)),
        Data::Int(elements) => Tensor::int(shape, pick(elements, extent, inner, kept)),
    }
}
