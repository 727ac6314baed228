//! Which channels have to go together.
//!
//! Every value has one channel axis, and a *lane* for each index along it. Operators that treat
//! channels alike hand lanes on; operators that join values channel by channel tie the lanes of
//! their operands. Tied lanes form a class, and only a whole class can be removed. What cannot
//! be seen through pins its lanes.

use lutweave_ir::op::{ArgMax, Concat, Pad, ReduceMean, Reshape, Select, Slice, Softmax, Transpose};
use lutweave_ir::{Graph, NodeId, Op};
use std::collections::BTreeMap;

/// The channel axis of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    /// The axis.
    pub axis: usize,
    /// The class of every index along it. A class may come more than once.
    pub classes: Vec<usize>,
}

/// The channel classes of a graph.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    /// Channels of every node; `None` if it depends on no input or has no axis.
    pub values: Vec<Option<Channels>>,
    /// Channels of constant operands of a concatenation, by node and position.
    pub constants: BTreeMap<(NodeId, usize), Channels>,
    /// For every class, whether it must stay.
    pub pinned: Vec<bool>,
    /// For every node, whether it depends on no input.
    pub frozen: Vec<bool>,
}

impl Lanes {
    /// Finds the classes of a graph.
    pub fn new(graph: &Graph) -> Self {
        let mut analysis = Analysis {
            graph,
            frozen: frozen(graph),
            values: Vec::with_capacity(graph.nodes().len()),
            constants: BTreeMap::new(),
            parents: Vec::new(),
            pinned: Vec::new(),
        };
        for id in graph.ids() {
            let channels = if analysis.frozen[id.index()] { None } else { analysis.node(id) };
            analysis.values.push(channels);
        }
        for &output in graph.outputs() {
            analysis.pin(output);
        }
        analysis.finish()
    }

    /// Channels of a value.
    pub fn of(&self, id: NodeId) -> Option<&Channels> {
        self.values[id.index()].as_ref()
    }

    /// Number of classes.
    pub fn count(&self) -> usize {
        self.pinned.len()
    }
}

/// For every node, whether it depends on no input.
fn frozen(graph: &Graph) -> Vec<bool> {
    let mut frozen: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let all = node.operands.iter().all(|operand| frozen[operand.index()]);
        frozen.push(all && !matches!(node.op, Op::Input));
    }
    frozen
}

struct Analysis<'g> {
    graph: &'g Graph,
    frozen: Vec<bool>,
    /// `classes` hold lanes until the end.
    values: Vec<Option<Channels>>,
    constants: BTreeMap<(NodeId, usize), Channels>,
    parents: Vec<usize>,
    pinned: Vec<bool>,
}

impl Analysis<'_> {
    fn fresh(&mut self, count: usize) -> Vec<usize> {
        let start = self.parents.len();
        self.parents.extend(start..start + count);
        self.pinned.resize(start + count, false);
        (start..start + count).collect()
    }

    fn find(&mut self, mut lane: usize) -> usize {
        while self.parents[lane] != lane {
            self.parents[lane] = self.parents[self.parents[lane]];
            lane = self.parents[lane];
        }
        lane
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        let (first, second) = (a.min(b), a.max(b));
        self.parents[second] = first;
    }

    fn tie_all(&mut self, a: &[usize], b: &[usize]) {
        a.iter().zip(b).for_each(|(&a, &b)| self.tie(a, b));
    }

    fn pin(&mut self, id: NodeId) {
        let lanes = self.values[id.index()].as_ref().map_or_else(Vec::new, |channels| channels.classes.clone());
        lanes.into_iter().for_each(|lane| self.pinned[lane] = true);
    }

    /// An operator that cannot be seen through: its operands and its result keep all channels.
    fn opaque(&mut self, id: NodeId) -> Option<Channels> {
        for &operand in &self.graph.node(id).operands {
            self.pin(operand);
        }
        let shape = &self.graph.node(id).ty.shape;
        let axis = shape.len().checked_sub(1)?;
        let classes = self.fresh(shape[axis]);
        classes.iter().for_each(|&lane| self.pinned[lane] = true);
        Some(Channels { axis, classes })
    }

    /// The operand's channels, moved to another axis.
    fn same(&mut self, id: NodeId, position: usize, axis: impl Fn(usize) -> Option<usize>) -> Option<Channels> {
        let operand = self.graph.node(id).operands[position];
        let moved = self.values[operand.index()]
            .as_ref()
            .and_then(|channels| Some(Channels { axis: axis(channels.axis)?, classes: channels.classes.clone() }));
        if moved.is_some() { moved } else { self.opaque(id) }
    }

    fn node(&mut self, id: NodeId) -> Option<Channels> {
        let node = self.graph.node(id);
        let last = node.ty.shape.len().wrapping_sub(1);
        let others_frozen = node.operands.iter().skip(1).all(|operand| self.frozen[operand.index()]);
        match &node.op {
            Op::Conv(conv) if others_frozen => match conv.geometry.groups {
                1 => self.layer(id),
                groups => self.grouped(id, groups),
            },
            Op::Dense(_) if others_frozen => self.layer(id),
            Op::BatchNorm(_) if others_frozen => self.same(id, 0, |axis| (axis == last).then_some(axis)),
            Op::PRelu(_) if others_frozen => self.same(id, 0, Some),
            Op::Binary(_) => self.binary(id),
            Op::Unary(_) | Op::Quantize(_) | Op::Dequantize(_) => self.same(id, 0, Some),
            Op::MaxPool(_) | Op::AveragePool(_) | Op::Resize(_) => self.same(id, 0, |axis| (axis == 3).then_some(axis)),
            Op::Softmax(Softmax { axis: reduced }) => self.same(id, 0, |axis| (axis != *reduced).then_some(axis)),
            Op::ReduceMean(ReduceMean { axes, keep }) => self.same(id, 0, |axis| {
                let before = axes.iter().filter(|&&reduced| reduced < axis).count();
                (!axes.contains(&axis)).then_some(if *keep { axis } else { axis - before })
            }),
            Op::ArgMax(ArgMax { axis: reduced, keep, .. }) => self.same(id, 0, |axis| {
                (axis != *reduced).then_some(if *keep || *reduced > axis { axis } else { axis - 1 })
            }),
            Op::Transpose(Transpose { permutation }) => {
                self.same(id, 0, |axis| permutation.iter().position(|&source| source == axis))
            }
            Op::Concat(Concat { axis }) => self.concat(id, *axis),
            Op::Slice(Slice { starts, sizes, steps }) => self.slice(id, starts, sizes, steps),
            Op::Select(Select { channels }) => self.select(id, channels),
            Op::Pad(Pad { before, after, .. }) => self.pad(id, before, after),
            Op::Reshape(Reshape { shape }) => self.reshape(id, shape),
            _ => self.opaque(id),
        }
    }

    /// A layer reads every channel of its operand for each of its own.
    fn layer(&mut self, id: NodeId) -> Option<Channels> {
        let node = self.graph.node(id);
        let axis = node.ty.shape.len() - 1;
        match &self.values[node.operands[0].index()] {
            Some(channels) if channels.axis == axis => {
                Some(Channels { axis, classes: self.fresh(self.graph.node(id).ty.shape[axis]) })
            }
            Some(_) | None => self.opaque(id),
        }
    }

    /// A group goes with its inputs and outputs, or stays whole.
    fn grouped(&mut self, id: NodeId, groups: usize) -> Option<Channels> {
        let node = self.graph.node(id);
        let Some(channels) = self.values[node.operands[0].index()].clone().filter(|channels| channels.axis == 3) else {
            return self.opaque(id);
        };
        let (inputs, outputs) = (channels.classes.len() / groups, node.ty.shape[3] / groups);
        let mut classes = Vec::with_capacity(node.ty.shape[3]);
        for group in channels.classes.chunks_exact(inputs) {
            group.iter().for_each(|&lane| self.tie(group[0], lane));
            classes.extend(std::iter::repeat_n(group[0], outputs));
        }
        Some(Channels { axis: 3, classes })
    }

    fn binary(&mut self, id: NodeId) -> Option<Channels> {
        let node = self.graph.node(id);
        let rank = node.ty.shape.len();
        // The operands whose channels are those of the result.
        let mut carriers: Vec<(usize, Channels)> = Vec::new();
        for (position, operand) in node.operands.iter().enumerate() {
            let shape = &self.graph.node(*operand).ty.shape;
            if let Some(channels) = &self.values[operand.index()] {
                let axis = channels.axis + rank - shape.len();
                if shape[channels.axis] == node.ty.shape[axis] {
                    carriers.push((position, Channels { axis, classes: channels.classes.clone() }));
                }
            }
        }
        match &carriers[..] {
            [(_, x), (_, y)] if x.axis == y.axis => {
                self.tie_all(&x.classes, &y.classes);
                Some(x.clone())
            }
            [(position, x), ..] if carriers.len() == 1 => {
                let other = node.operands[1 - position];
                let shape = &self.graph.node(other).ty.shape;
                let own = (x.axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
                if self.frozen[other.index()] {
                    return Some(x.clone());
                }
                // One value for all channels: its own shape stays.
                if own != 1 {
                    return self.opaque(id);
                }
                self.pin(other);
                Some(x.clone())
            }
            _ => self.opaque(id),
        }
    }

    fn concat(&mut self, id: NodeId, axis: usize) -> Option<Channels> {
        let node = self.graph.node(id);
        let own: Vec<Option<Channels>> =
            node.operands.iter().map(|operand| self.values[operand.index()].clone()).collect();
        let axes: Vec<usize> = own.iter().flatten().map(|channels| channels.axis).collect();
        let Some(&common) = axes.first().filter(|first| axes.iter().all(|axis| axis == *first)) else {
            return self.opaque(id);
        };
        let mut classes = Vec::new();
        for (position, channels) in own.into_iter().enumerate() {
            let lanes = match channels {
                Some(channels) => channels.classes,
                None => {
                    let lanes = self.fresh(self.graph.node(node.operands[position]).ty.shape[common]);
                    self.constants.insert((id, position), Channels { axis: common, classes: lanes.clone() });
                    lanes
                }
            };
            if common == axis || position == 0 {
                classes.extend(lanes);
            } else {
                self.tie_all(&classes, &lanes);
            }
        }
        Some(Channels { axis: common, classes })
    }

    fn slice(&mut self, id: NodeId, starts: &[usize], sizes: &[usize], steps: &[usize]) -> Option<Channels> {
        let operand = self.graph.node(id).operands[0];
        let Channels { axis, classes } = self.values[operand.index()].clone()?;
        if steps[axis] != 1 && sizes[axis] != 1 {
            self.pin(operand);
        }
        let chosen = classes.into_iter().skip(starts[axis]).step_by(steps[axis]).take(sizes[axis]);
        Some(Channels { axis, classes: chosen.collect() })
    }

    fn select(&mut self, id: NodeId, channels: &[usize]) -> Option<Channels> {
        let node = self.graph.node(id);
        let Channels { axis, classes } = self.values[node.operands[0].index()].clone()?;
        if axis + 1 != node.ty.shape.len() {
            return Some(Channels { axis, classes });
        }
        Some(Channels { axis, classes: channels.iter().map(|&channel| classes[channel]).collect() })
    }

    fn pad(&mut self, id: NodeId, before: &[usize], after: &[usize]) -> Option<Channels> {
        let operand = self.graph.node(id).operands[0];
        let Channels { axis, classes } = self.values[operand.index()].clone()?;
        let classes = [self.fresh(before[axis]), classes, self.fresh(after[axis])].concat();
        Some(Channels { axis, classes })
    }

    /// Of the axes of the new shape, the one along which most channels stay apart; the last of
    /// several, which is the one that layers read.
    fn reshape(&mut self, id: NodeId, shape: &[usize]) -> Option<Channels> {
        let operand = self.graph.node(id).operands[0];
        let Some(Channels { axis, classes }) = self.values[operand.index()].clone() else {
            return self.opaque(id);
        };
        let old = &self.graph.node(operand).ty.shape;
        let (extent, inner): (usize, usize) = (old[axis], old[axis + 1..].iter().product());
        let roots: Vec<usize> = classes.iter().map(|&lane| self.find(lane)).collect();
        let mut best: Option<(usize, usize, Vec<Vec<usize>>)> = None;
        for target in 0..shape.len() {
            let ties =
                ties(old.iter().product(), (extent, inner), (shape[target], shape[target + 1..].iter().product()));
            let apart = components(&roots, &ties);
            if best.as_ref().is_none_or(|(most, _, _)| apart >= *most) {
                best = Some((apart, target, ties));
            }
        }
        let (_, target, ties) = best?;
        for tied in &ties {
            tied.iter().for_each(|&index| self.tie(classes[tied[0]], classes[index]));
        }
        Some(Channels { axis: target, classes: ties.iter().map(|tied| classes[tied[0]]).collect() })
    }

    fn finish(mut self) -> Lanes {
        let roots: Vec<usize> = (0..self.parents.len()).map(|lane| self.find(lane)).collect();
        let mut numbers = vec![usize::MAX; roots.len()];
        let mut pinned = Vec::new();
        for (lane, &root) in roots.iter().enumerate() {
            if numbers[root] == usize::MAX {
                numbers[root] = pinned.len();
                pinned.push(false);
            }
            pinned[numbers[root]] |= self.pinned[lane];
        }
        let class = |channels: Channels| Channels {
            axis: channels.axis,
            classes: channels.classes.into_iter().map(|lane| numbers[roots[lane]]).collect(),
        };
        Lanes {
            values: self.values.into_iter().map(|channels| channels.map(class)).collect(),
            constants: self.constants.into_iter().map(|(key, channels)| (key, class(channels))).collect(),
            pinned,
            frozen: self.frozen,
        }
    }
}

/// For every index of the new axis, the indices of the old axis whose elements lie in it.
/// `(extent, inner)` are the extent of an axis and the elements of one index of it.
pub(super) fn ties(count: usize, old: (usize, usize), new: (usize, usize)) -> Vec<Vec<usize>> {
    let mut ties: Vec<Vec<usize>> = vec![Vec::new(); new.0];
    let mut seen = vec![false; old.0 * new.0];
    // Within a run of this many elements neither index changes.
    let run = gcd(old.1, new.1);
    for position in (0..count).step_by(run) {
        let (from, to) = (position / old.1 % old.0, position / new.1 % new.0);
        if !std::mem::replace(&mut seen[to * old.0 + from], true) {
            ties[to].push(from);
        }
    }
    ties
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// How many channels would still be apart with these ties.
fn components(roots: &[usize], ties: &[Vec<usize>]) -> usize {
    let mut parents: BTreeMap<usize, usize> = roots.iter().map(|&root| (root, root)).collect();
    fn find(parents: &BTreeMap<usize, usize>, mut lane: usize) -> usize {
        while parents[&lane] != lane {
            lane = parents[&lane];
        }
        lane
    }
    for tied in ties {
        for &index in tied {
            let (a, b) = (find(&parents, roots[tied[0]]), find(&parents, roots[index]));
            parents.insert(a.max(b), a.min(b));
        }
    }
    parents.iter().filter(|(lane, parent)| lane == parent).count()
}
